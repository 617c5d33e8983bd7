//! Amounts of resources, by name, and what a pod asks for.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource;
use meta::Quantity;

/// Amounts by resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amounts(BTreeMap<String, Quantity>);

/// Amounts as objects carry them.
type Written = BTreeMap<String, resource::Quantity>;

impl Amounts {
    pub(crate) fn read(written: Option<&Written>) -> Self {
        let read = |(name, amount): (&String, &resource::Quantity)| Some((name.clone(), amount.0.parse().ok()?));
        Self(written.into_iter().flatten().filter_map(read).collect())
    }

    pub(crate) fn get(&self, name: &str) -> Quantity {
        self.0.get(name).copied().unwrap_or(Quantity::ZERO)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, Quantity)> {
        self.0.iter().map(|(name, amount)| (name.as_str(), *amount))
    }

    pub(crate) fn add(&mut self, more: &Self) {
        for (name, amount) in &more.0 {
            let entry = self.0.entry(name.clone()).or_insert(Quantity::ZERO);
            *entry = *entry + *amount;
        }
    }

    pub(crate) fn subtract(&mut self, less: &Self) {
        for (name, amount) in &less.0 {
            let entry = self.0.entry(name.clone()).or_insert(Quantity::ZERO);
            *entry = *entry - *amount;
        }
    }

    /// Each amount at least as large as there.
    fn raise(&mut self, at_least: &Self) {
        for (name, amount) in &at_least.0 {
            let entry = self.0.entry(name.clone()).or_insert(Quantity::ZERO);
            *entry = (*entry).max(*amount);
        }
    }
}

/// What counts for scores where a container asks for nothing.
const LEAST: [(&str, i64); 2] = [("cpu", 100), ("memory", 200 * 1024 * 1024)];

/// What a pod asks for.
pub(crate) fn requests(pod: &Pod) -> Amounts {
    let infeasible = is_infeasible(pod);
    total(pod, |container, status| {
        let mut own = Amounts::read(container.resources.as_ref().and_then(|own| own.requests.as_ref()));
        // Compat: while a resize is under way, the larger of what is wanted and what is taken counts; what the node can never give does
        // not count.
        if let Some(status) = status {
            if infeasible && status.resources.is_some() {
                own = Amounts::default();
            }
            own.raise(&Amounts::read(status.allocated_resources.as_ref()));
            own.raise(&Amounts::read(status.resources.as_ref().and_then(|actual| actual.requests.as_ref())));
        }
        own
    })
}

/// Whether a resize is wanted that the pod's node can never grant.
fn is_infeasible(pod: &Pod) -> bool {
    let mut conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|one| one.type_ == "PodResizePending" && one.reason.as_deref() == Some("Infeasible"))
}

/// The same for scores: who asks for nothing still takes something.
pub(crate) fn likely(pod: &Pod) -> Amounts {
    total(pod, |container, _| {
        let mut own = Amounts::read(container.resources.as_ref().and_then(|own| own.requests.as_ref()));
        for (name, least) in LEAST {
            let least = if name == "cpu" { Quantity::millis(least) } else { Quantity::bytes(least) };
            own.0.entry(name.to_owned()).or_insert(least);
        }
        own
    })
}

/// Containers together, or the hungriest moment of its init containers if that is more; what the pod says of itself instead;
/// and its overhead.
fn total(pod: &Pod, of_container: impl Fn(&Container, Option<&ContainerStatus>) -> Amounts) -> Amounts {
    let Some(spec) = &pod.spec else { return Amounts::default() };
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    let status = |name: &str| statuses.into_iter().flatten().find(|status| status.name == name);
    let (mut total, mut sidecars, mut peak) = (Amounts::default(), Amounts::default(), Amounts::default());
    for container in &spec.containers {
        total.add(&of_container(container, status(&container.name)));
    }
    for init in spec.init_containers.iter().flatten() {
        let mut own = of_container(init, None);
        if init.restart_policy.as_deref() == Some("Always") {
            sidecars.add(&own);
            own = sidecars.clone();
        } else {
            own.add(&sidecars);
        }
        peak.raise(&own);
    }
    total.add(&sidecars);
    total.raise(&peak);
    for (name, amount) in pod_level(spec.resources.as_ref()).0 {
        total.0.insert(name, amount);
    }
    total.add(&Amounts::read(spec.overhead.as_ref()));
    total
}

/// Compat: only these can be asked for by a pod as a whole.
fn pod_level(resources: Option<&ResourceRequirements>) -> Amounts {
    let mut own = Amounts::read(resources.and_then(|own| own.requests.as_ref()));
    own.0.retain(|name, _| name == "cpu" || name == "memory" || name.starts_with("hugepages-"));
    own
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_a_resize_wants_counts_if_it_can_be() {
        let check = |reason: &str, expected: i64| {
            let amounts = |cpu: &str| json!({"requests": {"cpu": cpu}});
            let status = json!({"name": "c", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                "resources": amounts("1"), "allocatedResources": {"cpu": "2"}});
            let condition = json!({"type": "PodResizePending", "status": "True", "reason": reason});
            let pod = json!({"spec": {"containers": [{"name": "c", "resources": amounts("9")}]},
                "status": {"containerStatuses": [status], "conditions": [condition]}});
            let pod: Pod = serde_json::from_value(pod).expect("a pod");
            assert_eq!(requests(&pod).get("cpu").value(), expected, "{reason}");
        };
        check("Deferred", 9);
        check("Infeasible", 2);
    }

    #[test]
    fn a_pod_asks_for_its_hungriest_moment() {
        let check = |spec: Value, expected: i64| {
            let pod: Pod = serde_json::from_value(json!({"spec": spec})).expect("a pod");
            assert_eq!(requests(&pod).get("cpu").value(), expected, "{spec}");
        };
        let own = |cpu: &str| json!({"name": "c", "resources": {"requests": {"cpu": cpu}}});
        let sidecar =
            |cpu: &str| json!({"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": cpu}}});
        check(json!({"containers": [own("1"), own("2")]}), 3);
        check(json!({"containers": [own("1"), own("2")], "initContainers": [own("4"), own("2")]}), 4);
        check(json!({"containers": [own("1")], "initContainers": [sidecar("2"), own("4")]}), 6);
        check(json!({"containers": [own("3")], "initContainers": [own("4"), sidecar("2")]}), 5);
        check(json!({"containers": [own("1")], "overhead": {"cpu": "1"}}), 2);
        check(json!({"containers": [own("1")], "resources": {"requests": {"cpu": "5"}}}), 5);
    }
}
