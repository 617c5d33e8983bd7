//! Links, addresses and routes of one node.
//!
//! Every socket of a node is made through its [`Namespace`], because several nodes may live in one process, each in a
//! network namespace of its own. Names in the kernel carry the cluster's id, so that two clusters never meet.
//!
//! This crate does not know what a pod or a service is: it connects network namespaces to a bridge, and [`nft`] translates
//! addresses.

mod addresses;
mod flows;
mod link;
mod namespace;
mod network;
pub mod nft;
mod published;
mod switch;

pub use addresses::{AddressError, Addresses, Subnet};
pub use flows::{Endpoint, Flow, Flows};
pub use link::LinkError;
pub use namespace::Namespace;
pub use network::{Network, NetworkConfig, NetworkError};
pub use published::{PublishedPort, Transport};
pub use switch::{Port, Switch, SwitchConfig};
