//! A node's services: packets that go to a service reach one of its endpoints, names of services have addresses, and network
//! policies hold.
//!
//! All of it watches the API like everyone else. What rules and answers there should be is decided by pure functions of the API's
//! objects; only [`Netd`] and what it runs touch the kernel and sockets, all of them in the node's own namespace.

mod dns;
mod netd;
mod objects;
mod policy;
mod proxy;
mod ruleset;
mod table;
#[cfg(test)]
mod testing;

pub use netd::{Netd, NetdConfig, NetdError};
