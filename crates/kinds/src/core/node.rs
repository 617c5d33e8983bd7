//! Node.

use std::collections::BTreeSet;

use meta::field::{Error, Errors, Path};
use meta::{Quantity, names};
use serde_json::{Value, json};

use crate::age;
use crate::field::{fields, items, remove, text};
use crate::plain::{AGE, NAME, cell, column, name, wide};
use crate::resource::{Column, Part, Rules, Settings};

pub(crate) const COLUMNS: &[Column] = &[
    NAME,
    column("Status", "string"),
    column("Roles", "string"),
    AGE,
    column("Version", "string"),
    wide("Internal-IP"),
    wide("External-IP"),
    wide("OS-Image"),
    wide("Kernel-Version"),
    wide("Container-Runtime"),
];

pub(crate) struct Node;

impl Rules for Node {
    fn default(&self, object: &mut Value) {
        let Some(spec) = object.get_mut("spec") else { return };
        // Compat: the field from before there were two families names the first range.
        let (one, first) = (text(spec, "/podCIDR").to_owned(), text(spec, "/podCIDRs/0").to_owned());
        if one.is_empty() && !first.is_empty() {
            spec["podCIDR"] = json!(first);
        } else if one != first {
            spec["podCIDRs"] = json!([one]);
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        if let Some(spec) = object.get_mut("spec") {
            remove(spec, "configSource");
        }
    }

    fn validate(&self, object: &Value, _: &Settings) -> Errors {
        let mut errors = taints(object);
        errors.extend(amounts(object));
        let path = Path::new("spec").child("podCIDRs");
        let ranges = items(object, "/spec/podCIDRs");
        for (index, range) in ranges.iter().filter_map(Value::as_str).enumerate() {
            if !is_range(range) {
                let why = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
                errors.push(Error::invalid(&path.index(index), range, why));
            }
        }
        let families: BTreeSet<bool> =
            ranges.iter().map(|range| range.as_str().is_some_and(|r| r.contains(':'))).collect();
        if ranges.len() > 1 && (families.len() < 2 || ranges.len() > 2) {
            let why = "may specify no more than one CIDR for each IP family";
            errors.push(Error::invalid(&path, object["spec"]["podCIDRs"].clone(), why));
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, _: Part<'_>, _: &Settings) -> Errors {
        let path = Path::new("spec");
        let mut errors = amounts(new);
        let addresses = items(new, "/status/addresses");
        for (index, address) in addresses.iter().enumerate() {
            if addresses[..index].contains(address) {
                let at = Path::new("status").child("addresses").index(index);
                errors.push(Error::duplicate(&at, address.clone()));
            }
        }
        let (ranges, before) = (items(new, "/spec/podCIDRs"), items(old, "/spec/podCIDRs"));
        if !before.is_empty() && before != ranges {
            let why = "node updates may not change podCIDR except from \"\" to valid";
            errors.push(Error::forbidden(&path.child("podCIDRs"), why));
        }
        let provider = text(old, "/spec/providerID");
        if !provider.is_empty() && provider != text(new, "/spec/providerID") {
            let why = "node updates may not change providerID except from \"\" to valid";
            errors.push(Error::forbidden(&path.child("providerID"), why));
        }
        errors.extend(taints(new));
        if text(new, "/spec/externalID") != text(old, "/spec/externalID") {
            errors.push(Error::forbidden(&path.child("externalID"), "may not be updated"));
        }
        errors
    }

    fn selectable(&self) -> &'static [&'static str] {
        &["spec.unschedulable"]
    }

    fn fields(&self, object: &Value) -> Vec<(String, String)> {
        let unschedulable = object.pointer("/spec/unschedulable").and_then(Value::as_bool).unwrap_or(false);
        vec![("spec.unschedulable".to_owned(), unschedulable.to_string())]
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        let address = |kind: &str| {
            let found = items(object, "/status/addresses").iter().find(|address| text(address, "/type") == kind);
            found.map_or(Value::from("<none>"), |address| address["address"].clone())
        };
        vec![
            name(object),
            status(object).into(),
            roles(object).into(),
            age::of(object, now),
            cell(object, "/status/nodeInfo/kubeletVersion", ""),
            address("InternalIP"),
            address("ExternalIP"),
            cell(object, "/status/nodeInfo/osImage", "<unknown>"),
            cell(object, "/status/nodeInfo/kernelVersion", "<unknown>"),
            cell(object, "/status/nodeInfo/containerRuntimeVersion", "<unknown>"),
        ]
    }
}

/// Compat: upstream looks for taints below the metadata, in its errors.
fn taints(object: &Value) -> Errors {
    const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
    let mut errors = Errors::new();
    let mut seen = BTreeSet::new();
    for (index, taint) in items(object, "/spec/taints").iter().enumerate() {
        let at = Path::new("metadata").child("taints").index(index);
        let (key, value, effect) = (text(taint, "/key"), text(taint, "/value"), text(taint, "/effect"));
        errors.extend(names::qualified(key).iter().map(|rule| Error::invalid(&at.child("key"), key, rule)));
        let rules = names::label_value(value);
        if !rules.is_empty() {
            errors.push(Error::invalid(&at.child("value"), value, &rules.join(";")));
        }
        if effect.is_empty() {
            errors.push(Error::required(&at.child("effect"), ""));
        } else if !EFFECTS.contains(&effect) {
            errors.push(Error::not_supported_as_listed(&at.child("effect"), effect, &EFFECTS));
        }
        if !seen.insert((key, effect)) {
            let mut error = Error::duplicate(&at, taint.clone());
            error.message.push_str(": taints must be unique by key and effect pair");
            errors.push(error);
        }
    }
    errors
}

fn amounts(object: &Value) -> Errors {
    let mut errors = Errors::new();
    for list in ["capacity", "allocatable"] {
        for (name, amount) in fields(&object["status"][list]) {
            let amount = amount.as_str().unwrap_or_default();
            if amount.parse::<Quantity>().is_ok_and(|amount| amount.is_negative()) {
                let at = Path::new("status").child(list).child(name);
                errors.push(Error::invalid(&at, amount, "must be greater than or equal to 0"));
            }
        }
    }
    errors
}

fn is_range(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let bits = match address.parse::<std::net::IpAddr>() {
        Ok(address) if address.is_ipv4() => 32,
        Ok(_) => 128,
        Err(_) => return false,
    };
    length.parse::<u8>().is_ok_and(|length| length <= bits)
}

fn status(object: &Value) -> String {
    let ready = items(object, "/status/conditions").iter().find(|condition| text(condition, "/type") == "Ready");
    let mut status = match ready.map(|condition| text(condition, "/status")) {
        Some("True") => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if object.pointer("/spec/unschedulable") == Some(&Value::Bool(true)) {
        status.push_str(",SchedulingDisabled");
    }
    status
}

fn roles(object: &Value) -> String {
    let role = |(key, value): (&String, &Value)| match key.strip_prefix("node-role.kubernetes.io/") {
        Some(role) if !role.is_empty() => Some(role.to_owned()),
        _ if key == "kubernetes.io/role" => value.as_str().map(str::to_owned),
        _ => None,
    };
    let roles: Vec<String> = fields(&object["metadata"]["labels"]).filter_map(role).collect();
    if roles.is_empty() { "<none>".to_owned() } else { roles.join(",") }
}
