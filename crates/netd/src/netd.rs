//! The running whole.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;

use client::{Client, Informer};
use meta::Gvr;
use net::Namespace;
use net::nft::RulesError;
use tokio::task::JoinSet;

use crate::dns::{self, Resolver};
use crate::objects::{words_of_service, words_of_slice};
use crate::policy::{self, Policies};
use crate::proxy::{self, Proxy, Settings};
use crate::table;

/// What a node's services are made of.
pub struct NetdConfig {
    /// The API, as the proxy's user.
    pub client: Client,
    /// The API, as one who may read network policies, and all pods and namespaces.
    pub reader: Client,
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
    /// Where names are resolved.
    pub resolver: SocketAddrV4,
    /// Whether that is here; or another node does it.
    pub resolves: bool,
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
    cluster: String,
    namespace: Namespace,
}

impl Netd {
    /// Starts: names are resolved from now on, packets as soon as the services are known.
    pub async fn start(config: NetdConfig) -> Result<Self, NetdError> {
        let client = || config.client.clone();
        let services = Informer::indexed(client(), Gvr::new("", "v1", "services"), words_of_service);
        let slices = Informer::indexed(client(), Gvr::new("discovery.k8s.io", "v1", "endpointslices"), words_of_slice);
        let nodes = Informer::new(client(), Gvr::new("", "v1", "nodes"));
        let settings = Settings {
            table: proxy::table(&config.cluster),
            node: config.node.clone(),
            pods: config.pods,
            services: config.services,
            external_ips: config.external_ips,
        };
        let mut tasks = JoinSet::new();
        if config.resolves {
            let resolver = Resolver::new(services.clone(), slices.clone(), &config.domain, config.services);
            let address = SocketAddr::V4(config.resolver);
            dns::serve(&mut tasks, resolver, &config.namespace, address, &config.resolv_conf).await?;
        }
        let proxy = Proxy::open(settings, &config.namespace, services, slices, nodes).await?;
        tasks.spawn(proxy.run());
        let table = policy::table(&config.cluster);
        let settings = policy::Settings { table, node: config.node, resolver: config.resolver };
        tasks.spawn(Policies::open(settings, &config.namespace, config.reader).await?.run());
        Ok(Self { tasks, cluster: config.cluster, namespace: config.namespace })
    }

    /// Ends it, and leaves the rules as they are: connections go on.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }

    /// Ends it and removes the rules.
    pub async fn stop_and_clean(mut self) -> Result<(), NetdError> {
        self.tasks.shutdown().await;
        Self::sweep(&self.namespace, &self.cluster).await
    }

    /// Removes what a killed one left.
    pub async fn sweep(namespace: &Namespace, cluster: &str) -> Result<(), NetdError> {
        table::remove(namespace, &proxy::table(cluster)).await?;
        Ok(table::remove(namespace, &policy::table(cluster)).await?)
    }
}
