//! StorageClass and VolumeAttributesClass.

use std::collections::{BTreeMap, BTreeSet};

use meta::field::{Error, Errors, Path};
use meta::names;
use serde_json::{Value, json};

use super::{parameters, provider};
use crate::age;
use crate::field::{self, items, text};
use crate::plain::{AGE, NAME, cell, column, immutable, name};
use crate::resource::{Column, Part, Rules, Settings};

pub(crate) const COLUMNS: &[Column] = &[
    NAME,
    column("Provisioner", "string"),
    column("ReclaimPolicy", "string"),
    column("VolumeBindingMode", "string"),
    column("AllowVolumeExpansion", "string"),
    AGE,
];

pub(crate) const ATTRIBUTES: &[Column] = &[NAME, column("DriverName", "string"), AGE];

pub(crate) struct StorageClass;

impl Rules for StorageClass {
    fn default(&self, object: &mut Value) {
        field::default(object, "reclaimPolicy", "Delete");
        field::default(object, "volumeBindingMode", "Immediate");
    }

    fn validate(&self, object: &Value, _: &Settings) -> Errors {
        let mut errors = provider(object, "provisioner");
        errors.extend(parameters(object, false));
        for (field, known) in
            [("reclaimPolicy", ["Delete", "Retain"]), ("volumeBindingMode", ["Immediate", "WaitForFirstConsumer"])]
        {
            let value = object[field].as_str().unwrap_or_default();
            if !known.contains(&value) {
                errors.push(Error::not_supported(&Path::new(field), value, &known));
            }
        }
        errors.extend(topologies(object));
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, _: Part<'_>, _: &Settings) -> Errors {
        immutable(new, old, &["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"])
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        let default = text(object, "/metadata/annotations/storageclass.kubernetes.io~1is-default-class") == "true";
        let shown = if default { json!(format!("{} (default)", text(object, "/metadata/name"))) } else { name(object) };
        let expansion = object["allowVolumeExpansion"].as_bool().unwrap_or(false);
        vec![
            shown,
            cell(object, "/provisioner", ""),
            cell(object, "/reclaimPolicy", ""),
            cell(object, "/volumeBindingMode", ""),
            json!(expansion),
            age::of(object, now),
        ]
    }
}

/// Where volumes may be made.
fn topologies(object: &Value) -> Errors {
    let path = Path::new("allowedTopologies");
    let mut errors = Errors::new();
    // Compat: upstream compares with as many empty terms as there are terms.
    let terms = items(object, "/allowedTopologies");
    let mut seen: Vec<BTreeMap<&str, BTreeSet<&str>>> = vec![BTreeMap::new(); terms.len()];
    for (index, term) in terms.iter().enumerate() {
        let at = path.index(index).child("matchLabelExpressions");
        let mut expressions = BTreeMap::new();
        for (index, expression) in items(term, "/matchLabelExpressions").iter().enumerate() {
            let at = at.index(index);
            let (key, values) = (text(expression, "/key"), items(expression, "/values"));
            if values.is_empty() {
                errors.push(Error::required(&at.child("values"), ""));
            }
            let mut given = BTreeSet::new();
            for (index, value) in values.iter().filter_map(Value::as_str).enumerate() {
                if !given.insert(value) {
                    errors.push(Error::duplicate(&at.child("values").index(index), value));
                }
            }
            let at = at.child("key");
            errors.extend(names::qualified(key).iter().map(|rule| Error::invalid(&at, key, rule)));
            if expressions.insert(key, given).is_some() {
                errors.push(Error::duplicate(&at, key));
            }
        }
        errors.extend(seen.iter().filter(|other| **other == expressions).map(|_| Error::duplicate(&at, "")));
        seen.push(expressions);
    }
    errors
}

pub(crate) struct Attributes;

impl Rules for Attributes {
    fn validate(&self, object: &Value, _: &Settings) -> Errors {
        let mut errors = provider(object, "driverName");
        errors.extend(parameters(object, true));
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, _: Part<'_>, settings: &Settings) -> Errors {
        let mut errors = Errors::new();
        for field in ["driverName", "parameters"] {
            if new[field] != old[field] {
                errors.push(Error::forbidden(&Path::new(field), &format!("updates to {field} are forbidden.")));
            }
        }
        errors.extend(self.validate(new, settings));
        errors
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        vec![name(object), cell(object, "/driverName", ""), age::of(object, now)]
    }
}
