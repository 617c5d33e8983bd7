//! Requests to the kernel about links, over rtnetlink.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;

use futures::TryStreamExt;
use netlink_packet_route::link::{InfoData, InfoVeth, LinkAttribute, LinkMessage};
use netlink_packet_route::route::RouteScope;
use rtnetlink::{Handle, LinkBridge, LinkBridgePort, LinkUnspec, LinkVeth, RouteMessageBuilder};
use tokio::task::JoinHandle;

use crate::Namespace;

/// A request that the kernel refused.
#[derive(Debug, thiserror::Error)]
#[error("{action}: {source}")]
pub struct LinkError {
    action: String,
    source: io::Error,
}

impl LinkError {
    fn new(action: impl Into<String>) -> impl FnOnce(rtnetlink::Error) -> Self {
        let action = action.into();
        move |error| Self { action, source: into_io(error) }
    }
}

fn into_io(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other.to_string()),
    }
}

/// A conversation with the kernel about the links of one namespace.
pub(crate) struct Links {
    handle: Handle,
    connection: JoinHandle<()>,
}

impl Drop for Links {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Links {
    pub(crate) async fn of(namespace: &Namespace) -> Result<Self, LinkError> {
        let made = namespace.run(rtnetlink::new_connection).await;
        let (connection, handle, _) =
            made.map_err(|source| LinkError { action: "open a netlink socket".to_owned(), source })?;
        Ok(Self { handle, connection: tokio::spawn(connection) })
    }

    /// The index of a link, if it is there.
    pub(crate) async fn index(&self, name: &str) -> Result<Option<u32>, LinkError> {
        let mut found = self.handle.link().get().match_name(name.to_owned()).execute();
        match found.try_next().await {
            Ok(link) => Ok(link.map(|link| link.header.index)),
            Err(error) => {
                let source = into_io(error);
                let gone = source.raw_os_error() == Some(libc::ENODEV);
                if gone { Ok(None) } else { Err(LinkError { action: format!("look up the link {name}"), source }) }
            }
        }
    }

    /// Makes a bridge that is up and is to have this address, unless it is there.
    pub(crate) async fn ensure_bridge(&self, name: &str, address: Ipv4Addr) -> Result<u32, LinkError> {
        if let Some(index) = self.index(name).await? {
            return Ok(index);
        }
        let bridge = LinkBridge::new(name).address(hardware_address(address)).up().build();
        self.handle.link().add(bridge).execute().await.map_err(LinkError::new(format!("make the bridge {name}")))?;
        self.index(name).await?.ok_or_else(|| LinkError {
            action: format!("find the new bridge {name}"),
            source: io::ErrorKind::NotFound.into(),
        })
    }

    /// Makes a pair of links: `name` here, a port of the bridge and up, and `eth0` in the other namespace, which is to
    /// have this address.
    pub(crate) async fn add_pair(
        &self,
        name: &str,
        bridge: u32,
        other: &Namespace,
        address: Ipv4Addr,
    ) -> Result<(), LinkError> {
        let mut peer = LinkMessage::default();
        peer.attributes.push(LinkAttribute::Address(hardware_address(address)));
        peer.attributes.push(LinkAttribute::IfName("eth0".to_owned()));
        if let Some(file) = other.file() {
            peer.attributes.push(LinkAttribute::NetNsFd(file.as_raw_fd()));
        }
        let pair =
            LinkVeth::new(name, "eth0").set_info_data(InfoData::Veth(InfoVeth::Peer(peer))).controller(bridge).up();
        let action = format!("make the link {name}");
        self.handle.link().add(pair.build()).execute().await.map_err(LinkError::new(action))?;
        let Some(index) = self.index(name).await? else { return Ok(()) };
        // A pod reaches itself through its own service address only if the bridge may send frames back.
        let port = LinkBridgePort::new(index).hairpin(true).build();
        let action = format!("allow hairpins on {name}");
        self.handle.link().set_port(port).execute().await.map_err(LinkError::new(action))
    }

    /// Brings a link up.
    pub(crate) async fn set_up(&self, index: u32) -> Result<(), LinkError> {
        let up = LinkUnspec::new_with_index(index).up().build();
        self.handle.link().set(up).execute().await.map_err(LinkError::new(format!("bring the link {index} up")))
    }

    /// Gives a link an address; one that is there stays.
    pub(crate) async fn add_address(&self, index: u32, address: Ipv4Addr, length: u8) -> Result<(), LinkError> {
        let request = self.handle.address().add(index, IpAddr::V4(address), length).replace();
        request.execute().await.map_err(LinkError::new(format!("give the link {index} the address {address}/{length}")))
    }

    /// Sends what is meant for a subnet out by a link, to whoever has the address there.
    pub(crate) async fn add_route(&self, index: u32, (address, length): (Ipv4Addr, u8)) -> Result<(), LinkError> {
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(address, length)
            .scope(RouteScope::Link)
            .output_interface(index)
            .build();
        let request = self.handle.route().add(route).replace();
        request.execute().await.map_err(LinkError::new(format!("route {address}/{length} out by the link {index}")))
    }

    /// Sends what is meant for a subnet to a neighbour, out by a link.
    pub(crate) async fn add_route_through(
        &self,
        index: u32,
        (address, length): (Ipv4Addr, u8),
        neighbour: Ipv4Addr,
    ) -> Result<(), LinkError> {
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(address, length)
            .gateway(neighbour)
            .output_interface(index)
            .build();
        let request = self.handle.route().add(route).replace();
        request.execute().await.map_err(LinkError::new(format!("route {address}/{length} through {neighbour}")))
    }

    /// Sends what nothing else matches to the gateway.
    pub(crate) async fn add_default_route(&self, index: u32, gateway: Ipv4Addr) -> Result<(), LinkError> {
        let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).output_interface(index).build();
        let request = self.handle.route().add(route).replace();
        request.execute().await.map_err(LinkError::new(format!("route through {gateway}")))
    }

    /// Removes a link, if it is there.
    pub(crate) async fn remove(&self, name: &str) -> Result<(), LinkError> {
        let Some(index) = self.index(name).await? else { return Ok(()) };
        match self.handle.link().del(index).execute().await.map_err(LinkError::new(format!("remove the link {name}"))) {
            Err(error) if error.source.raw_os_error() == Some(libc::ENODEV) => Ok(()),
            other => other,
        }
    }
}

/// The hardware address that belongs to an address: neighbours remember one for up to a minute, and by then the address
/// may have another owner. A bridge without one of its own changes it with its ports.
fn hardware_address(address: Ipv4Addr) -> Vec<u8> {
    [[0x0a, 0x58].as_slice(), &address.octets()].concat()
}
