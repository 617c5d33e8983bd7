//! What drivers of the container storage interface tell of themselves.

use std::collections::BTreeSet;

use meta::Quantity;
use meta::field::{Error, Errors, Path};
use meta::names;
use serde_json::{Value, json};

use super::driver_name;
use crate::age;
use crate::core::pod::label_selector;
use crate::field::{self, items, number, text};
use crate::plain::{AGE, NAME, Plain, column, immutable, name};
use crate::resource::{Column, Part, Rules, Settings};

pub(crate) const DRIVER: &[Column] = &[
    NAME,
    column("AttachRequired", "boolean"),
    column("PodInfoOnMount", "boolean"),
    column("StorageCapacity", "boolean"),
    column("TokenRequests", "string"),
    column("RequiresRepublish", "boolean"),
    column("Modes", "string"),
    AGE,
];

pub(crate) const NODE: &[Column] = &[NAME, column("Drivers", "integer"), AGE];

const IMMUTABLE: &str = "field is immutable";

pub(crate) struct Driver;

impl Rules for Driver {
    fn default(&self, object: &mut Value) {
        let spec = field::child(object, "spec");
        field::default(spec, "attachRequired", true);
        for off in ["podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount"] {
            field::default(spec, off, false);
        }
        field::default(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
        if items(spec, "/volumeLifecycleModes").is_empty() {
            spec["volumeLifecycleModes"] = json!(["Persistent"]);
        }
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, _: Part<'_>) {
        if !field::same_desired_state(new, old) {
            field::count_generation(new, old);
        }
    }

    fn validate(&self, object: &Value, _: &Settings) -> Errors {
        let (spec, path) = (&object["spec"], Path::new("spec"));
        let mut errors = Errors::new();
        let policy = text(spec, "/fsGroupPolicy");
        let known = ["File", "None", "ReadWriteOnceWithFSType"];
        if !known.contains(&policy) {
            errors.push(Error::not_supported(&path.child("fsGroupPolicy"), policy, &known));
        }
        errors.extend(tokens(spec, &path.child("tokenRequests")));
        let known = ["Persistent", "Ephemeral"];
        let modes = items(spec, "/volumeLifecycleModes").iter().filter_map(Value::as_str);
        errors.extend(
            modes
                .filter(|mode| !known.contains(mode))
                .map(|mode| Error::not_supported_as_listed(&path.child("volumeLifecycleModes"), mode, &known)),
        );
        if let Some(period) = number(spec, "/nodeAllocatableUpdatePeriodSeconds").filter(|period| *period < 10) {
            let at = path.child("nodeAllocatableUpdatePeriodSeconds");
            errors.push(Error::invalid(&at, period, "must be greater than or equal to 10 seconds"));
        }
        if !spec["serviceAccountTokenInSecrets"].is_null() && items(spec, "/tokenRequests").is_empty() {
            let why = "serviceAccountTokenInSecrets is set but no tokenRequests are specified";
            let at = path.child("serviceAccountTokenInSecrets");
            errors.push(Error::invalid(&at, spec["serviceAccountTokenInSecrets"].clone(), why));
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, _: Part<'_>, settings: &Settings) -> Errors {
        let mut errors = self.validate(new, settings);
        // Compat: upstream misspells the first one.
        for (field, told) in [("attachRequired", "attachedRequired"), ("volumeLifecycleModes", "volumeLifecycleModes")]
        {
            let value = &new["spec"][field];
            if *value != old["spec"][field] {
                errors.push(Error::invalid(&Path::new("spec").child(told), value.clone(), IMMUTABLE));
            }
        }
        errors
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        let spec = &object["spec"];
        let is = |field: &str, otherwise: bool| json!(spec[field].as_bool().unwrap_or(otherwise));
        let join = |list: &[Value], field: &str| {
            let own = |item: &Value| item.pointer(field).and_then(Value::as_str).map(str::to_owned);
            let shown = list.iter().filter_map(own).collect::<Vec<_>>().join(",");
            Value::from(if list.is_empty() { "<unset>".to_owned() } else { shown })
        };
        vec![
            name(object),
            is("attachRequired", true),
            is("podInfoOnMount", false),
            is("storageCapacity", false),
            join(items(spec, "/tokenRequests"), "/audience"),
            is("requiresRepublish", false),
            join(items(spec, "/volumeLifecycleModes"), ""),
            age::of(object, now),
        ]
    }
}

fn tokens(spec: &Value, path: &Path) -> Errors {
    const LEAST: i64 = 600;
    const MOST: i64 = 1 << 32;
    let mut errors = Errors::new();
    let mut audiences = BTreeSet::new();
    for (index, request) in items(spec, "/tokenRequests").iter().enumerate() {
        let (at, audience) = (path.index(index), text(request, "/audience"));
        if !audiences.insert(audience) {
            errors.push(Error::duplicate(&at.child("audience"), audience));
            continue;
        }
        let at = at.child("expirationSeconds");
        match number(request, "/expirationSeconds") {
            Some(seconds) if seconds < LEAST => {
                errors.push(Error::invalid(&at, seconds, "may not specify a duration less than 10 minutes"));
            }
            Some(seconds) if seconds > MOST => {
                errors.push(Error::invalid(&at, seconds, "may not specify a duration larger than 2^32 seconds"));
            }
            Some(_) | None => {}
        }
    }
    errors
}

pub(crate) struct Node;

impl Rules for Node {
    fn validate(&self, object: &Value, _: &Settings) -> Errors {
        const MOST: usize = 256;
        let mut errors = Errors::new();
        let mut known = BTreeSet::new();
        for (index, driver) in items(object, "/spec/drivers").iter().enumerate() {
            let at = Path::new("spec").child("drivers").index(index);
            let (name, id) = (text(driver, "/name"), text(driver, "/nodeID"));
            errors.extend(driver_name(name, &at.child("name")));
            if id.is_empty() {
                errors.push(Error::required(&at.child("nodeID"), ""));
            }
            if id.len() > MOST {
                errors.push(Error::invalid(&at.child("nodeID"), id, "must be 256 characters or less"));
            }
            if let Some(count) = number(driver, "/allocatable/count").filter(|count| *count < 0) {
                let at = at.child("allocatable").child("count");
                errors.push(Error::invalid(&at, count, "must be greater than or equal to 0"));
            }
            if !known.insert(name) {
                errors.push(Error::duplicate(&at.child("name"), name));
            }
            errors.extend(keys(driver, &at));
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, _: Part<'_>, settings: &Settings) -> Errors {
        let mut errors = self.validate(new, settings);
        let bare = |driver: &Value| {
            let mut driver = driver.clone();
            field::remove(&mut driver, "allocatable");
            driver
        };
        let path = Path::new("spec").child("drivers");
        for before in items(old, "/spec/drivers") {
            let same = |driver: &&Value| driver["name"] == before["name"];
            for after in items(new, "/spec/drivers").iter().filter(same) {
                if bare(after) != bare(before) {
                    errors.push(Error::invalid(&path, bare(after), IMMUTABLE));
                }
            }
        }
        errors
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        vec![name(object), json!(items(object, "/spec/drivers").len()), age::of(object, now)]
    }
}

/// Compat: upstream's errors name the driver, not the key.
fn keys(driver: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let mut known = BTreeSet::new();
    for key in items(driver, "/topologyKeys").iter().filter_map(Value::as_str) {
        if key.is_empty() {
            errors.push(Error::required(path, ""));
        }
        if !known.insert(key) {
            errors.push(Error::duplicate(path, key));
        }
        errors.extend(names::qualified(key).iter().map(|rule| Error::invalid(path, key, rule)));
    }
    errors
}

pub(crate) struct Capacity;

impl Rules for Capacity {
    fn validate(&self, object: &Value, _: &Settings) -> Errors {
        let mut errors = label_selector(&object["nodeTopology"], &Path::new("nodeTopology"));
        let (class, at) = (text(object, "/storageClassName"), Path::new("storageClassName"));
        errors.extend(names::subdomain(class).iter().map(|rule| Error::invalid(&at, class, rule)));
        let capacity = text(object, "/capacity");
        if capacity.parse::<Quantity>().is_ok_and(|capacity| capacity.is_negative()) {
            errors.push(Error::invalid(&Path::new("capacity"), capacity, "must be greater than or equal to 0"));
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, _: Part<'_>, _: &Settings) -> Errors {
        immutable(new, old, &["nodeTopology", "storageClassName"])
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        Plain.row(object, now)
    }
}
