//! Probes, hooks and what they do.

use meta::field::{Error, Path};
use meta::names;
use serde_json::Value;

use super::{Check, has};
use crate::field::{items, number, text};

impl Check<'_> {
    pub(super) fn lifecycle(&mut self, container: &Value, spec: &Value, path: &Path) {
        let (lifecycle, path) = (&container["lifecycle"], path.child("lifecycle"));
        for hook in ["postStart", "preStop"] {
            if has(lifecycle, hook) {
                self.handler(&lifecycle[hook], spec, &path.child(hook));
            }
        }
    }

    pub(super) fn probes(&mut self, container: &Value, spec: &Value, path: &Path) {
        for kind in ["livenessProbe", "readinessProbe", "startupProbe"] {
            let (probe, path) = (&container[kind], path.child(kind));
            if !has(container, kind) {
                continue;
            }
            self.handler(probe, spec, &path);
            let counts =
                ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"];
            for field in counts {
                if let Some(value) = number(probe, &format!("/{field}")).filter(|value| *value < 0) {
                    self.say(Error::invalid(&path.child(field), value, "must be greater than or equal to 0"));
                }
            }
            let at = path.child("terminationGracePeriodSeconds");
            let grace = number(probe, "/terminationGracePeriodSeconds");
            if let Some(grace) = grace.filter(|grace| *grace <= 0) {
                self.say(Error::invalid(&at, grace, "must be greater than 0"));
            }
            if kind == "readinessProbe" {
                if let Some(grace) = grace {
                    self.say(Error::invalid(&at, grace, "must not be set for readinessProbes"));
                }
            } else if let Some(count) = number(probe, "/successThreshold").filter(|count| *count != 1) {
                self.say(Error::invalid(&path.child("successThreshold"), count, "must be 1"));
            }
        }
    }

    fn handler(&mut self, handler: &Value, spec: &Value, path: &Path) {
        let kinds = ["exec", "httpGet", "tcpSocket", "grpc", "sleep"];
        let mut given = kinds.into_iter().filter(|kind| has(handler, kind));
        match given.next() {
            None => self.say(Error::required(path, "must specify a handler type")),
            Some(kind) => self.action(kind, &handler[kind], spec, &path.child(kind)),
        }
        for extra in given {
            self.say(Error::forbidden(&path.child(extra), "may not specify more than 1 handler type"));
        }
    }

    fn action(&mut self, kind: &str, action: &Value, spec: &Value, path: &Path) {
        match kind {
            "exec" if items(action, "/command").is_empty() => self.say(Error::required(&path.child("command"), "")),
            "httpGet" => {
                self.require(action, "path", path);
                self.port_or_name(&action["port"], &path.child("port"));
                let (scheme, schemes) = (text(action, "/scheme"), ["HTTP", "HTTPS"]);
                if !schemes.contains(&scheme) {
                    self.say(Error::not_supported(&path.child("scheme"), scheme, &schemes));
                }
                for header in items(action, "/httpHeaders") {
                    self.header(text(header, "/name"), &path.child("httpHeaders"));
                }
            }
            "tcpSocket" | "grpc" => self.port_or_name(&action["port"], &path.child("port")),
            "sleep" => {
                let grace = number(spec, "/terminationGracePeriodSeconds").unwrap_or(0);
                let seconds = number(action, "/seconds").unwrap_or(0);
                if !(0..=grace).contains(&seconds) {
                    let why = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
                    self.say(Error::invalid(path, seconds, &why));
                }
            }
            _ => {}
        }
    }

    fn port_or_name(&mut self, port: &Value, path: &Path) {
        match port.as_str() {
            Some(name) => self.rules(path, name, names::port_name(name)),
            None => self.port(port.as_i64().unwrap_or(0), path),
        }
    }

    fn header(&mut self, name: &str, path: &Path) {
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            let why = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used \
                       for validation is '[-A-Za-z0-9]+')";
            self.say(Error::invalid(path, name, why));
        }
    }
}
