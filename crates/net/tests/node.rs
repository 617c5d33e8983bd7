//! The network with real namespaces. Needs root.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use net::{Flows, Namespace, Network, NetworkConfig, PublishedPort, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A process in a network namespace of its own, ended with the test.
struct Sandbox(Child);

impl Sandbox {
    fn new() -> Self {
        let mut child = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo ready; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start unshare");
        let mut ready = [0; 6];
        std::io::Read::read_exact(child.stdout.as_mut().expect("a pipe"), &mut ready).expect("the sandbox is ready");
        Self(child)
    }

    fn path(&self) -> PathBuf {
        Path::new("/proc").join(self.0.id().to_string()).join("ns/net")
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.0.kill().expect("end the sandbox");
        self.0.wait().expect("reap the sandbox");
    }
}

#[tokio::test]
async fn attached_namespaces_reach_each_other_and_the_node() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: network namespaces need root");
        return;
    }
    let (node, one, two) = (Sandbox::new(), Sandbox::new(), Sandbox::new());
    let folder = tempfile::tempdir().expect("a folder");
    let config = NetworkConfig {
        namespace: Namespace::open(&node.path()).expect("the node's namespace"),
        cluster: "0a1b2c3d".to_owned(),
        node: 0,
        subnet: "10.244.7.0/24".parse().expect("a subnet"),
        cluster_subnet: "10.244.0.0/16".parse().expect("a subnet"),
        virtual_subnet: "10.96.0.0/16".parse().expect("a subnet"),
        folder: folder.path().join("addresses"),
    };
    let network = Network::open(config.clone()).await.expect("open the network");
    let first = network.attach("one", &one.path()).await.expect("attach");
    let second = network.attach("two", &two.path()).await.expect("attach");
    assert_ne!(first, second);

    let inside = Namespace::open(&one.path()).expect("the first namespace");
    let listener = inside.listen(SocketAddr::new(first.into(), 80)).await.expect("listen");
    for from in [Namespace::open(&two.path()).expect("the second namespace"), config.namespace.clone()] {
        let mut client = from.connect(SocketAddr::new(first.into(), 80)).await.expect("connect");
        let (mut server, _) = listener.accept().await.expect("accept");
        client.write_all(b"x").await.expect("write");
        assert_eq!(server.read_u8().await.expect("read"), b'x');
    }

    let port = |host, port| PublishedPort { host, transport: Transport::Tcp, port, target: 80 };
    let ports = vec![port(None, 8080), port(Some(Ipv4Addr::LOCALHOST), 8081)];
    network.publish("one", ports).await.expect("publish");
    drop(network);
    let network = Network::open(config.clone()).await.expect("open the network once more");
    let (two, node) = (Namespace::open(&two.path()).expect("the second namespace"), config.namespace.clone());
    let ways = [
        (&two, network.gateway(), 8080),
        (&inside, network.gateway(), 8080),
        (&node, network.gateway(), 8080),
        (&node, Ipv4Addr::LOCALHOST, 8081),
    ];
    for (from, address, port) in ways {
        let connected = tokio::time::timeout(Duration::from_secs(30), from.connect((address, port).into())).await;
        connected.unwrap_or_else(|_| panic!("no way to {address}:{port}")).expect("connect to a published port");
        listener.accept().await.expect("accept");
    }

    let datagrams = PublishedPort { host: None, transport: Transport::Udp, port: 5353, target: 53 };
    network.publish("one", vec![datagrams]).await.expect("publish");
    let server = inside.bind_udp(SocketAddr::new(first.into(), 53)).await.expect("bind");
    let client = two.bind_udp(SocketAddr::new(second.into(), 0)).await.expect("bind");
    client.send_to(b"x", (network.gateway(), 5353)).await.expect("send");
    let received = tokio::time::timeout(Duration::from_secs(30), server.recv_from(&mut [0; 8])).await;
    assert_eq!(received.expect("in time").expect("receive").1.ip(), second);
    let flows = Flows::of(&node).await.expect("open the table of flows");
    let find = || {
        let all = flows.of_datagrams().expect("list the flows");
        all.into_iter().find(|flow| flow.destination == (network.gateway(), 5353))
    };
    let flow = find().expect("the flow is there");
    assert_eq!(flow.answerer, (first, 53));
    flows.forget(&flow).expect("forget it");
    flows.forget(&flow).expect("twice is no failure");
    assert_eq!(find(), None);

    drop(network);
    let network = Network::open(config.clone()).await.expect("open the network again");
    assert_eq!(network.address("two"), Some(second));
    network.detach("one").await.expect("detach");

    drop(network);
    let network = Network::open(config).await.expect("open the network for the last time");
    let three = Sandbox::new();
    assert_eq!(network.attach("three", &three.path()).await.expect("attach"), first);
    let inside = Namespace::open(&three.path()).expect("the third namespace");
    let _listener = inside.listen(SocketAddr::new(first.into(), 80)).await.expect("listen");
    let connected = tokio::time::timeout(Duration::from_secs(30), node.connect((first, 80).into())).await;
    connected.expect("an address's new owner is reached").expect("connect");
    network.detach("three").await.expect("detach");
    network.detach("two").await.expect("detach");
    assert_eq!(network.owners(), Vec::<String>::new());
    network.remove().await.expect("remove the bridge");
}
