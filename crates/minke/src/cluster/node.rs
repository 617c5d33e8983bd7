//! A node of this machine: runtime, kubelet, services.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use auth::pki::{Pki, Purpose};
use auth::tls::{ServerCertificate, server_config};
use container::{Images, Runtime, Shims, ShimsConfig};
use kubelet::{Kubelet, KubeletConfig};
use meta::{Clock, DeleteOptions, Gvr, Reason, UserInfo};
use net::Subnet;
use netd::{Netd, NetdConfig};
use rustls::pki_types::CertificateDer;

use super::control_plane::{ControlPlane, SERVICE_IP};
use super::mounts;
use super::places::{self, Place, Places};
use crate::cli::Up;
use crate::layout::Layout;

const DOMAIN: &str = "cluster.local";
/// Where pods ask for names.
pub(super) const DNS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 96, 0, 10));
/// Where the node's gateway answers for names; not where a resolver of the host's own may be.
pub(super) const DNS_PORT: u16 = 10053;
/// What the node itself asks for other names.
const RESOLV_CONF: &str = "/etc/resolv.conf";
const MAX_PODS: u32 = 110;

/// The running node.
pub(super) struct Node {
    pub(super) name: String,
    kubelet: Kubelet,
    netd: Netd,
    folder: PathBuf,
}

async fn open_runtime(layout: &Layout, node: &str, images: Images) -> anyhow::Result<Shims> {
    let config = ShimsConfig {
        run_dir: layout.run().join(node),
        state_dir: layout.node(node).join("containers"),
        images,
        executable: PathBuf::from("/proc/self/exe"),
        arguments: vec!["shim".into()],
    };
    Shims::recover(config).await.context("find the sandboxes of this node")
}

impl Node {
    pub(super) async fn start(
        layout: &Layout,
        options: &Up,
        plane: &ControlPlane,
        place: &Place,
        images: Images,
    ) -> anyhow::Result<Self> {
        let name = place.name.clone();
        let runtime: Arc<dyn Runtime> = Arc::new(open_runtime(layout, &name, images.clone()).await?);
        let user = UserInfo::new(format!("system:node:{name}"), &["system:nodes"]);
        let config = KubeletConfig {
            node_name: name.clone(),
            cluster_id: layout.id().to_owned(),
            node_index: place.index,
            client: plane.client(user),
            runtime,
            images: Arc::new(images),
            network: Arc::clone(&place.network),
            netns: place.netns.clone(),
            data_dir: layout.node(&name),
            node_ip: place.ip,
            pod_cidr: places::pod_subnet(place.index)?.to_string(),
            cluster_dns: vec![DNS],
            cluster_domain: DOMAIN.to_owned(),
            service_address: Some(SocketAddr::new(IpAddr::V4(SERVICE_IP), 443)),
            tls: Arc::new(server_tls(plane, &name, place.ip)?),
            peers: Arc::clone(&plane.peers),
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), options.kubelet_port),
            allow_privileged: options.node_allow_privileged,
            max_pods: MAX_PODS,
            eviction_hard: options.eviction_hard.clone(),
            clock: Arc::clone(&plane.clock),
        };
        tracing::debug!(node = name, api = plane.port, "starting the node");
        let netd = start_netd(layout, plane, place).await?;
        let kubelet = Kubelet::start(config).await.context("start the kubelet")?;
        let folder = layout.node(&name);
        Ok(Self { name, kubelet, netd, folder })
    }

    /// What it runs.
    pub(super) fn pods(&self) -> kubelet::Pods {
        self.kubelet.pods().clone()
    }

    pub(super) async fn ready(&self) {
        self.kubelet.ready().await;
    }

    /// Ends the node's pods and takes down its mounts and rules.
    pub(super) async fn end(self) -> anyhow::Result<()> {
        self.kubelet.drain_and_stop().await;
        self.netd.stop_and_clean().await.context("remove the rules of services")?;
        mounts::take_down(&self.folder);
        Ok(())
    }
}

async fn start_netd(layout: &Layout, plane: &ControlPlane, place: &Place) -> anyhow::Result<Netd> {
    let subnet = |subnet: Subnet| (subnet.network(), subnet.length());
    let services = kinds::DEFAULT_SERVICE_CIDR.parse::<Subnet>().map_err(anyhow::Error::msg)?;
    let config = NetdConfig {
        client: plane.client(UserInfo::new("system:kube-proxy", &[])),
        reader: plane.client(UserInfo::new("system:kube-controller-manager", &[])),
        namespace: place.network.namespace().clone(),
        cluster: layout.id().to_owned(),
        node: place.name.clone(),
        pods: subnet(places::CLUSTER_SUBNET),
        services: subnet(services),
        external_ips: false,
        // All nodes live and die with this process: the first one's answers are for all of them.
        resolver: SocketAddrV4::new(places::pod_subnet(0)?.gateway(), DNS_PORT),
        resolves: place.index == 0,
        domain: DOMAIN.to_owned(),
        resolv_conf: PathBuf::from(RESOLV_CONF),
    };
    Netd::start(config).await.context("serve services")
}

/// Ends what runs on these nodes while nothing manages it, and removes their places.
pub(super) async fn sweep(layout: &Layout, nodes: Range<u16>) -> anyhow::Result<()> {
    let images = Images::open(&layout.images()).context("open the image store")?;
    let places = Places::open(layout, nodes, None).await?;
    for place in &places.all {
        let runtime = open_runtime(layout, &place.name, images.clone()).await?;
        for sandbox in runtime.list() {
            let id = sandbox.sandbox.id;
            runtime.stop_sandbox(&id).await.with_context(|| format!("end the sandbox {id}"))?;
            runtime.remove_sandbox(&id).await.with_context(|| format!("remove the sandbox {id}"))?;
        }
        mounts::take_down(&layout.node(&place.name));
        Netd::sweep(place.network.namespace(), layout.id()).await.context("remove the rules of services")?;
    }
    places.remove().await
}

/// Takes a node that is no more out of the cluster, with its files: its pods are given up by the API.
pub(super) async fn forget(plane: &ControlPlane, layout: &Layout, index: u16) -> anyhow::Result<()> {
    let name = places::node_name(index)?;
    let admin = plane.client(UserInfo::new("kubernetes-admin", &["system:masters"]));
    match admin.delete(&Gvr::new("", "v1", "nodes"), "", &name, DeleteOptions::default()).await {
        Err(error) if error.reason != Reason::NotFound => return Err(error).context("delete a node that is no more"),
        Ok(_) | Err(_) => {}
    }
    let folder = layout.node(&name);
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", folder.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Removes the cluster's cgroups, in which nothing runs any more, and those of all clusters if this was the last.
pub(super) fn remove_cgroups(cluster: &str) {
    let remove = || {
        let hierarchies = container::cgroup::Hierarchies::detect()?;
        hierarchies.group(&format!("minke/{cluster}")).remove()?;
        hierarchies.group("minke").remove_if_empty();
        Ok::<_, container::Error>(())
    };
    if let Err(error) = remove() {
        tracing::warn!(%error, "remove the cluster's cgroups");
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn roots(certificate: &CertificateDer<'static>) -> anyhow::Result<Arc<rustls::RootCertStore>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.clone()).context("trust an authority")?;
    Ok(Arc::new(roots))
}

/// TLS of the kubelet's port; who may do what there is asked request by request.
fn server_tls(plane: &ControlPlane, name: &str, address: IpAddr) -> anyhow::Result<rustls::ServerConfig> {
    let purpose =
        Purpose::Server { name: format!("system:node:{name}"), hosts: vec![name.to_owned()], addresses: vec![address] };
    let certificate = ServerCertificate::new(Arc::clone(&plane.pki), purpose, Arc::clone(&plane.clock));
    let certificate = Arc::new(certificate.context("make the kubelet's certificate")?);
    server_config(Arc::clone(&plane.peers), certificate).context("prepare the kubelet's TLS")
}

/// TLS of the API server towards kubelets, as a user that may do everything on nodes. The key never leaves the process.
pub(super) fn client_tls(pki: &Pki, clock: &Arc<dyn Clock>) -> anyhow::Result<rustls::ClientConfig> {
    let purpose =
        Purpose::Client { user: "kube-apiserver-kubelet-client".to_owned(), groups: vec!["system:masters".to_owned()] };
    let leaf = pki.cluster.issue(&purpose, clock.now()).context("make the certificate for kubelets")?;
    let key = leaf.key();
    let config = rustls::ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let config = config.with_root_certificates(roots(pki.cluster.certificate())?);
    Ok(config.with_client_auth_cert(vec![leaf.certificate], key)?)
}
