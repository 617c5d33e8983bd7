//! Amounts of resources that containers and pods ask for.

use std::collections::BTreeSet;

use meta::Quantity;
use meta::field::{Error, Path};
use meta::names;
use serde_json::Value;

use super::{Check, has};
use crate::field::{fields, items, text};

const NOT_INTEGER: &str = "must be an integer";

fn quantity(amount: &Value) -> Option<Quantity> {
    match amount {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

/// Whether Kubernetes itself has the resource.
fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

fn is_standard(name: &str) -> bool {
    matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-")
}

/// Whether Kubernetes has the resource for anything: containers, volumes or quotas.
fn is_known(name: &str) -> bool {
    let counted = [
        "pods",
        "resourcequotas",
        "services",
        "services.nodeports",
        "services.loadbalancers",
        "replicationcontrollers",
        "secrets",
        "configmaps",
        "persistentvolumeclaims",
        "storage",
        "requests.storage",
    ];
    let plain = name.strip_prefix("requests.").or(name.strip_prefix("limits.")).unwrap_or(name);
    let huge_limit = name.starts_with("limits.hugepages-");
    counted.contains(&name) || (is_standard(plain) && !huge_limit)
}

/// Whether less may be asked for than is allowed.
pub(crate) fn may_overcommit(name: &str) -> bool {
    is_native(name) && !name.starts_with("hugepages-")
}

impl Check<'_> {
    pub(super) fn resources(&mut self, container: &Value, spec: &Value, path: &Path) {
        let resources = &container["resources"];
        for list in ["limits", "requests"] {
            for (name, amount) in fields(&resources[list]) {
                let at = path.child(list).key(name);
                self.resource_name(name, true, &at);
                self.amount(name, amount, &at);
                if list == "requests" {
                    self.within_limit(name, amount, resources, path);
                }
            }
        }
        let asks = |wanted: &dyn Fn(&str) -> bool| {
            ["limits", "requests"].iter().any(|list| fields(&resources[*list]).any(|(name, _)| wanted(name)))
        };
        if asks(&|name| name.starts_with("hugepages-")) && !asks(&|name| matches!(name, "cpu" | "memory")) {
            self.say(Error::forbidden(path, "HugePages require cpu or memory"));
        }
        self.claims(resources, spec, &path.child("claims"));
    }

    pub(super) fn resource_name(&mut self, name: &str, of_container: bool, path: &Path) {
        let before = self.errors.len();
        self.rules(path, name, names::qualified(name));
        let plain = !name.contains('/');
        if self.errors.len() == before && plain && !is_known(name) {
            self.say(Error::invalid(path, name, "must be a standard resource type or fully qualified"));
        }
        if of_container && plain && !is_standard(name) {
            self.say(Error::invalid(path, name, "must be a standard resource for containers"));
        }
        let extended = || !name.starts_with("requests.") && names::qualified(&format!("requests.{name}")).is_empty();
        if of_container && !is_native(name) && !extended() {
            self.say(Error::invalid(path, name, "doesn't follow extended resource name standard"));
        }
    }

    fn amount(&mut self, name: &str, amount: &Value, path: &Path) {
        let Some(quantity) = quantity(amount) else { return };
        if quantity.is_negative() {
            self.say(Error::invalid(path, quantity.to_string(), "must be greater than or equal to 0"));
        }
        if !is_native(name) && quantity.milli_value() % 1000 != 0 {
            self.say(Error::invalid(path, quantity.to_string(), NOT_INTEGER));
        }
        if let Some(size) = name.strip_prefix("hugepages-").and_then(|size| size.parse::<Quantity>().ok())
            && size.value() > 0
            && quantity.value() % size.value() != 0
        {
            let why = format!("{quantity} is not positive integer multiple of {name}");
            self.say(Error::invalid(path, quantity.to_string(), &why));
        }
    }

    fn within_limit(&mut self, name: &str, amount: &Value, resources: &Value, path: &Path) {
        let Some(request) = quantity(amount) else { return };
        let at = path.child("requests");
        match quantity(&resources["limits"][name]) {
            Some(limit) if request != limit && !may_overcommit(name) => {
                let why = format!("must be equal to {name} limit of {limit}");
                self.say(Error::invalid(&at, request.to_string(), &why));
            }
            Some(limit) if request > limit => {
                let why = format!("must be less than or equal to {name} limit of {limit}");
                self.say(Error::invalid(&at, request.to_string(), &why));
            }
            None if !may_overcommit(name) => {
                let why = "Limit must be set for non overcommitable resources";
                self.say(Error::required(&path.child("limits"), why));
            }
            Some(_) | None => {}
        }
    }

    fn claims(&mut self, resources: &Value, spec: &Value, path: &Path) {
        let known: Vec<&str> = items(spec, "/resourceClaims")
            .iter()
            .map(|claim| text(claim, "/name"))
            .filter(|name| !name.is_empty())
            .collect();
        let mut seen = BTreeSet::new();
        for (index, claim) in items(resources, "/claims").iter().enumerate() {
            let at = path.index(index);
            let (name, request) = (text(claim, "/name"), text(claim, "/request"));
            if name.is_empty() {
                self.say(Error::required(&at, ""));
                continue;
            }
            let key = if request.is_empty() { name.to_owned() } else { format!("{name}/{request}") };
            if !request.is_empty() {
                self.rules(&at.child("request"), request, names::label(request));
            }
            if seen.contains(name) || !seen.insert(key.clone()) {
                self.say(Error::duplicate(&at, if seen.contains(name) { name.to_owned() } else { key }));
            }
            if !known.contains(&name) {
                let mut error = Error::not_found(&at, name);
                error.message.push_str(": must be one of the names in pod.spec.resourceClaims");
                if known.is_empty() {
                    error.message.push_str(" which is empty");
                } else {
                    error.message.push_str(&format!(": {}", known.join(", ")));
                }
                self.say(error);
            }
        }
    }

    /// What all containers together may have.
    pub(super) fn pod_resources(&mut self, spec: &Value, path: &Path) {
        let (resources, path) = (&spec["resources"], path.child("resources"));
        if has(resources, "claims") {
            let why = "claims may not be set for Resources at pod-level";
            self.say(Error::forbidden(&path.child("claims"), why));
        }
        for list in ["limits", "requests"] {
            for (name, amount) in fields(&resources[list]) {
                let at = path.child(list).key(name);
                if !is_standard(name) && !name.contains('/') {
                    self.say(Error::invalid(&at, name.as_str(), "must be a standard resource type or fully qualified"));
                } else if !matches!(name.as_str(), "cpu" | "memory") && !name.starts_with("hugepages-") {
                    let supported = ["cpu", "hugepages-", "memory"];
                    self.say(Error::not_supported(&at, name.as_str(), &supported));
                }
                self.amount(name, amount, &at);
                if list == "requests" {
                    self.within_limit(name, amount, resources, &path);
                }
            }
        }
    }

    pub(super) fn overhead(&mut self, overhead: &Value, path: &Path) {
        for (name, amount) in fields(overhead) {
            let at = path.child("limits").key(name);
            self.resource_name(name, true, &at);
            self.amount(name, amount, &at);
        }
    }

    /// The claims of devices that containers refer to.
    pub(super) fn resource_claims(&mut self, spec: &Value, path: &Path) {
        let mut seen = BTreeSet::new();
        for (index, claim) in items(spec, "/resourceClaims").iter().enumerate() {
            let at = path.index(index);
            let name = text(claim, "/name");
            if name.is_empty() {
                self.say(Error::required(&at.child("name"), ""));
            } else if seen.insert(name) {
                self.rules(&at.child("name"), name, names::label(name));
            } else {
                self.say(Error::duplicate(&at.child("name"), name));
            }
            let sources = ["resourceClaimName", "resourceClaimTemplateName"];
            let why = match sources.iter().filter(|source| has(claim, source)).count() {
                0 => Some("must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"),
                1 => None,
                _ => Some("at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"),
            };
            if let Some(why) = why {
                // Compat: upstream shows its own form of the claim.
                let shown = serde_json::json!({"Name": name, "ResourceClaimName": claim.get(sources[0]),
                    "ResourceClaimTemplateName": claim.get(sources[1])});
                self.say(Error::invalid(&at, shown, why));
            }
            for source in sources {
                if let Some(name) = claim.get(source).and_then(Value::as_str) {
                    self.rules(&at.child(source), name, names::subdomain(name));
                }
            }
        }
    }
}
