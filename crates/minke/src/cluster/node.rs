//! The node of this machine: network, runtime, kubelet.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use auth::pki::{Pki, Purpose};
use container::{Images, Runtime, Shims, ShimsConfig};
use kubelet::{Kubelet, KubeletConfig};
use meta::{Clock, UserInfo};
use net::{Namespace, Network, NetworkConfig, Subnet};
use netd::{Netd, NetdConfig};
use rustls::pki_types::CertificateDer;

use super::control_plane::{ControlPlane, SERVICE_IP};
use super::mounts;
use crate::cli::Up;
use crate::layout::Layout;

const CLUSTER_SUBNET: &str = "10.244.0.0/16";
const DOMAIN: &str = "cluster.local";
const SUBNET: &str = "10.244.0.0/24";
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
    network: Arc<Network>,
    folder: PathBuf,
    cluster: String,
}

fn name() -> anyhow::Result<String> {
    let name = nix::unistd::gethostname().context("read the host's name")?;
    Ok(name.to_string_lossy().to_lowercase())
}

/// Makes the node's network, or takes over the one that is there.
pub(super) async fn open_network(layout: &Layout) -> anyhow::Result<Arc<Network>> {
    let config = NetworkConfig {
        namespace: Namespace::own(),
        cluster: layout.id().to_owned(),
        node: 0,
        subnet: SUBNET.parse::<Subnet>().map_err(anyhow::Error::msg)?,
        cluster_subnet: CLUSTER_SUBNET.parse::<Subnet>().map_err(anyhow::Error::msg)?,
        virtual_subnet: kinds::DEFAULT_SERVICE_CIDR.parse::<Subnet>().map_err(anyhow::Error::msg)?,
        folder: layout.node(&name()?).join("addresses"),
    };
    Ok(Arc::new(Network::open(config).await.context("make the node's network")?))
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
        network: Arc<Network>,
        images: Images,
        node_ip: IpAddr,
    ) -> anyhow::Result<Self> {
        let name = name()?;
        let runtime: Arc<dyn Runtime> = Arc::new(open_runtime(layout, &name, images.clone()).await?);
        let user = UserInfo::new(format!("system:node:{name}"), &["system:nodes"]);
        let config = KubeletConfig {
            node_name: name.clone(),
            cluster_id: layout.id().to_owned(),
            node_index: 0,
            client: plane.client(user),
            runtime,
            images: Arc::new(images),
            network: Arc::clone(&network),
            netns: None,
            data_dir: layout.node(&name),
            node_ip,
            pod_cidr: SUBNET.to_owned(),
            cluster_dns: vec![DNS],
            cluster_domain: DOMAIN.to_owned(),
            service_address: Some(SocketAddr::new(IpAddr::V4(SERVICE_IP), 443)),
            tls: Arc::new(server_tls(&plane.pki, &plane.clock, &name, node_ip)?),
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), options.kubelet_port),
            allow_privileged: options.node_allow_privileged,
            max_pods: MAX_PODS,
            clock: Arc::clone(&plane.clock),
        };
        tracing::debug!(node = name, api = plane.port, "starting the node");
        let netd = start_netd(layout, plane, &network, &name).await?;
        let kubelet = Kubelet::start(config).await.context("start the kubelet")?;
        let folder = layout.node(&name);
        Ok(Self { name, kubelet, netd, network, folder, cluster: layout.id().to_owned() })
    }

    /// What it runs.
    pub(super) fn pods(&self) -> kubelet::Pods {
        self.kubelet.pods().clone()
    }

    pub(super) async fn ready(&self) {
        self.kubelet.ready().await;
    }

    /// Ends the node's pods and takes down its mounts and its network.
    pub(super) async fn end(self) -> anyhow::Result<()> {
        self.kubelet.drain_and_stop().await;
        self.netd.stop_and_clean().await.context("remove the rules of services")?;
        mounts::take_down(&self.folder);
        remove_cgroups(&self.cluster);
        self.network.remove().await.context("remove the node's network")
    }
}

async fn start_netd(layout: &Layout, plane: &ControlPlane, network: &Network, name: &str) -> anyhow::Result<Netd> {
    let subnet = |text: &str| {
        let subnet = text.parse::<Subnet>().map_err(anyhow::Error::msg)?;
        anyhow::Ok((subnet.network(), subnet.length()))
    };
    let config = NetdConfig {
        client: plane.client(UserInfo::new("system:kube-proxy", &[])),
        namespace: network.namespace().clone(),
        cluster: layout.id().to_owned(),
        node: name.to_owned(),
        pods: subnet(CLUSTER_SUBNET)?,
        services: subnet(kinds::DEFAULT_SERVICE_CIDR)?,
        external_ips: false,
        dns: SocketAddr::new(network.gateway().into(), DNS_PORT),
        domain: DOMAIN.to_owned(),
        resolv_conf: PathBuf::from(RESOLV_CONF),
    };
    Netd::start(config).await.context("serve services")
}

/// Ends what runs on the node while nothing manages it.
pub(super) async fn sweep(layout: &Layout) -> anyhow::Result<()> {
    let images = Images::open(&layout.images()).context("open the image store")?;
    let runtime = open_runtime(layout, &name()?, images).await?;
    for sandbox in runtime.list() {
        let id = sandbox.sandbox.id;
        runtime.stop_sandbox(&id).await.with_context(|| format!("end the sandbox {id}"))?;
        runtime.remove_sandbox(&id).await.with_context(|| format!("remove the sandbox {id}"))?;
    }
    mounts::take_down(&layout.node(&name()?));
    remove_cgroups(layout.id());
    let network = open_network(layout).await?;
    Netd::sweep(network.namespace(), layout.id()).await.context("remove the rules of services")?;
    network.remove().await.context("remove the node's network")
}

/// Removes the cluster's cgroups, in which nothing runs any more, and those of all clusters if this was the last.
fn remove_cgroups(cluster: &str) {
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

/// TLS of the kubelet's port. Only the API server may come in: its certificate alone is signed by the front proxy's
/// authority.
fn server_tls(pki: &Pki, clock: &Arc<dyn Clock>, name: &str, address: IpAddr) -> anyhow::Result<rustls::ServerConfig> {
    let purpose =
        Purpose::Server { name: format!("system:node:{name}"), hosts: vec![name.to_owned()], addresses: vec![address] };
    let leaf = pki.cluster.issue(&purpose, clock.now()).context("make the kubelet's certificate")?;
    let clients =
        rustls::server::WebPkiClientVerifier::builder_with_provider(roots(pki.front_proxy.certificate())?, provider());
    let config = rustls::ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let key = leaf.key();
    Ok(config.with_client_cert_verifier(clients.build()?).with_single_cert(vec![leaf.certificate], key)?)
}

/// TLS of the API server towards kubelets.
pub(super) fn client_tls(pki: &Pki, clock: &Arc<dyn Clock>) -> anyhow::Result<rustls::ClientConfig> {
    let purpose = Purpose::Client { user: "kube-apiserver-kubelet-client".to_owned(), groups: Vec::new() };
    let leaf = pki.front_proxy.issue(&purpose, clock.now()).context("make the certificate for kubelets")?;
    let key = leaf.key();
    let config = rustls::ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let config = config.with_root_certificates(roots(pki.cluster.certificate())?);
    Ok(config.with_client_auth_cert(vec![leaf.certificate], key)?)
}
