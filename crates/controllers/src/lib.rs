//! Controllers: each brings one thing of the cluster to where its objects say it should be.
//!
//! One file each, and one line in [`all`]. They see the cluster through the API as everyone does, each as its own user, and keep
//! the rules of [`client::Controller`]. They know neither the server nor the nodes' insides.

mod namespaces;
mod root_ca;
mod service_accounts;
mod volumes;

use std::path::PathBuf;
use std::sync::Arc;

use client::{Client, Controller};
use meta::Gvr;

pub use volumes::PROVISIONER;

/// What controllers are made with.
pub struct Context {
    /// A client for the controller of this name.
    pub client: Box<dyn Fn(&str) -> Client + Send + Sync>,
    /// The cluster's authority, PEM: what pods check the API server by.
    pub root_ca: String,
    /// Every namespaced resource that can be listed and deleted.
    pub namespaced: Vec<Gvr>,
    /// Where the built-in provisioner makes volumes.
    pub volumes: PathBuf,
}

/// Every controller.
pub fn all(context: &Context) -> Vec<Arc<dyn Controller>> {
    vec![
        Arc::new(namespaces::Namespaces::new((context.client)("namespace-controller"), context.namespaced.clone())),
        Arc::new(service_accounts::ServiceAccounts::new((context.client)("service-account-controller"))),
        Arc::new(root_ca::RootCa::new((context.client)("root-ca-cert-publisher"), context.root_ca.clone())),
        Arc::new(volumes::Volumes::new((context.client)("persistent-volume-binder"), context.volumes.clone())),
    ]
}
