//! The packet rules that policies make. Pure.
//!
//! A pod that a policy chooses has a chain for each direction that the policy is about: what a rule of it lets through returns from
//! there, everything else is dropped. Pods that a policy speaks of are in sets of its own, so that they come and go without
//! a change of rules.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use net::nft::{Base, Chain, Data, Element, Field, Hook, Kind, Rule, Set, Transaction, Value, Verdict};

use super::Settings;
use super::model::{Allowed, Labels, Number, Peer, Pod, Policy, Port};
use crate::ruleset::Fragment;

/// The chains of pods that not everybody may reach, by address.
const INGRESS: &str = "isolated-ingress";
/// The chains of pods that may not reach everybody.
const EGRESS: &str = "isolated-egress";
/// Pods with either, each twice: nobody is kept from itself.
const SELVES: &str = "selves";
const FILTER: i32 = 0;

/// What is there always.
pub(super) fn skeleton(change: &mut Transaction, settings: &Settings) {
    let address = vec![Kind::Address];
    for (name, key, data) in [
        (INGRESS, address.clone(), Some(Data::Verdict)),
        (EGRESS, address, Some(Data::Verdict)),
        (SELVES, vec![Kind::Address, Kind::Address], None),
    ] {
        change.add_set(&Set { name: name.to_owned(), key, data, timeout: None });
    }
    change.add_chain(&Chain {
        name: "forward".to_owned(),
        base: Some(Base { kind: "filter", hook: Hook::Forward, priority: FILTER }),
    });
    let resolver = (*settings.resolver.ip(), 32);
    let port = settings.resolver.port();
    for rule in [
        Rule::new().continues_connection().then(Verdict::Accept),
        Rule::new().within(&[Field::Source, Field::Destination], SELVES).then(Verdict::Accept),
        Rule::new().inside(Field::Destination, resolver).ports(port, port).then(Verdict::Accept),
        Rule::new().decide(&[Field::Source], EGRESS),
        Rule::new().decide(&[Field::Destination], INGRESS),
    ] {
        change.add_rule("forward", &rule);
    }
}

/// Everything that rules are made of. Pods and namespaces are by key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cluster<'a> {
    pub(super) policies: &'a BTreeMap<String, Policy>,
    pub(super) pods: &'a BTreeMap<String, Pod>,
    pub(super) namespaces: &'a BTreeMap<String, Labels>,
}

/// Which way traffic goes, as a pod sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Ingress,
    Egress,
}

impl Direction {
    /// The map of pods, the beginning of names, and where the other side's address stands.
    fn facts(self) -> (&'static str, &'static str, Field) {
        match self {
            Self::Ingress => (INGRESS, "ingress", Field::Source),
            Self::Egress => (EGRESS, "egress", Field::Destination),
        }
    }

    fn of(self, policy: &Policy) -> Option<&[Allowed]> {
        match self {
            Self::Ingress => policy.ingress.as_deref(),
            Self::Egress => policy.egress.as_deref(),
        }
    }
}

const DIRECTIONS: [Direction; 2] = [Direction::Ingress, Direction::Egress];

/// A fragment for each policy, and one for each pod of this node that a policy chooses.
pub(super) fn fragments(cluster: Cluster<'_>) -> Vec<(String, Fragment)> {
    let mut fragments = Vec::new();
    // A policy that chooses nobody here needs no sets.
    let mut used: BTreeMap<&String, &Policy> = BTreeMap::new();
    for (key, pod) in cluster.pods.iter().filter(|(_, pod)| pod.local) {
        let own: Vec<_> = cluster.policies.iter().filter(|(_, policy)| policy.chooses(pod)).collect();
        if !own.is_empty() {
            let policies: Vec<&Policy> = own.iter().map(|(_, policy)| *policy).collect();
            fragments.push((format!("pod {key}"), of_pod(pod, &policies)));
            used.extend(own);
        }
    }
    fragments.extend(used.into_iter().map(|(key, policy)| (format!("policy {key}"), of_policy(policy, cluster))));
    fragments
}

impl Policy {
    fn chooses(&self, pod: &Pod) -> bool {
        self.namespace == pod.namespace && self.pods.matches(&pod.labels)
    }
}

fn of_pod(pod: &Pod, policies: &[&Policy]) -> Fragment {
    let mut fragment = Fragment::default();
    for direction in DIRECTIONS {
        let (map, name, _) = direction.facts();
        let about: Vec<_> = policies.iter().filter_map(|policy| Some((policy, direction.of(policy)?))).collect();
        if about.is_empty() {
            continue;
        }
        let mut rules: Vec<Rule> = about
            .into_iter()
            .flat_map(|(policy, allowed)| (0..).zip(allowed).map(move |(index, allowed)| (policy, index, allowed)))
            .flat_map(|(policy, index, allowed)| Gate { policy, direction, index }.rules(allowed, pod))
            .collect();
        rules.push(Rule::new().then(Verdict::Drop));
        let chain = format!("{name}-{}", pod.address);
        fragment.element(map, Element::verdict(&[Value::Address(pod.address)], Verdict::Jump(chain.clone())));
        fragment.chains.insert(chain, rules);
        fragment.element(SELVES, Element::new(&[Value::Address(pod.address), Value::Address(pod.address)]));
    }
    fragment
}

/// One rule of a policy.
#[derive(Clone, Copy, Debug)]
struct Gate<'a> {
    policy: &'a Policy,
    direction: Direction,
    index: usize,
}

impl Gate<'_> {
    /// The set of its peers that are pods.
    fn set(self) -> String {
        format!("{}-{}-{}", self.direction.facts().1, self.policy.uid, self.index)
    }

    /// The set of its peers with one of their ports.
    fn set_with_ports(self, port: usize) -> String {
        format!("{}-port-{port}", self.set())
    }

    /// The packet rules that let it through for a pod.
    fn rules(self, allowed: &Allowed, pod: &Pod) -> Vec<Rule> {
        let mut rules = Vec::new();
        let any = [Port { transport: net::Transport::Tcp, number: Number::Any }];
        let all_ports = allowed.ports.is_empty();
        let ports = if all_ports { &any[..] } else { &allowed.ports };
        for (index, port) in ports.iter().enumerate() {
            let of_transport = |rule: Rule| {
                if all_ports { rule } else { rule.equals(Field::Protocol, Value::Protocol(port.transport.number())) }
            };
            let rule = match (&port.number, self.direction) {
                (Number::Any, _) => of_transport(Rule::new()),
                (Number::Range(first, last), _) => of_transport(Rule::new()).ports(*first, *last),
                (Number::Named(name), Direction::Ingress) => match pod.port(name, port.transport) {
                    Some(number) => of_transport(Rule::new()).ports(number, number),
                    None => continue,
                },
                (Number::Named(_), Direction::Egress) => {
                    let fields = [Field::Destination, Field::Protocol, Field::Port];
                    rules.push(Rule::new().within(&fields, &self.set_with_ports(index)).then(Verdict::Return));
                    continue;
                }
            };
            rules.extend(self.with_peers(allowed, &rule));
        }
        rules
    }

    /// A rule for each way to be a peer.
    fn with_peers(self, allowed: &Allowed, rule: &Rule) -> Vec<Rule> {
        if allowed.peers.is_empty() {
            return vec![rule.clone().then(Verdict::Return)];
        }
        let (_, _, field) = self.direction.facts();
        let mut rules = Vec::new();
        if allowed.peers.iter().any(|peer| matches!(peer, Peer::Pods { .. })) {
            rules.push(rule.clone().within(&[field], &self.set()).then(Verdict::Return));
        }
        for peer in &allowed.peers {
            if let Peer::Block { inside, outside } = peer {
                let inside = rule.clone().inside(field, *inside);
                let within = outside.iter().fold(inside, |rule, except| rule.outside(field, *except));
                rules.push(within.then(Verdict::Return));
            }
        }
        rules
    }
}

/// The sets of a policy.
fn of_policy(policy: &Policy, cluster: Cluster<'_>) -> Fragment {
    let mut fragment = Fragment::default();
    for direction in DIRECTIONS {
        for (index, allowed) in direction.of(policy).into_iter().flatten().enumerate() {
            let gate = Gate { policy, direction, index };
            let peers = || cluster.pods.values().filter(|pod| allowed.is_with(pod, policy, cluster.namespaces));
            if allowed.peers.iter().any(|peer| matches!(peer, Peer::Pods { .. })) {
                let addresses = peers().map(|pod| vec![Value::Address(pod.address)]);
                fragment.set(gate.set(), vec![Kind::Address], addresses);
            }
            for (at, port) in allowed.ports.iter().enumerate() {
                let Number::Named(name) = &port.number else { continue };
                if direction == Direction::Egress {
                    let places = peers().filter_map(|pod| {
                        let number = pod.port(name, port.transport)?;
                        Some(place(pod.address, port, number))
                    });
                    fragment.set(gate.set_with_ports(at), vec![Kind::Address, Kind::Protocol, Kind::Port], places);
                }
            }
        }
    }
    fragment
}

fn place(address: Ipv4Addr, port: &Port, number: u16) -> Vec<Value> {
    vec![Value::Address(address), Value::Protocol(port.transport.number()), Value::Port(number)]
}

impl Allowed {
    /// Whether a pod is one of those that it speaks of.
    fn is_with(&self, pod: &Pod, policy: &Policy, namespaces: &BTreeMap<String, Labels>) -> bool {
        let is_meant = |peer: &Peer| match peer {
            Peer::Block { inside, outside } => {
                is_in(pod.address, *inside) && !outside.iter().any(|except| is_in(pod.address, *except))
            }
            Peer::Pods { namespaces: None, pods } => pod.namespace == policy.namespace && pods.matches(&pod.labels),
            Peer::Pods { namespaces: Some(chosen), pods } => {
                let labels = namespaces.get(&pod.namespace);
                labels.is_some_and(|labels| chosen.matches(labels)) && pods.matches(&pod.labels)
            }
        };
        self.peers.is_empty() || self.peers.iter().any(is_meant)
    }
}

fn is_in(address: Ipv4Addr, (network, bits): (Ipv4Addr, u8)) -> bool {
    (address.to_bits() ^ network.to_bits()).checked_shr(32 - u32::from(bits)).unwrap_or(0) == 0
}

impl Fragment {
    fn set(&mut self, name: String, key: Vec<Kind>, elements: impl Iterator<Item = Vec<Value>>) {
        for element in elements {
            self.element(name.clone(), Element::new(&element));
        }
        self.sets.insert(name.clone(), Set { name, key, data: None, timeout: None });
    }
}
