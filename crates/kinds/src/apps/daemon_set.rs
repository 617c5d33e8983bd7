//! DaemonSet.

use meta::field::{Error, Errors, Path};
use serde_json::{Value, json};

use super::template;
use crate::age;
use crate::field::{self, fields, number, text};
use crate::plain::{AGE, NAME, column, name, prepare_create, prepare_update, wide};
use crate::resource::{Column, Part, Rules, Settings};

pub(super) const COLUMNS: &[Column] = &[
    NAME,
    column("Desired", "integer"),
    column("Current", "integer"),
    column("Ready", "integer"),
    column("Up-to-date", "integer"),
    column("Available", "integer"),
    column("Node Selector", "string"),
    AGE,
    wide("Containers"),
    wide("Images"),
    wide("Selector"),
];

pub(super) struct DaemonSet;

const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

impl Rules for DaemonSet {
    fn default(&self, object: &mut Value) {
        let spec = field::child(object, "spec");
        field::default(spec, "revisionHistoryLimit", 10);
        let strategy = field::child(spec, "updateStrategy");
        field::default(strategy, "type", "RollingUpdate");
        if strategy["type"] == "RollingUpdate" {
            let rolling = field::child(strategy, "rollingUpdate");
            field::default(rolling, "maxUnavailable", 1);
            field::default(rolling, "maxSurge", 0);
        }
        crate::core::pod::default_template(field::child(spec, "template"));
    }

    fn prepare_create(&self, object: &mut Value) {
        prepare_create(object);
        note_template_generation(object, 1);
        object["status"] = json!({"currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0,
            "numberReady": 0});
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part<'_>) {
        prepare_update(new, old, part);
        if part != Part::Status {
            let before = text(old, &format!("/metadata/annotations/{TEMPLATE_GENERATION}")).parse().unwrap_or(0);
            let changed = new["spec"]["template"] != old["spec"]["template"];
            note_template_generation(new, before + i64::from(changed));
        }
    }

    fn validate(&self, object: &Value, settings: &Settings) -> Errors {
        let (spec, path) = (&object["spec"], Path::new("spec"));
        let mut errors = template::selector(spec, "daemonset", &path);
        errors.extend(template::template(spec, "DaemonSet", &path, settings));
        errors.extend(template::not_negative(spec, &["minReadySeconds", "revisionHistoryLimit"], &path));
        errors.extend(strategy(&spec["updateStrategy"], &path.child("updateStrategy")));
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, part: Part<'_>, settings: &Settings) -> Errors {
        if part == Part::Status {
            return Errors::new();
        }
        let mut errors = template::same_selector(new, old);
        errors.extend(self.validate(new, settings));
        errors
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        let count = |field: &str| json!(number(object, &format!("/status/{field}")).unwrap_or(0));
        let selector = fields(&object["spec"]["template"]["spec"]["nodeSelector"]);
        let selector = selector.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()));
        let selector = selector.collect::<Vec<_>>().join(",");
        let selector = if selector.is_empty() { "<none>".to_owned() } else { selector };
        let mut row = vec![
            name(object),
            count("desiredNumberScheduled"),
            count("currentNumberScheduled"),
            count("numberReady"),
            count("updatedNumberScheduled"),
            count("numberAvailable"),
            selector.into(),
            age::of(object, now),
        ];
        row.extend(template::cells(object));
        row
    }
}

/// Compat: the number of templates so far, which old clients asked for, lives on as an annotation.
fn note_template_generation(object: &mut Value, generation: i64) {
    field::child(&mut object["metadata"], "annotations")[TEMPLATE_GENERATION] = json!(generation.to_string());
}

fn strategy(strategy: &Value, path: &Path) -> Errors {
    match text(strategy, "/type") {
        "OnDelete" => Errors::new(),
        "RollingUpdate" => {
            let (rolling, path) = (&strategy["rollingUpdate"], path.child("rollingUpdate"));
            let (surge, unavailable) = (&rolling["maxSurge"], &rolling["maxUnavailable"]);
            let mut errors = template::count_or_percent(unavailable, &path.child("maxUnavailable"));
            errors.extend(template::count_or_percent(surge, &path.child("maxSurge")));
            match (template::is_zero(surge), template::is_zero(unavailable)) {
                (true, true) => {
                    errors.push(Error::required(&path.child("maxUnavailable"), "cannot be 0 when maxSurge is 0"));
                }
                (false, false) => {
                    let detail = "may not be set when maxUnavailable is non-zero";
                    errors.push(Error::invalid(&path.child("maxSurge"), surge.clone(), detail));
                }
                (true, false) | (false, true) => {}
            }
            errors
        }
        _ => vec![Error::not_supported_as_listed(path, strategy.clone(), &["RollingUpdate", "OnDelete"])],
    }
}
