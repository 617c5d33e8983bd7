//! The group `batch`.

use crate::plain::{Desired, STATUS, resource};
use crate::resource::Resource;

/// The group's resources.
pub(crate) fn all() -> Vec<Resource> {
    let job = |kind, plural, singular, short_names| Resource {
        short_names,
        categories: &["all"],
        subresources: &[STATUS],
        rules: &Desired,
        ..resource("batch", kind, plural, singular)
    };
    vec![job("CronJob", "cronjobs", "cronjob", &["cj"]), job("Job", "jobs", "job", &[])]
}
