//! What the cluster's names stand for: the Kubernetes DNS specification, 1.1.0. Pure.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use serde_json::Value;

use super::directory::Directory;
use crate::objects::{items, text};

/// The version of the specification that is kept.
const VERSION: &str = "1.1.0";

/// What is asked of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    Address,
    Service,
    Text,
    /// The canonical name only.
    Alias,
    Everything,
    /// Something that no name of the cluster has.
    Other,
}

/// What a name has. Names are without the final dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Data {
    Address(Ipv4Addr),
    Alias(String),
    Service { port: u16, target: String },
    Text(String),
}

/// What there is to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) answers: Vec<Data>,
    /// Further names with their addresses.
    pub(crate) additional: Vec<(String, Ipv4Addr)>,
}

/// Names beneath the cluster's domain.
pub(crate) struct Zone<'a> {
    pub(crate) domain: &'a str,
    pub(crate) directory: &'a dyn Directory,
}

impl Zone<'_> {
    /// What a name has, given as labels without the domain; `None` if there is no such name.
    pub(crate) fn look_up(&self, labels: &[&str], question: Question) -> Option<Found> {
        match labels {
            [] | ["svc" | "pod"] => Some(Found::default()),
            ["dns-version"] => Some(only(question, Question::Text, || vec![Data::Text(VERSION.to_owned())])),
            [namespace, "svc"] => self.directory.has_services(namespace).then(Found::default),
            [_, "pod"] => Some(Found::default()),
            [address, _, "pod"] => {
                let address = dashed(address)?;
                Some(only(question, Question::Address, || vec![Data::Address(address)]))
            }
            [name, namespace, "svc"] => self.service(namespace, name, question),
            [port, protocol, name, namespace, "svc"] if port.starts_with('_') && protocol.starts_with('_') => {
                self.port((port, protocol), (namespace, name), question)
            }
            [protocol, name, namespace, "svc"] if protocol.starts_with('_') => {
                self.directory.service(namespace, name).map(|_| Found::default())
            }
            [host, name, namespace, "svc"] => self.endpoint(host, (namespace, name), question),
            _ => None,
        }
    }

    fn service(&self, namespace: &str, name: &str, question: Question) -> Option<Found> {
        let service = self.directory.service(namespace, name)?;
        if text(&service, "/spec/type") == "ExternalName" {
            let target = text(&service, "/spec/externalName").trim_end_matches('.').to_lowercase();
            return Some(match question {
                Question::Other => Found::default(),
                _ => Found { answers: vec![Data::Alias(target)], ..Found::default() },
            });
        }
        let full = format!("{name}.{namespace}.svc.{}", self.domain);
        let headless = text(&service, "/spec/clusterIP") == "None";
        let endpoints = if headless { self.endpoints(namespace, name) } else { Vec::new() };
        if headless && endpoints.is_empty() {
            // Compat: a headless service nobody stands behind has no name.
            return None;
        }
        let mut found = Found::default();
        if matches!(question, Question::Address | Question::Everything) {
            found.answers = match text(&service, "/spec/clusterIP").parse() {
                Ok(address) => vec![Data::Address(address)],
                Err(_) => endpoints.iter().map(|endpoint| Data::Address(endpoint.address)).collect(),
            };
        }
        if matches!(question, Question::Service | Question::Everything) {
            let all = self.services(&service, &full, &endpoints, |_| true);
            found.answers.extend(all.answers);
            found.additional = all.additional;
        }
        Some(found.sorted())
    }

    /// The ports of a service that the filter lets through, each where its endpoints are.
    fn services(
        &self,
        service: &Value,
        full: &str,
        endpoints: &[Endpoint],
        is_meant: impl Fn(&Value) -> bool,
    ) -> Found {
        let mut found = Found::default();
        if text(service, "/spec/clusterIP") == "None" {
            for endpoint in endpoints {
                let target = format!("{}.{full}", endpoint.name);
                let ports = endpoint.ports.iter().filter(|port| is_meant(port));
                for port in ports.filter_map(|port| number(&port["port"])) {
                    found.answers.push(Data::Service { port, target: target.clone() });
                    found.additional.push((target.clone(), endpoint.address));
                }
            }
            return found;
        }
        let address = text(service, "/spec/clusterIP").parse();
        let ports = items(service, "/spec/ports").iter().filter(|port| is_meant(port));
        for port in ports.filter_map(|port| number(&port["port"])) {
            found.answers.push(Data::Service { port, target: full.to_owned() });
            found.additional.extend(address.iter().map(|address| (full.to_owned(), *address)));
        }
        found
    }

    fn port(
        &self,
        (port, protocol): (&str, &str),
        (namespace, name): (&str, &str),
        question: Question,
    ) -> Option<Found> {
        let service = self.directory.service(namespace, name)?;
        let full = format!("{name}.{namespace}.svc.{}", self.domain);
        let endpoints = self.endpoints(namespace, name);
        let is_meant = |own: &Value| {
            let named = text(own, "/name").eq_ignore_ascii_case(&port[1..]);
            named && text(own, "/protocol").eq_ignore_ascii_case(&protocol[1..])
        };
        let found = self.services(&service, &full, &endpoints, is_meant);
        if found.answers.is_empty() {
            return None;
        }
        let asked = matches!(question, Question::Service | Question::Everything);
        Some(if asked { found.sorted() } else { Found::default() })
    }

    fn endpoint(&self, host: &str, (namespace, name): (&str, &str), question: Question) -> Option<Found> {
        self.directory.service(namespace, name)?;
        let endpoints = self.endpoints(namespace, name);
        let addresses: Vec<Data> = endpoints
            .iter()
            .filter(|endpoint| endpoint.name == host)
            .map(|endpoint| Data::Address(endpoint.address))
            .collect();
        if addresses.is_empty() {
            return None;
        }
        Some(only(question, Question::Address, || addresses).sorted())
    }

    /// The endpoints that names lead to.
    fn endpoints(&self, namespace: &str, name: &str) -> Vec<Endpoint> {
        let slices = self.directory.slices(namespace, name);
        slices.iter().flat_map(|slice| endpoints_of(slice).filter(|endpoint| endpoint.ready)).collect()
    }

    /// The names of an address.
    pub(crate) fn names_of(&self, address: IpAddr) -> Vec<String> {
        if let Some(service) = self.directory.service_at(address) {
            let (name, namespace) = (text(&service, "/metadata/name"), text(&service, "/metadata/namespace"));
            return vec![format!("{name}.{namespace}.svc.{}", self.domain)];
        }
        let mut names = BTreeSet::new();
        for slice in self.directory.slices_with(address) {
            let labels = &slice["metadata"]["labels"];
            let service = labels["kubernetes.io/service-name"].as_str().unwrap_or_default();
            let namespace = text(&slice, "/metadata/namespace");
            let headless = labels.get("service.kubernetes.io/headless").is_some();
            let own = endpoints_of(&slice).filter(|endpoint| IpAddr::V4(endpoint.address) == address);
            for endpoint in own.filter(|endpoint| headless || endpoint.named) {
                names.insert(format!("{}.{service}.{namespace}.svc.{}", endpoint.name, self.domain));
            }
        }
        names.into_iter().collect()
    }
}

/// An endpoint as names see it.
#[derive(Clone, Debug)]
struct Endpoint {
    /// Its host name, or its address with dashes.
    name: String,
    /// Whether it has a host name.
    named: bool,
    address: Ipv4Addr,
    ready: bool,
    ports: Vec<Value>,
}

fn endpoints_of(slice: &Value) -> impl Iterator<Item = Endpoint> + '_ {
    let ports = items(slice, "/ports").to_vec();
    items(slice, "/endpoints").iter().flat_map(move |endpoint| {
        let ready = endpoint["conditions"]["ready"].as_bool().unwrap_or(true);
        let own = text(endpoint, "/hostname").to_owned();
        let ports = ports.clone();
        items(endpoint, "/addresses").iter().filter_map(Value::as_str).filter_map(|text| text.parse().ok()).map(
            move |address: Ipv4Addr| Endpoint {
                name: if own.is_empty() { address.to_string().replace('.', "-") } else { own.clone() },
                named: !own.is_empty(),
                address,
                ready,
                ports: ports.clone(),
            },
        )
    })
}

fn only(question: Question, wanted: Question, answers: impl FnOnce() -> Vec<Data>) -> Found {
    let asked = question == wanted || question == Question::Everything;
    Found { answers: if asked { answers() } else { Vec::new() }, ..Found::default() }
}

fn dashed(text: &str) -> Option<Ipv4Addr> {
    text.replace('-', ".").parse().ok().filter(|_| !text.contains('.'))
}

fn number(value: &Value) -> Option<u16> {
    value.as_u64().and_then(|number| u16::try_from(number).ok())
}

impl Found {
    fn sorted(mut self) -> Self {
        self.answers.sort();
        self.answers.dedup();
        self.additional.sort();
        self.additional.dedup();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::testing::Fixed;

    const ZONE: Zone<'static> = Zone { domain: "cluster.local", directory: &Fixed };

    #[track_caller]
    fn check(name: &str, question: Question, expected: Option<&[&str]>) {
        let labels: Vec<&str> = name.split('.').filter(|label| !label.is_empty()).collect();
        let show = |data: &Data| match data {
            Data::Address(address) => address.to_string(),
            Data::Alias(target) => target.clone(),
            Data::Service { port, target } => format!("{port} {target}"),
            Data::Text(text) => text.clone(),
        };
        let found = ZONE.look_up(&labels, question);
        let found: Option<Vec<String>> = found.map(|found| found.answers.iter().map(show).collect());
        let expected: Option<Vec<String>> = expected.map(|all| all.iter().map(|text| (*text).to_owned()).collect());
        assert_eq!(found, expected, "{name} {question:?}");
    }

    #[test]
    fn names_follow_the_specification() {
        use Question::{Address, Alias, Other, Service, Text};
        check("web.shop.svc", Address, Some(&["10.96.0.7"]));
        check("web.shop.svc", Other, Some(&[]));
        check("web.other.svc", Address, None);
        check("shop.svc", Address, Some(&[]));
        check("other.svc", Address, None);
        check("", Address, Some(&[]));
        check("_http._tcp.web.shop.svc", Service, Some(&["80 web.shop.svc.cluster.local"]));
        check("_http._udp.web.shop.svc", Service, None);
        check("_tcp.web.shop.svc", Service, Some(&[]));
        check("db.shop.svc", Address, Some(&["10.244.0.2", "10.244.0.3"]));
        check("empty.shop.svc", Address, None);
        check("db-0.db.shop.svc", Address, Some(&["10.244.0.2"]));
        check("10-244-0-3.db.shop.svc", Address, Some(&["10.244.0.3"]));
        check("10-244-0-4.db.shop.svc", Address, None);
        let places = ["5432 10-244-0-3.db.shop.svc.cluster.local", "5432 db-0.db.shop.svc.cluster.local"];
        check("_sql._tcp.db.shop.svc", Service, Some(&places));
        check("out.shop.svc", Address, Some(&["example.com"]));
        check("out.shop.svc", Alias, Some(&["example.com"]));
        check("10-244-0-9.shop.pod", Address, Some(&["10.244.0.9"]));
        check("nonsense.shop.pod", Address, None);
        check("dns-version", Text, Some(&["1.1.0"]));
        check("a.b.c.d.e.f", Address, None);
    }

    #[test]
    fn addresses_have_names() {
        let names = |address: &str| ZONE.names_of(address.parse().expect("an address"));
        assert_eq!(names("10.96.0.7"), ["web.shop.svc.cluster.local"]);
        assert_eq!(names("10.244.0.2"), ["db-0.db.shop.svc.cluster.local"]);
        assert_eq!(names("10.244.0.9"), Vec::<String>::new());
    }
}
