//! Kinds that need nothing beyond the common rules.

use meta::field::{Error, Errors, Path};
use serde_json::{Value, json};

use crate::field;
use crate::resource::{Column, Part, Resource, Rules, Subresource, keep_other_part};

/// The columns of a kind that has none of its own.
pub(crate) const NAME_AND_TIME: &[Column] = &[NAME, column("Created At", "date")];

pub(crate) const NAME: Column = Column { name: "Name", kind: "string", format: "name", priority: 0 };
pub(crate) const AGE: Column = column("Age", "string");

/// A column that is always shown.
pub(crate) const fn column(name: &'static str, kind: &'static str) -> Column {
    Column { name, kind, format: "", priority: 0 }
}

/// A column of `-o wide`.
pub(crate) const fn wide(name: &'static str) -> Column {
    Column { name, kind: "string", format: "", priority: 1 }
}

/// Every verb.
pub(crate) const VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// Verbs of a subresource that is read and written.
pub(crate) const READ_WRITE: &[&str] = &["get", "patch", "update"];

/// `status`.
pub(crate) const STATUS: Subresource = Subresource { name: "status", kind: None, verbs: READ_WRITE };

/// `scale`.
pub(crate) const SCALE: Subresource =
    Subresource { name: "scale", kind: Some(("autoscaling", "v1", "Scale")), verbs: READ_WRITE };

/// A namespaced resource with every verb and the plain rules.
pub(crate) const fn resource(
    group: &'static str,
    kind: &'static str,
    plural: &'static str,
    singular: &'static str,
) -> Resource {
    Resource {
        group,
        version: "v1",
        kind,
        plural,
        singular,
        short_names: &[],
        categories: &[],
        namespaced: true,
        verbs: VERBS,
        subresources: &[],
        columns: NAME_AND_TIME,
        storage: (group, plural),
        rules: &Plain,
        custom: None,
    }
}

/// Rules of a kind without generation, defaults or checks.
pub(crate) struct Plain;

impl Rules for Plain {
    fn row(&self, object: &Value, _: i64) -> Vec<Value> {
        vec![name(object), object["metadata"]["creationTimestamp"].clone()]
    }
}

/// Rules of a kind with a desired state and a status, nothing else.
pub(crate) struct Desired;

impl Rules for Desired {
    fn prepare_create(&self, object: &mut Value) {
        prepare_create(object);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part<'_>) {
        prepare_update(new, old, part);
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        Plain.row(object, now)
    }
}

/// What a kind with a status and a generation does at creation.
pub(crate) fn prepare_create(object: &mut Value) {
    field::remove(object, "status");
    object["metadata"]["generation"] = json!(1);
}

/// What a kind with a status and a generation does at an update.
pub(crate) fn prepare_update(new: &mut Value, old: &Value, part: Part<'_>) {
    keep_other_part(new, old, part);
    if part != Part::Status {
        field::count_generation(new, old);
    }
}

/// The split of kinds whose status may be written together with labels and annotations: only the desired state is put back.
pub(crate) fn keep_desired_state(new: &mut Value, old: &Value) {
    field::remove(new, "spec");
    if let Some(spec) = old.get("spec") {
        new["spec"] = spec.clone();
    }
}

/// Says of each field of an object that changed that it may not.
pub(crate) fn immutable(new: &Value, old: &Value, fields: &[&str]) -> Errors {
    let changed = fields.iter().filter(|field| new[**field] != old[**field]);
    changed.map(|field| Error::invalid(&Path::new(field), new[*field].clone(), "field is immutable")).collect()
}

/// The object's name as a cell.
pub(crate) fn name(object: &Value) -> Value {
    object["metadata"]["name"].clone()
}

/// The text at a pointer as a cell, or a stand-in.
pub(crate) fn cell(object: &Value, pointer: &str, otherwise: &str) -> Value {
    let text = field::text(object, pointer);
    if text.is_empty() { otherwise.into() } else { text.into() }
}
