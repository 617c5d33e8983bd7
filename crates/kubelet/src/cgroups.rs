//! From requests and limits to cgroups: quality of service, shares, quotas, limits, OOM scores.

use std::collections::{BTreeMap, BTreeSet};

use container::Resources;
use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use meta::Quantity;

use crate::lifecycle::{Role, roles};

/// Upstream's bounds of CPU shares.
const MIN_SHARES: i64 = 2;
const MAX_SHARES: i64 = 262_144;
/// The period of CPU quotas in microseconds, and the least quota.
const PERIOD: i64 = 100_000;
const MIN_QUOTA: i64 = 1_000;

/// Quality of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Qos {
    Guaranteed,
    Burstable,
    BestEffort,
}

impl Qos {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }
}

type Amounts = BTreeMap<String, ApiQuantity>;

fn amount(amounts: Option<&Amounts>, name: &str) -> Option<Quantity> {
    amounts?.get(name)?.0.parse().ok()
}

fn request(resources: Option<&ResourceRequirements>, name: &str) -> Option<Quantity> {
    amount(resources?.requests.as_ref(), name).or_else(|| limit(resources, name))
}

fn limit(resources: Option<&ResourceRequirements>, name: &str) -> Option<Quantity> {
    amount(resources?.limits.as_ref(), name)
}

/// The class of a pod, by the CPU and memory of its containers.
pub(crate) fn qos_class(pod: &Pod) -> Qos {
    let of_pod = pod.spec.as_ref().and_then(|spec| spec.resources.clone());
    let all: Vec<_> = match of_pod {
        Some(resources) => vec![Some(resources)],
        None => roles(pod).into_iter().filter(|(role, _)| *role != Role::Ephemeral).map(|(_, c)| c.resources).collect(),
    };
    let set = |quantity: Option<Quantity>| quantity.filter(|quantity| !quantity.is_zero());
    let (mut any, mut guaranteed) = (false, true);
    for resources in &all {
        for name in ["cpu", "memory"] {
            let (request, limit) = (set(request(resources.as_ref(), name)), set(limit(resources.as_ref(), name)));
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && request == limit;
        }
    }
    match (any, guaranteed) {
        (false, _) => Qos::BestEffort,
        (true, true) => Qos::Guaranteed,
        (true, false) => Qos::Burstable,
    }
}

/// The cgroup of everything on a node.
pub(crate) fn node_cgroup(cluster: &str, node: &str) -> String {
    format!("minke/{cluster}/{node}")
}

/// The cgroup of a pod beneath the root of every hierarchy.
pub(crate) fn pod_cgroup(cluster: &str, node: &str, pod: &Pod) -> String {
    let tier = match qos_class(pod) {
        Qos::Guaranteed => "",
        Qos::Burstable => "burstable/",
        Qos::BestEffort => "besteffort/",
    };
    format!("{}/kubepods/{tier}pod{}", node_cgroup(cluster, node), pod.metadata.uid.as_deref().unwrap_or_default())
}

fn shares(milli: i64) -> u64 {
    (milli * 1024 / 1000).clamp(MIN_SHARES, MAX_SHARES).unsigned_abs()
}

fn quota(milli: i64) -> i64 {
    (milli * PERIOD / 1000).max(MIN_QUOTA)
}

/// The limits of one container.
pub(crate) fn container_resources(pod: &Pod, container: &Container) -> Resources {
    let resources = container.resources.as_ref();
    // Compat: a container without a limit of its own shows the pod's to its processes.
    let of_pod = pod.spec.as_ref().and_then(|spec| spec.resources.as_ref());
    let set = |name: &str| {
        let own = limit(resources, name).filter(|amount| !amount.is_zero());
        own.or_else(|| limit(of_pod, name).filter(|amount| !amount.is_zero()))
    };
    let cpu = set("cpu");
    let memory = set("memory").map(Quantity::value);
    Resources {
        cpu_shares: Some(shares(request(resources, "cpu").unwrap_or(Quantity::ZERO).milli_value())),
        cpu_quota: cpu.map(|cpu| quota(cpu.milli_value())),
        cpu_period: cpu.map(|_| PERIOD.unsigned_abs()),
        memory_limit: memory,
        // No swap beyond the memory's limit.
        memory_swap_limit: memory,
        ..Resources::default()
    }
}

/// What a pod as a whole asks for: the sum of what runs side by side, or the largest init container if that is more.
pub(crate) fn pod_request(pod: &Pod, name: &str) -> Quantity {
    sum(pod, |resources| request(resources, name)).0
}

/// What the pod says of itself, or the sum over its containers and whether each ordinary one has a value.
fn sum(pod: &Pod, of: impl Fn(Option<&ResourceRequirements>) -> Option<Quantity>) -> (Quantity, bool) {
    match pod.spec.as_ref().and_then(|spec| of(spec.resources.as_ref())) {
        Some(own) => (own, true),
        None => sum_of_containers(pod, of),
    }
}

fn sum_of_containers(pod: &Pod, of: impl Fn(Option<&ResourceRequirements>) -> Option<Quantity>) -> (Quantity, bool) {
    let (mut together, mut sidecars, mut largest, mut complete) =
        (Quantity::ZERO, Quantity::ZERO, Quantity::ZERO, true);
    for (role, container) in roles(pod) {
        let value = of(container.resources.as_ref());
        let amount = value.unwrap_or(Quantity::ZERO);
        match role {
            Role::Main => together = together + amount,
            Role::Sidecar => {
                sidecars = sidecars + amount;
                largest = largest.max(sidecars);
            }
            Role::Init => largest = largest.max(sidecars + amount),
            Role::Ephemeral => continue,
        }
        complete &= value.is_some();
    }
    ((together + sidecars).max(largest), complete)
}

/// What a pod as a whole asks for and may use, of every resource that any part of it names.
pub(crate) fn effective_resources(pod: &Pod) -> ResourceRequirements {
    let of_pod = pod.spec.as_ref().and_then(|spec| spec.resources.clone());
    let parts: Vec<ResourceRequirements> =
        roles(pod).into_iter().filter_map(|(_, container)| container.resources).chain(of_pod).collect();
    let overhead = pod.spec.as_ref().and_then(|spec| spec.overhead.as_ref());
    let total = |of: fn(&ResourceRequirements) -> Option<&Amounts>| {
        let names: BTreeSet<&String> = parts.iter().filter_map(of).flatten().map(|(name, _)| name).collect();
        let one = |name: &String| {
            let (amount, _) = sum(pod, |resources| amount(resources.and_then(of), name));
            let amount = amount + self::amount(overhead, name).unwrap_or(Quantity::ZERO);
            (name.clone(), ApiQuantity(amount.to_string()))
        };
        let amounts: Amounts = names.into_iter().map(one).collect();
        (!amounts.is_empty()).then_some(amounts)
    };
    ResourceRequirements {
        requests: total(|resources| resources.requests.as_ref()),
        limits: total(|resources| resources.limits.as_ref()),
        claims: None,
    }
}

/// The limits of a pod as a whole.
pub(crate) fn pod_resources(pod: &Pod) -> Resources {
    let cpu = sum(pod, |resources| limit(resources, "cpu"));
    let memory = sum(pod, |resources| limit(resources, "memory"));
    let limited = |(amount, complete): (Quantity, bool)| (complete && !amount.is_zero()).then_some(amount);
    let memory = limited(memory).map(Quantity::value);
    Resources {
        cpu_shares: Some(shares(pod_request(pod, "cpu").milli_value())),
        cpu_quota: limited(cpu).map(|cpu| quota(cpu.milli_value())),
        cpu_period: limited(cpu).map(|_| PERIOD.unsigned_abs()),
        memory_limit: memory,
        ..Resources::default()
    }
}

/// `oom_score_adj` of a container, by its share of the node's memory.
pub(crate) fn oom_score_adj(pod: &Pod, container: &Container, node_memory: i64) -> i32 {
    let class = pod.spec.as_ref().and_then(|spec| spec.priority_class_name.as_deref());
    match qos_class(pod) {
        _ if is_critical(pod) && class == Some("system-node-critical") => -997,
        Qos::Guaranteed => -997,
        Qos::BestEffort => 1000,
        Qos::Burstable => {
            let score = 1000 - 1000 * counted_memory(pod, container) / node_memory.max(1);
            // Never below what guaranteed pods get, nor as high as best effort.
            i32::try_from(score.clamp(3, 999)).unwrap_or(999)
        }
    }
}

/// The limit of a pod as a whole, if any part of it has one.
pub(crate) fn pod_limit(pod: &Pod, name: &str) -> Option<Quantity> {
    let mut parts = roles(pod).into_iter().filter(|(role, _)| *role != Role::Ephemeral);
    let of_pod = pod.spec.as_ref().and_then(|spec| limit(spec.resources.as_ref(), name));
    let any = of_pod.is_some() || parts.any(|(_, container)| limit(container.resources.as_ref(), name).is_some());
    any.then(|| sum(pod, |resources| limit(resources, name)).0)
}

/// Whether a pod is needed for the node or the cluster itself. Compat: upstream's least priority of system pods.
pub(crate) fn is_critical(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.priority).is_some_and(|priority| priority >= 2_000_000_000)
}

/// The memory that speaks for a container when memory runs out: its request and its share of what the pod asks for beyond its containers.
/// Compat: a sidecar is worth no less than the least of the ordinary containers.
fn counted_memory(pod: &Pod, container: &Container) -> i64 {
    let memory = |one: &Container| request(one.resources.as_ref(), "memory").unwrap_or(Quantity::ZERO).value();
    let all: Vec<_> = roles(pod).into_iter().filter(|(role, _)| *role != Role::Ephemeral).collect();
    let of_pod = pod.spec.as_ref().and_then(|spec| request(spec.resources.as_ref(), "memory")).map(Quantity::value);
    let of_containers = sum_of_containers(pod, |resources| request(resources, "memory")).0.value();
    let count = i64::try_from(all.len()).unwrap_or(i64::MAX).max(1);
    let share = of_pod.map_or(0, |of_pod| (of_pod - of_containers) / count);
    let is_sidecar = all.iter().any(|(role, one)| *role == Role::Sidecar && one.name == container.name);
    let least = all.iter().filter(|(role, _)| *role == Role::Main).map(|(_, one)| memory(one)).min();
    let own = memory(container);
    share + if is_sidecar { own.max(least.unwrap_or(0)) } else { own }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[track_caller]
    fn check(resources: Value, qos: &str, shares: u64, quota: Option<i64>, memory: Option<i64>) {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"uid": "u"},
            "spec": {"containers": [{"name": "a", "resources": resources}]}}))
        .unwrap();
        let container = &pod.spec.as_ref().unwrap().containers[0];
        let limits = container_resources(&pod, container);
        assert_eq!(qos_class(&pod).as_str(), qos);
        assert_eq!((limits.cpu_shares, limits.cpu_quota, limits.memory_limit), (Some(shares), quota, memory));
    }

    #[test]
    fn a_pods_own_amounts_are_those_of_its_parts() {
        let check = |spec: Value, expected: Value| {
            let pod: Pod = serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap();
            assert_eq!(serde_json::to_value(effective_resources(&pod)).unwrap(), expected);
        };
        check(json!({"containers": [{"name": "a"}]}), json!({}));
        let one = json!({"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}});
        let init = json!({"requests": {"memory": "32Mi"}});
        check(
            json!({"initContainers": [{"name": "i", "resources": init}], "overhead": {"cpu": "5m"},
                "containers": [{"name": "a", "resources": one}, {"name": "b", "resources": {"requests": {"cpu": "1"}}}]}),
            json!({"requests": {"cpu": "1015m", "memory": "32Mi"}, "limits": {"memory": "64Mi"}}),
        );
    }

    #[test]
    fn what_a_pod_has_its_containers_share() {
        let spec = json!({
            "resources": {"requests": {"memory": "512Mi"}, "limits": {"cpu": "1", "memory": "768Mi"}},
            "initContainers": [{"name": "s", "restartPolicy": "Always"}],
            "containers": [{"name": "a", "resources": {"requests": {"memory": "256Mi"}}}],
        });
        let pod: Pod = serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap();
        let of_pod = pod_resources(&pod);
        assert_eq!((of_pod.cpu_quota, of_pod.memory_limit), (Some(100_000), Some(768 << 20)));
        assert_eq!(qos_class(&pod), Qos::Burstable);
        for (_, container) in roles(&pod) {
            let own = container_resources(&pod, &container);
            assert_eq!((own.cpu_quota, own.memory_limit), (Some(100_000), Some(768 << 20)), "{}", container.name);
            // 256 MiB of its own or of its neighbour, and half of what is left of the pod's.
            assert_eq!(oom_score_adj(&pod, &container, 1 << 30), 1000 - 375, "{}", container.name);
        }
    }

    #[test]
    fn classes_and_limits() {
        check(json!({}), "BestEffort", 2, None, None);
        check(json!({"requests": {"cpu": "500m"}}), "Burstable", 512, None, None);
        let full = json!({"cpu": "1", "memory": "64Mi"});
        check(json!({"limits": full}), "Guaranteed", 1024, Some(100_000), Some(64 << 20));
        check(
            json!({"limits": full, "requests": {"cpu": "1", "memory": "32Mi"}}),
            "Burstable",
            1024,
            Some(100_000),
            Some(64 << 20),
        );
    }
}
