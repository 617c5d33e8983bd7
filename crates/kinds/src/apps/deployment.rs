//! Deployment.

use meta::field::{Error, Errors, Path};
use serde_json::{Value, json};

use super::template;
use crate::age;
use crate::field::{self, number, text};
use crate::plain::{AGE, NAME, column, name, prepare_create, prepare_update, wide};
use crate::resource::{Column, Part, Rules, Settings};

pub(super) const COLUMNS: &[Column] = &[
    NAME,
    column("Ready", "string"),
    column("Up-to-date", "string"),
    column("Available", "string"),
    AGE,
    wide("Containers"),
    wide("Images"),
    wide("Selector"),
];

pub(super) struct Deployment;

impl Rules for Deployment {
    fn default(&self, object: &mut Value) {
        let spec = field::child(object, "spec");
        field::default(spec, "replicas", 1);
        field::default(spec, "revisionHistoryLimit", 10);
        field::default(spec, "progressDeadlineSeconds", 600);
        let strategy = field::child(spec, "strategy");
        field::default(strategy, "type", "RollingUpdate");
        if strategy["type"] == "RollingUpdate" {
            let rolling = field::child(strategy, "rollingUpdate");
            field::default(rolling, "maxUnavailable", "25%");
            field::default(rolling, "maxSurge", "25%");
        }
        crate::core::pod::default_template(field::child(spec, "template"));
    }

    fn prepare_create(&self, object: &mut Value) {
        prepare_create(object);
        object["status"] = json!({});
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part<'_>) {
        prepare_update(new, old, part);
        // Compat: a Deployment's annotations are part of what its controller carries on, so they count.
        let unchanged = new["metadata"]["generation"] == old["metadata"]["generation"];
        let annotated = new["metadata"]["annotations"] != old["metadata"]["annotations"];
        if part != Part::Status && unchanged && annotated {
            new["metadata"]["generation"] = json!(number(old, "/metadata/generation").unwrap_or(0) + 1);
        }
    }

    fn validate(&self, object: &Value, settings: &Settings) -> Errors {
        let (spec, path) = (&object["spec"], Path::new("spec"));
        let counts = ["replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"];
        let mut errors = template::selector(spec, "deployment", &path);
        errors.extend(template::template(spec, "ReplicaSet", &path, settings));
        errors.extend(strategy(&spec["strategy"], &path.child("strategy")));
        errors.extend(template::not_negative(spec, &counts, &path));
        let deadline = number(spec, "/progressDeadlineSeconds");
        if deadline.is_some_and(|deadline| deadline <= number(spec, "/minReadySeconds").unwrap_or(0)) {
            let at = path.child("progressDeadlineSeconds");
            errors.push(Error::invalid(&at, json!(deadline), "must be greater than minReadySeconds"));
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, part: Part<'_>, settings: &Settings) -> Errors {
        if part == Part::Status {
            return Errors::new();
        }
        let mut errors = self.validate(new, settings);
        errors.extend(template::same_selector(new, old));
        errors
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        let status = |name: &str| number(object, &format!("/status/{name}")).unwrap_or(0);
        let desired = number(object, "/spec/replicas").unwrap_or(0);
        let mut row = vec![
            name(object),
            json!(format!("{}/{desired}", status("readyReplicas"))),
            json!(status("updatedReplicas")),
            json!(status("availableReplicas")),
            age::of(object, now),
        ];
        row.extend(template::cells(object));
        row
    }
}

fn strategy(strategy: &Value, path: &Path) -> Errors {
    let (rolling, at) = (&strategy["rollingUpdate"], path.child("rollingUpdate"));
    match text(strategy, "/type") {
        "Recreate" if rolling.is_null() => Errors::new(),
        "Recreate" => vec![Error::forbidden(&at, "may not be specified when strategy `type` is 'Recreate'")],
        "RollingUpdate" => {
            let (surge, unavailable) = (&rolling["maxSurge"], &rolling["maxUnavailable"]);
            let of_unavailable = template::count_or_percent(unavailable, &at.child("maxUnavailable"));
            let of_surge = template::count_or_percent(surge, &at.child("maxSurge"));
            let (too_much, mut errors): (Errors, Errors) =
                of_unavailable.into_iter().partition(|error| error.message.contains("100%"));
            // Compat: a surge alone may be more than everything.
            errors.extend(of_surge.into_iter().filter(|error| !error.message.contains("100%")));
            if template::is_zero(surge) && template::is_zero(unavailable) {
                let detail = "may not be 0 when `maxSurge` is 0";
                errors.push(Error::invalid(&at.child("maxUnavailable"), unavailable.clone(), detail));
            }
            errors.extend(too_much);
            errors
        }
        _ => vec![Error::not_supported(path, strategy.clone(), &["Recreate", "RollingUpdate"])],
    }
}
