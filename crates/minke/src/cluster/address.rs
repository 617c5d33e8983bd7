//! The address by which others reach this node.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use anyhow::Context;

/// The wish, else the source of the default route, else the first global address, else the bridge's.
pub(super) fn of_node(wish: Option<IpAddr>, bridge: Option<Ipv4Addr>) -> anyhow::Result<IpAddr> {
    if let Some(wish) = wish {
        return Ok(wish);
    }
    let found = default_source().or_else(first_global).or(bridge.map(IpAddr::V4));
    Ok(found.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)))
}

/// The kernel chooses a source when a socket is connected; nothing is sent.
fn default_source() -> Option<IpAddr> {
    let documentation = (Ipv4Addr::new(192, 0, 2, 1), 9);
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect(documentation).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

fn first_global() -> Option<IpAddr> {
    let links = nix::ifaddrs::getifaddrs().context("list addresses").ok()?;
    let global = |link: nix::ifaddrs::InterfaceAddress| {
        let address = link.address?.as_sockaddr_in()?.ip();
        let fine = !address.is_loopback() && !address.is_link_local() && !link.interface_name.starts_with("mk");
        fine.then_some(IpAddr::V4(address))
    };
    links.into_iter().find_map(global)
}
