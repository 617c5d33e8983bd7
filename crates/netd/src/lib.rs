//! A node's services: packets that go to a service reach one of its endpoints, and names of services have addresses.
//!
//! Both watch the API like everyone else, as `system:kube-proxy`. What rules and answers there should be is decided by pure
//! functions of services and slices; only [`Netd`] and what it runs touch the kernel and sockets, all of them in the node's own
//! namespace.

mod dns;
mod netd;
mod proxy;

pub use netd::{Netd, NetdConfig, NetdError};
