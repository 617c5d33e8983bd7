//! Where the proxy of a pod, a service or a node leads: an address that was checked and is the one that is dialled.

use std::net::{IpAddr, SocketAddr};

use meta::{ApiError, Gvr, Reason};
use rand::seq::SliceRandom;
use registry::Reader;
use serde_json::Value;

use crate::door::Door;
use crate::relay;

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) address: SocketAddr,
    pub(crate) security: Security,
}

/// How the connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Security {
    Plain,
    /// TLS that verifies nothing.
    Trusting,
    /// As the server speaks to kubelets.
    Kubelet,
}

impl Security {
    fn of(scheme: &str) -> Self {
        if scheme == "https" { Self::Trusting } else { Self::Plain }
    }

    fn port(self) -> u16 {
        if self == Self::Plain { 80 } else { 443 }
    }
}

/// `[scheme:]name[:port]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Target<'a> {
    scheme: &'a str,
    name: &'a str,
    port: &'a str,
}

impl<'a> Target<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let (scheme, name, port) = match parts.as_slice() {
            [name] => ("", *name, ""),
            [name, port] => ("", *name, *port),
            [scheme, name, port] => (*scheme, *name, *port),
            _ => return None,
        };
        (!name.is_empty() && matches!(scheme, "" | "http" | "https")).then_some(Self { scheme, name, port })
    }
}

/// Finds where `resources/NAME/proxy` leads.
pub(crate) fn locate(door: &Door, resource: &str, namespace: &str, id: &str) -> Result<Location, ApiError> {
    let singular = resource.trim_end_matches('s');
    let invalid = || ApiError::bad_request(format!("invalid {singular} request {id:?}"));
    let target = Target::parse(id).ok_or_else(invalid)?;
    match resource {
        "pods" => pod(&door.cached("pods", namespace, target.name)?.value(), target),
        "services" => service(door, namespace, target, id),
        _ => node(door, target),
    }
}

/// Refuses addresses that lead back into the server's own machine or nowhere.
fn allowed(address: Option<IpAddr>) -> Result<IpAddr, ApiError> {
    let is_global = |address: &IpAddr| {
        let link_local = match address {
            IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
            IpAddr::V6(address) => address.is_unicast_link_local(),
        };
        !(address.is_unspecified() || address.is_loopback() || address.is_multicast() || link_local)
    };
    address.filter(is_global).ok_or_else(|| ApiError::bad_request("address not allowed"))
}

fn port(text: &str, security: Security) -> Result<u16, ApiError> {
    if text.is_empty() {
        return Ok(security.port());
    }
    let unreachable = |_| unreachable(&format!("address {text}: invalid port"));
    text.parse().map_err(unreachable)
}

/// What upstream says of everything that goes wrong on the way.
pub(crate) fn unreachable(why: &str) -> ApiError {
    ApiError::new(Reason::ServiceUnavailable, format!("error trying to reach service: {why}"))
}

fn pod(pod: &Value, target: Target<'_>) -> Result<Location, ApiError> {
    let first = pod_addresses(pod).next();
    let ip = allowed(first.or_else(|| pod["status"]["podIP"].as_str()).and_then(|text| text.parse().ok()))?;
    let declared =
        items(&pod["spec"]["containers"]).find_map(|container| container["ports"][0]["containerPort"].as_u64());
    let security = Security::of(target.scheme);
    let port = match (target.port, declared.and_then(|port| u16::try_from(port).ok())) {
        ("", Some(declared)) => declared,
        (text, _) => port(text, security)?,
    };
    Ok(Location { address: SocketAddr::new(ip, port), security })
}

fn node(door: &Door, target: Target<'_>) -> Result<Location, ApiError> {
    let kubelet = relay::kubelet_address(door, target.name)?;
    allowed(Some(kubelet.ip()))?;
    let security = Security::of(target.scheme);
    let wanted = if target.port.is_empty() { kubelet.port() } else { port(target.port, security)? };
    if wanted == kubelet.port() {
        return Ok(Location { address: kubelet, security: Security::Kubelet });
    }
    Ok(Location { address: SocketAddr::new(kubelet.ip(), wanted), security })
}

fn service(door: &Door, namespace: &str, target: Target<'_>, id: &str) -> Result<Location, ApiError> {
    let unavailable = |text: String| ApiError::new(Reason::ServiceUnavailable, text);
    let service = door.cached("services", namespace, target.name)?.value();
    let named = match target.port.parse::<u64>() {
        Err(_) => target.port.to_owned(),
        Ok(number) => {
            let declared = items(&service["spec"]["ports"]).find(|port| port["port"].as_u64() == Some(number));
            let text = || format!("no service port {number} found for service {:?}", target.name);
            let declared = declared.ok_or_else(|| unavailable(text()))?;
            declared["name"].as_str().unwrap_or_default().to_owned()
        }
    };
    let reader: &dyn Reader = &*door.config.registry;
    let mut backends = match reader.get("", "endpoints", namespace, target.name) {
        Some(endpoints) => from_endpoints(&endpoints.value(), &named),
        None => {
            let slices = reader.list("discovery.k8s.io", "endpointslices", namespace);
            let of = |labels: &Value| labels["kubernetes.io/service-name"] == target.name;
            let slices = slices.iter().map(|slice| slice.value()).filter(|slice| of(&slice["metadata"]["labels"]));
            slices.flat_map(|slice| from_slice(&slice, &named)).collect()
        }
    };
    backends.shuffle(&mut rand::rng());
    let is_pods = |backend: &Backend| {
        let pod = door.config.registry.get_cached(&Gvr::new("", "v1", "pods"), namespace, &backend.pod);
        // Only addresses that pods have are proxied to: whoever writes endpoints leads nobody elsewhere.
        pod.is_some_and(|pod| pod_addresses(&pod.value()).any(|own| own.parse() == Ok(backend.address.ip())))
    };
    let chosen = backends.into_iter().find(is_pods);
    let chosen = chosen.ok_or_else(|| unavailable(format!("no endpoints available for service {id:?}")))?;
    allowed(Some(chosen.address.ip()))?;
    Ok(Location { address: chosen.address, security: Security::of(target.scheme) })
}

/// A pod that a service leads to.
#[derive(Debug, PartialEq, Eq)]
struct Backend {
    address: SocketAddr,
    pod: String,
}

fn backend(address: &str, port: &Value, pod: &Value) -> Option<Backend> {
    let port = u16::try_from(port.as_u64()?).ok()?;
    let pod = pod["name"].as_str()?.to_owned();
    Some(Backend { address: SocketAddr::new(address.parse().ok()?, port), pod })
}

fn from_endpoints(endpoints: &Value, named: &str) -> Vec<Backend> {
    let mut found = Vec::new();
    for subset in items(&endpoints["subsets"]) {
        let ports = items(&subset["ports"]).filter(|port| port["name"].as_str().unwrap_or_default() == named);
        for port in ports {
            let addresses = items(&subset["addresses"]);
            found.extend(addresses.filter_map(|own| backend(own["ip"].as_str()?, &port["port"], &own["targetRef"])));
        }
    }
    found
}

fn from_slice(slice: &Value, named: &str) -> Vec<Backend> {
    let mut found = Vec::new();
    let ports = items(&slice["ports"]).filter(|port| port["name"].as_str().unwrap_or_default() == named);
    for port in ports {
        let ready = items(&slice["endpoints"]).filter(|own| own["conditions"]["ready"] != false);
        found.extend(ready.filter_map(|own| backend(own["addresses"][0].as_str()?, &port["port"], &own["targetRef"])));
    }
    found
}

fn pod_addresses(pod: &Value) -> impl Iterator<Item = &str> {
    items(&pod["status"]["podIPs"]).filter_map(|own| own["ip"].as_str())
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn targets_have_a_scheme_a_name_and_a_port() {
        let check = |text: &str, expected: Option<(&str, &str, &str)>| {
            let found = Target::parse(text).map(|target| (target.scheme, target.name, target.port));
            assert_eq!(found, expected, "{text}");
        };
        check("web", Some(("", "web", "")));
        check("web:80", Some(("", "web", "80")));
        check("https:web:", Some(("https", "web", "")));
        check("https:web:admin", Some(("https", "web", "admin")));
        check("ftp:web:1", None);
        check(":80", None);
        check("a:b:c:d", None);
    }

    #[test]
    fn a_pod_is_reached_at_its_own_address_alone() {
        let check = |ip: &str, id: &str, expected: Result<&str, &str>| {
            let object = json!({"spec": {"containers": [{}, {"ports": [{"containerPort": 8080}]}]},
                                "status": {"podIPs": [{"ip": ip}]}});
            let found = pod(&object, Target::parse(id).expect("a target"));
            let found = found.map(|location| location.address.to_string()).map_err(|error| error.message.clone());
            assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned), "{ip} {id}");
        };
        check("10.1.2.3", "web", Ok("10.1.2.3:8080"));
        check("10.1.2.3", "web:81", Ok("10.1.2.3:81"));
        check("fd00::1", "https:web:443", Ok("[fd00::1]:443"));
        for ip in ["127.0.0.1", "169.254.169.254", "::1", "fe80::1", "0.0.0.0", "224.0.0.1", ""] {
            check(ip, "web", Err("address not allowed"));
        }
    }

    #[test]
    fn services_lead_to_their_ports_pods() {
        let endpoints = json!({"subsets": [{
            "addresses": [{"ip": "10.0.0.1", "targetRef": {"name": "a"}}, {"ip": "10.0.0.2"}],
            "ports": [{"name": "http", "port": 80}, {"name": "admin", "port": 81}],
        }]});
        let expected = Backend { address: "10.0.0.1:81".parse().expect("an address"), pod: "a".to_owned() };
        assert_eq!(from_endpoints(&endpoints, "admin"), [expected]);
        let slice = json!({"ports": [{"port": 80}], "endpoints": [
            {"addresses": ["10.0.0.1"], "conditions": {"ready": true}, "targetRef": {"name": "a"}},
            {"addresses": ["10.0.0.2"], "conditions": {"ready": false}, "targetRef": {"name": "b"}},
        ]});
        let expected = Backend { address: "10.0.0.1:80".parse().expect("an address"), pod: "a".to_owned() };
        assert_eq!(from_slice(&slice, ""), [expected]);
    }
}
