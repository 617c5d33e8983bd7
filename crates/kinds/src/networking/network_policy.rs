//! NetworkPolicy.

use meta::field::{Error, Errors, Path};
use serde_json::{Value, json};

use crate::field::{self, items, items_mut, text};
use crate::plain::{AGE, NAME, column, name};
use crate::resource::{Column, Part, Rules, Settings};
use crate::{addresses, age};

pub(crate) const COLUMNS: &[Column] = &[NAME, column("Pod-Selector", "string"), AGE];

pub(crate) struct NetworkPolicy;

impl Rules for NetworkPolicy {
    fn default(&self, object: &mut Value) {
        let spec = field::child(object, "spec");
        field::child(spec, "podSelector");
        for direction in ["ingress", "egress"] {
            for rule in items_mut(spec, direction) {
                items_mut(rule, "ports").for_each(|port| field::default(port, "protocol", "TCP"));
            }
        }
        if items(spec, "/policyTypes").is_empty() {
            let egress = !items(spec, "/egress").is_empty();
            spec["policyTypes"] = if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        object["metadata"]["generation"] = json!(1);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, _: Part<'_>) {
        field::count_generation(new, old);
    }

    fn validate(&self, object: &Value, _: &Settings) -> Errors {
        let (spec, path) = (&object["spec"], Path::new("spec"));
        let mut errors = selector(&spec["podSelector"], &path.child("podSelector"));
        for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
            for (index, rule) in items(spec, &format!("/{direction}")).iter().enumerate() {
                let path = path.child(direction).index(index);
                for (index, port) in items(rule, "/ports").iter().enumerate() {
                    errors.extend(one_port(port, &path.child("ports").index(index)));
                }
                for (index, peer) in items(rule, &format!("/{peers}")).iter().enumerate() {
                    errors.extend(one_peer(peer, &path.child(peers).index(index)));
                }
            }
        }
        let types = items(spec, "/policyTypes");
        if types.len() > 2 {
            let detail = "may not specify more than two policyTypes";
            errors.push(Error::invalid(&path.child("policyTypes"), types.to_vec(), detail));
        }
        let supported = ["Egress", "Ingress"];
        for (index, kind) in types.iter().filter_map(Value::as_str).enumerate() {
            if !supported.contains(&kind) {
                errors.push(Error::not_supported(&path.child("policyTypes").index(index), kind, &supported));
            }
        }
        errors
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        let selector = meta::LabelSelector::from_value(&object["spec"]["podSelector"]).unwrap_or_default().to_string();
        let selector = if selector.is_empty() { "<none>".to_owned() } else { selector };
        vec![name(object), selector.into(), age::of(object, now)]
    }
}

fn selector(value: &Value, path: &Path) -> Errors {
    let mut errors = crate::metadata::labels(&value["matchLabels"], &path.child("matchLabels"));
    if meta::LabelSelector::from_value(value).is_err() {
        errors.push(Error::invalid(path, value.clone(), "must be a valid label selector"));
    }
    errors
}

fn one_port(port: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let protocol = text(port, "/protocol");
    let supported = ["SCTP", "TCP", "UDP"];
    if !supported.contains(&protocol) {
        errors.push(Error::not_supported(&path.child("protocol"), protocol, &supported));
    }
    match &port["port"] {
        Value::Null if !port["endPort"].is_null() => {
            errors.push(Error::required(&path.child("port"), "must be specified when endPort is specified"));
        }
        Value::Null => {}
        Value::String(name) => {
            let rules = meta::names::port_name(name);
            errors.extend(rules.iter().map(|rule| Error::invalid(&path.child("port"), name.as_str(), rule)));
            if !port["endPort"].is_null() {
                let detail = "may not be specified when `port` is non-numeric";
                errors.push(Error::invalid(&path.child("endPort"), port["endPort"].clone(), detail));
            }
        }
        number => {
            errors.extend(addresses::port(&path.child("port"), number));
            let end = &port["endPort"];
            if end.as_i64().is_some_and(|end| end < number.as_i64().unwrap_or(0)) {
                let detail = "must be greater than or equal to `port`";
                errors.push(Error::invalid(&path.child("endPort"), end.clone(), detail));
            } else if !end.is_null() {
                errors.extend(addresses::port(&path.child("endPort"), end));
            }
        }
    }
    errors
}

fn one_peer(peer: &Value, path: &Path) -> Errors {
    let has = |field: &str| !peer[field].is_null();
    let mut errors = Errors::new();
    for field in ["podSelector", "namespaceSelector"].into_iter().filter(|field| has(field)) {
        errors.extend(selector(&peer[field], &path.child(field)));
    }
    if has("ipBlock") {
        if has("podSelector") || has("namespaceSelector") {
            errors.push(Error::forbidden(path, "may not specify both ipBlock and another peer"));
        }
        errors.extend(block(&peer["ipBlock"], &path.child("ipBlock")));
    }
    if !has("ipBlock") && !has("podSelector") && !has("namespaceSelector") {
        errors.push(Error::required(path, "must specify a peer"));
    }
    errors
}

fn block(block: &Value, path: &Path) -> Errors {
    let cidr = text(block, "/cidr");
    if cidr.is_empty() {
        return vec![Error::required(&path.child("cidr"), "")];
    }
    let mut errors = addresses::cidr(&path.child("cidr"), cidr);
    let Some((whole, bits)) = addresses::parse_cidr(cidr) else { return errors };
    for (index, except) in items(block, "/except").iter().filter_map(Value::as_str).enumerate() {
        let path = path.child("except").index(index);
        errors.extend(addresses::cidr(&path, except));
        let inside = addresses::parse_cidr(except).is_some_and(|(address, own)| {
            own > bits && address.is_ipv4() == whole.is_ipv4() && prefix(address, bits) == prefix(whole, bits)
        });
        if !inside {
            errors.push(Error::invalid(&path, except, &format!("must be a strict subset of `cidr` {cidr:?}")));
        }
    }
    errors
}

/// The first bits of an address.
fn prefix(address: std::net::IpAddr, bits: u8) -> u128 {
    let (number, width) = match address {
        std::net::IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        std::net::IpAddr::V6(address) => (address.to_bits(), 128),
    };
    number.checked_shr(width - u32::from(bits)).unwrap_or(0)
}
