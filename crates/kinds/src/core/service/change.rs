//! What an update of a Service keeps, drops and may not do.

use std::collections::BTreeSet;

use meta::field::{Error, Errors, Path};
use serde_json::{Value, json};

use super::defaults::{externally_accessible, is_headless, needs_cluster_ip};
use crate::field::{self, items, items_mut, text};

fn needs_node_port(spec: &Value) -> bool {
    match text(spec, "/type") {
        "NodePort" => true,
        "LoadBalancer" => spec["allocateLoadBalancerNodePorts"] != false,
        _ => false,
    }
}

pub(super) fn needs_health_check(spec: &Value) -> bool {
    text(spec, "/type") == "LoadBalancer" && text(spec, "/externalTrafficPolicy") == "Local"
}

fn node_ports(spec: &Value) -> BTreeSet<i64> {
    items(spec, "/ports").iter().filter_map(|port| port["nodePort"].as_i64()).filter(|number| *number != 0).collect()
}

/// What was allocated once stays, also for a client that sends its manifest again.
pub(super) fn keep_allocated(spec: &mut Value, old: &Value) {
    if needs_cluster_ip(spec) && needs_cluster_ip(old) {
        if text(spec, "/clusterIP").is_empty() && !text(old, "/clusterIP").is_empty() {
            spec["clusterIP"] = old["clusterIP"].clone();
        }
        if items(spec, "/clusterIPs").is_empty() && !items(old, "/clusterIPs").is_empty() {
            spec["clusterIPs"] = old["clusterIPs"].clone();
        }
        for field in ["ipFamilies", "ipFamilyPolicy"] {
            if spec.get(field).is_none_or(|own| own.is_null() || *own == json!([])) && !old[field].is_null() {
                spec[field] = old[field].clone();
            }
        }
    }
    if needs_node_port(spec) && needs_node_port(old) {
        let mut used: BTreeSet<i64> = node_ports(old).intersection(&node_ports(spec)).copied().collect();
        for port in items_mut(spec, "ports").filter(|port| port["nodePort"].as_i64().unwrap_or(0) == 0) {
            let same = items(old, "/ports").iter().find(|other| text(other, "/name") == text(port, "/name"));
            let number = same.and_then(|other| other["nodePort"].as_i64()).filter(|number| used.insert(*number));
            if let Some(number) = number {
                port["nodePort"] = json!(number);
            }
        }
    }
    let unset = spec["healthCheckNodePort"].as_i64().unwrap_or(0) == 0;
    if needs_health_check(spec) && needs_health_check(old) && unset {
        spec["healthCheckNodePort"] = old["healthCheckNodePort"].clone();
    }
}

/// A change of the type lets go of what the new type has not, unless the user changed that too.
pub(super) fn drop_what_type_forbids(spec: &mut Value, old: &Value) {
    let same = |spec: &Value, name: &str| spec.get(name) == old.get(name);
    if needs_cluster_ip(old) && !needs_cluster_ip(spec) {
        if same(spec, "clusterIP") && same(spec, "clusterIPs") {
            field::remove(spec, "clusterIP");
            field::remove(spec, "clusterIPs");
        }
        for name in ["ipFamilies", "ipFamilyPolicy"] {
            if same(spec, name) {
                field::remove(spec, name);
            }
        }
    }
    let has_node_ports = |spec: &Value| matches!(text(spec, "/type"), "NodePort" | "LoadBalancer");
    if has_node_ports(old) && !has_node_ports(spec) && node_ports(old).is_superset(&node_ports(spec)) {
        items_mut(spec, "ports").for_each(|port| field::remove(port, "nodePort"));
    }
    if needs_health_check(old) && !needs_health_check(spec) && same(spec, "healthCheckNodePort") {
        field::remove(spec, "healthCheckNodePort");
    }
    if text(old, "/type") == "LoadBalancer" && text(spec, "/type") != "LoadBalancer" {
        for name in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
            if same(spec, name) {
                field::remove(spec, name);
            }
        }
    }
    if needs_cluster_ip(old) && !needs_cluster_ip(spec) && same(spec, "internalTrafficPolicy") {
        field::remove(spec, "internalTrafficPolicy");
    }
    if externally_accessible(old) && !externally_accessible(spec) && same(spec, "externalTrafficPolicy") {
        field::remove(spec, "externalTrafficPolicy");
    }
}

/// What is wrong with a change.
pub(super) fn validate(spec: &Value, old: &Value) -> Errors {
    let path = Path::new("spec");
    let mut errors = Errors::new();
    if needs_cluster_ip(spec) && needs_cluster_ip(old) && !(is_headless(spec) && is_headless(old)) {
        errors.extend(changed_list(
            &path.child("clusterIPs"),
            spec,
            old,
            "/clusterIPs",
            "primary clusterIP can not be unset",
        ));
        errors.extend(changed_list(
            &path.child("ipFamilies"),
            spec,
            old,
            "/ipFamilies",
            "primary ipFamily can not be unset",
        ));
    }
    let both_balance = text(spec, "/type") == "LoadBalancer" && text(old, "/type") == "LoadBalancer";
    if both_balance && spec["loadBalancerClass"] != old["loadBalancerClass"] {
        let class = spec["loadBalancerClass"].clone();
        errors.push(Error::invalid(&path.child("loadBalancerClass"), class, "may not change once set"));
    }
    let port = "healthCheckNodePort";
    if needs_health_check(spec) && needs_health_check(old) && spec[port] != old[port] {
        errors.push(Error::forbidden(&path.child(port), "field is immutable"));
    }
    errors
}

/// The first item stays; a second one may come and go.
fn changed_list(path: &Path, spec: &Value, old: &Value, pointer: &str, unset: &str) -> Errors {
    let (new, old) = (items(spec, pointer), items(old, pointer));
    let error = |index: usize, detail: &str| Error::invalid(&path.index(index), json!(new), detail);
    match (new.first(), old.first()) {
        (None, Some(_)) => vec![error(0, unset)],
        (Some(first), Some(before)) if first != before => vec![error(0, "may not change once set")],
        (Some(_), Some(_)) if new.len() == old.len() && new != old => vec![error(1, "may not change once set")],
        (_, _) => Errors::new(),
    }
}
