//! The rules that services need: what is there always, and what each service adds.

use std::net::Ipv4Addr;
use std::time::Duration;

use net::nft::{Base, Chain, Data, Element, Field, Hook, Kind, Rule, Set, Transaction, Value, Verdict};

use super::Settings;
use super::service::{ServicePort, Targets};
use crate::ruleset::Fragment;

/// Destinations that lead to services.
const SERVICES: &str = "service-ips";
/// Ports of the node that do.
const NODE_PORTS: &str = "node-ports";
/// Destinations of services that nothing stands behind.
const EMPTY: &str = "empty-service-ips";
/// Ports of the node for those.
const EMPTY_PORTS: &str = "empty-node-ports";
/// Endpoints of this node, each twice: what one sends to itself through a service.
const SELVES: &str = "selves";
const REJECT: &str = "reject";
/// Packets that must seem to come from the node, as kube-proxy marks them.
const MARK: u32 = 0x4000;
const DESTINATION_NAT: i32 = -100;
const SOURCE_NAT: i32 = 100;
const FILTER: i32 = 0;
const LOOPBACK: (Ipv4Addr, u8) = (Ipv4Addr::new(127, 0, 0, 0), 8);
const PLACE: [Field; 3] = [Field::Destination, Field::Protocol, Field::Port];
const PORT: [Field; 2] = [Field::Protocol, Field::Port];

/// What is there always.
pub(crate) fn skeleton(change: &mut Transaction, settings: &Settings) {
    let place = vec![Kind::Address, Kind::Protocol, Kind::Port];
    let port = vec![Kind::Protocol, Kind::Port];
    let verdict = Some(Data::Verdict);
    for (name, key, data) in [
        (SERVICES, place.clone(), verdict.clone()),
        (NODE_PORTS, port.clone(), verdict.clone()),
        (EMPTY, place, verdict.clone()),
        (EMPTY_PORTS, port, verdict),
        (SELVES, vec![Kind::Address, Kind::Address], None),
    ] {
        change.add_set(&Set { name: name.to_owned(), key, data, timeout: None });
    }
    change.add_chain(&Chain { name: REJECT.to_owned(), base: None });
    change.add_rule(REJECT, &Rule::new().reject());
    let translate = [
        Rule::new().decide(&PLACE, SERVICES),
        Rule::new().to_own_address().outside(Field::Destination, LOOPBACK).decide(&PORT, NODE_PORTS),
    ];
    let own = Rule::new().begins_connection().to_own_address().decide(&PORT, EMPTY_PORTS);
    let empty = Rule::new().begins_connection().decide(&PLACE, EMPTY);
    // What is still on its way to the services' addresses was not translated: nobody has that address.
    let nobody = Rule::new().begins_connection().inside(Field::Destination, settings.services).then(goto(REJECT));
    let hide = [
        Rule::new().within(&[Field::Source, Field::Destination], SELVES).masquerade(),
        Rule::new().marked(MARK).unmark(MARK).masquerade(),
    ];
    for (name, kind, hook, priority, rules) in [
        ("nat-prerouting", "nat", Hook::Prerouting, DESTINATION_NAT, translate.to_vec()),
        ("nat-output", "nat", Hook::Output, DESTINATION_NAT, translate.to_vec()),
        ("nat-postrouting", "nat", Hook::Postrouting, SOURCE_NAT, hide.to_vec()),
        ("filter-input", "filter", Hook::Input, FILTER, vec![empty.clone(), own.clone()]),
        ("filter-forward", "filter", Hook::Forward, FILTER, vec![empty.clone(), nobody.clone()]),
        ("filter-output", "filter", Hook::Output, FILTER, vec![empty, own, nobody]),
    ] {
        change.add_chain(&Chain { name: name.to_owned(), base: Some(Base { kind, hook, priority }) });
        rules.iter().for_each(|rule| change.add_rule(name, rule));
    }
}

/// What the ports of a service add.
pub(crate) fn of(ports: &[ServicePort], settings: &Settings) -> Fragment {
    let mut fragment = Fragment::default();
    for port in ports {
        fragment.add(port, settings);
    }
    fragment
}

fn goto(chain: impl Into<String>) -> Verdict {
    Verdict::Goto(chain.into())
}

impl Fragment {
    fn add(&mut self, port: &ServicePort, settings: &Settings) {
        let inner = format!("service-{}", port.key);
        let place = |ip: Ipv4Addr| [Value::Address(ip), transport(port), Value::Port(port.port)];
        self.balance(port, &inner, &port.inner);
        self.lead(&place(port.cluster_ip), &inner, &port.inner, (SERVICES, EMPTY));
        for address in &port.local {
            self.element(SELVES, Element::new(&[Value::Address(*address), Value::Address(*address)]));
        }
        if port.node_port.is_none() && port.outer_ips.is_empty() {
            return;
        }
        let targets = port.outer.as_ref().unwrap_or(&port.inner);
        let outer = format!("external-{}", port.key);
        self.outside(port, (&outer, &inner), targets, settings);
        if let Some(number) = port.node_port {
            self.lead(&[transport(port), Value::Port(number)], &outer, targets, (NODE_PORTS, EMPTY_PORTS));
        }
        let entrance = self.entrance(port, &outer);
        for ip in &port.outer_ips {
            self.lead(&place(*ip), &entrance, targets, (SERVICES, EMPTY));
        }
    }

    /// Leads a destination to a chain, or to an end where nothing stands behind it.
    fn lead(&mut self, key: &[Value], chain: &str, targets: &Targets, (map, empty): (&'static str, &'static str)) {
        if !targets.endpoints.is_empty() {
            return self.element(map, Element::verdict(key, goto(chain)));
        }
        // Compat: a policy that leaves no endpoint here is silent, so that balancers look elsewhere.
        let end = if targets.elsewhere { Verdict::Drop } else { goto(REJECT) };
        self.element(empty, Element::verdict(key, end));
    }

    /// The chain that takes traffic from outside: it comes back through this node, unless only endpoints of this node take it.
    fn outside(&mut self, port: &ServicePort, (outer, inner): (&str, &str), targets: &Targets, settings: &Settings) {
        if targets.endpoints.is_empty() {
            return;
        }
        let kept_source = port.outer.as_ref().is_some_and(|own| own.elsewhere || own == &port.inner);
        if !kept_source {
            let rules = match &port.outer {
                None => vec![Rule::new().mark(MARK), Rule::new().then(goto(inner))],
                Some(targets) => {
                    let all = format!("{outer}/all");
                    self.balance(port, &all, targets);
                    vec![Rule::new().mark(MARK), Rule::new().then(goto(all))]
                }
            };
            self.chains.insert(outer.to_owned(), rules);
            return;
        }
        self.balance(port, outer, targets);
        if port.inner.endpoints.is_empty() {
            return;
        }
        // What comes from inside is not bound to this node's endpoints.
        let mut rules = vec![
            Rule::new().inside(Field::Source, settings.pods).then(goto(inner)),
            Rule::new().from_own_address().then(goto(inner)),
        ];
        let chain = self.chains.entry(outer.to_owned()).or_default();
        rules.append(chain);
        *chain = rules;
    }

    /// The chain before it that lets only some come in.
    fn entrance(&mut self, port: &ServicePort, outer: &str) -> String {
        if port.source_ranges.is_empty() || !self.chains.contains_key(outer) {
            return outer.to_owned();
        }
        let name = format!("entrance-{}", port.key);
        let allow = |range: &(Ipv4Addr, u8)| Rule::new().inside(Field::Source, *range).then(goto(outer));
        let mut rules: Vec<Rule> = port.source_ranges.iter().map(allow).collect();
        rules.push(Rule::new().then(Verdict::Drop));
        self.chains.insert(name.clone(), rules);
        name
    }

    /// A chain that chooses an endpoint.
    fn balance(&mut self, port: &ServicePort, chain: &str, targets: &Targets) {
        if targets.endpoints.is_empty() {
            return;
        }
        let rules = match port.affinity {
            None => vec![in_transport(port).translate_to_any(&targets.endpoints)],
            Some(timeout) => self.faithful(port, targets, timeout),
        };
        self.chains.insert(chain.to_owned(), rules);
    }

    /// Rules that lead a client to the endpoint it was led to before: each endpoint has a set of its clients.
    fn faithful(&mut self, port: &ServicePort, targets: &Targets, timeout: Duration) -> Vec<Rule> {
        let mut rules = Vec::new();
        let mut chains = Vec::new();
        for place in &targets.endpoints {
            let name = format!("endpoint-{}/{}/{}", port.key, place.0, place.1);
            let clients = format!("clients-{}/{}/{}", port.key, place.0, place.1);
            let set = Set { name: clients.clone(), key: vec![Kind::Address], data: None, timeout: Some(timeout) };
            self.sets.insert(clients.clone(), set);
            let remember = Rule::new().remember(Field::Source, &clients, timeout);
            self.chains.insert(name.clone(), vec![remember, in_transport(port).translate(*place)]);
            rules.push(Rule::new().within(&[Field::Source], &clients).then(goto(name.clone())));
            chains.push(goto(name));
        }
        rules.push(Rule::new().choose(chains));
        rules
    }
}

fn transport(port: &ServicePort) -> Value {
    Value::Protocol(port.transport.number())
}

/// Ports can only be translated where the rule says of which protocol they are.
fn in_transport(port: &ServicePort) -> Rule {
    Rule::new().equals(Field::Protocol, transport(port))
}
