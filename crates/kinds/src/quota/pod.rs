//! What a pod costs.

use std::collections::{BTreeMap, BTreeSet};

use meta::{Quantity, parse_time};
use serde_json::Value;

use super::{Amounts, amounts};
use crate::field::{items, number, text};

/// Compat: a quota on these asks that every container says how much it needs.
const MUST_SPECIFY: [&str; 6] = ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];

/// Resources of which requests and limits are counted.
const COMPUTE: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// Whether every container says what the quota restricts; the error names those that don't.
pub(super) fn must_specify(restricted: &BTreeSet<&str>, pod: &Value) -> Result<(), String> {
    // What the pod says of itself as a whole stands for its containers.
    let whole = |part: &str| amounts(&pod["spec"]["resources"][part]);
    let (pod_requests, pod_limits) = (whole("requests"), whole("limits"));
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for container in items(&pod["spec"], "/containers").iter().chain(items(&pod["spec"], "/initContainers")) {
        let mut requests = amounts(&container["resources"]["requests"]);
        let mut limits = amounts(&container["resources"]["limits"]);
        requests.extend(pod_requests.clone());
        limits.extend(pod_limits.clone());
        let said = costs(&requests, &limits);
        for name in MUST_SPECIFY.iter().filter(|name| restricted.contains(*name) && !said.contains_key(**name)) {
            missing.entry(name).or_default().insert(text(container, "/name"));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let list = |(name, containers): (&&str, &BTreeSet<&str>)| {
        format!("{name} for: {}", containers.iter().copied().collect::<Vec<_>>().join(","))
    };
    Err(format!("must specify {}", missing.iter().map(list).collect::<Vec<_>>().join("; ")))
}

/// What requests and limits are counted as.
fn costs(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut costs = Amounts::from([("pods".to_owned(), Quantity::units(1))]);
    for name in COMPUTE {
        if let Some(amount) = requests.get(name) {
            costs.insert(name.to_owned(), *amount);
            costs.insert(format!("requests.{name}"), *amount);
        }
        if let Some(amount) = limits.get(name) {
            costs.insert(format!("limits.{name}"), *amount);
        }
    }
    for (name, amount) in requests {
        if name.starts_with("hugepages-") {
            costs.insert(name.clone(), *amount);
        }
        // Extended resources are those of a domain.
        if name.starts_with("hugepages-") || (name.contains('/') && !name.starts_with("requests.")) {
            costs.insert(format!("requests.{name}"), *amount);
        }
    }
    costs
}

/// The cost of a pod: one that has ended, or should have, costs no more than its place in the store.
pub(super) fn usage(pod: &Value, now: i64) -> Amounts {
    let mut usage = Amounts::from([("count/pods".to_owned(), Quantity::units(1))]);
    let deleted = parse_time(text(pod, "/metadata/deletionTimestamp")).map(|time| time.as_second());
    let overdue = deleted.zip(number(pod, "/metadata/deletionGracePeriodSeconds"));
    let ended = matches!(text(pod, "/status/phase"), "Succeeded" | "Failed");
    if !ended && overdue.is_none_or(|(deleted, grace)| now <= deleted + grace) {
        usage.extend(costs(&total(pod, "requests"), &total(pod, "limits")));
    }
    usage
}

fn add(target: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let sum = target.get(name).map_or(*amount, |own| *own + *amount);
        target.insert(name.clone(), sum);
    }
}

fn raise(target: &mut Amounts, least: &Amounts) {
    for (name, amount) in least {
        let most = target.get(name).map_or(*amount, |own| (*own).max(*amount));
        target.insert(name.clone(), most);
    }
}

/// The `requests` or `limits` of a pod: its containers together, and what the pod says of itself instead.
pub fn needs(pod: &Value, part: &str) -> Amounts {
    let mut needs = of_containers(pod, part);
    needs.extend(amounts(&pod["spec"]["resources"][part]));
    needs
}

/// What a pod needs, its overhead included.
fn total(pod: &Value, part: &str) -> Amounts {
    let mut total = needs(pod, part);
    let overhead = amounts(&pod["spec"]["overhead"]);
    let counted = |name: &str| part == "requests" || total.contains_key(name);
    let overhead = super::only(&overhead, counted);
    add(&mut total, &overhead);
    total
}

/// What a pod's containers need together: all that run at once, or the hungriest moment of its start if that is more.
pub(crate) fn of_containers(pod: &Value, part: &str) -> Amounts {
    let status = |name: &str| {
        let list = items(pod, "/status/containerStatuses").iter();
        list.into_iter().find(|status| text(status, "/name") == name)
    };
    let (mut total, mut sidecars, mut peak) = (Amounts::new(), Amounts::new(), Amounts::new());
    for container in items(pod, "/spec/containers") {
        let mut own = amounts(&container["resources"][part]);
        // While a resize is under way, the larger of what is wanted and what is taken counts.
        if let Some(status) = status(text(container, "/name")) {
            raise(&mut own, &amounts(&status["resources"][part]));
            if part == "requests" {
                raise(&mut own, &amounts(&status["allocatedResources"]));
            }
        }
        add(&mut total, &own);
    }
    for init in items(pod, "/spec/initContainers") {
        let mut own = amounts(&init["resources"][part]);
        if text(init, "/restartPolicy") == "Always" {
            add(&mut sidecars, &own);
            own = sidecars.clone();
        } else {
            add(&mut own, &sidecars);
        }
        raise(&mut peak, &own);
    }
    add(&mut total, &sidecars);
    raise(&mut total, &peak);
    total
}
