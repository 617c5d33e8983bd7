//! VolumeAttachment.

use meta::field::{Error, Errors, Path};
use meta::names;
use serde_json::{Value, json};

use super::driver_name;
use crate::age;
use crate::core::volume::check_inline;
use crate::field::{number, text};
use crate::plain::{AGE, NAME, cell, column, name};
use crate::resource::{Column, Part, Rules, Settings};

pub(crate) const COLUMNS: &[Column] = &[
    NAME,
    Column { format: "name", ..column("Attacher", "string") },
    column("PV", "string"),
    column("Node", "string"),
    column("Attached", "boolean"),
    AGE,
];

const ONE: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";

pub(crate) struct Attachment;

impl Rules for Attachment {
    fn prepare_create(&self, object: &mut Value) {
        object["status"] = json!({"attached": false});
    }

    fn validate(&self, object: &Value, _: &Settings) -> Errors {
        let (spec, path) = (&object["spec"], Path::new("spec"));
        let mut errors = driver_name(text(spec, "/attacher"), &path.child("attacher"));
        let (source, at) = (&spec["source"], path.child("source"));
        let volume = source.get("persistentVolumeName").and_then(Value::as_str);
        let inline = source.get("inlineVolumeSpec").filter(|inline| !inline.is_null());
        let named = at.child("persistentVolumeName");
        match (volume, inline) {
            (None, None) => errors.push(Error::required(&at, ONE)),
            (Some(_), Some(_)) => errors.push(Error::forbidden(&at, ONE)),
            (Some(""), None) => errors.push(Error::required(&named, "must specify non empty persistentVolumeName")),
            (Some(_), None) => {}
            (None, Some(inline)) => errors.extend(check_inline(inline, &at.child("inlineVolumeSpec"))),
        }
        let node = text(spec, "/nodeName");
        let at = path.child("nodeName");
        errors.extend(names::subdomain(node).iter().map(|rule| Error::invalid(&at, node, rule)));
        for field in ["attachError", "detachError"] {
            if let Some(code) = number(object, &format!("/status/{field}/errorCode")).filter(|code| *code < 0) {
                let at = Path::new("status").child(field).child("errorCode");
                errors.push(Error::invalid(&at, code, "must be between 0 and 2147483647, inclusive"));
            }
        }
        if let Some(volume) = volume {
            errors.extend(names::subdomain(volume).iter().map(|rule| Error::invalid(&named, volume, rule)));
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, _: Part<'_>, settings: &Settings) -> Errors {
        let mut errors = self.validate(new, settings);
        if new["spec"] != old["spec"] {
            errors.push(Error::invalid(&Path::new("spec"), new["spec"].clone(), "field is immutable"));
        }
        errors
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        vec![
            name(object),
            cell(object, "/spec/attacher", ""),
            cell(object, "/spec/source/persistentVolumeName", ""),
            cell(object, "/spec/nodeName", ""),
            json!(object["status"]["attached"].as_bool().unwrap_or(false)),
            age::of(object, now),
        ]
    }
}
