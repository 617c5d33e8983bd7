//! CronJob.

use meta::field::{Error, Errors, Path};
use meta::{Schedule, parse_time, time_zone};
use serde_json::{Value, json};

use super::job;
use crate::age;
use crate::field::{self, items, number, text};
use crate::plain::{AGE, NAME, cell, column, name, prepare_update, wide};
use crate::resource::{Column, Part, Rules, Settings};

pub(crate) const COLUMNS: &[Column] = &[
    NAME,
    column("Schedule", "string"),
    column("Timezone", "string"),
    column("Suspend", "boolean"),
    column("Active", "integer"),
    column("Last Schedule", "string"),
    AGE,
    wide("Containers"),
    wide("Images"),
    wide("Selector"),
];

/// The name of a job gets 11 letters more.
const LONGEST_NAME: usize = 52;

pub(crate) struct CronJob;

impl Rules for CronJob {
    fn default(&self, object: &mut Value) {
        let spec = field::child(object, "spec");
        field::default(spec, "concurrencyPolicy", "Allow");
        field::default(spec, "suspend", false);
        field::default(spec, "successfulJobsHistoryLimit", 3);
        field::default(spec, "failedJobsHistoryLimit", 1);
        job::default_in_cron_job(field::child(field::child(spec, "jobTemplate"), "spec"));
    }

    fn prepare_create(&self, object: &mut Value) {
        object["metadata"]["generation"] = json!(1);
        object["status"] = json!({});
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part<'_>) {
        prepare_update(new, old, part);
    }

    fn validate(&self, object: &Value, settings: &Settings) -> Errors {
        let mut errors = spec(&object["spec"], &Path::new("spec"), None, settings);
        let own = text(object, "/metadata/name");
        if own.len() > LONGEST_NAME {
            let path = Path::new("metadata").child("name");
            errors.push(Error::invalid(&path, own, "must be no more than 52 characters"));
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, part: Part<'_>, settings: &Settings) -> Errors {
        if part == Part::Status {
            Errors::new()
        } else {
            spec(&new["spec"], &Path::new("spec"), Some(&old["spec"]), settings)
        }
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        let last = parse_time(text(object, "/status/lastScheduleTime"));
        let last = last.map_or("<none>".to_owned(), |at| age::human_duration(now - at.as_second()));
        let suspended = object["spec"]["suspend"].as_bool().unwrap_or(false);
        let mut row = vec![
            name(object),
            cell(object, "/spec/schedule", ""),
            cell(object, "/spec/timeZone", "<none>"),
            if suspended { "True".into() } else { "False".into() },
            json!(items(object, "/status/active").len()),
            last.into(),
            age::of(object, now),
        ];
        row.extend(job::wide_cells(&object["spec"]["jobTemplate"]["spec"]));
        row
    }
}

fn spec(spec: &Value, path: &Path, old: Option<&Value>, settings: &Settings) -> Errors {
    let mut errors = Errors::new();
    let schedule = text(spec, "/schedule");
    let at = path.child("schedule");
    let in_schedule = schedule.contains("TZ");
    if schedule.is_empty() {
        errors.push(Error::required(&at, ""));
    } else if in_schedule {
        let zoned = !spec["timeZone"].is_null();
        let why = if zoned {
            "cannot use both timeZone field and TZ or CRON_TZ in schedule"
        } else {
            "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        };
        // Compat: schedules from before the rule may stay.
        if zoned || old.is_none_or(|old| old["schedule"] != spec["schedule"]) {
            errors.push(Error::invalid(&at, schedule, why));
        }
    } else if let Err(error) = Schedule::parse(schedule) {
        errors.push(Error::invalid(&at, schedule, &error.to_string()));
    }
    errors.extend(zone(spec, &path.child("timeZone"), old));
    let policy = text(spec, "/concurrencyPolicy");
    if !matches!(policy, "Allow" | "Forbid" | "Replace") {
        let known = ["Allow", "Forbid", "Replace"];
        errors.push(Error::not_supported(&path.child("concurrencyPolicy"), policy, &known));
    }
    for name in ["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        if let Some(value) = number(spec, &format!("/{name}")).filter(|value| *value < 0) {
            errors.push(Error::invalid(&path.child(name), value, "must be greater than or equal to 0"));
        }
    }
    let inner = path.child("jobTemplate").child("spec");
    let own = &spec["jobTemplate"]["spec"];
    if !own["selector"].is_null() {
        let selector = own["selector"].clone();
        errors.push(Error::invalid(&inner.child("selector"), selector, "`selector` will be auto-generated"));
    }
    if own["manualSelector"] == true {
        errors.push(Error::not_supported(&inner.child("manualSelector"), true, &["nil", "false"]));
    }
    errors.extend(job::spec(own, &inner, false, settings));
    errors
}

fn zone(spec: &Value, path: &Path, old: Option<&Value>) -> Errors {
    let Some(own) = spec["timeZone"].as_str().filter(|own| old.is_none_or(|old| old["timeZone"] != *own)) else {
        return Errors::new();
    };
    let why = match own {
        "" => "timeZone must be nil or non-empty string".to_owned(),
        own if own.eq_ignore_ascii_case("local") => {
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones".to_owned()
        }
        own if time_zone(own).is_none() => format!("unknown time zone {own}"),
        _ => return Errors::new(),
    };
    vec![Error::invalid(path, own, &why)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_schedules_are_refused() {
        let check = |fields: Value, expected: &[&str]| {
            let template = json!({"spec": {"containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never"}});
            let mut object =
                json!({"metadata": {"name": "c"}, "spec": {"jobTemplate": {"spec": {"template": template}}}});
            object["spec"].as_object_mut().expect("a spec").extend(fields.as_object().cloned().unwrap_or_default());
            CronJob.default(&mut object);
            let errors = CronJob.validate(&object, &Settings { allow_privileged: true });
            assert_eq!(errors.iter().map(Error::to_string).collect::<Vec<_>>(), expected, "{fields}");
        };
        check(json!({"schedule": "*/5 * * * *", "timeZone": "Asia/Tokyo"}), &[]);
        check(json!({}), &["spec.schedule: Required value"]);
        let text = "spec.schedule: Invalid value: \"x\": expected exactly 5 fields, found 1: [x]";
        check(json!({"schedule": "x"}), &[text]);
        let text = "spec.timeZone: Invalid value: \"Mars/Base\": unknown time zone Mars/Base";
        check(json!({"schedule": "@daily", "timeZone": "Mars/Base"}), &[text]);
    }
}
