//! Pods from the watch to their deletion, on a runtime without processes. Needs root for the node's network.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail like the test")]

mod api;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use auth::pki::{Authority, Pki, Purpose};
use container::fake::Fake;
use container::images::RootFs;
use container::{ContainerConfig, ContainerState, ImageConfig, Images, Runtime};
use kubelet::{Kubelet, KubeletConfig};
use meta::Clock;
use net::{Namespace, Network, NetworkConfig, Subnet};
use rustls::pki_types::{ServerName, UnixTime};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::api::Api;

struct Node {
    api: Api,
    runtime: Arc<Fake>,
    config: KubeletConfig,
    pki: Arc<Pki>,
    _folder: tempfile::TempDir,
}

/// A network namespace that lives as long as it is held.
fn new_namespace() -> (Namespace, File) {
    std::thread::spawn(|| {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("make a network namespace: needs root");
        let path = Path::new("/proc/thread-self/ns/net");
        (Namespace::open(path).unwrap(), File::open(path).unwrap())
    })
    .join()
    .unwrap()
}

impl Node {
    async fn new(runtime: Fake) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Arc::new(runtime);
        let api = Api::default();
        let images = Images::open(&folder.path().join("images")).unwrap();
        std::fs::create_dir(folder.path().join("root")).unwrap();
        let root = RootFs::Folder(folder.path().join("root"));
        images.add("busybox", ImageConfig::default(), root).await.unwrap();
        let (namespace, _) = new_namespace();
        let network = NetworkConfig {
            namespace,
            cluster: "0a1b2c3d".to_owned(),
            node: 0,
            subnet: Subnet::new([10, 244, 0, 0].into(), 24).unwrap(),
            cluster_subnet: Subnet::new([10, 244, 0, 0].into(), 16).unwrap(),
            virtual_subnet: Subnet::new([10, 96, 0, 0].into(), 16).unwrap(),
            folder: folder.path().join("network"),
        };
        // The time at which that runtime's containers live.
        let clock: Arc<dyn Clock> = Arc::new(meta::TestClock::at("2023-11-14T22:13:20Z".parse().unwrap()));
        let pki = Arc::new(Pki::open(&folder.path().join("pki"), clock.now()).unwrap());
        let (tls, peers) = api::tls(&pki, &clock);
        let config = KubeletConfig {
            node_name: "n1".to_owned(),
            cluster_id: "0a1b2c3d".to_owned(),
            node_index: 0,
            client: client::Client::new(api.clone()),
            runtime: Arc::clone(&runtime) as Arc<dyn Runtime>,
            images: Arc::new(images),
            network: Arc::new(Network::open(network).await.unwrap()),
            netns: None,
            data_dir: folder.path().join("node"),
            node_ip: "192.0.2.7".parse().unwrap(),
            pod_cidr: "10.244.0.0/24".to_owned(),
            cluster_dns: vec!["10.96.0.10".parse().unwrap()],
            cluster_domain: "cluster.local".to_owned(),
            service_address: None,
            tls,
            peers,
            listen: "0.0.0.0:0".parse().unwrap(),
            allow_privileged: false,
            max_pods: 110,
            eviction_hard: kubelet::Thresholds::default(),
            clock,
        };
        Self { api, runtime, config, pki, _folder: folder }
    }

    async fn start(&self) -> Kubelet {
        let kubelet = Kubelet::start(self.config.clone()).await.unwrap();
        tokio::time::timeout(Duration::from_secs(60), kubelet.ready()).await.expect("the node gets ready");
        kubelet
    }

    fn pod(&self, name: &str, mut spec: Value) {
        spec["nodeName"] = json!("n1");
        // The runtime has no namespaces of its own, so the pods live in the node's.
        spec["hostNetwork"] = json!(true);
        self.api.put("pods", "default", name, json!({"kind": "Pod", "apiVersion": "v1", "spec": spec}));
    }

    /// Waits until the pod, null once it is gone, looks like this at that place.
    async fn expect(&self, name: &str, pointer: &str, wanted: Value) -> Value {
        let what = format!("{name}{pointer} to be {wanted}");
        let pod = self
            .api
            .wait("pods", "default", name, &what, |pod| pod.pointer(pointer).cloned().unwrap_or(Value::Null) == wanted);
        pod.await
    }

    fn running(&self) -> Option<String> {
        let all = self.runtime.list().into_iter().flat_map(|sandbox| sandbox.containers);
        let mut running = all.filter(|container| matches!(container.state, ContainerState::Running { .. }));
        running.next().map(|container| container.config.id)
    }
}

fn container() -> Value {
    json!({"name": "c", "image": "busybox", "imagePullPolicy": "IfNotPresent", "command": ["run", "$(A)"],
        "env": [{"name": "A", "value": "b"}]})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_runs_and_is_deleted() {
    let node = Node::new(Fake::new()).await;
    let kubelet = node.start().await;
    node.pod("p", json!({"containers": [container()], "terminationGracePeriodSeconds": 5}));
    let pod = node.expect("p", "/status/conditions/2/status", json!("True")).await;
    assert_eq!(pod["status"]["phase"], "Running");
    assert_eq!(pod["status"]["podIP"], "192.0.2.7");
    assert_eq!(pod["status"]["qosClass"], "BestEffort");
    assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0);
    let sandbox = node.runtime.list().remove(0);
    assert_eq!(sandbox.containers[0].config.command, ["run", "b"]);
    node.api.mark_deleted("pods", "default", "p", 5);
    node.expect("p", "", Value::Null).await;
    assert!(node.runtime.list().is_empty());
    kubelet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exits_are_reported_and_restarted() {
    let node = Node::new(Fake::new()).await;
    let kubelet = node.start().await;
    node.pod("p", json!({"containers": [container()]}));
    node.expect("p", "/status/phase", json!("Running")).await;
    let first = node.running().unwrap();
    node.runtime.exit(&first, 3).unwrap();
    let pod = node.expect("p", "/status/containerStatuses/0/restartCount", json!(1)).await;
    assert_eq!(pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"], 3);
    let second = node.running().unwrap();
    node.runtime.exit(&second, 1).unwrap();
    let pointer = "/status/containerStatuses/0/state/waiting/reason";
    let pod = node.expect("p", pointer, json!("CrashLoopBackOff")).await;
    assert_eq!(pod["status"]["phase"], "Running");

    node.pod("once", json!({"containers": [container()], "restartPolicy": "Never"}));
    node.expect("once", "/status/phase", json!("Running")).await;
    node.runtime.exit(&node.running().unwrap(), 0).unwrap();
    let pod = node.expect("once", "/status/phase", json!("Succeeded")).await;
    assert_eq!(pod["status"]["containerStatuses"][0]["state"]["terminated"]["reason"], "Completed");
    kubelet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_disturbs_nothing_and_loses_nothing() {
    let node = Node::new(Fake::new()).await;
    let kubelet = node.start().await;
    node.pod("p", json!({"containers": [container()]}));
    node.pod("gone", json!({"containers": [container()]}));
    node.expect("p", "/status/phase", json!("Running")).await;
    node.expect("gone", "/status/phase", json!("Running")).await;
    kubelet.stop().await;
    let before = node.api.get("pods", "default", "p").pointer("/status/containerStatuses/0/containerID").cloned();
    node.api.remove("pods", "default", "gone");
    let sandbox = node.runtime.list().into_iter().find(|sandbox| sandbox.config.name == "p").expect("a sandbox");
    let unstarted = ContainerConfig { id: "unstarted".to_owned(), ..sandbox.containers[0].config.clone() };
    node.runtime.create_container(unstarted).await.expect("a container");
    let kubelet = node.start().await;
    tokio::time::timeout(Duration::from_secs(60), async {
        // The runtime tells of ends, not of what is removed after them.
        let mut looks = tokio::time::interval(Duration::from_millis(5));
        while node.runtime.list().len() > 1 {
            looks.tick().await;
        }
    })
    .await
    .expect("what the API does not know ends");
    assert_eq!(node.runtime.status("unstarted"), None);
    node.runtime.exit(&node.running().unwrap(), 7).unwrap();
    let pod = node.expect("p", "/status/containerStatuses/0/restartCount", json!(1)).await;
    assert_eq!(pod.pointer("/status/containerStatuses/0/lastState/terminated/containerID"), before.as_ref());
    kubelet.drain_and_stop().await;
    assert!(node.runtime.list().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_sandbox_is_made_anew() {
    let node = Node::new(Fake::new()).await;
    let kubelet = node.start().await;
    node.pod(
        "p",
        json!({"containers": [container()], "initContainers": [
        {"name": "i", "image": "busybox", "imagePullPolicy": "Never"}]}),
    );
    let initialize = async |count: u64| {
        let pointer = "/status/initContainerStatuses/0/state/running";
        let running = |pod: &Value| {
            pod.pointer(pointer).is_some() && pod["status"]["initContainerStatuses"][0]["restartCount"] == count
        };
        node.api.wait("pods", "default", "p", "its init container", running).await;
        node.runtime.exit(&node.running().unwrap(), 0).unwrap();
        node.expect("p", "/status/containerStatuses/0/state/running/startedAt", json!("2023-11-14T22:13:20Z")).await;
    };
    initialize(0).await;
    let sandbox = node.runtime.list().remove(0).config.id;
    node.runtime.lose(&sandbox).unwrap();
    initialize(1).await;
    let pod = node.expect("p", "/status/containerStatuses/0/restartCount", json!(1)).await;
    let last = pod.pointer("/status/containerStatuses/0/lastState/terminated/exitCode");
    assert_eq!(last, Some(&json!(137)));
    kubelet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sandbox_that_is_lost_while_it_is_made_is_made_again() {
    let node = Node::new(Fake::new()).await;
    let kubelet = node.start().await;
    node.runtime.lose_next();
    node.pod("p", json!({"containers": [container()]}));
    node.expect("p", "/status/phase", json!("Running")).await;
    kubelet.stop().await;
}

/// A client's time, in seconds since 1970.
#[derive(Debug)]
struct At(u64);

impl rustls::time_provider::TimeProvider for At {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0)))
    }
}

/// The answer of the kubelet's port to a client with this certificate and token.
async fn ask(node: &Node, port: u16, path: &str, certificate: Option<(&Authority, &str, &str)>, token: &str) -> String {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(node.pki.cluster.certificate().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let time = Arc::new(At(u64::try_from(node.config.clock.now().as_second()).unwrap()));
    let builder = rustls::ClientConfig::builder_with_details(provider, time);
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    let tls = match certificate {
        None => builder.with_no_client_auth(),
        Some((authority, user, group)) => {
            let purpose = Purpose::Client { user: user.to_owned(), groups: vec![group.to_owned()] };
            let leaf = authority.issue(&purpose, node.config.clock.now()).unwrap();
            let key = leaf.key();
            builder.with_client_auth_cert(vec![leaf.certificate], key).unwrap()
        }
    };
    let stream = node.config.network.namespace().connect(([127, 0, 0, 1], port).into()).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(tls));
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut stream = connector.connect(name, stream).await.unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: n1\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let code = answer.split(' ').nth(1).unwrap_or_default().to_owned();
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body.trim());
    if code == "200" { code } else { format!("{code} {body}") }
}

#[tokio::test]
async fn only_those_who_may_use_the_port() {
    let node = Node::new(Fake::new()).await;
    let kubelet = node.start().await;
    let check = async |path: &str, certificate, token: &str, expected: &str| {
        let found = ask(&node, kubelet.port(), path, certificate, token).await;
        assert_eq!(found, expected, "{path}");
    };
    let (cluster, proxy) = (&node.pki.cluster, &node.pki.front_proxy);
    check("/stats/summary", Some((cluster, "kube-apiserver-kubelet-client", "system:masters")), "", "200").await;
    check("/stats/summary", Some((proxy, "kube-apiserver-kubelet-client", "system:masters")), "", "401 Unauthorized")
        .await;
    check("/stats/summary", None, "", "401 Unauthorized").await;
    check("/stats/summary", None, "bad", "401 Unauthorized").await;
    check("/stats/summary", None, "good", "200").await;
    let refused = "403 Forbidden (user=reader, verb=get, resource=nodes, subresource(s)=[proxy])";
    check("/containerLogs/default/web/main", None, "good", refused).await;
    let refused = "403 Forbidden (user=ann, verb=get, resource=nodes, subresource(s)=[healthz proxy])";
    check("/healthz", Some((cluster, "ann", "devs")), "good", refused).await;
    kubelet.stop().await;
}
