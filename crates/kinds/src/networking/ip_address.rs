//! IPAddress: who has an address of the services' ranges.

use std::net::IpAddr;

use meta::field::{Error, Errors, Path};
use serde_json::{Value, json};

use crate::field::{self, text};
use crate::plain::{NAME, column, name};
use crate::resource::{Column, Part, Rules, Settings};

pub(crate) const COLUMNS: &[Column] = &[NAME, column("ParentRef", "string")];

pub(crate) struct IpAddress;

impl Rules for IpAddress {
    fn validate_name(&self, name: &str) -> Vec<String> {
        match name.parse::<IpAddr>() {
            Err(_) => vec!["not a valid ip address".to_owned()],
            Ok(address) if address.to_string() != name => vec!["not a valid ip address in canonical form".to_owned()],
            Ok(_) => Vec::new(),
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        object["metadata"]["generation"] = json!(1);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, _: Part<'_>) {
        field::count_generation(new, old);
    }

    fn validate(&self, object: &Value, _: &Settings) -> Errors {
        let path = Path::new("spec").child("parentRef");
        let parent = &object["spec"]["parentRef"];
        if parent.is_null() {
            return vec![Error::required(&path, "")];
        }
        let mut errors = Errors::new();
        for field in ["resource", "name"] {
            if text(parent, &format!("/{field}")).is_empty() {
                errors.push(Error::required(&path.child(field), ""));
            }
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, _: Part<'_>, settings: &Settings) -> Errors {
        let mut errors = self.validate(new, settings);
        if new["spec"]["parentRef"] != old["spec"]["parentRef"] {
            let path = Path::new("spec").child("parentRef");
            errors.push(Error::invalid(&path, new["spec"]["parentRef"].clone(), "field is immutable"));
        }
        errors
    }

    fn row(&self, object: &Value, _: i64) -> Vec<Value> {
        let part = |field: &str| text(object, &format!("/spec/parentRef/{field}")).to_owned();
        let resource = [part("resource"), part("group")].into_iter().filter(|part| !part.is_empty());
        let resource = resource.collect::<Vec<_>>().join(".").to_lowercase();
        let parts = [resource, part("namespace"), part("name")].into_iter().filter(|part| !part.is_empty());
        let shown = if object["spec"]["parentRef"].is_null() {
            "<none>".to_owned()
        } else {
            parts.collect::<Vec<_>>().join("/")
        };
        vec![name(object), shown.into()]
    }
}
