//! Variables of the environment, and the fields and resources that they name.

use meta::field::{Error, Path};
use meta::names;
use serde_json::Value;

use super::{Check, given, has};
use crate::field::{items, text};

const PRINTABLE: &str =
    "a valid environment variable name must consist only of printable ASCII characters other than '='";

/// The fields that a variable may take.
const FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// The resources of a container that may be told.
const RESOURCES: &[&str] = &[
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
];

fn is_printable(name: &str) -> bool {
    name.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'=')
}

impl Check<'_> {
    pub(super) fn env(&mut self, container: &Value, path: &Path) {
        for (index, variable) in items(container, "/env").iter().enumerate() {
            let at = path.index(index);
            let name = text(variable, "/name");
            if self.require(variable, "name", &at) && !is_printable(name) {
                self.say(Error::invalid(&at.child("name"), name, PRINTABLE));
            }
            if let Some(from) = variable.get("valueFrom").filter(|from| !from.is_null()) {
                self.value_from(variable, from, &at.child("valueFrom"));
            }
        }
    }

    fn value_from(&mut self, variable: &Value, from: &Value, path: &Path) {
        if has(from, "fieldRef") {
            self.field_ref(&from["fieldRef"], FIELDS, &path.child("fieldRef"));
        }
        if has(from, "resourceFieldRef") {
            self.resource_ref(&from["resourceFieldRef"], &path.child("resourceFieldRef"));
        }
        for field in ["configMapKeyRef", "secretKeyRef"] {
            if has(from, field) {
                self.key_ref(&from[field], &path.child(field));
            }
        }
        let count = given(from).count();
        if count == 0 {
            let why = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
            self.say(Error::invalid(path, "", why));
        } else if !text(variable, "/value").is_empty() {
            self.say(Error::invalid(path, "", "may not be specified when `value` is not empty"));
        } else if count > 1 {
            self.say(Error::invalid(path, "", "may not have more than one field specified at a time"));
        }
    }

    fn key_ref(&mut self, reference: &Value, path: &Path) {
        let (name, key) = (text(reference, "/name"), text(reference, "/key"));
        self.rules(&path.child("name"), name, names::subdomain(name));
        if self.require(reference, "key", path) {
            self.rules(&path.child("key"), key, names::data_key(key));
        }
    }

    /// A field of the pod, of those that may be told here.
    pub(super) fn field_ref(&mut self, reference: &Value, known: &[&str], path: &Path) {
        let (version, field) = (text(reference, "/apiVersion"), text(reference, "/fieldPath"));
        if !self.require(reference, "apiVersion", path) || !self.require(reference, "fieldPath", path) {
            return;
        }
        let at = path.child("fieldPath");
        if version != "v1" {
            let why = format!("error converting fieldPath: unsupported pod version: {version}");
            return self.say(Error::invalid(&at, field, &why));
        }
        if let Some((map, key)) = subscript(field) {
            match map {
                "metadata.annotations" => self.rules(path, &key.to_lowercase(), names::qualified(&key.to_lowercase())),
                "metadata.labels" => self.rules(path, key, names::qualified(key)),
                _ => self.say(Error::invalid(
                    &at,
                    field,
                    &format!("error converting fieldPath: field label does not support subscript: {field}"),
                )),
            }
        } else if !FIELDS.contains(&field)
            && !matches!(
                field,
                "metadata.annotations"
                    | "metadata.labels"
                    | "spec.restartPolicy"
                    | "spec.schedulerName"
                    | "status.phase"
            )
        {
            let why = format!("error converting fieldPath: field label not supported: {field}");
            self.say(Error::invalid(&at, field, &why));
        } else if !known.contains(&field) {
            self.say(Error::not_supported(&at, field, known));
        }
    }

    /// A resource of a container.
    pub(super) fn resource_ref(&mut self, reference: &Value, path: &Path) {
        let resource = text(reference, "/resource");
        let huge = resource.starts_with("requests.hugepages-") || resource.starts_with("limits.hugepages-");
        if resource.is_empty() {
            self.say(Error::required(&path.child("resource"), ""));
        } else if !huge && !RESOURCES.contains(&resource) {
            self.say(Error::not_supported(&path.child("resource"), resource, RESOURCES));
        }
        self.divisor(resource, text(reference, "/divisor"), &path.child("divisor"));
    }

    fn divisor(&mut self, resource: &str, divisor: &str, path: &Path) {
        const SIZES: [&str; 13] = ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
        if matches!(divisor, "" | "0") {
            return;
        }
        let what = resource.split_once('.').map_or("", |(_, what)| what);
        let why = match what {
            "cpu" if !["1m", "1"].contains(&divisor) => {
                "only divisor's values 1m and 1 are supported with the cpu resource".to_owned()
            }
            "memory" if !SIZES.contains(&divisor) => {
                format!("only divisor's values {} are supported with the memory resource", SIZES.join(", "))
            }
            "ephemeral-storage" if !SIZES.contains(&divisor) => {
                format!(
                    "only divisor's values {} are supported with the local ephemeral storage resource",
                    SIZES.join(", ")
                )
            }
            _ => return,
        };
        self.say(Error::invalid(path, resource, &why));
    }

    pub(super) fn env_from(&mut self, container: &Value, path: &Path) {
        for (index, source) in items(container, "/envFrom").iter().enumerate() {
            let at = path.index(index);
            let prefix = text(source, "/prefix");
            if !is_printable(prefix) {
                self.say(Error::invalid(&at.child("prefix"), prefix, PRINTABLE));
            }
            let mut count = 0;
            for field in ["configMapRef", "secretRef"].into_iter().filter(|field| has(source, field)) {
                count += 1;
                let at = at.child(field);
                if self.require(&source[field], "name", &at) {
                    let name = text(&source[field], "/name");
                    self.rules(&at.child("name"), name, names::subdomain(name));
                }
            }
            if count == 0 {
                self.say(Error::invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"));
            } else if count > 1 {
                self.say(Error::invalid(path, "", "may not have more than one field specified at a time"));
            }
        }
    }
}

/// The parts of `metadata.labels['key']`.
fn subscript(field: &str) -> Option<(&str, &str)> {
    field.strip_suffix("']")?.split_once("['")
}
