//! The group `resource.k8s.io`: devices, and who claims them.

use meta::field::{Error, Errors, Path};
use serde_json::{Value, json};

use crate::age;
use crate::field::{self, items, text};
use crate::plain::{AGE, NAME, STATUS, cell, column, name, resource};
use crate::resource::{Column, Part, Resource, Rules, Settings, keep_all_but_status, keep_other_part};

/// The group's resources.
pub(crate) fn all() -> Vec<Resource> {
    let own = |kind, plural, singular| resource("resource.k8s.io", kind, plural, singular);
    vec![
        Resource {
            namespaced: false,
            columns: NAMED,
            rules: &Class,
            ..own("DeviceClass", "deviceclasses", "deviceclass")
        },
        Resource {
            subresources: &[STATUS],
            columns: CLAIM,
            rules: &Claim,
            ..own("ResourceClaim", "resourceclaims", "resourceclaim")
        },
        Resource {
            columns: NAMED,
            rules: &Template,
            ..own("ResourceClaimTemplate", "resourceclaimtemplates", "resourceclaimtemplate")
        },
        Resource {
            namespaced: false,
            columns: SLICE,
            rules: &Slice,
            ..own("ResourceSlice", "resourceslices", "resourceslice")
        },
    ]
}

const NAMED: &[Column] = &[NAME, AGE];

struct Class;

impl Rules for Class {
    fn prepare_create(&self, object: &mut Value) {
        object["metadata"]["generation"] = json!(1);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, _: Part<'_>) {
        field::count_generation(new, old);
    }

    fn validate(&self, object: &Value, _: &Settings) -> Errors {
        let mut errors = Errors::new();
        check_selectors(&object["spec"], &Path::new("spec"), &mut errors);
        errors
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        vec![name(object), age::of(object, now)]
    }
}

const CLAIM: &[Column] = &[NAME, column("State", "string"), AGE];

struct Claim;

impl Rules for Claim {
    fn default(&self, object: &mut Value) {
        default_requests(&mut object["spec"]);
    }

    fn prepare_create(&self, object: &mut Value) {
        object["status"] = json!({});
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part<'_>) {
        match part {
            Part::Status => keep_all_but_status(new, old),
            Part::Main | Part::Other(_) => keep_other_part(new, old, part),
        }
    }

    fn validate(&self, object: &Value, _: &Settings) -> Errors {
        check_claim(&object["spec"], &Path::new("spec"))
    }

    fn validate_update(&self, new: &Value, old: &Value, part: Part<'_>, settings: &Settings) -> Errors {
        let mut errors = self.validate(new, settings);
        if part != Part::Status {
            errors.extend(unchanged(new, old));
        }
        errors
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        let deleted = !object["metadata"]["deletionTimestamp"].is_null();
        let mut states = Vec::from_iter(deleted.then_some("deleted"));
        if object["status"]["allocation"].is_object() {
            states.push("allocated");
            states.extend((!items(object, "/status/reservedFor").is_empty()).then_some("reserved"));
        } else if !deleted {
            states.push("pending");
        }
        vec![name(object), states.join(",").into(), age::of(object, now)]
    }
}

struct Template;

impl Rules for Template {
    fn default(&self, object: &mut Value) {
        if let Some(spec) = object.pointer_mut("/spec/spec") {
            default_requests(spec);
        }
    }

    fn validate(&self, object: &Value, _: &Settings) -> Errors {
        check_claim(&object["spec"]["spec"], &Path::new("spec").child("spec"))
    }

    fn validate_update(&self, new: &Value, old: &Value, _: Part<'_>, settings: &Settings) -> Errors {
        let mut errors = self.validate(new, settings);
        errors.extend(unchanged(new, old));
        errors
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        vec![name(object), age::of(object, now)]
    }
}

const SLICE: &[Column] = &[NAME, column("Node", "string"), column("Driver", "string"), column("Pool", "string"), AGE];

struct Slice;

impl Rules for Slice {
    fn prepare_create(&self, object: &mut Value) {
        object["metadata"]["generation"] = json!(1);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, _: Part<'_>) {
        field::count_generation(new, old);
    }

    fn validate(&self, object: &Value, _: &Settings) -> Errors {
        let path = Path::new("spec");
        let required = [("/spec/driver", path.child("driver")), ("/spec/pool/name", path.child("pool").child("name"))];
        let missing = required.iter().filter(|(pointer, _)| text(object, pointer).is_empty());
        missing.map(|(_, path)| Error::required(path, "")).collect()
    }

    fn selectable(&self) -> &'static [&'static str] {
        &["spec.driver", "spec.nodeName"]
    }

    fn fields(&self, object: &Value) -> Vec<(String, String)> {
        let of = |name: &str| (name.to_owned(), text(object, &format!("/{}", name.replace('.', "/"))).to_owned());
        self.selectable().iter().map(|name| of(name)).collect()
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        vec![
            name(object),
            cell(object, "/spec/nodeName", "<unset>"),
            cell(object, "/spec/driver", ""),
            cell(object, "/spec/pool/name", ""),
            age::of(object, now),
        ]
    }
}

fn default_requests(spec: &mut Value) {
    let Some(devices) = spec.get_mut("devices") else { return };
    for request in field::items_mut(devices, "requests") {
        if request["exactly"].is_object() {
            default_request(&mut request["exactly"]);
        }
        for choice in field::items_mut(request, "firstAvailable") {
            default_request(choice);
        }
    }
}

fn default_request(request: &mut Value) {
    if text(request, "/allocationMode").is_empty() {
        request["allocationMode"] = json!("ExactCount");
    }
    if request["allocationMode"] == "ExactCount" && request["count"].as_i64().unwrap_or(0) == 0 {
        request["count"] = json!(1);
    }
}

fn unchanged(new: &Value, old: &Value) -> Option<Error> {
    let changed = new["spec"] != old["spec"];
    changed.then(|| Error::invalid(&Path::new("spec"), new["spec"].clone(), "field is immutable"))
}

fn check_claim(spec: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let requests = items(spec, "/devices/requests");
    for (index, request) in requests.iter().enumerate() {
        let at = path.child("devices").child("requests").index(index);
        match text(request, "/name") {
            "" => errors.push(Error::required(&at.child("name"), "")),
            name => {
                errors.extend(meta::names::label(name).iter().map(|why| Error::invalid(&at.child("name"), name, why)));
                if requests[..index].iter().any(|before| before["name"] == name) {
                    errors.push(Error::duplicate(&at, name));
                }
            }
        }
        let choices = items(request, "/firstAvailable");
        if request["exactly"].is_null() == choices.is_empty() {
            let why = "exactly one of `exactly` or `firstAvailable` is required";
            errors.push(Error::invalid(&at, Value::Null, why));
        }
        if !request["exactly"].is_null() {
            check_request(&request["exactly"], &at.child("exactly"), &mut errors);
        }
        for (index, choice) in choices.iter().enumerate() {
            check_request(choice, &at.child("firstAvailable").index(index), &mut errors);
        }
    }
    errors
}

fn check_request(request: &Value, path: &Path, errors: &mut Errors) {
    if text(request, "/deviceClassName").is_empty() {
        errors.push(Error::required(&path.child("deviceClassName"), ""));
    }
    let mode = text(request, "/allocationMode");
    if !matches!(mode, "All" | "ExactCount") {
        errors.push(Error::not_supported(&path.child("allocationMode"), mode, &["All", "ExactCount"]));
    }
    if mode == "ExactCount" && request["count"].as_i64().unwrap_or(0) <= 0 {
        errors.push(Error::invalid(&path.child("count"), request["count"].clone(), "must be greater than zero"));
    }
    check_selectors(request, path, errors);
}

fn check_selectors(holder: &Value, path: &Path, errors: &mut Errors) {
    for (index, selector) in items(holder, "/selectors").iter().enumerate() {
        let at = path.child("selectors").index(index).child("cel");
        if selector["cel"].is_null() {
            errors.push(Error::required(&at, ""));
        } else if text(selector, "/cel/expression").is_empty() {
            errors.push(Error::required(&at.child("expression"), ""));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_ask_for_one_device_and_never_change() {
        let spec = json!({"devices": {"requests": [{"name": "a", "exactly": {"deviceClassName": "x"}}]}});
        let mut claim = json!({"metadata": {"name": "c"}, "spec": spec});
        Claim.default(&mut claim);
        let settings = Settings { allow_privileged: true };
        assert_eq!(claim.pointer("/spec/devices/requests/0/exactly/count"), Some(&json!(1)));
        assert!(Claim.validate(&claim, &settings).is_empty());
        let mut changed = claim.clone();
        changed["spec"]["devices"]["requests"][0]["exactly"]["count"] = json!(2);
        let errors = Claim.validate_update(&changed, &claim, Part::Main, &settings);
        assert_eq!(errors.iter().map(|error| error.path.as_str()).collect::<Vec<_>>(), ["spec"]);
    }

    #[test]
    fn a_claims_status_leaves_its_metadata() {
        let old = json!({"metadata": {"name": "c", "labels": {"a": "b"}}, "spec": {}, "status": {}});
        let mut new = json!({"metadata": {"name": "c"}, "spec": {"x": 1}, "status": {"reservedFor": []}});
        Claim.prepare_update(&mut new, &old, Part::Status);
        assert_eq!((&new["metadata"], &new["spec"]), (&old["metadata"], &old["spec"]));
        assert_eq!(new["status"], json!({"reservedFor": []}));
    }
}
