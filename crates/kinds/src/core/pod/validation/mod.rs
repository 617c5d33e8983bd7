//! What is wrong with a pod, in upstream's words and in its order.
//!
//! Each file checks one part of the spec; [`Check`] gathers what they find.

mod containers;
mod env;
mod handlers;
mod hosts;
mod mounts;
mod parts;
mod resources;
mod scheduling;
mod security;
mod selectors;
mod sources;
mod volumes;

use std::collections::BTreeMap;

use meta::field::{Error, Errors, Path};
use meta::names;
use serde_json::Value;

use crate::field::{fields, items, number, text};
use crate::resource::Settings;

pub(crate) use parts::{container_resources, label_selector, node_selector, resource_name, tolerations, volume_source};
pub(crate) use resources::may_overcommit;

/// Everything that is wrong.
pub(super) fn pod(pod: &Value, settings: &Settings) -> Errors {
    let mut check = Check::new(settings, Place::Pod);
    check.metadata(pod);
    check.spec(&pod["spec"], &Path::new("spec"));
    check.only_of_pods(&pod["spec"], &Path::new("spec"));
    check.errors
}

/// Everything that is wrong with a template of pods.
pub(crate) fn validate_template(template: &Value, path: &Path, settings: &Settings) -> Errors {
    let mut check = Check::new(settings, Place::Template);
    check.errors.extend(crate::metadata::labels(&template["metadata"]["labels"], &path.child("labels")));
    check.spec(&template["spec"], &path.child("spec"));
    check.errors
}

/// Where a spec stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Pod,
    Template,
}

/// The volumes of a pod that are in order, by their names.
type Volumes<'a> = BTreeMap<&'a str, &'a Value>;

struct Check<'a> {
    errors: Errors,
    settings: &'a Settings,
    place: Place,
}

impl<'a> Check<'a> {
    fn new(settings: &'a Settings, place: Place) -> Self {
        Self { errors: Errors::new(), settings, place }
    }

    fn say(&mut self, error: Error) {
        self.errors.push(error);
    }

    fn one_of(&mut self, value: &str, path: &Path, supported: &[&str]) {
        if value.is_empty() {
            self.say(Error::required(path, ""));
        } else if !supported.contains(&value) {
            self.say(Error::not_supported(path, value, supported));
        }
    }

    /// The same where upstream lists the values in an order of its own.
    fn one_as_listed(&mut self, value: &str, path: &Path, supported: &[&str]) {
        if value.is_empty() {
            self.say(Error::required(path, ""));
        } else if !supported.contains(&value) {
            self.say(Error::not_supported_as_listed(path, value, supported));
        }
    }

    fn optional(&mut self, value: &str, path: &Path, supported: &[&str]) {
        if !value.is_empty() {
            self.one_of(value, path, supported);
        }
    }

    fn rules(&mut self, path: &Path, value: &str, rules: Vec<String>) {
        self.errors.extend(rules.iter().map(|rule| Error::invalid(path, value, rule)));
    }

    fn require(&mut self, object: &Value, field: &str, path: &Path) -> bool {
        let missing = text(object, &format!("/{field}")).is_empty();
        if missing {
            self.say(Error::required(&path.child(field), ""));
        }
        !missing
    }

    fn metadata(&mut self, pod: &Value) {
        const MIRROR: &str = "kubernetes.io/config.mirror";
        let annotations = Path::new("metadata").child("annotations");
        if let Some(mirror) = pod["metadata"]["annotations"].get(MIRROR)
            && text(&pod["spec"], "/nodeName").is_empty()
        {
            let why = "must set spec.nodeName if mirror pod annotation is set";
            self.say(Error::invalid(&annotations.key(MIRROR), mirror.clone(), why));
        }
    }

    fn spec(&mut self, spec: &Value, path: &Path) {
        let volumes = self.volumes(spec, &path.child("volumes"));
        self.resource_claims(spec, &path.child("resourceClaims"));
        self.containers(spec, path, &volumes);
        self.pod_resources(spec, path);
        self.host_network(spec, &path.child("containers"));
        let policies = ["Always", "OnFailure", "Never"];
        self.one_as_listed(text(spec, "/restartPolicy"), &path.child("restartPolicy"), &policies);
        let policies = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
        self.one_as_listed(text(spec, "/dnsPolicy"), &path.child("dnsPolicy"), &policies);
        self.errors.extend(crate::metadata::labels(&spec["nodeSelector"], &path.child("nodeSelector")));
        self.pod_security(spec, &path.child("securityContext"));
        self.affinity(&spec["affinity"], &path.child("affinity"));
        self.dns(spec, &path.child("dnsConfig"));
        self.gates(spec, path);
        self.spread(spec, &path.child("topologySpreadConstraints"));
        self.host_name(spec, &path.child("hostnameOverride"));
        self.names(spec, path);
        self.tolerations(spec, &path.child("tolerations"));
        self.host_aliases(spec, &path.child("hostAliases"));
        self.classes(spec, path);
    }

    fn names(&mut self, spec: &Value, path: &Path) {
        let mut check = |field: &str, rules: fn(&str) -> Vec<String>| {
            let value = text(spec, &format!("/{field}"));
            if !value.is_empty() {
                self.rules(&path.child(field), value, rules(value));
            }
        };
        check("serviceAccountName", names::subdomain);
        check("nodeName", names::subdomain);
        if let Some(seconds) =
            number(spec, "/activeDeadlineSeconds").filter(|seconds| !(1..=i64::from(i32::MAX)).contains(seconds))
        {
            let detail = "must be between 1 and 2147483647, inclusive";
            self.say(Error::invalid(&path.child("activeDeadlineSeconds"), seconds, detail));
        }
        for field in ["hostname", "subdomain"] {
            let value = text(spec, &format!("/{field}"));
            if !value.is_empty() {
                self.rules(&path.child(field), value, names::label(value));
            }
        }
    }

    fn classes(&mut self, spec: &Value, path: &Path) {
        for field in ["priorityClassName", "runtimeClassName"] {
            let value = text(spec, &format!("/{field}"));
            if !value.is_empty() {
                self.rules(&path.child(field), value, names::subdomain(value));
            }
        }
        if let Some(policy) = spec.get("preemptionPolicy").and_then(Value::as_str) {
            self.one_as_listed(policy, &path.child("preemptionPolicy"), &["PreemptLowerPriority", "Never"]);
        }
        self.overhead(&spec["overhead"], &path.child("overhead"));
        if let Some(os) = spec.get("os").filter(|os| !os.is_null()) {
            let name = text(os, "/name");
            if name.is_empty() {
                self.say(Error::required(&path.child("os").child("name"), "cannot be empty"));
            } else if !matches!(name, "linux" | "windows") {
                self.say(Error::not_supported(&path.child("os"), name, &["linux", "windows"]));
            }
        }
    }

    /// What holds for pods and not for templates, which have been lax for too long.
    fn only_of_pods(&mut self, spec: &Value, path: &Path) {
        if text(spec, "/serviceAccountName").is_empty() {
            for (index, volume) in items(spec, "/volumes").iter().enumerate() {
                let at = path.child("volumes").index(index).child("projected").child("sources");
                for (index, source) in items(volume, "/projected/sources").iter().enumerate() {
                    if source.get("serviceAccountToken").is_some_and(|token| !token.is_null()) {
                        let why = "must not be specified when serviceAccountName is not set";
                        self.say(Error::forbidden(&at.index(index).child("serviceAccountToken"), why));
                    }
                }
            }
        }
        for list in ["containers", "initContainers"] {
            for (index, container) in items(spec, &format!("/{list}")).iter().enumerate() {
                self.trimmed(container, &path.child(list).index(index));
            }
        }
    }

    fn trimmed(&mut self, container: &Value, path: &Path) {
        let image = text(container, "/image");
        if image.trim() != image {
            self.say(Error::invalid(&path.child("image"), image, "must not have leading or trailing whitespace"));
        }
    }

    /// A path within a volume.
    fn descending(&mut self, value: &str, path: &Path) {
        if value.starts_with('/') {
            self.say(Error::invalid(path, value, "must be a relative path"));
        }
        self.without_backsteps(value, path);
    }

    fn without_backsteps(&mut self, value: &str, path: &Path) {
        if value.split('/').any(|part| part == "..") {
            self.say(Error::invalid(path, value, "must not contain '..'"));
        }
    }

    /// A path within a volume that isn't one of the volume's own.
    fn unreserved(&mut self, value: &str, path: &Path) {
        self.descending(value, path);
        if value.starts_with("..") && !value.starts_with("../") && value != ".." {
            self.say(Error::invalid(path, value, "must not start with '..'"));
        }
    }

    fn port(&mut self, number: i64, path: &Path) {
        if !(1..=65535).contains(&number) {
            self.say(Error::invalid(path, number, "must be between 1 and 65535, inclusive"));
        }
    }

    fn id(&mut self, object: &Value, field: &str, path: &Path) {
        if let Some(id) = number(object, &format!("/{field}")).filter(|id| !(0..=i64::from(i32::MAX)).contains(id)) {
            self.say(Error::invalid(&path.child(field), id, "must be between 0 and 2147483647, inclusive"));
        }
    }
}

/// The fields of an object that are set.
fn given(object: &Value) -> impl Iterator<Item = &String> {
    fields(object).filter(|(_, value)| !value.is_null()).map(|(name, _)| name)
}

/// Whether a field is set.
fn has(object: &Value, field: &str) -> bool {
    object.get(field).is_some_and(|value| !value.is_null())
}

#[cfg(test)]
mod tests;
