//! Certificates through real handshakes, in memory.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use meta::TestClock;
use rustls::{ClientConfig, ClientConnection, ServerConnection};
use rustls_pki_types::ServerName;

use super::*;
use crate::pki::Leaf;

const START: Timestamp = Timestamp::constant(1_800_000_000, 0);
const DAY: Duration = Duration::from_secs(24 * 3600);

struct Cluster {
    _folder: tempfile::TempDir,
    pki: Arc<Pki>,
    peers: Arc<PeerVerifier>,
    clock: Arc<TestClock>,
    server: Arc<ServerConfig>,
}

fn cluster() -> Cluster {
    let folder = tempfile::tempdir().expect("a folder");
    let pki = Arc::new(Pki::open(folder.path(), START).expect("a new folder"));
    let clock = Arc::new(TestClock::at(START));
    let purpose = Purpose::Server {
        name: "kube-apiserver".to_owned(),
        hosts: vec!["kubernetes.default.svc".to_owned()],
        addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
    };
    let certificate = ServerCertificate::new(Arc::clone(&pki), purpose, clock.clone()).expect("a certificate");
    let peers = Arc::new(PeerVerifier::new(&pki).expect("an authority"));
    let server = Arc::new(server_config(Arc::clone(&peers), Arc::new(certificate)).expect("a server"));
    Cluster { _folder: folder, pki, peers, clock, server }
}

/// Time in a handshake is the test's.
#[derive(Debug)]
struct At(Timestamp);

impl rustls::time_provider::TimeProvider for At {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.as_second()).expect("after 1970");
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

/// Connects to `host` and answers the server's certificate and who the server takes the client for.
fn connect(cluster: &Cluster, trust: &Pki, leaf: Option<&Leaf>, host: &str) -> Result<(Vec<u8>, Peer), String> {
    let mut roots = RootCertStore::empty();
    roots.add(trust.cluster.certificate().clone()).expect("a certificate");
    let now = cluster.clock.now();
    let builder = ClientConfig::builder_with_details(provider(), Arc::new(At(now)))
        .with_safe_default_protocol_versions()
        .expect("the defaults")
        .with_root_certificates(roots);
    let config = match leaf {
        Some(leaf) => builder.with_client_auth_cert(vec![leaf.certificate.clone()], leaf.key()).expect("a key"),
        None => builder.with_no_client_auth(),
    };
    let host = ServerName::try_from(host.to_owned()).expect("a name");
    let mut client = ClientConnection::new(Arc::new(config), host).expect("a client");
    let mut server = ServerConnection::new(Arc::clone(&cluster.server)).expect("a server");
    for _ in 0..20 {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).expect("memory");
        server.read_tls(&mut wire.as_slice()).expect("memory");
        server.process_new_packets().map_err(|error| format!("server: {error}"))?;
        let mut wire = Vec::new();
        server.write_tls(&mut wire).expect("memory");
        client.read_tls(&mut wire.as_slice()).expect("memory");
        client.process_new_packets().map_err(|error| format!("client: {error}"))?;
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    let shown = client.peer_certificates().and_then(|chain| chain.first()).expect("servers show one").to_vec();
    Ok((shown, cluster.peers.peer(server.peer_certificates().unwrap_or_default(), now)))
}

fn client_leaf(pki: &Pki, user: &str, groups: &[&str]) -> Leaf {
    let groups = groups.iter().map(|group| (*group).to_owned()).collect();
    pki.cluster.issue(&Purpose::Client { user: user.to_owned(), groups }, START).expect("a certificate")
}

#[test]
fn clients_are_who_their_certificate_says() {
    let cluster = cluster();
    let leaf = client_leaf(&cluster.pki, "ann", &["system:masters", "crew"]);
    let (_, peer) = connect(&cluster, &cluster.pki, Some(&leaf), "127.0.0.1").expect("all is well");
    let Peer::Known(user) = peer else { panic!("{peer:?}") };
    assert_eq!(user.name, "ann");
    assert_eq!(user.groups, ["system:masters", "crew", "system:authenticated"]);
    assert!(user.extra[certificate::CREDENTIAL_ID][0].starts_with("X509SHA256="));

    let (_, peer) = connect(&cluster, &cluster.pki, None, "kubernetes.default.svc").expect("all is well");
    assert!(matches!(peer, Peer::Nobody), "{peer:?}");
}

#[test]
fn certificates_that_do_not_count_are_refused_later() {
    let (cluster, other) = (cluster(), cluster());
    let check = |leaf: &Leaf| {
        let (_, peer) = connect(&cluster, &cluster.pki, Some(leaf), "127.0.0.1").expect("the handshake succeeds");
        assert!(matches!(peer, Peer::Refused), "{peer:?}");
    };
    check(&client_leaf(&other.pki, "ann", &["system:masters"]));
    check(&client_leaf(&cluster.pki, "", &["system:masters"]));
    let server = Purpose::Server { name: "ann".to_owned(), hosts: Vec::new(), addresses: Vec::new() };
    check(&cluster.pki.cluster.issue(&server, START).expect("a certificate"));
    check(&{
        let leaf = client_leaf(&cluster.pki, "ann", &[]);
        cluster.clock.advance(400 * DAY);
        leaf
    });
    let groups = vec![String::new(); 3];
    let many = cluster.pki.cluster.issue(&Purpose::Client { user: "ann".to_owned(), groups }, START);
    assert!(matches!(many, Err(PkiError::Issue { .. })));
}

#[test]
fn the_server_is_who_it_says_and_renews() {
    let (cluster, other) = (cluster(), cluster());
    assert!(connect(&cluster, &other.pki, None, "127.0.0.1").is_err_and(|error| error.starts_with("client:")));
    assert!(connect(&cluster, &cluster.pki, None, "10.0.0.1").is_err_and(|error| error.starts_with("client:")));
    let shown = || connect(&cluster, &cluster.pki, None, "127.0.0.1").expect("all is well").0;
    let first = shown();
    cluster.clock.advance(200 * DAY);
    assert_eq!(first, shown());
    cluster.clock.advance(50 * DAY);
    let second = shown();
    assert_ne!(first, second);
    assert_eq!(second, shown());
}
