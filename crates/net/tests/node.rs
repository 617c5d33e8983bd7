//! The network with real namespaces. Needs root.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use net::{Namespace, Network, NetworkConfig};
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
        folder: folder.path().to_owned(),
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

    drop(network);
    let network = Network::open(config).await.expect("open the network again");
    assert_eq!(network.address("two"), Some(second));
    network.detach("one").await.expect("detach");
    network.detach("two").await.expect("detach");
    assert_eq!(network.owners(), Vec::<String>::new());
    network.remove().await.expect("remove the bridge");
}
