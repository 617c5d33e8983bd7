//! EndpointSlice.

use std::collections::BTreeSet;
use std::net::IpAddr;

use meta::field::{Error, Errors, Path};
use meta::names;
use serde_json::{Value, json};

use crate::field::{self, fields, items, items_mut, text};
use crate::plain::{AGE, NAME, column, name};
use crate::resource::{Column, Part, Rules, Settings};
use crate::{addresses, age};

pub(crate) const COLUMNS: &[Column] =
    &[NAME, column("AddressType", "string"), column("Ports", "string"), column("Endpoints", "string"), AGE];

const MAX_ENDPOINTS: usize = 1000;
const MAX_PORTS: usize = 20_000;
const MAX_ADDRESSES: usize = 100;
/// So many are shown in a table.
const SHOWN: usize = 3;

pub(crate) struct EndpointSlice;

impl Rules for EndpointSlice {
    fn default(&self, object: &mut Value) {
        for port in items_mut(object, "ports") {
            field::default(port, "name", "");
            field::default(port, "protocol", "TCP");
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        object["metadata"]["generation"] = json!(1);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, _: Part<'_>) {
        field::count_generation(new, old);
        let labels = |object: &Value| object.pointer("/metadata/labels").cloned();
        let same = labels(new) == labels(old);
        if !same && field::same_desired_state(new, old) {
            // Compat: here labels count as desired state too.
            let generation = field::number(old, "/metadata/generation").unwrap_or(0);
            new["metadata"]["generation"] = json!(generation + 1);
        }
    }

    fn validate(&self, object: &Value, _: &Settings) -> Errors {
        let path = Path::new("addressType");
        let kind = text(object, "/addressType");
        let mut errors = Errors::new();
        let supported = ["FQDN", "IPv4", "IPv6"];
        match kind {
            "" => errors.push(Error::required(&path, "")),
            kind if !supported.contains(&kind) => errors.push(Error::not_supported(&path, kind, &supported)),
            _ => {}
        }
        errors.extend(endpoints(object, kind));
        errors.extend(ports(object));
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, _: Part<'_>, settings: &Settings) -> Errors {
        let mut errors = self.validate(new, settings);
        if new["addressType"] != old["addressType"] {
            let kind = new["addressType"].clone();
            errors.push(Error::invalid(&Path::new("addressType"), kind, "field is immutable"));
        }
        errors
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        let ports = items(object, "/ports").iter().map(|port| match port["port"].as_i64() {
            Some(number) => number.to_string(),
            None => "*".to_owned(),
        });
        let addresses = items(object, "/endpoints").iter().flat_map(|endpoint| items(endpoint, "/addresses"));
        let addresses = addresses.filter_map(Value::as_str).map(str::to_owned);
        vec![
            name(object),
            object["addressType"].clone(),
            first(ports, "<unset>").into(),
            first(addresses, "<unset>").into(),
            age::of(object, now),
        ]
    }
}

fn first(all: impl Iterator<Item = String>, none: &str) -> String {
    let all: Vec<String> = all.collect();
    match all.len() {
        0 => none.to_owned(),
        count if count > SHOWN => format!("{} + {} more...", all[..SHOWN].join(","), count - SHOWN),
        _ => all.join(","),
    }
}

fn endpoints(object: &Value, kind: &str) -> Errors {
    let all = items(object, "/endpoints");
    let path = Path::new("endpoints");
    if all.len() > MAX_ENDPOINTS {
        return vec![Error::too_many(&path, all.len(), MAX_ENDPOINTS)];
    }
    let mut errors = Errors::new();
    for (index, endpoint) in all.iter().enumerate() {
        let path = path.index(index);
        let own = path.child("addresses");
        let addresses = items(endpoint, "/addresses");
        if addresses.is_empty() {
            errors.push(Error::required(&own, "must contain at least 1 address"));
        } else if addresses.len() > MAX_ADDRESSES {
            errors.push(Error::too_many(&own, addresses.len(), MAX_ADDRESSES));
        }
        let mut seen = BTreeSet::new();
        for (index, text) in addresses.iter().filter_map(Value::as_str).enumerate() {
            errors.extend(address(kind, text, &own.index(index)));
            if !seen.insert(text) {
                errors.push(Error::duplicate(&own.index(index), text));
            }
        }
        let named = [("nodeName", names::subdomain as fn(&str) -> Vec<String>), ("hostname", names::label)];
        for (field, rule) in named {
            if let Some(text) = endpoint[field].as_str() {
                errors.extend(rule(text).iter().map(|rule| Error::invalid(&path.child(field), text, rule)));
            }
        }
        for (key, value) in fields(&endpoint["deprecatedTopology"]) {
            let path = path.child("deprecatedTopology");
            errors.extend(names::qualified(key).iter().map(|rule| Error::invalid(&path, key.as_str(), rule)));
            let value = value.as_str().unwrap_or_default();
            errors.extend(names::label_value(value).iter().map(|rule| Error::invalid(&path.key(key), value, rule)));
        }
        errors.extend(hints(endpoint, &path.child("hints")));
    }
    errors
}

fn hints(endpoint: &Value, path: &Path) -> Errors {
    const MAX: usize = 8;
    let mut errors = Errors::new();
    for field in ["forZones", "forNodes"] {
        let path = path.child(field);
        let list = items(&endpoint["hints"], &format!("/{field}"));
        if list.len() > MAX {
            errors.push(Error::too_many(&path, list.len(), MAX));
        }
        let mut seen = BTreeSet::new();
        for (index, hint) in list.iter().enumerate() {
            let path = path.index(index).child("name");
            let name = text(hint, "/name");
            if !seen.insert(name) {
                errors.push(Error::duplicate(&path, name));
            }
            errors.extend(names::label_value(name).iter().map(|rule| Error::invalid(&path, name, rule)));
        }
    }
    errors
}

fn address(kind: &str, text: &str, path: &Path) -> Errors {
    let parsed = text.parse::<IpAddr>();
    match (kind, parsed) {
        ("IPv4", Ok(IpAddr::V4(_))) | ("IPv6", Ok(IpAddr::V6(_))) => addresses::endpoint(text, path),
        ("IPv4", _) => vec![Error::invalid(path, text, "must be an IPv4 address")],
        ("IPv6", _) => vec![Error::invalid(path, text, "must be an IPv6 address")],
        ("FQDN", _) => names::subdomain(text).iter().map(|rule| Error::invalid(path, text, rule)).collect(),
        (_, _) => Errors::new(),
    }
}

fn ports(object: &Value) -> Errors {
    let all = items(object, "/ports");
    let path = Path::new("ports");
    if all.len() > MAX_PORTS {
        return vec![Error::too_many(&path, all.len(), MAX_PORTS)];
    }
    let mut errors = Errors::new();
    let mut seen = BTreeSet::new();
    for (index, port) in all.iter().enumerate() {
        let path = path.index(index);
        let name = text(port, "/name");
        if !name.is_empty() {
            errors.extend(names::label(name).iter().map(|rule| Error::invalid(&path.child("name"), name, rule)));
        }
        if !seen.insert(name) {
            errors.push(Error::duplicate(&path.child("name"), name));
        }
        let supported = ["SCTP", "TCP", "UDP"];
        match text(port, "/protocol") {
            "" => errors.push(Error::required(&path.child("protocol"), "")),
            other if !supported.contains(&other) => {
                errors.push(Error::not_supported(&path.child("protocol"), other, &supported));
            }
            _ => {}
        }
        if !port["port"].is_null() {
            errors.extend(addresses::port(&path.child("port"), &port["port"]));
        }
        if let Some(protocol) = port["appProtocol"].as_str() {
            let rules = names::qualified(protocol);
            errors.extend(rules.iter().map(|rule| Error::invalid(&path.child("appProtocol"), protocol, rule)));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_checked() {
        let check = |object: Value, expected: &[&str]| {
            let settings = Settings { allow_privileged: true };
            let found: Vec<String> =
                EndpointSlice.validate(&object, &settings).iter().map(ToString::to_string).collect();
            assert_eq!(found, expected);
        };
        check(json!({"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": null}), &[]);
        check(json!({"addressType": ""}), &["addressType: Required value"]);
        check(
            json!({"addressType": "IPv4", "endpoints": [{"addresses": ["127.0.0.1"]}]}),
            &[
                "endpoints[0].addresses[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
            ],
        );
        check(
            json!({"addressType": "IPv4", "endpoints": [{"addresses": []}]}),
            &["endpoints[0].addresses: Required value: must contain at least 1 address"],
        );
    }
}
