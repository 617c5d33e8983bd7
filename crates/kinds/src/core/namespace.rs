//! Namespace.

use meta::field::{Error, Errors, Path};
use meta::names;
use serde_json::{Value, json};

use crate::age;
use crate::field::{items, text};
use crate::plain::{AGE, NAME, cell, column, name};
use crate::resource::{Column, Part, Rules, Settings};

pub(crate) const COLUMNS: &[Column] = &[NAME, column("Status", "string"), AGE];

pub(crate) struct Namespace;

impl Rules for Namespace {
    fn validate_name(&self, name: &str) -> Vec<String> {
        names::label(name)
    }

    fn default(&self, object: &mut Value) {
        let named = object["metadata"]["name"].clone();
        if named.is_string() {
            crate::field::child(&mut object["metadata"], "labels")["kubernetes.io/metadata.name"] = named;
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        let mut finalizers = items(object, "/spec/finalizers").to_vec();
        if !finalizers.iter().any(|own| own == "kubernetes") {
            finalizers.push(json!("kubernetes"));
        }
        object["spec"] = json!({"finalizers": finalizers});
        object["status"] = json!({"phase": "Active"});
    }

    fn validate(&self, object: &Value, _: &Settings) -> Errors {
        let mut errors = Errors::new();
        let path = Path::new("spec").child("finalizers");
        for name in items(object, "/spec/finalizers").iter().filter_map(Value::as_str) {
            errors.extend(names::qualified(name).iter().map(|rule| Error::invalid(&path, name, rule)));
            if !name.contains('/') && !matches!(name, "kubernetes" | "orphan" | "foregroundDeletion") {
                let why = "name is neither a standard finalizer name nor is it fully qualified";
                errors.push(Error::invalid(&path, name, why));
            }
        }
        errors
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part<'_>) {
        crate::keep_other_part(new, old, part);
        // Only `finalize` takes finalizers away.
        if part == Part::Main {
            new["spec"] = old["spec"].clone();
        }
    }

    fn selectable(&self) -> &'static [&'static str] {
        &["status.phase"]
    }

    fn fields(&self, object: &Value) -> Vec<(String, String)> {
        vec![("status.phase".to_owned(), text(object, "/status/phase").to_owned())]
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        vec![name(object), cell(object, "/status/phase", ""), age::of(object, now)]
    }
}
