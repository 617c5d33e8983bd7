//! ControllerRevision: a former state of a template, kept as data.

use meta::field::{Error, Errors, Path};
use serde_json::Value;

use crate::age;
use crate::field::{items, number};
use crate::plain::{AGE, NAME, column, name};
use crate::resource::{Column, Part, Rules, Settings};

pub(super) const COLUMNS: &[Column] = &[NAME, column("Controller", "string"), column("Revision", "string"), AGE];

pub(super) struct ControllerRevision;

impl Rules for ControllerRevision {
    fn validate(&self, object: &Value, _: &Settings) -> Errors {
        let path = Path::new("revision");
        let mut errors = Errors::new();
        if object["data"].is_null() {
            errors.push(Error::required(&Path::new("data"), "data is mandatory"));
        }
        if number(object, "/revision").is_some_and(|revision| revision < 0) {
            errors.push(Error::invalid(&path, object["revision"].clone(), "must be greater than or equal to 0"));
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, _: Part<'_>, settings: &Settings) -> Errors {
        let mut errors = self.validate(new, settings);
        if new["data"] != old["data"] {
            errors.push(Error::invalid(&Path::new("data"), new["data"].clone(), "field is immutable"));
        }
        errors
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        let owner = items(object, "/metadata/ownerReferences").iter().find(|owner| owner["controller"] == true);
        let controller = owner.map_or("<none>".to_owned(), |owner| {
            let text = |field: &str| owner[field].as_str().unwrap_or_default();
            let group = text("apiVersion").split_once('/').map_or(String::new(), |(group, _)| format!(".{group}"));
            format!("{}{group}/{}", text("kind").to_lowercase(), text("name"))
        });
        let revision = number(object, "/revision").unwrap_or(0);
        vec![name(object), controller.into(), revision.into(), age::of(object, now)]
    }
}
