//! Network policies: who may reach a pod of this node, and whom it may reach.
//!
//! [`model`] reads the API's objects, [`rules`] says which packet rules they make, and [`run`] follows them. The rules stand where
//! packets are forwarded: what a pod and its own node say to each other is always let through, as upstream promises.

mod model;
mod rules;
mod run;
#[cfg(test)]
mod tests;

use std::net::SocketAddrV4;

pub(crate) use run::Policies;

/// What rules depend on besides policies.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) table: String,
    pub(crate) node: String,
    /// Where names are resolved: every pod may ask there, as it could if its own node answered.
    pub(crate) resolver: SocketAddrV4,
}

/// The name of a cluster's table.
pub(crate) fn table(cluster: &str) -> String {
    format!("minke-{cluster}-policies")
}
