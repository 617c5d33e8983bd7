//! ReplicaSet.

use meta::field::{Errors, Path};
use serde_json::{Value, json};

use super::template;
use crate::age;
use crate::field::{self, number};
use crate::plain::{AGE, NAME, column, name, prepare_create, prepare_update, wide};
use crate::resource::{Column, Part, Rules, Settings};

pub(crate) const COLUMNS: &[Column] = &[
    NAME,
    column("Desired", "integer"),
    column("Current", "integer"),
    column("Ready", "integer"),
    AGE,
    wide("Containers"),
    wide("Images"),
    wide("Selector"),
];

pub(crate) struct ReplicaSet;

impl Rules for ReplicaSet {
    fn default(&self, object: &mut Value) {
        let spec = field::child(object, "spec");
        field::default(spec, "replicas", 1);
        crate::core::pod::default_template(field::child(spec, "template"));
    }

    fn prepare_create(&self, object: &mut Value) {
        prepare_create(object);
        object["status"] = json!({"replicas": 0});
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part<'_>) {
        prepare_update(new, old, part);
    }

    fn validate(&self, object: &Value, settings: &Settings) -> Errors {
        let (spec, path) = (&object["spec"], Path::new("spec"));
        let mut errors = template::not_negative(spec, &["replicas", "minReadySeconds"], &path);
        errors.extend(template::selector(spec, "replicaset", &path));
        errors.extend(template::template(spec, "ReplicaSet", &path, settings));
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

    fn selectable(&self) -> &'static [&'static str] {
        &["status.replicas"]
    }

    fn fields(&self, object: &Value) -> Vec<(String, String)> {
        vec![("status.replicas".to_owned(), number(object, "/status/replicas").unwrap_or(0).to_string())]
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        let count = |pointer: &str| json!(number(object, pointer).unwrap_or(0));
        let mut row = vec![
            name(object),
            count("/spec/replicas"),
            count("/status/replicas"),
            count("/status/readyReplicas"),
            age::of(object, now),
        ];
        row.extend(template::cells(object));
        row
    }
}
