//! The group `batch`.

mod cron_job;
mod job;
mod policies;

use crate::plain::{STATUS, resource};
use crate::resource::Resource;

/// The group's resources.
pub(crate) fn all() -> Vec<Resource> {
    vec![
        Resource {
            short_names: &["cj"],
            categories: &["all"],
            subresources: &[STATUS],
            columns: cron_job::COLUMNS,
            rules: &cron_job::CronJob,
            ..resource("batch", "CronJob", "cronjobs", "cronjob")
        },
        Resource {
            categories: &["all"],
            subresources: &[STATUS],
            columns: job::COLUMNS,
            rules: &job::Job,
            ..resource("batch", "Job", "jobs", "job")
        },
    ]
}
