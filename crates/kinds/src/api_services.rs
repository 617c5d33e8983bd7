//! The group `apiregistration.k8s.io`: which servers answer for which groups and versions.

use meta::field::{Error, Errors, Path};
use meta::names;
use serde_json::{Value, json};

use crate::age;
use crate::field::{self, items, number, text};
use crate::plain::{AGE, NAME, STATUS, column, name, prepare_update, resource};
use crate::resource::{Column, Part, Resource, Rules, Settings};

/// The group's resources.
pub(crate) fn all() -> Vec<Resource> {
    vec![Resource {
        namespaced: false,
        categories: &["api-extensions"],
        subresources: &[STATUS],
        columns: COLUMNS,
        rules: &ApiService,
        ..resource("apiregistration.k8s.io", "APIService", "apiservices", "apiservice")
    }]
}

const COLUMNS: &[Column] = &[NAME, column("Service", "string"), column("Available", "string"), AGE];

struct ApiService;

impl Rules for ApiService {
    fn default(&self, object: &mut Value) {
        let service = object.pointer_mut("/spec/service").filter(|service| service.is_object());
        if let Some(service) = service {
            field::default(service, "port", 443);
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        object["status"] = json!({});
        if object["spec"]["service"].is_null() {
            let why = "Local APIServices are always available";
            object["status"]["conditions"] =
                json!([{"type": "Available", "status": "True", "reason": "Local", "message": why}]);
        }
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part<'_>) {
        let generation = new["metadata"]["generation"].clone();
        prepare_update(new, old, part);
        // Compat: the kind counts no generation.
        new["metadata"]["generation"] = generation;
        if new["metadata"]["generation"].is_null() {
            field::remove(&mut new["metadata"], "generation");
        }
    }

    fn validate_name(&self, name: &str) -> Vec<String> {
        names::path_segment(name)
    }

    fn validate(&self, object: &Value, _: &Settings) -> Errors {
        let path = Path::new("spec");
        let mut errors = Errors::new();
        let (group, version) = (text(object, "/spec/group"), text(object, "/spec/version"));
        let expected = format!("{version}.{group}");
        let own = text(object, "/metadata/name");
        if own != expected {
            let why = format!("must be `spec.version+\".\"+spec.group`: {expected:?}");
            errors.push(Error::invalid(&Path::new("metadata").child("name"), own, &why));
        }
        match group {
            "" if version == "v1" => {}
            "" => {
                let why = "only v1 may have an empty group and it better be legacy kube";
                errors.push(Error::required(&path.child("group"), why));
            }
            _ => errors
                .extend(names::subdomain(group).iter().map(|why| Error::invalid(&path.child("group"), group, why))),
        }
        let wrong = names::label_1035(version);
        errors.extend(wrong.iter().map(|why| Error::invalid(&path.child("version"), version, why)));
        for (field, most) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1000)] {
            let value = number(object, &format!("/spec/{field}")).unwrap_or(0);
            if !(1..=most).contains(&value) {
                let why = format!("must be positive and less than {most}");
                errors.push(Error::invalid(&path.child(field), value, &why));
            }
        }
        let spec = &object["spec"];
        let trusts = !text(spec, "/caBundle").is_empty();
        let insecure = spec["insecureSkipTLSVerify"] == true;
        if spec["service"].is_null() {
            if trusts {
                errors.push(Error::invalid(&path.child("caBundle"), "", "local APIServices may not have a caBundle"));
            }
            if insecure {
                let at = path.child("insecureSkipTLSVerify");
                errors.push(Error::invalid(&at, true, "local APIServices may not have insecureSkipTLSVerify"));
            }
            return errors;
        }
        for field in ["namespace", "name"] {
            if text(&spec["service"], &format!("/{field}")).is_empty() {
                errors.push(Error::required(&path.child("service").child(field), ""));
            }
        }
        if trusts && insecure {
            let at = path.child("insecureSkipTLSVerify");
            errors.push(Error::invalid(&at, true, "may not be true if caBundle is present"));
        }
        errors
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        let service = &object["spec"]["service"];
        let service = if service.is_null() {
            "Local".to_owned()
        } else {
            format!("{}/{}", text(service, "/namespace"), text(service, "/name"))
        };
        let available = items(object, "/status/conditions").iter().find(|condition| condition["type"] == "Available");
        let available = match available {
            None => "Unknown".to_owned(),
            Some(condition) if condition["status"] == "True" => "True".to_owned(),
            Some(condition) => format!("{} ({})", text(condition, "/status"), text(condition, "/reason")),
        };
        vec![name(object), service.into(), available.into(), age::of(object, now)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_of_the_api_are_named_after_what_they_serve() {
        let check = |name: &str, service: Value, expected: &[&str]| {
            let spec = json!({"group": "example.com", "version": "v1", "groupPriorityMinimum": 100,
                "versionPriority": 10, "service": service, "insecureSkipTLSVerify": true});
            let object = json!({"metadata": {"name": name}, "spec": spec});
            let errors = ApiService.validate(&object, &Settings { allow_privileged: true });
            assert_eq!(errors.iter().map(|error| error.path.as_str()).collect::<Vec<_>>(), expected, "{name}");
        };
        let service = json!({"namespace": "a", "name": "b"});
        check("v1.example.com", service.clone(), &[]);
        check("v1", service, &["metadata.name"]);
        check("v1.example.com", Value::Null, &["spec.insecureSkipTLSVerify"]);
        let core = json!({"metadata": {"name": "v1."}, "spec": {"group": "", "version": "v1", "groupPriorityMinimum": 18_000,
            "versionPriority": 1}});
        assert_eq!(ApiService.validate(&core, &Settings { allow_privileged: true }).len(), 0);
    }
}
