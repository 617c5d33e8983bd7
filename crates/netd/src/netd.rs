//! The running whole.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use client::{Client, Informer};
use meta::Gvr;
use net::Namespace;
use net::nft::RulesError;
use tokio::task::JoinSet;

use crate::dns::{self, Resolver};
use crate::proxy::{self, Proxy, Settings};

/// What a node's services are made of.
pub struct NetdConfig {
    /// The API, as the proxy's user.
    pub client: Client,
    /// The node's own namespace.
    pub namespace: Namespace,
    /// Eight hex digits that all names in the kernel carry.
    pub cluster: String,
    /// The node's name.
    pub node: String,
    /// The addresses of all pods: network and bits.
    pub pods: (Ipv4Addr, u8),
    /// The addresses of all services: network and bits.
    pub services: (Ipv4Addr, u8),
    /// Whether `externalIPs` of services are served: any user could take any address by them.
    pub external_ips: bool,
    /// Where names are resolved; `None` where another node does that.
    pub dns: Option<SocketAddr>,
    /// The domain of the cluster's names, for example `cluster.local`.
    pub domain: String,
    /// Where the servers for all other names are listed.
    pub resolv_conf: PathBuf,
}

/// Why services can't be served.
#[derive(Debug, thiserror::Error)]
pub enum NetdError {
    /// The kernel refused packet rules.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// A socket can't be made.
    #[error("{action}: {source}")]
    Io {
        /// What we were doing.
        action: String,
        /// Why it failed.
        source: std::io::Error,
    },
}

/// Serves services on one node.
pub struct Netd {
    tasks: JoinSet<()>,
    proxy: Settings,
    namespace: Namespace,
}

impl Netd {
    /// Starts: names are resolved from now on, packets as soon as the services are known.
    pub async fn start(config: NetdConfig) -> Result<Self, NetdError> {
        let follow = |gvr: Gvr| Informer::new(config.client.clone(), gvr);
        let services = follow(Gvr::new("", "v1", "services"));
        let slices = follow(Gvr::new("discovery.k8s.io", "v1", "endpointslices"));
        let nodes = follow(Gvr::new("", "v1", "nodes"));
        let settings = Settings {
            table: proxy::table(&config.cluster),
            node: config.node,
            pods: config.pods,
            services: config.services,
            external_ips: config.external_ips,
        };
        let mut tasks = JoinSet::new();
        if let Some(address) = config.dns {
            let resolver = Resolver::new(services.clone(), slices.clone(), &config.domain, config.services);
            dns::serve(&mut tasks, resolver, &config.namespace, address, &config.resolv_conf).await?;
        }
        let proxy = Proxy::open(settings.clone(), &config.namespace, services, slices, nodes).await?;
        tasks.spawn(proxy.run());
        Ok(Self { tasks, proxy: settings, namespace: config.namespace })
    }

    /// Ends it, and leaves the rules as they are: connections go on.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }

    /// Ends it and removes the rules.
    pub async fn stop_and_clean(mut self) -> Result<(), NetdError> {
        self.tasks.shutdown().await;
        Ok(proxy::remove(&self.namespace, &self.proxy.table).await?)
    }

    /// Removes what a killed one left.
    pub async fn sweep(namespace: &Namespace, cluster: &str) -> Result<(), NetdError> {
        Ok(proxy::remove(namespace, &proxy::table(cluster)).await?)
    }
}
