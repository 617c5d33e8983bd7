//! The kubelet as a whole: starts and stops with its node's actors.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use client::Recorder;
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::actor::Message;
use crate::cluster::Cluster;
use crate::eviction::Thresholds;
use crate::node::{self, Machine};
use crate::pods::Pods;
use crate::pressure::{self, Pressures};
use crate::usage::Looks;
use crate::volumes::Volumes;
use crate::{cgroups, dispatch, recovery, serve};

/// What a kubelet needs.
#[derive(Clone)]
pub struct KubeletConfig {
    /// The node's name.
    pub node_name: String,
    /// Eight hex digits.
    pub cluster_id: String,
    /// Which of the cluster's nodes on this machine it is.
    pub node_index: u16,
    /// The API, as `system:node:NAME`.
    pub client: client::Client,
    /// Runs containers.
    pub runtime: Arc<dyn container::Runtime>,
    /// The images of this machine.
    pub images: Arc<container::Images>,
    /// The node's network.
    pub network: Arc<net::Network>,
    /// Path of the node's own network namespace, if it isn't the process's: for pods with `hostNetwork`.
    pub netns: Option<PathBuf>,
    /// The node's folder: `nodes/NODE`.
    pub data_dir: PathBuf,
    /// The node's address.
    pub node_ip: IpAddr,
    /// `spec.podCIDR` of the node; empty for none.
    pub pod_cidr: String,
    /// The cluster's name servers.
    pub cluster_dns: Vec<IpAddr>,
    /// `cluster.local`.
    pub cluster_domain: String,
    /// Address and port of the API as pods see it (the service `kubernetes`), used while that service is not known yet.
    pub service_address: Option<SocketAddr>,
    /// TLS of the kubelet's own HTTPS port.
    pub tls: Arc<rustls::ServerConfig>,
    /// Knows the callers of that port by their certificates.
    pub peers: Arc<auth::tls::PeerVerifier>,
    /// Where the kubelet listens; port 0 for any.
    pub listen: SocketAddr,
    /// Whether pods may have privileged containers.
    pub allow_privileged: bool,
    /// At most so many pods.
    pub max_pods: u32,
    /// How little of the node's resources is too little.
    pub eviction_hard: Thresholds,
    /// Time.
    pub clock: Arc<dyn meta::Clock>,
}

/// Why a kubelet could not be started.
#[derive(Debug, thiserror::Error)]
pub enum KubeletError {
    /// The port can't be had.
    #[error("listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The node's folder can't be made.
    #[error("make the folder {path}: {source}")]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

/// What all actors share.
pub(crate) struct Shared {
    pub(crate) config: KubeletConfig,
    pub(crate) cluster: Cluster,
    pub(crate) recorder: Recorder,
    pub(crate) volumes: Volumes,
    pub(crate) pods: Pods,
    pub(crate) machine: Machine,
    pub(crate) looks: Looks,
    pub(crate) pressures: Pressures,
}

impl Shared {
    /// Where a pod's files are.
    pub(crate) fn pod_folder(&self, pod: &Pod) -> PathBuf {
        self.config.data_dir.join("pods").join(pod.metadata.uid.as_deref().unwrap_or_default())
    }

    /// Where the logs of its containers are.
    pub(crate) fn log_folder(&self, pod: &Pod) -> PathBuf {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let metadata = &pod.metadata;
        let name = format!("{}_{}_{}", text(&metadata.namespace), text(&metadata.name), text(&metadata.uid));
        self.config.data_dir.join("logs").join(name)
    }
}

/// A running kubelet. Dropping it ends it, as [`Kubelet::stop`] does: containers go on.
pub struct Kubelet {
    shared: Arc<Shared>,
    port: u16,
    ready: watch::Receiver<bool>,
    tasks: JoinSet<()>,
}

impl Kubelet {
    /// Starts: listens, registers the node, follows its pods.
    pub async fn start(config: KubeletConfig) -> Result<Self, KubeletError> {
        for folder in [config.data_dir.join("pods"), config.data_dir.join("logs")] {
            std::fs::create_dir_all(&folder).map_err(|source| KubeletError::Folder { path: folder, source })?;
        }
        let address = config.listen;
        let listener = config.network.namespace().listen(address).await;
        let listener = listener.map_err(|source| KubeletError::Listen { address, source })?;
        let port = listener.local_addr().map_or(address.port(), |local| local.port());
        let machine = Machine::detect(&config);
        let allocatable = BTreeMap::from([
            ("cpu".to_owned(), machine.cpu()),
            ("memory".to_owned(), meta::Quantity::bytes(machine.memory)),
            ("ephemeral-storage".to_owned(), meta::Quantity::bytes(machine.disk)),
        ]);
        let clock = Arc::clone(&config.clock);
        let shared = Arc::new(Shared {
            cluster: Cluster::new(config.client.clone()),
            recorder: Recorder::new(config.client.clone(), "kubelet", &config.node_name, clock),
            volumes: Volumes::new(config.client.clone(), &config.data_dir, allocatable),
            pods: Pods::default(),
            looks: Looks::default(),
            pressures: Pressures::default(),
            machine,
            config,
        });
        let (is_ready, ready) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let (orders, received) = mpsc::channel(16);
        tasks.spawn(follow_node(Arc::clone(&shared), port, is_ready, orders));
        tasks.spawn(dispatch::run(Arc::clone(&shared), received));
        tasks.spawn(serve::run(Arc::clone(&shared), listener));
        Ok(Self { shared, port, ready, tasks })
    }

    /// The port of its HTTPS API.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The pods it runs.
    pub fn pods(&self) -> &Pods {
        &self.shared.pods
    }

    /// Returns once the node is registered and ready.
    pub async fn ready(&self) {
        // The sender lives as long as the task that registers; without it there is nothing to wait for.
        let _ = self.ready.clone().wait_for(|ready| *ready).await;
    }

    /// Ends the kubelet and leaves the containers running.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }

    /// Ends the kubelet and everything it runs on the node: processes, links, cgroups. The objects stay.
    pub async fn drain_and_stop(mut self) {
        self.tasks.shutdown().await;
        let found = recovery::find(self.shared.config.runtime.list(), &self.shared.config.node_name);
        let mut ends = JoinSet::new();
        for (uid, found) in found {
            ends.spawn(dispatch::remove_orphan(Arc::clone(&self.shared), uid, found));
        }
        ends.join_all().await;
        let config = &self.shared.config;
        let cgroup = cgroups::node_cgroup(&config.cluster_id, &config.node_name);
        let removed = tokio::task::spawn_blocking(move || {
            container::cgroup::Hierarchies::detect().and_then(|hierarchies| hierarchies.group(&cgroup).remove())
        });
        if let Ok(Err(error)) = removed.await {
            tracing::warn!(%error, "remove the node's cgroups");
        }
    }
}

/// Registers the node, until that succeeds, then keeps it alive and looks after what it has left.
async fn follow_node(
    shared: Arc<Shared>,
    port: u16,
    ready: watch::Sender<bool>,
    orders: mpsc::Sender<(String, Message)>,
) {
    const AGAIN: Duration = Duration::from_millis(200);
    while let Err(error) = node::register(&shared, port).await {
        tracing::warn!(node = %shared.config.node_name, %error, "register the node; trying again");
        tokio::time::sleep(AGAIN).await;
    }
    let subject = node::subject(&shared.config);
    shared.recorder.normal(&subject, "Starting", "Starting kubelet.");
    let text = format!("Node {} status is now: NodeReady", shared.config.node_name);
    shared.recorder.normal(&subject, "NodeReady", text);
    // Whoever waits may have gone.
    let _ = ready.send(true);
    tokio::join!(node::keep_alive(&shared, port), pressure::watch(&shared, port, orders));
}
