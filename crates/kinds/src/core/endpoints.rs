//! Endpoints.

use meta::field::{Error, Errors, Path};
use meta::names;
use serde_json::Value;

use crate::field::{self, items, items_mut, text};
use crate::plain::{AGE, NAME, column, name};
use crate::resource::{Column, Part, Rules, Settings};
use crate::{addresses, age};

pub(crate) const COLUMNS: &[Column] = &[NAME, column("Endpoints", "string"), AGE];

/// So many are shown in a table.
const SHOWN: usize = 3;

pub(crate) struct Endpoints;

impl Rules for Endpoints {
    fn deprecation(&self) -> Option<&'static str> {
        Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice")
    }

    fn default(&self, object: &mut Value) {
        for subset in items_mut(object, "subsets") {
            items_mut(subset, "ports").for_each(|port| field::default(port, "protocol", "TCP"));
        }
    }

    fn validate(&self, object: &Value, _: &Settings) -> Errors {
        let mut errors = Errors::new();
        for (index, subset) in items(object, "/subsets").iter().enumerate() {
            let path = Path::new("subsets").index(index);
            let lists = ["addresses", "notReadyAddresses"];
            if lists.iter().all(|list| items(subset, &format!("/{list}")).is_empty()) {
                errors.push(Error::required(&path, "must specify `addresses` or `notReadyAddresses`"));
            }
            for list in lists {
                for (index, address) in items(subset, &format!("/{list}")).iter().enumerate() {
                    errors.extend(one_address(address, &path.child(list).index(index)));
                }
            }
            let ports = items(subset, "/ports");
            for (index, port) in ports.iter().enumerate() {
                errors.extend(one_port(port, ports.len() > 1, &path.child("ports").index(index)));
            }
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, _: Part<'_>, settings: &Settings) -> Errors {
        if new["subsets"] == old["subsets"] { Errors::new() } else { self.validate(new, settings) }
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        vec![name(object), shown(object).into(), age::of(object, now)]
    }
}

fn shown(object: &Value) -> String {
    let mut all = Vec::new();
    for subset in items(object, "/subsets") {
        let addresses = items(subset, "/addresses").iter().map(|address| text(address, "/ip"));
        let ports = items(subset, "/ports");
        if ports.is_empty() {
            all.extend(addresses.map(str::to_owned));
        } else {
            let of_port =
                |port: &Value| addresses.clone().map(|ip| format!("{ip}:{}", port["port"])).collect::<Vec<_>>();
            all.extend(ports.iter().flat_map(of_port));
        }
    }
    match all.len() {
        0 => "<none>".to_owned(),
        count if count > SHOWN => format!("{} + {} more...", all[..SHOWN].join(","), count - SHOWN),
        _ => all.join(","),
    }
}

fn one_address(address: &Value, path: &Path) -> Errors {
    let mut errors = addresses::endpoint(text(address, "/ip"), &path.child("ip"));
    for (field, rule) in [("hostname", names::label as fn(&str) -> Vec<String>), ("nodeName", names::subdomain)] {
        if let Some(value) = address[field].as_str().filter(|value| !value.is_empty()) {
            errors.extend(rule(value).iter().map(|rule| Error::invalid(&path.child(field), value, rule)));
        }
    }
    errors
}

fn one_port(port: &Value, needs_name: bool, path: &Path) -> Errors {
    let mut errors = Errors::new();
    match text(port, "/name") {
        "" if needs_name => errors.push(Error::required(&path.child("name"), "")),
        "" => {}
        name => errors.extend(names::label(name).iter().map(|rule| Error::invalid(&path.child("name"), name, rule))),
    }
    errors.extend(addresses::port(&path.child("port"), &port["port"]));
    let supported = ["SCTP", "TCP", "UDP"];
    match text(port, "/protocol") {
        "" => errors.push(Error::required(&path.child("protocol"), "")),
        other if !supported.contains(&other) => {
            errors.push(Error::not_supported(&path.child("protocol"), other, &supported));
        }
        _ => {}
    }
    errors
}
