//! The service proxy: packet rules that follow services and their endpoints.
//!
//! [`service`] reads the API's objects, [`fragment`] says which rules a service needs, a [`crate::ruleset`] turns a change of that
//! into one transaction, and [`run`] carries it out. What a service needs depends on its own objects only, so a change costs as much as
//! the service that changed, however many there are.

mod flows;
mod fragment;
mod health;
mod run;
mod service;
#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;

pub(crate) use run::Proxy;

/// What rules depend on besides services.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) table: String,
    pub(crate) node: String,
    pub(crate) pods: (Ipv4Addr, u8),
    pub(crate) services: (Ipv4Addr, u8),
    pub(crate) external_ips: bool,
}

/// The name of a cluster's table.
pub(crate) fn table(cluster: &str) -> String {
    format!("minke-{cluster}-services")
}
