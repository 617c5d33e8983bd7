//! What connects the nodes of one machine: a bridge in the process's own namespace, which is the first node's, and a link from it into
//! the namespace of each other node.
//!
//! Every node reaches every other one's address and pods directly, and everything else through the first. Taking over what is there
//! already disturbs no connection.

use std::io;
use std::net::Ipv4Addr;

use crate::addresses::Subnet;
use crate::link::{LinkError, Links};
use crate::namespace::Namespace;
use crate::network::NetworkError;
use crate::nft::{Base, Chain, Field, Hook, Rule, Rules, Transaction};

const SOURCE_NAT: i32 = 100;

/// What connects nodes.
#[derive(Clone, Debug)]
pub struct SwitchConfig {
    /// Eight hex digits that all names in the kernel carry.
    pub cluster: String,
    /// Whose addresses the nodes get: the first node the first one.
    pub subnet: Subnet,
    /// What all nodes' pods are part of.
    pub cluster_subnet: Subnet,
}

/// A node to be connected.
#[derive(Clone, Debug)]
pub struct Port {
    /// Which of the cluster's nodes on this machine it is; the first, number 0, is where the bridge is.
    pub node: u16,
    /// The node's own namespace.
    pub namespace: Namespace,
    /// Its pods.
    pub pods: Subnet,
}

/// A running switch.
#[derive(Debug)]
pub struct Switch {
    config: SwitchConfig,
    bridge: u32,
}

impl Switch {
    /// Makes the bridge, or takes over the one that is there.
    pub async fn open(config: SwitchConfig) -> Result<Self, NetworkError> {
        let links = Links::of(&Namespace::own()).await?;
        let bridge = links.ensure_bridge(&bridge_name(&config.cluster), config.subnet.gateway()).await?;
        links.set_up(bridge).await?;
        links.add_address(bridge, config.subnet.gateway(), config.subnet.length()).await?;
        hide(&config).await?;
        Ok(Self { config, bridge })
    }

    /// The address of a node. The subnet has to have room for it.
    pub fn address(&self, node: u16) -> Ipv4Addr {
        address(self.config.subnet, node)
    }

    /// Connects these nodes with each other.
    pub async fn connect(&self, ports: &[Port]) -> Result<(), NetworkError> {
        let outer = Links::of(&Namespace::own()).await?;
        for port in ports {
            let links = Links::of(&port.namespace).await?;
            let index = if port.node == 0 { self.bridge } else { self.plug(&outer, &links, port).await? };
            for other in ports.iter().filter(|other| other.node != port.node) {
                let subnet = (other.pods.network(), other.pods.length());
                links.add_route_through(index, subnet, self.address(other.node)).await?;
            }
        }
        Ok(())
    }

    /// Gives a node its link, and returns the inner end's index. One that is there is the node's: its name is of no other.
    async fn plug(&self, outer: &Links, inner: &Links, port: &Port) -> Result<u32, NetworkError> {
        let name = link_name(&self.config.cluster, port.node);
        let index = match inner.index("eth0").await? {
            Some(index) => index,
            None => {
                outer.remove(&name).await?;
                outer.add_pair(&name, self.bridge, &port.namespace, self.address(port.node)).await?;
                let gone = || NetworkError::Io {
                    action: format!("find the new link of node {}", port.node),
                    source: io::ErrorKind::NotFound.into(),
                };
                inner.index("eth0").await?.ok_or_else(gone)?
            }
        };
        inner.add_address(index, self.address(port.node), self.config.subnet.length()).await?;
        inner.set_up(index).await?;
        inner.add_default_route(index, self.config.subnet.gateway()).await?;
        Ok(index)
    }

    /// Takes a node off. Its end of the link goes with ours.
    pub async fn disconnect(&self, node: u16) -> Result<(), LinkError> {
        Links::of(&Namespace::own()).await?.remove(&link_name(&self.config.cluster, node)).await
    }

    /// Removes the bridge and its rules; nodes have to be taken off before.
    pub async fn remove(&self) -> Result<(), NetworkError> {
        let mut change = Transaction::new(&table(&self.config.cluster));
        change.add_table();
        change.remove_table();
        Rules::of(&Namespace::own()).await?.commit(&change)?;
        Ok(Links::of(&Namespace::own()).await?.remove(&bridge_name(&self.config.cluster)).await?)
    }
}

/// Outside, nobody knows the nodes' addresses: what leaves the cluster comes from the first node.
async fn hide(config: &SwitchConfig) -> Result<(), NetworkError> {
    let subnet = |subnet: Subnet| (subnet.network(), subnet.length());
    let mut change = Transaction::new(&table(&config.cluster));
    change.add_table();
    change.remove_table();
    change.add_table();
    let base = Some(Base { kind: "nat", hook: Hook::Postrouting, priority: SOURCE_NAT });
    change.add_chain(&Chain { name: "postrouting".to_owned(), base });
    let rule = Rule::new()
        .inside(Field::Source, subnet(config.subnet))
        .outside(Field::Destination, subnet(config.subnet))
        .outside(Field::Destination, subnet(config.cluster_subnet))
        .other_link(Field::OutputLink, &bridge_name(&config.cluster))
        .masquerade();
    change.add_rule("postrouting", &rule);
    Ok(Rules::of(&Namespace::own()).await?.commit(&change)?)
}

fn address(subnet: Subnet, node: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(subnet.gateway().to_bits() + u32::from(node))
}

fn table(cluster: &str) -> String {
    format!("minke-{cluster}-nodes")
}

// Names of links have at most 15 bytes.
fn bridge_name(cluster: &str) -> String {
    format!("mk{cluster}n")
}

fn link_name(cluster: &str, node: u16) -> String {
    format!("mk{cluster}n{node}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_node_is_the_gateway_of_the_others() {
        let subnet: Subnet = "10.245.0.0/24".parse().expect("a subnet");
        assert_eq!((address(subnet, 0), address(subnet, 2)), (subnet.gateway(), Ipv4Addr::new(10, 245, 0, 3)));
        assert!(link_name("0123abcd", 9999).len() <= 15);
    }
}
