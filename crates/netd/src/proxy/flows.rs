//! Flows of datagrams that lead to endpoints which are no longer there.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::Ipv4Addr;

use net::{Endpoint, Flow, Transport};

use super::service::ServicePort;

/// Where datagrams for services go, and where they may end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frontends {
    by_place: BTreeMap<Endpoint, HashSet<Endpoint>>,
    by_node_port: BTreeMap<u16, HashSet<Endpoint>>,
}

impl Frontends {
    /// Those of these ports.
    pub(crate) fn of<'a>(ports: impl Iterator<Item = &'a ServicePort>) -> Self {
        let mut own = Self::default();
        for port in ports.filter(|port| port.transport == Transport::Udp) {
            let inner: HashSet<Endpoint> = port.inner.endpoints.iter().copied().collect();
            let mut outer = inner.clone();
            outer.extend(port.outer.iter().flat_map(|targets| &targets.endpoints));
            own.by_place.insert((port.cluster_ip, port.port), inner);
            for ip in &port.outer_ips {
                own.by_place.insert((*ip, port.port), outer.clone());
            }
            if let Some(number) = port.node_port {
                own.by_node_port.insert(number, outer);
            }
        }
        own
    }

    /// Whether there are any.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_place.is_empty() && self.by_node_port.is_empty()
    }

    /// Whether a flow to a service must be forgotten: its endpoint is gone, or it was never led to one. `own` are the node's
    /// addresses.
    pub(crate) fn is_stale(&self, flow: &Flow, own: &BTreeSet<Ipv4Addr>) -> bool {
        let by_port = || self.by_node_port.get(&flow.destination.1).filter(|_| own.contains(&flow.destination.0));
        let allowed = self.by_place.get(&flow.destination).or_else(by_port);
        allowed.is_some_and(|allowed| !allowed.contains(&flow.answerer))
    }
}
