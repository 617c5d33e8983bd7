//! A pod with real processes, an address, probes, hooks and a graceful end. Needs root and `/bin/busybox`; without them
//! it says so and succeeds.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail like the test")]

mod api;

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use auth::pki::Pki;
use container::images::RootFs;
use container::{ImageConfig, Images, Runtime, Shims, ShimsConfig};
use kubelet::{Kubelet, KubeletConfig};
use meta::Clock;
use net::{Namespace, Network, NetworkConfig, Subnet};
use serde_json::{Value, json};

use crate::api::Api;

fn main() {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "shim") {
        container::shim::main(&arguments[1..]);
    }
    if !nix::unistd::geteuid().is_root() || !Path::new("/bin/busybox").exists() {
        eprintln!("SKIPPED: this test needs root and /bin/busybox");
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(a_pod_with_processes());
    println!("a pod with processes ... ok");
}

fn new_namespace() -> Namespace {
    std::thread::spawn(|| {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        Namespace::open(Path::new("/proc/thread-self/ns/net")).unwrap()
    })
    .join()
    .unwrap()
}

async fn busybox(folder: &Path) -> Images {
    let root = folder.join("root");
    for path in ["bin", "etc", "tmp", "proc", "dev"] {
        std::fs::create_dir_all(root.join(path)).unwrap();
    }
    std::fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    for applet in ["sh", "sleep", "cat", "httpd", "echo", "touch", "nc", "hostname", "mkdir"] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    let images = Images::open(&folder.join("images")).unwrap();
    let config = ImageConfig { env: vec!["PATH=/bin".to_owned()], ..ImageConfig::default() };
    images.add("busybox", config, RootFs::Folder(root)).await.unwrap();
    images
}

async fn configure(folder: &Path, api: &Api) -> (KubeletConfig, Arc<Shims>) {
    let images = busybox(folder).await;
    let shims = ShimsConfig {
        run_dir: folder.join("run"),
        state_dir: folder.join("state"),
        images: images.clone(),
        executable: std::env::current_exe().unwrap(),
        arguments: vec!["shim".into()],
    };
    let shims = Arc::new(Shims::recover(shims).await.unwrap());
    let cluster = format!("{:08x}", std::process::id());
    let network = NetworkConfig {
        namespace: new_namespace(),
        cluster: cluster.clone(),
        node: 0,
        subnet: Subnet::new([10, 244, 0, 0].into(), 24).unwrap(),
        cluster_subnet: Subnet::new([10, 244, 0, 0].into(), 16).unwrap(),
        virtual_subnet: Subnet::new([10, 96, 0, 0].into(), 16).unwrap(),
        folder: folder.join("network"),
    };
    let clock: Arc<dyn Clock> = Arc::new(meta::SystemClock);
    let pki = Arc::new(Pki::open(&folder.join("pki"), clock.now()).unwrap());
    let (tls, peers) = api::tls(&pki, &clock);
    let config = KubeletConfig {
        node_name: "n1".to_owned(),
        cluster_id: cluster,
        node_index: 0,
        client: client::Client::new(api.clone()),
        runtime: Arc::clone(&shims) as Arc<dyn Runtime>,
        images: Arc::new(images),
        network: Arc::new(Network::open(network).await.unwrap()),
        netns: None,
        data_dir: folder.join("node"),
        node_ip: "192.0.2.7".parse().unwrap(),
        pod_cidr: "10.244.0.0/24".to_owned(),
        cluster_dns: vec!["10.96.0.10".parse().unwrap()],
        cluster_domain: "cluster.local".to_owned(),
        service_address: None,
        tls,
        peers,
        listen: "0.0.0.0:0".parse().unwrap(),
        allow_privileged: true,
        max_pods: 110,
        eviction_hard: kubelet::Thresholds::default(),
        clock,
    };
    (config, shims)
}

fn web() -> Value {
    json!({
        "nodeName": "n1", "terminationGracePeriodSeconds": 10, "restartPolicy": "Never",
        "initContainers": [{"name": "prepare", "image": "busybox", "imagePullPolicy": "Never",
            "command": ["sh", "-c", "echo hello > /data/index.html"],
            "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
        "containers": [{"name": "web", "image": "busybox", "imagePullPolicy": "Never",
            "command": ["sh", "-c", "trap 'echo bye $NAME > /dev/termination-log; exit 4' TERM; httpd -p 80 -h /data; \
                while true; do sleep 1 & wait $!; done"],
            "env": [{"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            "lifecycle": {"postStart": {"exec": {"command": ["touch", "/data/started"]}}},
            "readinessProbe": {"httpGet": {"path": "/started", "port": 80}, "periodSeconds": 1},
            "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
        "volumes": [{"name": "data", "emptyDir": {}}],
    })
}

async fn a_pod_with_processes() {
    let folder = tempfile::Builder::new().prefix("minke-kubelet-").tempdir().unwrap();
    let api = Api::default();
    let (config, shims) = configure(folder.path(), &api).await;
    let kubelet = Kubelet::start(config.clone()).await.unwrap();
    tokio::time::timeout(Duration::from_secs(60), kubelet.ready()).await.expect("the node gets ready");
    api.put("pods", "default", "web", json!({"kind": "Pod", "apiVersion": "v1", "spec": web()}));
    let ready = |pod: &Value| pod.pointer("/status/conditions/2/status") == Some(&json!("True"));
    let pod = api.wait("pods", "default", "web", "a ready pod", ready).await;
    assert_eq!(pod["status"]["phase"], "Running");
    assert!(pod["status"]["podIP"].as_str().unwrap().starts_with("10.244.0."));
    assert_eq!(pod.pointer("/status/initContainerStatuses/0/state/terminated/reason"), Some(&json!("Completed")));
    // A restart of the kubelet in between.
    kubelet.stop().await;
    let kubelet = Kubelet::start(config.clone()).await.unwrap();
    api.mark_deleted("pods", "default", "web", 10);
    let ended = |pod: &Value| pod.pointer("/status/containerStatuses/0/state/terminated/exitCode") == Some(&json!(4));
    let pod = api.wait("pods", "default", "web", "the container's own end", ended).await;
    let message = pod.pointer("/status/containerStatuses/0/state/terminated/message");
    assert_eq!(message, Some(&json!("bye web\n")));
    api.wait("pods", "default", "web", "no pod", Value::is_null).await;
    assert!(shims.list().is_empty());
    assert_eq!(std::fs::read_dir(folder.path().join("node/pods")).unwrap().count(), 0);
    kubelet.drain_and_stop().await;
    api.remove("nodes", "", "n1");
    config.network.remove().await.unwrap();
}
