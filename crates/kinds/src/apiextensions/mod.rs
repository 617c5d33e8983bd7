//! The group `apiextensions.k8s.io`: definitions of custom resources.

mod names;
mod validation;

use meta::field::Errors;
use serde_json::{Value, json};

use crate::field::{self, items, text};
use crate::plain::{NAME, STATUS, column, name, resource};
use crate::resource::{Column, Part, Resource, Rules, Settings, keep_other_part};

/// What keeps a definition until its instances are gone.
const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

const COLUMNS: &[Column] = &[NAME, column("Created At", "date")];

/// The group's resources.
pub(crate) fn all() -> Vec<Resource> {
    vec![Resource {
        namespaced: false,
        short_names: &["crd", "crds"],
        categories: &["api-extensions"],
        subresources: &[STATUS],
        columns: COLUMNS,
        rules: &Definition,
        ..resource(
            "apiextensions.k8s.io",
            "CustomResourceDefinition",
            "customresourcedefinitions",
            "customresourcedefinition",
        )
    }]
}

struct Definition;

impl Rules for Definition {
    fn default(&self, object: &mut Value) {
        let spec = field::child(object, "spec");
        let names = field::child(spec, "names");
        let kind = text(names, "/kind").to_owned();
        if !kind.is_empty() {
            default_text(names, "singular", &kind.to_lowercase());
            default_text(names, "listKind", &format!("{kind}List"));
        }
        if spec["conversion"].is_null() {
            spec["conversion"] = json!({"strategy": "None"});
        }
        if let Some(service) =
            spec.pointer_mut("/conversion/webhook/clientConfig/service").filter(|one| one.is_object())
        {
            field::default(service, "port", 443);
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        object["metadata"]["generation"] = json!(1);
        let stored: Vec<Value> = storage_version(object).into_iter().map(Value::from).collect();
        object["status"] =
            json!({"conditions": null, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": stored});
    }

    fn validate(&self, object: &Value, _settings: &Settings) -> Errors {
        validation::validate(object)
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part<'_>) {
        if part == Part::Status {
            let metadata = new["metadata"].clone();
            keep_other_part(new, old, part);
            new["metadata"] = metadata;
            return;
        }
        keep_other_part(new, old, part);
        field::count_generation(new, old);
        if let Some(version) = storage_version(new) {
            let status = field::child(new, "status");
            field::default(status, "storedVersions", json!([]));
            if let Some(stored) =
                status["storedVersions"].as_array_mut().filter(|stored| !stored.contains(&json!(version)))
            {
                stored.push(json!(version));
            }
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, part: Part<'_>, _settings: &Settings) -> Errors {
        match part {
            Part::Main => validation::validate_update(new, old),
            Part::Status | Part::Other(_) => validation::status(new),
        }
    }

    fn prepare_delete(&self, object: &mut Value, now: &str) {
        let metadata = &mut object["metadata"];
        field::default(metadata, "finalizers", json!([]));
        if let Some(finalizers) = metadata["finalizers"].as_array_mut().filter(|own| !own.contains(&json!(CLEANUP))) {
            finalizers.push(json!(CLEANUP));
        }
        let message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
        let condition = json!({"type": "Terminating", "status": "True", "reason": "InstanceDeletionPending",
            "message": message, "lastTransitionTime": now});
        let status = field::child(object, "status");
        field::default(status, "conditions", json!([]));
        if let Some(conditions) = status["conditions"].as_array_mut() {
            conditions.retain(|own| own["type"] != "Terminating");
            conditions.push(condition);
        }
    }

    fn row(&self, object: &Value, _now: i64) -> Vec<Value> {
        vec![name(object), object["metadata"]["creationTimestamp"].clone()]
    }
}

fn default_text(object: &mut Value, name: &str, value: &str) {
    if object[name].as_str().unwrap_or_default().is_empty() {
        object[name] = json!(value);
    }
}

fn storage_version(definition: &Value) -> Option<String> {
    let stored = items(definition, "/spec/versions").iter().find(|version| version["storage"] == true)?;
    Some(text(stored, "/name").to_owned())
}
