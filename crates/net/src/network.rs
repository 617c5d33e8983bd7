//! A node's network: a bridge, and a link from it into each network namespace that is attached.

use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::addresses::{AddressError, Addresses, Subnet};
use crate::link::{LinkError, Links};
use crate::namespace::Namespace;
use crate::nft::RulesError;
use crate::published::{Published, PublishedPort};

/// The length of a subnet of one address.
const HOST: u8 = 32;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// No address can be had.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The kernel refused a request about links.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The kernel refused packet rules.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// A namespace or a kernel parameter can't be reached.
    #[error("{action}: {source}")]
    Io {
        /// What we were doing.
        action: String,
        /// Why it failed.
        source: io::Error,
    },
}

/// What a node's network is made of.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// The node's own namespace, where the bridge is.
    pub namespace: Namespace,
    /// Eight hex digits that all names in the kernel carry.
    pub cluster: String,
    /// Which of the cluster's nodes on this machine it is.
    pub node: u16,
    /// Whose addresses the attached namespaces get.
    pub subnet: Subnet,
    /// What all nodes' subnets are part of: what leaves it comes from the node's own address.
    pub cluster_subnet: Subnet,
    /// Addresses that nobody has, which are translated on their way: the node sends them into its bridge.
    pub virtual_subnet: Subnet,
    /// Where allocations are kept.
    pub folder: PathBuf,
}

/// A node's network.
#[derive(Debug)]
pub struct Network {
    config: NetworkConfig,
    bridge: u32,
    addresses: Mutex<Addresses>,
    published: Published,
}

impl Network {
    /// Makes the bridge, or takes over the one that is there, and turns forwarding on.
    pub async fn open(config: NetworkConfig) -> Result<Self, NetworkError> {
        let links = Links::of(&config.namespace).await?;
        let bridge = links.ensure_bridge(&bridge_name(&config.cluster, config.node), config.subnet.gateway()).await?;
        links.set_up(bridge).await?;
        if let Some(loopback) = links.index("lo").await? {
            links.set_up(loopback).await?;
        }
        links.add_address(bridge, config.subnet.gateway(), config.subnet.length()).await?;
        links.add_route(bridge, (config.virtual_subnet.network(), config.virtual_subnet.length())).await?;
        set_parameters(&config).await?;
        let addresses = Addresses::open(config.subnet, config.folder.clone())?;
        let published = Published::open(&config, &addresses).await?;
        Ok(Self { config, bridge, addresses: Mutex::new(addresses), published })
    }

    /// The bridge's name.
    pub fn bridge(&self) -> String {
        bridge_name(&self.config.cluster, self.config.node)
    }

    /// The node's own namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.config.namespace
    }

    /// The bridge's address.
    pub fn gateway(&self) -> Ipv4Addr {
        self.config.subnet.gateway()
    }

    /// Connects the namespace behind `path` and gives it an address. `owner` names the allocation.
    pub async fn attach(&self, owner: &str, path: &Path) -> Result<Ipv4Addr, NetworkError> {
        let open = Namespace::open(path);
        let inside = open.map_err(|source| NetworkError::Io { action: format!("open {}", path.display()), source })?;
        let address = self.lock().allocate(owner)?;
        let attached = self.connect(address, &inside).await;
        if attached.is_err() {
            self.lock().release(owner)?;
        }
        attached.map(|()| address).map_err(NetworkError::Link)
    }

    async fn connect(&self, address: Ipv4Addr, inside: &Namespace) -> Result<(), LinkError> {
        let name = link_name(&self.config.cluster, address);
        let outer = Links::of(&self.config.namespace).await?;
        // One left by a sandbox that died while it was attached has the same address, so the same name.
        outer.remove(&name).await?;
        outer.add_pair(&name, self.bridge, inside, address).await?;
        let inner = Links::of(inside).await?;
        if let Some(index) = inner.index("lo").await? {
            inner.set_up(index).await?;
        }
        if let Some(index) = inner.index("eth0").await? {
            // Neighbours are reached through the node too: it must see the answers to what it translated.
            inner.add_address(index, address, HOST).await?;
            inner.set_up(index).await?;
            inner.add_route(index, (self.config.subnet.gateway(), HOST)).await?;
            inner.add_default_route(index, self.config.subnet.gateway()).await?;
        }
        Ok(())
    }

    /// The address that this owner has.
    pub fn address(&self, owner: &str) -> Option<Ipv4Addr> {
        self.lock().of(owner)
    }

    /// Everybody who has an address.
    pub fn owners(&self) -> Vec<String> {
        self.lock().owners().map(str::to_owned).collect()
    }

    /// Leads these ports of the node to the owner. They stay, also across a restart, until it is detached.
    pub async fn publish(&self, owner: &str, ports: Vec<PublishedPort>) -> Result<(), NetworkError> {
        let Some(address) = self.address(owner) else { return Ok(()) };
        self.published.set(address, ports).await
    }

    /// Removes the owner's link, if it outlived its namespace, and takes the address back.
    pub async fn detach(&self, owner: &str) -> Result<(), NetworkError> {
        let Some(address) = self.address(owner) else { return Ok(()) };
        let links = Links::of(&self.config.namespace).await?;
        links.remove(&link_name(&self.config.cluster, address)).await?;
        self.published.set(address, Vec::new()).await?;
        Ok(self.lock().release(owner)?)
    }

    /// Removes the bridge. What is still attached loses its connection.
    pub async fn remove(&self) -> Result<(), NetworkError> {
        let links = Links::of(&self.config.namespace).await?;
        self.published.remove()?;
        Ok(links.remove(&self.bridge()).await?)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Addresses> {
        self.addresses.lock().expect("no holder of this lock can panic")
    }
}

/// What the node's kernel must do for packets of others.
async fn set_parameters(config: &NetworkConfig) -> Result<(), NetworkError> {
    let forwarding = config.namespace.set_parameter("ipv4/ip_forward", "1").await;
    forwarding.map_err(|source| NetworkError::Io { action: "turn on IP forwarding".to_owned(), source })?;
    let bridge = bridge_name(&config.cluster, config.node);
    for (parameter, value) in [
        // Attached namespaces talk through the node on purpose; it must not tell them of shorter ways.
        ("ipv4/conf/all/send_redirects".to_owned(), "0"),
        (format!("ipv4/conf/{bridge}/send_redirects"), "0"),
        // Ports that are published on the loopback address lead into the bridge.
        (format!("ipv4/conf/{bridge}/route_localnet"), "1"),
    ] {
        if let Err(error) = config.namespace.set_parameter(&parameter, value).await {
            tracing::warn!(parameter, value, %error, "set a kernel parameter; some ways through the node may fail");
        }
    }
    Ok(())
}

// Names of links have at most 15 bytes.
pub(crate) fn bridge_name(cluster: &str, node: u16) -> String {
    format!("mk{cluster}b{node}")
}

// The address's last 16 bits tell the links of a cluster apart: its pods share a /16.
fn link_name(cluster: &str, address: Ipv4Addr) -> String {
    format!("mk{cluster}v{:04x}", address.to_bits() & 0xffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_the_kernel() {
        assert!(bridge_name("0123abcd", 9999).len() <= 15);
        assert_eq!(link_name("0123abcd", Ipv4Addr::new(10, 244, 1, 255)), "mk0123abcdv01ff");
    }
}
