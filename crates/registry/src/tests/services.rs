//! Addresses and ports that services take in their own commits.

use std::collections::BTreeSet;

use super::*;

async fn cluster() -> Fixture {
    let clock = Arc::new(TestClock::at(parse_time("2026-01-01T00:00:00Z").expect("a time")));
    let registry = Registry::open(RegistryConfig {
        store: Arc::new(store::Memory::new(Arc::new(|| SystemTime::UNIX_EPOCH))),
        clock: clock.clone(),
        settings: Settings { allow_privileged: true },
        admission: Vec::new(),
        resources: Resources::builtin(),
        converter: Arc::new(NoConversion),
    });
    Fixture { registry: registry.await.expect("a registry"), clock }
}

fn service(name: &str, spec: Value) -> Value {
    let mut spec = spec;
    spec["ports"] = json!([{"port": 80}]);
    json!({"metadata": {"name": name}, "spec": spec})
}

async fn addresses(cluster: &Fixture) -> BTreeSet<String> {
    let path = ResourcePath::collection(Gvr::new("networking.k8s.io", "v1", "ipaddresses"), "");
    let list = cluster.list(&path, ListOptions::default()).await.expect("a list");
    list.items.iter().map(|object| object.metadata.name.clone()).collect()
}

#[tokio::test]
async fn an_address_belongs_to_one_service_at_a_time() {
    let cluster = cluster().await;
    let all = collection("services", "default");
    let made = cluster.create("services", "default", service("a", json!({}))).await;
    let ip = made["spec"]["clusterIP"].as_str().expect("an address").to_owned();
    assert_eq!(made["spec"]["clusterIPs"], json!([ip]));
    assert_eq!(addresses(&cluster).await, BTreeSet::from([ip.clone()]));

    let error = cluster.object(&all, create(service("b", json!({"clusterIP": ip})))).await.expect_err("it is taken");
    let text = format!("failed to allocate IP {ip}: provided IP is already allocated");
    assert!(error.code() == 422 && error.message.contains(&text), "{}", error.message);
    let error =
        cluster.object(&all, create(service("b", json!({"clusterIP": "192.0.2.1"})))).await.expect_err("outside");
    assert!(error.message.contains("the provided network does not match the current range"), "{}", error.message);

    cluster.object(&path("services", "default", "a"), delete()).await.expect("it goes");
    assert_eq!(addresses(&cluster).await, BTreeSet::new());
    cluster.create("services", "default", service("b", json!({"clusterIP": ip}))).await;
    let external = json!({"spec": {"type": "ExternalName", "externalName": "example.com"}});
    let changed = cluster.object(&path("services", "default", "b"), merge(external)).await.expect("it changes");
    assert_eq!((&changed["spec"]["clusterIP"], addresses(&cluster).await), (&Value::Null, BTreeSet::new()));
}

#[tokio::test]
async fn node_ports_are_taken_and_given_back() {
    let cluster = cluster().await;
    let all = collection("services", "default");
    let made = cluster.create("services", "default", service("a", json!({"type": "NodePort"}))).await;
    let port = made["spec"]["ports"][0]["nodePort"].as_u64().expect("a port");
    assert!((30000..=32767).contains(&port));
    let wish = |port: u64| {
        let mut wish = service("b", json!({"type": "NodePort"}));
        wish["spec"]["ports"][0]["nodePort"] = json!(port);
        create(wish)
    };
    let error = cluster.object(&all, wish(port)).await.expect_err("it is taken");
    assert!(error.message.contains("provided port is already allocated"), "{}", error.message);
    let error = cluster.object(&all, wish(80)).await.expect_err("it is outside");
    assert!(error.message.contains("The range of valid ports is 30000-32767"), "{}", error.message);
    let plain = json!({"spec": {"type": "ClusterIP"}});
    let changed = cluster.object(&path("services", "default", "a"), merge(plain)).await.expect("it changes");
    assert_eq!(changed["spec"]["ports"][0]["nodePort"], Value::Null);
    cluster.object(&all, wish(port)).await.expect("it is free");
}

#[tokio::test]
async fn many_at_once_never_share() {
    let cluster = cluster().await;
    // A small range makes collisions certain.
    let range = json!({"metadata": {"name": "small"}, "spec": {"cidrs": ["10.96.0.0/26"]}});
    let path = ResourcePath::collection(Gvr::new("networking.k8s.io", "v1", "servicecidrs"), "");
    cluster.object(&path, create(range)).await.expect("a range");
    let all = collection("services", "default");
    let made = (0..62).map(|n| cluster.object(&all, create(service(&format!("s{n}"), json!({"type": "NodePort"})))));
    let made = futures::future::join_all(made).await;
    let ips: BTreeSet<String> =
        made.into_iter().map(|made| made.expect("an address is left")["spec"]["clusterIP"].to_string()).collect();
    assert_eq!(ips.len(), 62);
    let error = cluster.object(&all, create(service("last", json!({})))).await.expect_err("the range is full");
    assert!(error.message.contains("range is full"), "{}", error.message);
}
