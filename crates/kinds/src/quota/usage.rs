//! What objects cost, and under which names.

use meta::Quantity;
use serde_json::Value;

use super::{Amounts, Counted, amounts, pod};
use crate::field::{items, text};

/// Between a storage class and what of it is counted.
const OF_CLASS: &str = ".storageclass.storage.k8s.io/";

/// Between a device class and what of it is counted.
const OF_DEVICES: &str = ".deviceclass.resource.k8s.io/devices";

/// As many devices at most does one request get.
const MOST_DEVICES: i64 = 32;

/// What of pods is counted.
const OF_PODS: [&str; 10] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
];

/// Resources that are also counted under their plain name.
const PLAIN: [&str; 6] =
    ["configmaps", "persistentvolumeclaims", "replicationcontrollers", "resourcequotas", "secrets", "services"];

/// The name under which objects of a resource are counted.
fn count((group, resource): Counted<'_>) -> String {
    if group.is_empty() { format!("count/{resource}") } else { format!("count/{resource}.{group}") }
}

/// Whether objects of a resource are counted under this name.
pub fn covers(resource: Counted<'_>, name: &str) -> bool {
    if name.starts_with("count/") {
        return name == count(resource);
    }
    match resource {
        ("", "pods") => {
            let extended = name.strip_prefix("requests.").is_some_and(|rest| rest.contains('/'));
            OF_PODS.contains(&name)
                || name.starts_with("hugepages-")
                || name.starts_with("requests.hugepages-")
                || (extended && !name.contains(OF_CLASS))
        }
        ("", "services") => matches!(name, "services" | "services.nodeports" | "services.loadbalancers"),
        ("", "persistentvolumeclaims") => {
            let (_, rest) = name.split_once(OF_CLASS).unwrap_or(("", name));
            matches!(rest, "persistentvolumeclaims" | "requests.storage")
        }
        ("", plural) => PLAIN.contains(&plural) && name == plural,
        ("resource.k8s.io", "resourceclaims") => name.ends_with(OF_DEVICES),
        _ => false,
    }
}

/// Whether anything is counted under this name.
pub(super) fn is_counted(name: &str) -> bool {
    const ALL: [Counted<'static>; 8] = [
        ("", "pods"),
        ("", "services"),
        ("", "persistentvolumeclaims"),
        ("", "configmaps"),
        ("", "replicationcontrollers"),
        ("", "resourcequotas"),
        ("", "secrets"),
        ("resource.k8s.io", "resourceclaims"),
    ];
    name.starts_with("count/") || ALL.iter().any(|resource| covers(*resource, name))
}

/// What an object costs.
pub(super) fn of(resource: Counted<'_>, object: &Value, now: i64) -> Amounts {
    let one = Quantity::units(1);
    let mut usage = Amounts::from([(count(resource), one)]);
    match resource {
        ("", "pods") => return pod::usage(object, now),
        ("", "services") => usage.extend(service(object)),
        ("", "persistentvolumeclaims") => usage.extend(claim(object)),
        ("resource.k8s.io", "resourceclaims") => usage.extend(devices(object)),
        _ => {}
    }
    if let ("", plural) = resource
        && PLAIN.contains(&plural)
    {
        usage.insert(plural.to_owned(), one);
    }
    usage
}

fn units(number: usize) -> Quantity {
    Quantity::units(i64::try_from(number).unwrap_or(i64::MAX))
}

/// By what it asks for: ports of nodes may not be chosen yet.
fn service(service: &Value) -> Amounts {
    let ports = items(service, "/spec/ports");
    let given = || ports.iter().filter(|port| port["nodePort"].as_u64().is_some_and(|port| port != 0)).count();
    let (node_ports, balancers) = match text(service, "/spec/type") {
        "NodePort" => (ports.len(), 0),
        "LoadBalancer" if service["spec"]["allocateLoadBalancerNodePorts"] == false => (given(), 1),
        "LoadBalancer" => (ports.len(), 1),
        _ => (0, 0),
    };
    Amounts::from([
        ("services.nodeports".to_owned(), units(node_ports)),
        ("services.loadbalancers".to_owned(), units(balancers)),
    ])
}

fn claim(claim: &Value) -> Amounts {
    let annotation = text(&claim["metadata"]["annotations"], "/volume.beta.kubernetes.io~1storage-class");
    let class = if annotation.is_empty() { text(claim, "/spec/storageClassName") } else { annotation };
    let asked = amounts(&claim["spec"]["resources"]["requests"]).get("storage").copied();
    let allocated = amounts(&claim["status"]["allocatedResources"]).get("storage").copied();
    let mut usage = Amounts::new();
    if !class.is_empty() {
        usage.insert(format!("{class}{OF_CLASS}persistentvolumeclaims"), Quantity::units(1));
    }
    if let Some(asked) = asked {
        let amount = allocated.map_or(asked, |allocated| allocated.max(asked));
        usage.insert("requests.storage".to_owned(), amount);
        if !class.is_empty() {
            usage.insert(format!("{class}{OF_CLASS}requests.storage"), amount);
        }
    }
    usage
}

/// At most as many as the claim can get, whichever of its alternatives it gets.
fn devices(claim: &Value) -> Amounts {
    let mut usage = Amounts::new();
    let note = |request: &Value, most: &mut Amounts| {
        let number = match text(request, "/allocationMode") {
            "All" => MOST_DEVICES,
            _ => request["count"].as_i64().unwrap_or(1),
        };
        let name = format!("{}{OF_DEVICES}", text(request, "/deviceClassName"));
        let own = most.get(&name).map_or(number, |own| own.value().max(number));
        most.insert(name, Quantity::units(own));
    };
    for request in items(claim, "/spec/devices/requests") {
        let mut most = Amounts::new();
        if request["exactly"].is_object() {
            note(&request["exactly"], &mut most);
        }
        items(request, "/firstAvailable").iter().for_each(|one| note(one, &mut most));
        for (name, amount) in most {
            let sum = usage.get(&name).map_or(amount, |own| *own + amount);
            usage.insert(name, sum);
        }
    }
    usage
}
