//! RuntimeClass.

use meta::field::{Error, Errors, Path};
use meta::names;
use serde_json::Value;

use crate::age;
use crate::core::pod::{container_resources, tolerations};
use crate::field::{items, text};
use crate::plain::{AGE, NAME, cell, column, immutable, name};
use crate::resource::{Column, Part, Rules, Settings};

pub(crate) const COLUMNS: &[Column] = &[NAME, column("Handler", "string"), AGE];

pub(crate) struct RuntimeClass;

impl Rules for RuntimeClass {
    fn validate(&self, object: &Value, _: &Settings) -> Errors {
        let (handler, path) = (text(object, "/handler"), Path::new("handler"));
        let mut errors = Errors::new();
        if handler.is_empty() {
            errors.push(Error::required(&path, ""));
        } else {
            errors.extend(names::label(handler).iter().map(|rule| Error::invalid(&path, handler, rule)));
        }
        errors.extend(container_resources(&object["overhead"]["podFixed"], &Path::new("overhead")));
        let (scheduling, path) = (&object["scheduling"], Path::new("scheduling"));
        errors.extend(crate::metadata::labels(&scheduling["nodeSelector"], &path.child("nodeSelector")));
        let path = path.child("tolerations");
        errors.extend(tolerations(scheduling, &path));
        let given = items(scheduling, "/tolerations");
        let key = |toleration: &Value| ["key", "operator", "value", "effect"].map(|field| toleration[field].clone());
        for (index, toleration) in given.iter().enumerate() {
            if given[..index].iter().any(|before| key(before) == key(toleration)) {
                errors.push(Error::duplicate(&path.index(index), toleration.clone()));
            }
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, _: Part<'_>, _: &Settings) -> Errors {
        immutable(new, old, &["handler"])
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        vec![name(object), cell(object, "/handler", ""), age::of(object, now)]
    }
}
