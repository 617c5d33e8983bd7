//! ReplicationController: a ReplicaSet whose selector is a plain map.

use meta::LabelSelector;
use meta::field::{Error, Errors, Path};
use serde_json::{Value, json};

use crate::apps::replica_set::ReplicaSet;
use crate::apps::template;
use crate::field::fields;
use crate::resource::{Part, Rules, Settings};

pub(crate) use crate::apps::replica_set::COLUMNS;

pub(crate) struct ReplicationController;

impl Rules for ReplicationController {
    fn default(&self, object: &mut Value) {
        let labels = object["spec"]["template"]["metadata"]["labels"].clone();
        if fields(&labels).next().is_some() {
            if fields(&object["spec"]["selector"]).next().is_none() {
                object["spec"]["selector"] = labels.clone();
            }
            if fields(&object["metadata"]["labels"]).next().is_none() {
                object["metadata"]["labels"] = labels;
            }
        }
        let bare = object["spec"]["template"].is_null();
        ReplicaSet.default(object);
        if bare {
            crate::field::remove(&mut object["spec"], "template");
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        ReplicaSet.prepare_create(object);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part<'_>) {
        ReplicaSet.prepare_update(new, old, part);
    }

    fn validate(&self, object: &Value, settings: &Settings) -> Errors {
        let (spec, path) = (&object["spec"], Path::new("spec"));
        let mut errors = template::not_negative(spec, &["replicas", "minReadySeconds"], &path);
        if fields(&spec["selector"]).next().is_none() {
            errors.push(Error::required(&path.child("selector"), ""));
        }
        if spec["template"].is_null() {
            errors.push(Error::required(&path.child("template"), ""));
            return errors;
        }
        let selector = LabelSelector::from_value(&json!({"matchLabels": spec["selector"]})).unwrap_or_default();
        errors.extend(template::bears(spec, &selector, &path));
        errors.extend(template::template(spec, "ReplicationController", &path, settings));
        errors
    }

    fn validate_update(&self, new: &Value, _: &Value, part: Part<'_>, settings: &Settings) -> Errors {
        if part == Part::Status { Errors::new() } else { self.validate(new, settings) }
    }

    fn selectable(&self) -> &'static [&'static str] {
        ReplicaSet.selectable()
    }

    fn fields(&self, object: &Value) -> Vec<(String, String)> {
        ReplicaSet.fields(object)
    }

    // Compat: v1 leaves the pods behind.
    fn default_propagation(&self) -> meta::Propagation {
        meta::Propagation::Orphan
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        ReplicaSet.row(object, now)
    }
}
