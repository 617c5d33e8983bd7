//! The server plane with its controllers and scheduler.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

use admission::Dial;
use anyhow::Context;
use async_trait::async_trait;
use auth::pki::{Pki, Purpose};
use auth::tls::{FrontProxyCertificate, PeerVerifier, ServerCertificate, server_config};
use auth::token::{Signer, Tokens};
use auth::{Authenticator, Authorizer, BootstrapTokens, Chain, Masters};
use client::{Client, Controller, Driver};
use meta::{Clock, Gvr, Object, SystemClock, UserInfo};
use registry::{Registry, RegistryConfig, Resources};
use serde_json::Value;
use server::{Availability, Door, DoorConfig, Fairness, Grants, Listener, Local, Registration, Rights};
use store::{Embedded, Store};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::endpoints;
use crate::cli::Up;
use crate::kubeconfig::Access;
use crate::layout::Layout;

/// The API server as pods see it.
pub(super) const SERVICE_IP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);

/// Who service-account tokens are issued by.
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// How many keys a controller works on at a time.
const WORKERS: usize = 4;

/// The running server plane.
pub(super) struct ControlPlane {
    pub(super) access: Access,
    pub(super) pki: Arc<Pki>,
    /// Knows users by the certificates that they show.
    pub(super) peers: Arc<PeerVerifier>,
    pub(super) door: Arc<Door>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) port: u16,
    registry: Arc<Registry>,
    store: Arc<dyn Store>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// Objects for the authenticator, from the registry's cache.
struct Stored(Arc<Registry>);

impl auth::Objects for Stored {
    fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Arc<Object>> {
        self.0.get_cached(&Gvr::new("", "v1", resource), namespace, name)
    }
}

/// The node is in the process's own network.
struct OwnNetwork;

#[async_trait]
impl Dial for OwnNetwork {
    async fn dial(&self, address: SocketAddr) -> io::Result<TcpStream> {
        net::Namespace::own().connect(address).await
    }

    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((host, port)).await?.collect())
    }
}

impl ControlPlane {
    /// Starts it; the API answers when this returns.
    pub(super) async fn start(
        layout: &Layout,
        options: &Up,
        node_ip: IpAddr,
        gateway: Option<Ipv4Addr>,
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        let socket = net::Namespace::own().listen(options.listen).await;
        let socket = socket.with_context(|| format!("listen on {} for the API", options.listen))?;
        let port = socket.local_addr().context("read the API's own address")?.port();
        let pki = Arc::new(Pki::open(&layout.pki(), clock.now()).context("open the cluster's certificates")?);
        let wall: store::WallClock = Arc::new(|| SystemTime::from(SystemClock.now()));
        let store: Arc<dyn Store> = Arc::new(Embedded::open(&layout.store(), wall).context("open the store")?);
        let caller = admission::Caller::new(Arc::new(OwnNetwork));
        let judges = Judges::new();
        let rights: Arc<dyn admission::Rights> = Arc::new(Rights(Arc::clone(&judges.authorizer)));
        let mut plugins = admission::all(&caller, &rights);
        plugins.push(Arc::new(Grants { rbac: Arc::clone(&judges.rbac), authorizer: Arc::clone(&judges.authorizer) }));
        let registry = Registry::open(RegistryConfig {
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            settings: kinds::Settings { allow_privileged: options.allow_privileged },
            admission: plugins,
            resources: Resources::builtin(),
            converter: Arc::new(admission::WebhookConverter::new(caller)),
        });
        let registry = registry.await.context("open the registry")?;
        bootstrap(&registry).await?;
        let address = reachable(options.listen.ip(), node_ip);
        let door = open_door(&registry, judges, &pki, &clock, SocketAddr::new(address, port).to_string())?;
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let mut sockets = vec![socket];
        if let Some(gateway) = gateway.filter(|_| options.listen.ip().is_loopback()) {
            // Pods can't come to a loopback address.
            let inner = SocketAddr::new(gateway.into(), port);
            let socket = net::Namespace::own().listen(inner).await;
            sockets.push(socket.with_context(|| format!("listen on {inner} for pods"))?);
        }
        let peers = Arc::new(PeerVerifier::new(&pki).context("prepare to check clients")?);
        serve(&door, (&pki, &peers), &clock, node_ip, gateway, (sockets, stop.clone(), &tasks))?;
        let access = access(&pki, &clock, port)?;
        let plane = Self { access, pki, peers, door, clock, port, registry, store, stop, tasks };
        let mut provided = provided(options.listen.ip(), (node_ip, port), gateway);
        provided.push(super::bootstrap::authentication(&plane.pki));
        let client = plane.client(UserInfo::new("system:apiserver", &["system:masters"]));
        let keeper = endpoints::Keeper::open(&plane.registry, provided, &client).await;
        plane.run(Arc::new(keeper.context("make the cluster's own services")?));
        let registration = Registration::open(&plane.registry, &client);
        let fairness = Fairness::open(&plane.registry, &client, &plane.clock);
        let (registration, fairness) = tokio::join!(registration, fairness);
        plane.run(Arc::new(registration.context("register what the API serves")?));
        plane.run(Arc::new(fairness.context("make the flows that every cluster has")?));
        plane.run(Arc::new(Availability::new(&plane.door, &client)));
        plane.start_controllers(layout);
        Ok(plane)
    }

    /// A client that comes as this user.
    pub(super) fn client(&self, user: UserInfo) -> Client {
        Client::new(Local::new(&self.door, user))
    }

    fn run(&self, controller: Arc<dyn Controller>) {
        let driver = Driver::new(controller, Arc::clone(&self.clock));
        self.tasks.spawn(driver.run(WORKERS, self.stop.clone()));
    }

    /// What can be followed and deleted, as it comes and goes.
    fn served(&self) -> watch::Receiver<Vec<controllers::Served>> {
        let (registry, mut changes) = (Arc::clone(&self.registry), self.registry.served());
        let (sender, receiver) = watch::channel(served(&registry));
        let follow = async move {
            while changes.changed().await.is_ok() {
                sender.send_replace(served(&registry));
            }
        };
        let stop = self.stop.clone();
        self.tasks.spawn(async move { stop.run_until_cancelled(follow).await });
        receiver
    }

    fn start_controllers(&self, layout: &Layout) {
        let door = Arc::clone(&self.door);
        let registry = Arc::clone(&self.registry);
        let deletable = |row: &&kinds::Resource| {
            row.namespaced && row.verbs.contains(&"deletecollection") && row.storage.0 == row.group
        };
        let context = controllers::Context {
            reader: self.client(UserInfo::new("system:kube-controller-manager", &[])),
            client: Box::new(move |name| {
                Client::new(Local::new(&door, UserInfo::service_account("kube-system", name)))
            }),
            api_server: self.client(UserInfo::new("system:apiserver", &["system:masters"])),
            clock: Arc::clone(&self.clock),
            root_ca: self.pki.cluster.certificate_pem().to_owned(),
            sign: super::signers::sign(&self.pki, &self.clock),
            namespaced: Arc::new(move || {
                registry.resources().iter().filter(deletable).map(kinds::Resource::gvr).collect()
            }),
            served: self.served(),
            volumes: layout.volumes(),
        };
        controllers::all(&context).into_iter().for_each(|controller| self.run(controller));
        let client = self.client(UserInfo::new("system:kube-scheduler", &[]));
        let scheduler = scheduler::Scheduler::new(client, Arc::clone(&self.clock));
        self.tasks.spawn(scheduler.run(self.stop.clone()));
    }

    /// Ends it: no call is answered any more, and everything acknowledged is on disk.
    pub(super) async fn end(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.registry.shutdown().await;
        self.store.close().await;
    }
}

/// Each resource once, in the first version that is served; views on another resource's objects are left out.
fn served(registry: &Registry) -> Vec<controllers::Served> {
    let mut served: Vec<controllers::Served> = Vec::new();
    for row in registry.resources().iter() {
        let known = served.iter().any(|other| other.gvr.group == row.group && other.gvr.resource == row.plural);
        let followed = ["list", "watch", "delete"].iter().all(|verb| row.verbs.contains(verb));
        if followed && row.storage.0 == row.group && !known {
            let (gvr, kind) = (row.gvr(), row.kind.to_owned());
            served.push(controllers::Served { gvr, kind, namespaced: row.namespaced });
        }
    }
    served
}

async fn bootstrap(registry: &Registry) -> anyhow::Result<()> {
    super::bootstrap::run(registry).await.context("make what every cluster has")
}

/// The services that the cluster provides: the API, and on a node the names, with what stands behind them.
fn provided(listen: IpAddr, (node_ip, port): (IpAddr, u16), gateway: Option<Ipv4Addr>) -> Vec<(Gvr, Value)> {
    let own = reachable(listen, node_ip);
    let api = gateway.map(IpAddr::V4).filter(|_| own.is_loopback()).unwrap_or(own);
    let mut objects = super::bootstrap::services();
    objects.extend(endpoints::objects(&endpoints::API, SocketAddr::new(api, port)));
    if let Some(gateway) = gateway {
        let names = SocketAddr::new(gateway.into(), super::node::DNS_PORT);
        objects.extend(endpoints::objects(&endpoints::DNS, names));
    }
    objects
}

/// An address that clients on this machine can use.
fn reachable(listen: IpAddr, node_ip: IpAddr) -> IpAddr {
    if listen.is_unspecified() { node_ip } else { listen }
}

/// Who decides what users may do, with what they look at.
struct Judges {
    rbac: Arc<auth::rbac::Rbac>,
    graph: Arc<auth::node::Graph>,
    authorizer: Arc<dyn Authorizer>,
}

impl Judges {
    fn new() -> Self {
        let (rbac, graph) = (Arc::new(auth::rbac::Rbac::default()), Arc::new(auth::node::Graph::default()));
        let nodes = auth::node::NodeAuthorizer::new(Arc::clone(&graph));
        let chain = Chain::new(vec![Arc::new(Masters), Arc::new(nodes), Arc::clone(&rbac) as _]);
        Self { rbac, graph, authorizer: Arc::new(chain) }
    }
}

fn open_door(
    registry: &Arc<Registry>,
    judges: Judges,
    pki: &Arc<Pki>,
    clock: &Arc<dyn Clock>,
    address: String,
) -> anyhow::Result<Arc<Door>> {
    let signer = Signer::new(&pki.service_accounts).context("prepare to sign tokens")?;
    let objects: Arc<dyn auth::Objects> = Arc::new(Stored(Arc::clone(registry)));
    let bootstrap = BootstrapTokens::new(Arc::clone(&objects), Arc::clone(clock));
    let tokens = Arc::new(Tokens::new(signer, ISSUER, objects, Arc::clone(clock)));
    Ok(Door::open(DoorConfig {
        registry: Arc::clone(registry),
        authenticator: Arc::new(Authenticator::new(Arc::clone(&tokens), bootstrap)),
        authorizer: judges.authorizer,
        rbac: judges.rbac,
        graph: judges.graph,
        tokens,
        clock: Arc::clone(clock),
        front_proxy: Arc::new(
            FrontProxyCertificate::new(Arc::clone(pki), Arc::clone(clock))
                .context("make the front proxy's certificate")?,
        ),
        kubelet_tls: Arc::new(super::node::client_tls(pki, clock)?),
        dial: Arc::new(OwnNetwork),
        address,
    }))
}

fn serve(
    door: &Arc<Door>,
    (pki, peers): (&Arc<Pki>, &Arc<PeerVerifier>),
    clock: &Arc<dyn Clock>,
    node_ip: IpAddr,
    gateway: Option<Ipv4Addr>,
    (sockets, stop, tasks): (Vec<TcpListener>, CancellationToken, &TaskTracker),
) -> anyhow::Result<()> {
    let names = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "localhost",
    ];
    let mut addresses = vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V4(SERVICE_IP), node_ip];
    addresses.extend(gateway.map(IpAddr::V4));
    let purpose =
        Purpose::Server { name: "kube-apiserver".to_owned(), hosts: names.map(str::to_owned).to_vec(), addresses };
    let certificate = ServerCertificate::new(Arc::clone(pki), purpose, Arc::clone(clock));
    let certificate = Arc::new(certificate.context("make the server's certificate")?);
    let tls = Arc::new(server_config(Arc::clone(peers), certificate).context("prepare TLS")?);
    for socket in sockets {
        let listener = Listener { door: Arc::clone(door), tls: Arc::clone(&tls), peers: Arc::clone(peers) };
        let stop = stop.clone();
        tasks.spawn(async move {
            if let Err(error) = listener.serve(socket, stop).await {
                tracing::error!(%error, "the API ended");
            }
        });
    }
    Ok(())
}

fn access(pki: &Pki, clock: &Arc<dyn Clock>, port: u16) -> anyhow::Result<Access> {
    let purpose = Purpose::Client { user: "kubernetes-admin".to_owned(), groups: vec!["system:masters".to_owned()] };
    let leaf = pki.cluster.issue(&purpose, clock.now()).context("make the administrator's certificate")?;
    Ok(Access {
        server: format!("https://127.0.0.1:{port}"),
        authority: pki.cluster.certificate_pem().to_owned(),
        certificate: leaf.certificate_pem,
        key: leaf.key_pem,
    })
}
