//! What a pod knows of names and addresses, and has of its host's.

use meta::field::{Error, Path};
use meta::names;
use serde_json::Value;

use super::{Check, Place, has};
use crate::field::{items, number, text};

const ADDRESS: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";

const SEARCH: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and \
                      must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
                      '_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*')";

/// A DNS subdomain whose labels may hold underscores, though not end with one.
fn is_search_path(text: &str) -> bool {
    text.split('.').all(|label| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let label = label.strip_prefix('_').unwrap_or(label).as_bytes();
        let edges = label.first().copied().is_some_and(inner) && label.last().copied().is_some_and(inner);
        edges && label.iter().all(|byte| inner(*byte) || matches!(byte, b'-' | b'_'))
    })
}

impl Check<'_> {
    pub(super) fn host_network(&mut self, spec: &Value, path: &Path) {
        if spec["hostNetwork"] != true {
            return;
        }
        for (index, container) in items(spec, "/containers").iter().enumerate() {
            for (port_index, port) in items(container, "/ports").iter().enumerate() {
                let host = number(port, "/hostPort").unwrap_or(0);
                let asked = self.place == Place::Pod || host != 0;
                if asked && Some(host) != number(port, "/containerPort") {
                    let at = path.index(index).child("ports").index(port_index).child("hostPort");
                    self.say(Error::invalid(&at, host, "must match `containerPort` when `hostNetwork` is true"));
                }
            }
        }
    }

    pub(super) fn dns(&mut self, spec: &Value, path: &Path) {
        let config = &spec["dnsConfig"];
        if text(spec, "/dnsPolicy") == "None" {
            if config.is_null() {
                return self.say(Error::required(path, "must provide `dnsConfig` when `dnsPolicy` is None"));
            }
            if items(config, "/nameservers").is_empty() {
                let why = "must provide at least one DNS nameserver when `dnsPolicy` is None";
                return self.say(Error::required(&path.child("nameservers"), why));
            }
        }
        let (servers, at) = (items(config, "/nameservers"), path.child("nameservers"));
        if servers.len() > 3 {
            self.say(Error::invalid(&at, config["nameservers"].clone(), "must not have more than 3 nameservers"));
        }
        for (index, server) in servers.iter().enumerate() {
            self.address(server.as_str().unwrap_or_default(), &at.index(index));
        }
        self.searches(config, &path.child("searches"));
        for (index, option) in items(config, "/options").iter().enumerate() {
            if text(option, "/name").is_empty() {
                self.say(Error::required(&path.child("options").index(index), "must not be empty"));
            }
        }
    }

    fn searches(&mut self, config: &Value, path: &Path) {
        let searches = items(config, "/searches");
        if searches.len() > 32 {
            self.say(Error::invalid(path, config["searches"].clone(), "must not have more than 32 search paths"));
        }
        let length = searches.iter().map(|search| search.as_str().unwrap_or_default().len() + 1).sum::<usize>();
        if length > 2049 {
            let why = "must not have more than 2048 characters (including spaces) in the search list";
            self.say(Error::invalid(path, config["searches"].clone(), why));
        }
        for (index, search) in searches.iter().enumerate() {
            let search = search.as_str().unwrap_or_default();
            let whole = search.strip_suffix('.').unwrap_or(search);
            if search != "." && !is_search_path(whole) {
                self.say(Error::invalid(&path.index(index), whole, SEARCH));
            }
        }
    }

    fn address(&mut self, address: &str, path: &Path) {
        if address.parse::<std::net::IpAddr>().is_err() {
            self.say(Error::invalid(path, address, ADDRESS));
        }
    }

    pub(super) fn host_name(&mut self, spec: &Value, path: &Path) {
        if !has(spec, "hostnameOverride") {
            return;
        }
        let name = text(spec, "/hostnameOverride");
        if spec["setHostnameAsFQDN"] == true {
            self.say(Error::forbidden(path, "may not be specified when setHostnameAsFQDN is true"));
        }
        if spec["hostNetwork"] == true {
            self.say(Error::forbidden(path, "may not be specified when hostNetwork is true"));
        }
        if name.len() > 64 {
            self.say(Error::too_long(path, 64));
        }
        self.rules(path, name, names::subdomain(name));
    }

    pub(super) fn host_aliases(&mut self, spec: &Value, path: &Path) {
        for (index, alias) in items(spec, "/hostAliases").iter().enumerate() {
            let at = path.index(index);
            self.address(text(alias, "/ip"), &at.child("ip"));
            for (index, name) in items(alias, "/hostnames").iter().enumerate() {
                let name = name.as_str().unwrap_or_default();
                self.rules(&at.child("hostnames").index(index), name, names::subdomain(name));
            }
        }
    }
}
