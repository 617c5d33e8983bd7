//! What may be wrong with a Service, in upstream's words.

use std::collections::BTreeSet;

use meta::field::{Error, Errors, Path};
use meta::names;
use serde_json::{Value, json};

use super::change::needs_health_check;
use super::defaults::{externally_accessible, family, is_headless, needs_cluster_ip};
use crate::addresses;
use crate::field::{items, number, text};

const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

pub(super) fn service(object: &Value) -> Errors {
    let (path, spec) = (Path::new("spec"), &object["spec"]);
    let mut errors = annotations(object);
    if items(spec, "/ports").is_empty() && !is_headless(spec) && needs_cluster_ip(spec) {
        errors.push(Error::required(&path.child("ports"), ""));
    }
    errors.extend(by_type(spec, &path));
    errors.extend(ports(spec, &path.child("ports")));
    errors.extend(crate::metadata::labels(&spec["selector"], &path.child("selector")));
    errors.extend(affinity(spec, &path));
    errors.extend(cluster_ips(spec, &path));
    for (index, ip) in items(spec, "/externalIPs").iter().filter_map(Value::as_str).enumerate() {
        errors.extend(addresses::endpoint(ip, &path.child("externalIPs").index(index)));
    }
    let kinds = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    errors.extend(one_of(&path.child("type"), text(spec, "/type"), &kinds));
    errors.extend(duplicate_ports(spec, &path.child("ports")));
    errors.extend(balancing(object, &path));
    errors.extend(policies(spec, &path));
    errors
}

fn annotations(object: &Value) -> Errors {
    const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
    const MODE: &str = "service.kubernetes.io/topology-mode";
    let find = |name: &str| object["metadata"]["annotations"].get(name).and_then(Value::as_str);
    match (find(MODE), find(HINTS)) {
        (Some(mode), Some(hints)) if mode != hints => {
            let path = Path::new("metadata").child("annotations").key(MODE);
            vec![Error::invalid(&path, mode, &format!("must match annotations[{HINTS}] when both are specified"))]
        }
        (_, _) => Errors::new(),
    }
}

fn one_of(path: &Path, value: &str, supported: &[&str]) -> Option<Error> {
    match value {
        "" => Some(Error::required(path, "")),
        value if !supported.contains(&value) => Some(Error::not_supported(path, value, supported)),
        _ => None,
    }
}

fn by_type(spec: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let kind = text(spec, "/type");
    if matches!(kind, "LoadBalancer" | "NodePort") && is_headless(spec) {
        let detail = format!("may not be set to 'None' for {kind} services");
        errors.push(Error::invalid(&path.child("clusterIPs").index(0), "None", &detail));
    }
    if kind == "ExternalName" {
        let set = |name: &&str| !spec[*name].is_null() && spec[*name] != json!([]) && spec[*name] != "";
        for name in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"].iter().filter(|name| set(name)) {
            errors.push(Error::forbidden(&path.child(name), "may not be set for ExternalName services"));
        }
        let path = path.child("externalName");
        match text(spec, "/externalName").trim_end_matches('.') {
            "" => errors.push(Error::required(&path, "")),
            name => errors.extend(names::subdomain(name).iter().map(|rule| Error::invalid(&path, name, rule))),
        }
    }
    errors
}

fn ports(spec: &Value, path: &Path) -> Errors {
    let ports = items(spec, "/ports");
    let mut errors = Errors::new();
    let mut names = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let path = path.index(index);
        let name = text(port, "/name");
        if name.is_empty() && ports.len() > 1 {
            errors.push(Error::required(&path.child("name"), ""));
        } else if !name.is_empty() {
            errors.extend(names::label(name).iter().map(|rule| Error::invalid(&path.child("name"), name, rule)));
            if !names.insert(name) {
                errors.push(Error::duplicate(&path.child("name"), name));
            }
        }
        errors.extend(addresses::port(&path.child("port"), &port["port"]));
        errors.extend(one_of(&path.child("protocol"), text(port, "/protocol"), PROTOCOLS));
        match &port["targetPort"] {
            Value::String(target) => {
                let rules = names::port_name(target);
                errors
                    .extend(rules.iter().map(|rule| Error::invalid(&path.child("targetPort"), target.as_str(), rule)));
            }
            target => errors.extend(addresses::port(&path.child("targetPort"), target)),
        }
        if let Some(protocol) = port["appProtocol"].as_str() {
            let rules = names::qualified(protocol);
            errors.extend(rules.iter().map(|rule| Error::invalid(&path.child("appProtocol"), protocol, rule)));
        }
        if text(spec, "/type") == "ClusterIP" && number(port, "/nodePort").unwrap_or(0) != 0 {
            errors.push(Error::forbidden(&path.child("nodePort"), "may not be used when `type` is 'ClusterIP'"));
        }
    }
    errors
}

fn duplicate_ports(spec: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let (mut node_ports, mut ports) = (BTreeSet::new(), BTreeSet::new());
    for (index, port) in items(spec, "/ports").iter().enumerate() {
        let (path, protocol) = (path.index(index), text(port, "/protocol"));
        let node_port = number(port, "/nodePort").unwrap_or(0);
        if node_port != 0 && !node_ports.insert((protocol, node_port)) {
            errors.push(Error::duplicate(&path.child("nodePort"), node_port));
        }
        if !ports.insert((protocol, number(port, "/port"))) {
            errors.push(Error::duplicate(&path, json!({"protocol": protocol, "port": port["port"]})));
        }
    }
    errors
}

fn affinity(spec: &Value, path: &Path) -> Errors {
    const DAY: i64 = 86400;
    let kind = text(spec, "/sessionAffinity");
    let mut errors: Errors = one_of(&path.child("sessionAffinity"), kind, &["ClientIP", "None"]).into_iter().collect();
    let (config, path) = (&spec["sessionAffinityConfig"], path.child("sessionAffinityConfig"));
    if kind == "None" && !config.is_null() {
        errors.push(Error::forbidden(&path, "must not be set when session affinity is None"));
    }
    if kind == "ClientIP" {
        let path = path.child("clientIP").child("timeoutSeconds");
        match number(config, "/clientIP/timeoutSeconds") {
            None => errors.push(Error::required(&path, "when session affinity type is ClientIP")),
            Some(seconds) if !(1..=DAY).contains(&seconds) => {
                let detail = format!("must be greater than 0 and less than {DAY}");
                errors.push(Error::invalid(&path, seconds, &detail));
            }
            Some(_) => {}
        }
    }
    errors
}

fn cluster_ips(spec: &Value, path: &Path) -> Errors {
    if !needs_cluster_ip(spec) {
        return Errors::new();
    }
    let mut errors = Errors::new();
    let own = path.child("clusterIPs");
    let ips = items(spec, "/clusterIPs");
    match (text(spec, "/clusterIP"), ips.first().and_then(Value::as_str)) {
        ("", Some(_)) => {
            errors.push(Error::invalid(&own, json!(ips), "must be empty when `clusterIP` is not specified"))
        }
        (ip, None) if !ip.is_empty() => errors.push(Error::required(&own, "")),
        (ip, Some(first)) if ip != first => {
            errors.push(Error::invalid(&own, json!(ips), "first value must match `clusterIP`"));
        }
        (_, _) => {}
    }
    errors.extend(families(spec, path));
    let mut valid = true;
    for (index, ip) in ips.iter().filter_map(Value::as_str).enumerate() {
        if index == 0 && ip == "None" {
            if ips.len() > 1 {
                errors.push(Error::invalid(&own, json!(ips), "'None' must be the first and only value"));
                valid = false;
            }
            continue;
        }
        let found = addresses::ip(&own.index(index), ip);
        valid &= found.is_empty();
        errors.extend(found);
    }
    if ips.len() > 2 {
        errors.push(Error::invalid(&own, json!(ips), "may only hold up to 2 values"));
    }
    if !valid || is_headless(spec) {
        return errors;
    }
    let own_families: Vec<&str> = ips.iter().filter_map(Value::as_str).map(family).collect();
    if own_families.len() > 1 && own_families.iter().collect::<BTreeSet<_>>().len() == 1 {
        errors.push(Error::invalid(&own, json!(ips), "may specify no more than one IP for each IP family"));
    }
    for (index, (family, wanted)) in own_families.iter().zip(items(spec, "/ipFamilies")).enumerate() {
        if wanted != family {
            let detail = format!("expected an {} value as indicated by `ipFamilies[{index}]`", text(wanted, ""));
            errors.push(Error::invalid(&own.index(index), ips[index].clone(), &detail));
        }
    }
    errors
}

fn families(spec: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let mut seen = BTreeSet::new();
    let own = path.child("ipFamilies");
    // Compat: a headless service without a selector may name families that the cluster hasn't.
    let open = is_headless(spec) && crate::field::fields(&spec["selector"]).next().is_none();
    for (index, family) in items(spec, "/ipFamilies").iter().filter_map(Value::as_str).enumerate() {
        if !matches!(family, "IPv4" | "IPv6") {
            errors.push(Error::not_supported(&own.index(index), family, &["IPv4", "IPv6"]));
        } else if family == "IPv6" && !open {
            errors.push(Error::invalid(&own.index(index), family, "not configured on this cluster"));
        }
        if !seen.insert(family) {
            errors.push(Error::duplicate(&own.index(index), family));
        }
    }
    let policy = text(spec, "/ipFamilyPolicy");
    let path = path.child("ipFamilyPolicy");
    let supported = ["PreferDualStack", "RequireDualStack", "SingleStack"];
    if !policy.is_empty() && !supported.contains(&policy) {
        errors.push(Error::not_supported(&path, policy, &supported));
    }
    if policy == "RequireDualStack" && !open {
        errors.push(Error::invalid(&path, policy, "this cluster is not configured for dual-stack services"));
    }
    if policy == "SingleStack" {
        for (name, what) in [("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families")] {
            if spec[name].as_array().is_some_and(|list| list.len() == 2) {
                let detail =
                    format!("must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified");
                errors.push(Error::invalid(&path, policy, &detail));
            }
        }
    }
    errors
}

fn balancing(object: &Value, path: &Path) -> Errors {
    const ANNOTATION: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
    let spec = &object["spec"];
    let balanced = text(spec, "/type") == "LoadBalancer";
    let only = |path: &Path| Error::forbidden(path, "may only be used when `type` is 'LoadBalancer'");
    let mut errors = Errors::new();
    let ranges = items(spec, "/loadBalancerSourceRanges");
    if !ranges.is_empty() {
        // Compat: upstream spells the path so.
        let path = path.child("LoadBalancerSourceRanges");
        errors.extend((!balanced).then(|| only(&path)));
        for (index, range) in ranges.iter().filter_map(Value::as_str).enumerate() {
            errors.extend(addresses::cidr(&path.index(index), range.trim()));
        }
    } else if let Some(ranges) = object["metadata"]["annotations"].get(ANNOTATION).and_then(Value::as_str) {
        let path = Path::new("metadata").child("annotations").key(ANNOTATION);
        errors.extend((!balanced).then(|| only(&path)));
        for range in ranges.split(',').map(str::trim).filter(|_| !ranges.trim().is_empty()) {
            errors.extend(addresses::cidr(&path, range));
        }
    }
    match (balanced, spec["allocateLoadBalancerNodePorts"].is_null()) {
        (false, false) => errors.push(only(&path.child("allocateLoadBalancerNodePorts"))),
        (true, true) => errors.push(Error::required(&Path::new("allocateLoadBalancerNodePorts"), "")),
        (_, _) => {}
    }
    if let Some(class) = spec["loadBalancerClass"].as_str() {
        let path = path.child("loadBalancerClass");
        errors.extend((!balanced).then(|| only(&path)));
        errors.extend(names::qualified(class).iter().map(|rule| Error::invalid(&path, class, rule)));
    }
    errors
}

fn policies(spec: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let (external, own) = (text(spec, "/externalTrafficPolicy"), path.child("externalTrafficPolicy"));
    if externally_accessible(spec) {
        errors.extend(one_of(&own, external, &["Cluster", "Local"]));
    } else if !external.is_empty() {
        errors.push(Error::invalid(&own, external, "may only be set for externally-accessible services"));
    }
    let (port, own) = (number(spec, "/healthCheckNodePort").unwrap_or(0), path.child("healthCheckNodePort"));
    match (needs_health_check(spec), port) {
        (false, 0) => {}
        (false, port) => {
            let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            errors.push(Error::invalid(&own, port, detail));
        }
        (true, 0) => errors.push(Error::required(&own, "")),
        (true, port) => errors.extend(addresses::port(&own, &json!(port))),
    }
    let own = path.child("internalTrafficPolicy");
    match spec["internalTrafficPolicy"].as_str() {
        None if ["ClusterIP", "NodePort", "LoadBalancer"].contains(&text(spec, "/type")) => {
            errors.push(Error::required(&own, ""))
        }
        None => {}
        Some(policy) => errors.extend(one_of(&own, policy, &["Cluster", "Local"])),
    }
    if let Some(distribution) = spec["trafficDistribution"].as_str() {
        let supported = ["PreferClose", "PreferSameZone", "PreferSameNode"];
        if !supported.contains(&distribution) {
            let at = path.child("trafficDistribution");
            errors.push(Error::not_supported_as_listed(&at, distribution, &supported));
        }
    }
    errors
}

/// What may be wrong with a status.
pub(super) fn status(new: &Value, old: &Value) -> Errors {
    let path = Path::new("status").child("loadBalancer").child("ingress");
    let ingress = items(new, "/status/loadBalancer/ingress");
    if ingress == items(old, "/status/loadBalancer/ingress") {
        return Errors::new();
    }
    if text(new, "/spec/type") != "LoadBalancer" && !ingress.is_empty() {
        return vec![Error::forbidden(&path, "may only be used when `spec.type` is LoadBalancer")];
    }
    let mut errors = Errors::new();
    for (index, ingress) in ingress.iter().enumerate() {
        let path = path.index(index);
        match (text(ingress, "/ip"), text(ingress, "/ipMode")) {
            ("", "") => {}
            ("", _) => {
                errors.push(Error::forbidden(&path.child("ipMode"), "may not be specified when `ip` is not set"))
            }
            (ip, mode) => {
                errors.extend(addresses::ip(&path.child("ip"), ip));
                match mode {
                    "" => errors.push(Error::required(&path.child("ipMode"), "must be specified when `ip` is set")),
                    mode => errors.extend(one_of(&path.child("ipMode"), mode, &["Proxy", "VIP"])),
                }
            }
        }
        let host = text(ingress, "/hostname");
        if host.parse::<std::net::IpAddr>().is_ok() {
            errors.push(Error::invalid(&path.child("hostname"), host, "must be a DNS name, not an IP address"));
        } else if !host.is_empty() {
            let rules = names::subdomain(host);
            errors.extend(rules.iter().map(|rule| Error::invalid(&path.child("hostname"), host, rule)));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::super::Service;
    use super::*;
    use crate::resource::{Part, Rules, Settings};

    const SETTINGS: Settings = Settings { allow_privileged: true };

    fn made(spec: Value) -> Value {
        let mut object = json!({"metadata": {"name": "a", "namespace": "b"}, "spec": spec});
        Service.default(&mut object);
        Service.prepare_create(&mut object);
        object
    }

    #[test]
    fn services_are_checked() {
        let check = |spec: Value, expected: &[&str]| {
            let found: Vec<String> = service(&made(spec)).iter().map(ToString::to_string).collect();
            assert_eq!(found, expected);
        };
        let ports = json!([{"port": 80}]);
        check(json!({"ports": ports}), &[]);
        check(json!({}), &["spec.ports: Required value"]);
        check(json!({"clusterIP": "None"}), &[]);
        check(json!({"type": "ExternalName"}), &["spec.externalName: Required value"]);
        check(
            json!({"type": "NodePort", "clusterIP": "None", "ports": ports}),
            &["spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services"],
        );
        check(
            json!({"ports": [{"port": 80, "nodePort": 30000}]}),
            &["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
        );
        check(json!({"ports": [{"port": 80}, {"port": 81, "name": "b"}]}), &["spec.ports[0].name: Required value"]);
        check(
            json!({"ports": ports, "sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 0}}}),
            &[
                "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 0: must be greater than 0 and less than 86400",
            ],
        );
    }

    #[test]
    fn types_change() {
        let change = |old: Value, new: Value| {
            let old = made(old);
            let mut new = json!({"metadata": {"name": "a", "namespace": "b"}, "spec": new});
            Service.default(&mut new);
            Service.prepare_update(&mut new, &old, Part::Main);
            let errors: Vec<String> =
                Service.validate_update(&new, &old, Part::Main, &SETTINGS).iter().map(ToString::to_string).collect();
            (new["spec"].clone(), errors)
        };
        let node_port =
            json!({"type": "NodePort", "clusterIP": "10.96.0.7", "ports": [{"port": 80, "nodePort": 30001}]});
        let (spec, errors) = change(node_port.clone(), json!({"type": "NodePort", "ports": [{"port": 80}]}));
        assert_eq!((&spec["clusterIP"], &spec["ports"][0]["nodePort"]), (&json!("10.96.0.7"), &json!(30001)));
        assert_eq!(errors, Vec::<String>::new());
        let mut external = made(node_port.clone())["spec"].clone();
        external["type"] = json!("ExternalName");
        external["externalName"] = json!("example.com");
        let (spec, errors) = change(node_port.clone(), external);
        assert_eq!((&spec["clusterIP"], &spec["ports"][0]["nodePort"]), (&Value::Null, &Value::Null));
        assert_eq!(errors, Vec::<String>::new());
        let moved = json!({"clusterIP": "10.96.0.8", "ports": [{"port": 80}]});
        let (_, errors) = change(node_port, moved);
        assert_eq!(errors, ["spec.clusterIPs[0]: Invalid value: [\"10.96.0.8\"]: may not change once set"]);
    }
}
