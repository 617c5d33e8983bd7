//! What the proxy needs to know of a service: a [`ServicePort`] for each of its ports.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use net::Transport;
use serde_json::Value;

use super::Settings;
use crate::objects::{items, text};

/// Upstream's default of how long a client stays with its endpoint.
const AFFINITY: u64 = 10800;

/// A port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServicePort {
    /// `namespace/name/tcp/80`.
    pub(crate) key: String,
    pub(crate) transport: Transport,
    pub(crate) cluster_ip: Ipv4Addr,
    pub(crate) port: u16,
    pub(crate) node_port: Option<u16>,
    /// Where load balancers ask how the service is.
    pub(crate) health_port: Option<u16>,
    /// Addresses that the node takes traffic for: those of load balancers, and external ones where they are served.
    pub(crate) outer_ips: Vec<Ipv4Addr>,
    /// Who may come to those; empty for everyone.
    pub(crate) source_ranges: Vec<(Ipv4Addr, u8)>,
    /// How long a client stays with its endpoint.
    pub(crate) affinity: Option<Duration>,
    /// Those that traffic from inside goes to, and whether there are others elsewhere.
    pub(crate) inner: Targets,
    /// Those that traffic from outside goes to, where that differs.
    pub(crate) outer: Option<Targets>,
    /// Endpoints on this node: they may reach themselves.
    pub(crate) local: Vec<Ipv4Addr>,
    /// Those of them that are ready.
    pub(crate) local_ready: Vec<Ipv4Addr>,
}

/// Endpoints that take traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Targets {
    pub(crate) endpoints: Vec<(Ipv4Addr, u16)>,
    /// Whether the service has endpoints that this traffic must not go to.
    pub(crate) elsewhere: bool,
}

/// An endpoint of one port.
#[derive(Clone, Copy, Debug)]
struct Endpoint<'a> {
    place: (Ipv4Addr, u16),
    local: bool,
    ready: bool,
    /// Ends, and still answers.
    last_resort: bool,
    hints: &'a Value,
}

/// The ports of a service that traffic can go to through its addresses; none for a headless or external one.
pub(crate) fn ports(service: &Value, slices: &[Value], zone: &str, settings: &Settings) -> Vec<ServicePort> {
    let kind = text(service, "/spec/type");
    let Ok(cluster_ip) = text(service, "/spec/clusterIP").parse() else { return Vec::new() };
    if kind == "ExternalName" {
        return Vec::new();
    }
    items(service, "/spec/ports")
        .iter()
        .filter_map(|port| one(service, port, slices, (cluster_ip, zone, settings)))
        .collect()
}

fn one(
    service: &Value,
    port: &Value,
    slices: &[Value],
    (cluster_ip, zone, settings): (Ipv4Addr, &str, &Settings),
) -> Option<ServicePort> {
    let transport = Transport::named(text(port, "/protocol"))?;
    let number = u16::try_from(port["port"].as_i64()?).ok()?;
    let namespace = text(service, "/metadata/namespace");
    let protocol = text(port, "/protocol").to_lowercase();
    let endpoints = endpoints(port, slices, &settings.node);
    let inner_local = text(service, "/spec/internalTrafficPolicy") == "Local";
    let outer_local = text(service, "/spec/externalTrafficPolicy") == "Local";
    let all = targets(near(&endpoints, zone, &settings.node));
    let local = || {
        let mut own = targets(endpoints.iter().filter(|endpoint| endpoint.local).copied().collect());
        own.elsewhere = !all.endpoints.is_empty();
        own
    };
    let affinity = (text(service, "/spec/sessionAffinity") == "ClientIP").then(|| {
        let seconds = service.pointer("/spec/sessionAffinityConfig/clientIP/timeoutSeconds").and_then(Value::as_u64);
        Duration::from_secs(seconds.unwrap_or(AFFINITY))
    });
    let selves = endpoints.iter().filter(|endpoint| endpoint.local);
    let outer = match (outer_local, inner_local) {
        (true, _) => Some(local()),
        (false, true) => Some(all.clone()),
        (false, false) => None,
    };
    Some(ServicePort {
        key: format!("{namespace}/{}/{protocol}/{number}", text(service, "/metadata/name")),
        transport,
        cluster_ip,
        port: number,
        node_port: number_of(&port["nodePort"]),
        health_port: number_of(&service["spec"]["healthCheckNodePort"]),
        outer_ips: outer_ips(service, settings),
        source_ranges: source_ranges(service),
        affinity,
        inner: if inner_local { local() } else { all.clone() },
        outer,
        local: addresses(selves.clone()),
        local_ready: addresses(selves.filter(|endpoint| endpoint.ready)),
    })
}

fn addresses<'a>(endpoints: impl Iterator<Item = &'a Endpoint<'a>>) -> Vec<Ipv4Addr> {
    let mut all: Vec<Ipv4Addr> = endpoints.map(|endpoint| endpoint.place.0).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn number_of(value: &Value) -> Option<u16> {
    value.as_u64().and_then(|number| u16::try_from(number).ok()).filter(|number| *number != 0)
}

fn outer_ips(service: &Value, settings: &Settings) -> Vec<Ipv4Addr> {
    let balanced = items(service, "/status/loadBalancer/ingress").iter();
    let balanced = balanced.filter(|ingress| text(ingress, "/ipMode") != "Proxy").map(|ingress| text(ingress, "/ip"));
    let external =
        items(service, "/spec/externalIPs").iter().filter(|_| settings.external_ips).filter_map(Value::as_str);
    let mut all: Vec<Ipv4Addr> = balanced.chain(external).filter_map(|ip| ip.parse().ok()).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn source_ranges(service: &Value) -> Vec<(Ipv4Addr, u8)> {
    let parse = |text: &str| {
        let (address, bits) = text.trim().split_once('/')?;
        Some((address.parse().ok()?, bits.parse().ok()?))
    };
    items(service, "/spec/loadBalancerSourceRanges").iter().filter_map(Value::as_str).filter_map(parse).collect()
}

/// The endpoints of a port, by place.
fn endpoints<'a>(port: &Value, slices: &'a [Value], node: &str) -> Vec<Endpoint<'a>> {
    let mut found: BTreeMap<(Ipv4Addr, u16), Endpoint<'a>> = BTreeMap::new();
    for slice in slices.iter().filter(|slice| slice["addressType"] == "IPv4") {
        let same = |own: &&Value| text(own, "/name") == text(port, "/name") && own["protocol"] == port["protocol"];
        let Some(own) = items(slice, "/ports").iter().find(same) else { continue };
        // A port without a number is every port of the endpoint: then it is the service's own.
        let number = own["port"].as_i64().or(port["targetPort"].as_i64()).and_then(|number| u16::try_from(number).ok());
        let Some(number) = number else { continue };
        for endpoint in items(slice, "/endpoints") {
            let flag = |name: &str| endpoint["conditions"][name].as_bool();
            let ready = flag("ready").unwrap_or(true);
            let last_resort = flag("serving").unwrap_or(ready) && flag("terminating").unwrap_or(false);
            // Compat: only the first address counts.
            let address = items(endpoint, "/addresses").first().and_then(Value::as_str);
            let Some(address) = address.and_then(|ip| ip.parse().ok()).filter(is_fine) else { continue };
            let local = text(endpoint, "/nodeName") == node;
            let new = Endpoint { place: (address, number), local, ready, last_resort, hints: &endpoint["hints"] };
            let had = found.entry(new.place).or_insert(new);
            if new.ready || (!had.ready && new.last_resort) {
                *had = new;
            }
        }
    }
    found.into_values().collect()
}

/// Addresses of the machine itself, or of nobody, are no endpoints: whoever may write slices must not reach what listens there.
fn is_fine(address: &Ipv4Addr) -> bool {
    !(address.is_loopback()
        || address.is_unspecified()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || address.octets()[0] == 0)
}

/// The endpoints that hints give to this node, or to its zone; all of them if some have no hint or none is near.
fn near<'a>(endpoints: &[Endpoint<'a>], zone: &str, node: &str) -> Vec<Endpoint<'a>> {
    for (field, own) in [("/forNodes", node), ("/forZones", zone)] {
        let ready = || endpoints.iter().filter(|endpoint| endpoint.ready);
        let names_own = |endpoint: &&Endpoint<'_>| items(endpoint.hints, field).iter().any(|hint| hint["name"] == own);
        let complete = ready().all(|endpoint| !items(endpoint.hints, field).is_empty());
        if complete && !own.is_empty() && ready().any(|endpoint| names_own(&endpoint)) {
            return endpoints.iter().filter(names_own).copied().collect();
        }
    }
    endpoints.to_vec()
}

/// Those that are ready; if there is none, those that end and still answer.
fn targets(endpoints: Vec<Endpoint<'_>>) -> Targets {
    let any = endpoints.iter().any(|endpoint| endpoint.ready);
    let usable = endpoints.iter().filter(|endpoint| if any { endpoint.ready } else { endpoint.last_resort });
    Targets { endpoints: usable.map(|endpoint| endpoint.place).collect(), elsewhere: false }
}
