//! What a Service gets without asking.

use serde_json::{Value, json};

use crate::field::{self, items, items_mut, text};

/// Seconds that a client stays with its endpoint.
const AFFINITY: u64 = 10800;

pub(super) fn fill(object: &mut Value) {
    let spec = field::child(object, "spec");
    field::default(spec, "sessionAffinity", "None");
    match text(spec, "/sessionAffinity") {
        "None" => field::remove(spec, "sessionAffinityConfig"),
        "ClientIP" if spec.pointer("/sessionAffinityConfig/clientIP/timeoutSeconds").is_none_or(Value::is_null) => {
            spec["sessionAffinityConfig"] = json!({"clientIP": {"timeoutSeconds": AFFINITY}});
        }
        _ => {}
    }
    if text(spec, "/type").is_empty() {
        spec["type"] = json!("ClusterIP");
    }
    for port in items_mut(spec, "ports") {
        if text(port, "/protocol").is_empty() {
            port["protocol"] = json!("TCP");
        }
        if port.get("targetPort").is_none_or(|target| target.is_null() || *target == 0 || *target == "") {
            port["targetPort"] = port["port"].clone();
        }
        if port.get("nodePort").is_some_and(|number| *number == 0) {
            field::remove(port, "nodePort");
        }
    }
    let kind = text(spec, "/type").to_owned();
    if externally_accessible(spec) && text(spec, "/externalTrafficPolicy").is_empty() {
        spec["externalTrafficPolicy"] = json!("Cluster");
    }
    if matches!(kind.as_str(), "ClusterIP" | "NodePort" | "LoadBalancer") {
        field::default(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        field::default(spec, "allocateLoadBalancerNodePorts", true);
    }
    let status = field::child(object, "status");
    let balancer = field::child(status, "loadBalancer");
    for ingress in items_mut(balancer, "ingress").filter(|_| kind == "LoadBalancer") {
        if !text(ingress, "/ip").is_empty() {
            field::default(ingress, "ipMode", "VIP");
        }
    }
}

/// Whether it can be reached from outside the cluster.
pub(super) fn externally_accessible(spec: &Value) -> bool {
    let kind = text(spec, "/type");
    matches!(kind, "NodePort" | "LoadBalancer") || (kind == "ClusterIP" && !items(spec, "/externalIPs").is_empty())
}

/// Whether it has cluster IPs, or could.
pub(super) fn needs_cluster_ip(spec: &Value) -> bool {
    text(spec, "/type") != "ExternalName"
}

/// Whether it is `None`.
pub(super) fn is_headless(spec: &Value) -> bool {
    items(spec, "/clusterIPs").first().is_some_and(|ip| ip == "None") || text(spec, "/clusterIP") == "None"
}

/// Makes `clusterIP` and `clusterIPs` agree where a client knows only the first of them.
pub(super) fn normalize(spec: &mut Value, old: Option<&Value>) {
    let single = text(spec, "/clusterIP").to_owned();
    let several = items(spec, "/clusterIPs").to_vec();
    let Some(old) = old else {
        if !single.is_empty() && several.is_empty() {
            spec["clusterIPs"] = json!([single]);
        }
        return;
    };
    let old_single = text(old, "/clusterIP");
    let old_several = items(old, "/clusterIPs");
    if !old_several.is_empty() && several.is_empty() && old_single == single {
        spec["clusterIPs"] = json!(old_several);
    }
    if old_single != single && items(spec, "/clusterIPs") == old_several {
        if single.is_empty() {
            field::remove(spec, "clusterIPs");
        } else {
            spec["clusterIPs"] = json!([single]);
        }
    }
}

/// The policy and the families of a cluster with IPv4.
pub(super) fn families(spec: &mut Value) {
    if !needs_cluster_ip(spec) {
        return;
    }
    // Compat: a headless service without a selector may have endpoints of any family.
    let open = is_headless(spec) && field::fields(&spec["selector"]).next().is_none();
    if text(spec, "/ipFamilyPolicy").is_empty() {
        spec["ipFamilyPolicy"] = json!(if open { "RequireDualStack" } else { "SingleStack" });
    }
    if items(spec, "/ipFamilies").is_empty() {
        let ips = items(spec, "/clusterIPs").iter().filter_map(Value::as_str).filter(|ip| *ip != "None");
        let families: Vec<&str> = ips.map(family).collect();
        spec["ipFamilies"] = if families.is_empty() { json!(["IPv4"]) } else { json!(families) };
    }
    if open && text(spec, "/ipFamilyPolicy") != "SingleStack" && items(spec, "/ipFamilies").len() == 1 {
        let other = if spec["ipFamilies"][0] == "IPv4" { "IPv6" } else { "IPv4" };
        spec["ipFamilies"] = json!([spec["ipFamilies"][0], other]);
    }
}

/// The family of an address.
pub(super) fn family(ip: &str) -> &'static str {
    if ip.contains(':') { "IPv6" } else { "IPv4" }
}
