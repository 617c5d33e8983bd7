//! What policies need to know of pods, and what they say.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use meta::{LabelSelector, Object};
use net::Transport;
use serde_json::Value;

use crate::objects::{items, text};

pub(crate) type Labels = BTreeMap<String, String>;

/// A pod with an address of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pod {
    pub(crate) namespace: String,
    pub(crate) labels: Labels,
    pub(crate) address: Ipv4Addr,
    /// Whether it is on this node.
    pub(crate) local: bool,
    /// Its ports that have names.
    pub(crate) ports: Vec<(String, Transport, u16)>,
}

impl Pod {
    /// `None` for one that has no address, shares its node's, or has ended.
    pub(crate) fn read(object: &Object, node: &str) -> Option<Self> {
        let pod = object.value();
        if pod["spec"]["hostNetwork"] == true || matches!(text(&pod, "/status/phase"), "Succeeded" | "Failed") {
            return None;
        }
        let address = text(&pod, "/status/podIP").parse().ok()?;
        let containers = items(&pod, "/spec/initContainers").iter().chain(items(&pod, "/spec/containers"));
        let ports = containers.flat_map(|container| items(container, "/ports")).filter_map(|port| {
            let number = u16::try_from(port["containerPort"].as_u64()?).ok()?;
            Some((port["name"].as_str()?.to_owned(), transport(port)?, number))
        });
        Some(Self {
            namespace: object.metadata.namespace.clone(),
            labels: object.metadata.labels.clone(),
            address,
            local: text(&pod, "/spec/nodeName") == node,
            ports: ports.collect(),
        })
    }

    /// The port of a name.
    pub(crate) fn port(&self, name: &str, transport: Transport) -> Option<u16> {
        let mut own = self.ports.iter();
        own.find(|(own, over, _)| own == name && *over == transport).map(|(_, _, number)| *number)
    }
}

/// A NetworkPolicy.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    /// Tells its sets from those of others.
    pub(crate) uid: String,
    pub(crate) namespace: String,
    /// Those that it is for.
    pub(crate) pods: LabelSelector,
    /// What may come in; `None` if it says nothing of that.
    pub(crate) ingress: Option<Vec<Allowed>>,
    /// What may go out; `None` if it says nothing of that.
    pub(crate) egress: Option<Vec<Allowed>>,
}

/// Traffic that is let through.
#[derive(Clone, Debug)]
pub(crate) struct Allowed {
    /// With whom; empty for everyone.
    pub(crate) peers: Vec<Peer>,
    /// To which ports; empty for all.
    pub(crate) ports: Vec<Port>,
}

#[derive(Clone, Debug)]
pub(crate) enum Peer {
    Block {
        inside: (Ipv4Addr, u8),
        outside: Vec<(Ipv4Addr, u8)>,
    },
    /// Pods of the policy's own namespace, or of those that a selector chooses.
    Pods {
        namespaces: Option<LabelSelector>,
        pods: LabelSelector,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct Port {
    pub(crate) transport: Transport,
    pub(crate) number: Number,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Number {
    Any,
    Range(u16, u16),
    Named(String),
}

impl Policy {
    pub(crate) fn read(object: &Object) -> Self {
        let policy = object.value();
        let is_about = |kind: &str| items(&policy, "/spec/policyTypes").iter().any(|own| own == kind);
        let all = |pointer: &str, peers: &str| {
            let rules = items(&policy, pointer).iter();
            // Nobody is let through by what can't be understood.
            rules.map(|rule| Allowed::read(rule, peers)).collect::<Option<Vec<_>>>().unwrap_or_default()
        };
        Self {
            uid: object.metadata.uid.clone(),
            namespace: object.metadata.namespace.clone(),
            pods: selector(&policy["spec"]["podSelector"]).unwrap_or_default(),
            ingress: is_about("Ingress").then(|| all("/spec/ingress", "/from")),
            egress: is_about("Egress").then(|| all("/spec/egress", "/to")),
        }
    }
}

impl Allowed {
    fn read(rule: &Value, peers: &str) -> Option<Self> {
        let listed = items(rule, peers);
        // Blocks of other address families are for nobody here, and must not make the list one for everyone.
        let peers: Option<Vec<Option<Peer>>> = listed.iter().map(peer).collect();
        let peers: Vec<Peer> = peers?.into_iter().flatten().collect();
        if peers.is_empty() && !listed.is_empty() {
            return Some(Self {
                peers: vec![Peer::Block { inside: NOBODY, outside: vec![NOBODY] }],
                ports: Vec::new(),
            });
        }
        let ports: Option<Vec<Port>> = items(rule, "/ports").iter().map(port).collect();
        Some(Self { peers, ports: ports? })
    }
}

/// A block that is empty once it is taken away from itself.
const NOBODY: (Ipv4Addr, u8) = (Ipv4Addr::UNSPECIFIED, 32);

fn peer(peer: &Value) -> Option<Option<Peer>> {
    if !peer["ipBlock"].is_null() {
        let cidr = text(peer, "/ipBlock/cidr");
        if cidr.contains(':') {
            return Some(None);
        }
        let outside: Option<Vec<_>> =
            items(peer, "/ipBlock/except").iter().filter_map(Value::as_str).map(block).collect();
        return Some(Some(Peer::Block { inside: block(cidr)?, outside: outside? }));
    }
    let namespaces = &peer["namespaceSelector"];
    let namespaces = if namespaces.is_null() { None } else { Some(selector(namespaces)?) };
    Some(Some(Peer::Pods { namespaces, pods: selector(&peer["podSelector"])? }))
}

fn block(text: &str) -> Option<(Ipv4Addr, u8)> {
    let (address, bits) = text.split_once('/')?;
    Some((address.parse().ok()?, bits.parse().ok()?))
}

fn port(port: &Value) -> Option<Port> {
    let number = match &port["port"] {
        Value::Null => Number::Any,
        Value::String(name) => Number::Named(name.clone()),
        number => {
            let first = u16::try_from(number.as_u64()?).ok()?;
            let last = port["endPort"].as_u64().and_then(|last| u16::try_from(last).ok());
            Number::Range(first, last.unwrap_or(first))
        }
    };
    Some(Port { transport: transport(port)?, number })
}

fn transport(port: &Value) -> Option<Transport> {
    Transport::named(port["protocol"].as_str().unwrap_or("TCP"))
}

fn selector(value: &Value) -> Option<LabelSelector> {
    if value.is_null() { Some(LabelSelector::default()) } else { LabelSelector::from_value(value).ok() }
}
