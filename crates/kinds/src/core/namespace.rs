//! Namespace.

use meta::names;
use serde_json::{Value, json};

use crate::age;
use crate::field::text;
use crate::plain::{AGE, NAME, cell, column, name};
use crate::resource::{Column, Rules};

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
        object["spec"] = json!({"finalizers": ["kubernetes"]});
        object["status"] = json!({"phase": "Active"});
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: crate::Part<'_>) {
        crate::keep_other_part(new, old, part);
        // Only `finalize` takes finalizers away.
        if part == crate::Part::Main {
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
