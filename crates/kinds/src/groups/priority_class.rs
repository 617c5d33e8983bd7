//! PriorityClass.

use meta::field::{Error, Errors, Path};
use serde_json::{Value, json};

use crate::age;
use crate::field::{self, number, text};
use crate::plain::{AGE, NAME, column, immutable, name};
use crate::resource::{Column, Part, Rules, Settings};

pub(crate) const COLUMNS: &[Column] =
    &[NAME, column("Value", "integer"), column("Global-Default", "boolean"), AGE, column("PreemptionPolicy", "string")];

/// The most that users may give.
const HIGHEST: i64 = 1_000_000_000;

/// Kubernetes' own classes.
const SYSTEM: [(&str, i64); 2] =
    [("system-cluster-critical", 2 * HIGHEST), ("system-node-critical", 2 * HIGHEST + 1000)];

pub(crate) struct PriorityClass;

impl Rules for PriorityClass {
    fn default(&self, object: &mut Value) {
        field::default(object, "preemptionPolicy", "PreemptLowerPriority");
        field::default(object, "value", 0);
    }

    fn prepare_create(&self, object: &mut Value) {
        object["metadata"]["generation"] = json!(1);
    }

    fn validate(&self, object: &Value, _: &Settings) -> Errors {
        let (name, value) = (text(object, "/metadata/name"), number(object, "/value").unwrap_or(0));
        let mut errors = Errors::new();
        if name.starts_with("system-") {
            errors.extend(reserved(object, name, value));
        } else if value > HIGHEST {
            let why = format!("maximum allowed value of a user defined priority is {HIGHEST}");
            errors.push(Error::forbidden(&Path::new("value"), &why));
        }
        let known = ["PreemptLowerPriority", "Never"];
        let policy = text(object, "/preemptionPolicy");
        if !known.contains(&policy) {
            errors.push(Error::not_supported_as_listed(&Path::new("preemptionPolicy"), policy, &known));
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, _: Part<'_>, _: &Settings) -> Errors {
        let mut errors = Errors::new();
        if new["value"] != old["value"] {
            errors.push(Error::forbidden(&Path::new("value"), "may not be changed in an update."));
        }
        errors.extend(immutable(new, old, &["preemptionPolicy"]));
        errors
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        let global = object["globalDefault"].as_bool().unwrap_or(false);
        vec![
            name(object),
            object["value"].clone(),
            json!(global),
            age::of(object, now),
            text(object, "/preemptionPolicy").into(),
        ]
    }
}

fn reserved(object: &Value, name: &str, value: i64) -> Option<Error> {
    let why = match SYSTEM.iter().find(|(own, _)| *own == name) {
        None => format!("{name} is not a known system priority class"),
        Some((_, own)) if *own != value => format!("value of {name} PriorityClass must be {own}"),
        Some(_) if object["globalDefault"] == true => {
            format!("globalDefault of {name} PriorityClass must be false")
        }
        Some(_) => return None,
    };
    let detail = format!("priority class names with 'system-' prefix are reserved for system use only. error: {why}");
    Some(Error::forbidden(&Path::new("metadata").child("name"), &detail))
}
