//! Where the nodes of this machine live: the first in the process's own network namespace, each other in one of its own, which is
//! kept beside its sockets and outlives the program. A restart takes over what is there.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use futures::future::try_join_all;
use net::{Namespace, Network, NetworkConfig, Port, Subnet, Switch, SwitchConfig};

use super::address;
use crate::layout::Layout;

pub(super) const CLUSTER_SUBNET: Subnet = subnet(Ipv4Addr::new(10, 244, 0, 0), 16);
/// Addresses of the nodes themselves, where there are several.
const NODE_SUBNET: Subnet = subnet(Ipv4Addr::new(10, 245, 0, 0), 24);

const fn subnet(address: Ipv4Addr, length: u8) -> Subnet {
    Subnet::new(address, length).expect("a subnet with room")
}

/// One node's place.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) index: u16,
    pub(super) name: String,
    /// The path of its network namespace, if it has one of its own.
    pub(super) netns: Option<PathBuf>,
    pub(super) network: Arc<Network>,
    pub(super) ip: IpAddr,
}

/// All of them, and what connects them.
pub(super) struct Places {
    pub(super) all: Vec<Place>,
    switch: Option<Switch>,
}

/// What a node is called: the first as the machine, the others by their numbers.
pub(super) fn node_name(index: u16) -> anyhow::Result<String> {
    let name = nix::unistd::gethostname().context("read the host's name")?.to_string_lossy().to_lowercase();
    Ok(if index == 0 { name } else { format!("{name}-{}", index + 1) })
}

/// The pods of a node: the subnet's third byte tells the nodes apart.
pub(super) fn pod_subnet(index: u16) -> anyhow::Result<Subnet> {
    let first = CLUSTER_SUBNET.network().to_bits() + (u32::from(index) << 8);
    Subnet::new(Ipv4Addr::from_bits(first), 24)
        .filter(|own| CLUSTER_SUBNET.contains(own.network()))
        .context("too many nodes")
}

fn netns(layout: &Layout, index: u16) -> anyhow::Result<Option<PathBuf>> {
    Ok(if index == 0 { None } else { Some(layout.run().join(node_name(index)?).join("netns")) })
}

async fn open_network(layout: &Layout, index: u16) -> anyhow::Result<Arc<Network>> {
    let namespace = match netns(layout, index)? {
        None => Namespace::own(),
        Some(path) => {
            let failed = || format!("make the network namespace {}", path.display());
            path.parent().map_or(Ok(()), std::fs::create_dir_all).with_context(failed)?;
            Namespace::keep(&path).await.with_context(failed)?
        }
    };
    let config = NetworkConfig {
        namespace,
        cluster: layout.id().to_owned(),
        node: index,
        subnet: pod_subnet(index)?,
        cluster_subnet: CLUSTER_SUBNET,
        virtual_subnet: kinds::DEFAULT_SERVICE_CIDR.parse::<Subnet>().map_err(anyhow::Error::msg)?,
        folder: layout.node(&node_name(index)?).join("addresses"),
    };
    Ok(Arc::new(Network::open(config).await.context("make a node's network")?))
}

async fn open_switch(layout: &Layout) -> anyhow::Result<Switch> {
    let config = SwitchConfig { cluster: layout.id().to_owned(), subnet: NODE_SUBNET, cluster_subnet: CLUSTER_SUBNET };
    Switch::open(config).await.context("connect the nodes of this machine")
}

impl Places {
    /// Makes places for the nodes of these numbers. The first of all has the address that was wished for, if any.
    pub(super) async fn open(layout: &Layout, nodes: Range<u16>, wish: Option<IpAddr>) -> anyhow::Result<Self> {
        let networks = try_join_all(nodes.clone().map(|index| open_network(layout, index))).await?;
        let switch = if nodes.end > 1 { Some(open_switch(layout).await?) } else { None };
        let mut all = Vec::new();
        for (index, network) in nodes.zip(networks) {
            let given = switch.as_ref().map_or(network.gateway(), |switch| switch.address(index));
            let ip = if index == 0 { address::of_node(wish, Some(given))? } else { given.into() };
            all.push(Place { index, name: node_name(index)?, netns: netns(layout, index)?, network, ip });
        }
        let places = Self { all, switch };
        places.connect().await?;
        Ok(places)
    }

    async fn connect(&self) -> anyhow::Result<()> {
        let Some(switch) = &self.switch else { return Ok(()) };
        let port = |place: &Place| {
            let namespace = place.network.namespace().clone();
            anyhow::Ok(Port { node: place.index, namespace, pods: pod_subnet(place.index)? })
        };
        let ports = self.all.iter().map(port).collect::<Result<Vec<_>, _>>()?;
        switch.connect(&ports).await.context("connect the nodes of this machine")
    }

    /// Removes them from the kernel, and what connects nodes if none is left to be connected.
    pub(super) async fn remove(self) -> anyhow::Result<()> {
        let first = self.all.first().map_or(0, |place| place.index);
        for place in self.all {
            place.network.remove().await.context("remove a node's network")?;
            if let Some(switch) = self.switch.as_ref().filter(|_| place.index > 0) {
                switch.disconnect(place.index).await.context("disconnect a node")?;
            }
            if let Some(path) = place.netns {
                Namespace::discard(&path).with_context(|| format!("discard {}", path.display()))?;
            }
        }
        match self.switch.filter(|_| first <= 1) {
            Some(switch) => switch.remove().await.context("remove the switch of the nodes"),
            None => Ok(()),
        }
    }
}
