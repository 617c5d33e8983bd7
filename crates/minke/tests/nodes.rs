//! Two nodes in one process: pods, services, names and node ports work from either to either, outlive `kill -9`, and nothing of them
//! stays on the machine.

use std::path::Path;

use anyhow::{Context, ensure};
use k8s_openapi::api::core::v1::{Node, Service};
use kube::api::{Api, ListParams, PostParams};
use serde_json::{Value, json};
use testkit::{Cluster, Namespace, container, eventually, need_root, pod};

const SPACE: &str = "nodes";
const PORT: u16 = 30321;

#[test]
fn two_nodes_are_one_cluster() -> anyhow::Result<()> {
    if !need_root() {
        return Ok(());
    }
    let cluster = Cluster::start_with(Path::new(env!("CARGO_BIN_EXE_minke")), &["--nodes", "2"])?;
    let before = cluster.run(async |client| {
        let space = Namespace::new(client, SPACE).await?;
        let pods = begin(&space).await?;
        check(&space, &pods).await?;
        Ok(pods)
    })?;
    cluster.kill()?;
    cluster.up()?;
    let after = cluster.run(async |client| {
        let space = Namespace { client, name: SPACE.to_owned() };
        let mut pods = Vec::new();
        for name in ["one", "two"] {
            pods.push(space.until(name, "is Ready again", testkit::is_ready).await?);
        }
        check(&space, &pods).await?;
        Ok(pods)
    })?;
    for (before, after) in before.iter().zip(&after) {
        let container = |pod: &Value| pod["status"]["containerStatuses"][0]["containerID"].clone();
        ensure!(container(before) == container(after), "its container went on: {before} {after}");
    }
    ensure!(cluster.minke(&["down"])?.status.success(), "down");
    cluster.up_with(&["--nodes", "1"])?;
    cluster.run(async |client| {
        let space = Namespace { client, name: SPACE.to_owned() };
        ensure!(nodes(&space).await?.len() == 1, "the second node is gone");
        space.until("one", "is Ready once more", testkit::is_ready).await?;
        space.gone("two").await
    })?;
    cluster.end()
}

/// Name and address of each node.
async fn nodes(space: &Namespace) -> anyhow::Result<Vec<(String, String)>> {
    let all: Api<Node> = Api::all(space.client.clone());
    let mut found = Vec::new();
    for node in all.list(&ListParams::default()).await.context("list the nodes")? {
        let node = serde_json::to_value(node)?;
        let text = |value: &Value| value.as_str().map(str::to_owned).context("a text");
        found.push((text(&node["metadata"]["name"])?, text(&node["status"]["addresses"][0]["address"])?));
    }
    Ok(found)
}

/// A server on each node, and a service that leads to the one on the first.
async fn begin(space: &Namespace) -> anyhow::Result<Vec<Value>> {
    let nodes = nodes(space).await?;
    ensure!(nodes.len() == 2, "two nodes: {nodes:?}");
    let services: Api<Service> = Api::namespaced(space.client.clone(), &space.name);
    let service = json!({
        "metadata": {"name": "first"},
        "spec": {"type": "NodePort", "selector": {"name": "one"}, "ports": [{"port": 80, "targetPort": 8080, "nodePort": PORT}]},
    });
    services.create(&PostParams::default(), &serde_json::from_value(service)?).await.context("make a service")?;
    let mut pods = Vec::new();
    for (name, (node, _)) in ["one", "two"].into_iter().zip(&nodes) {
        let serve = format!("mkdir /w; echo {name} > /w/index.html; exec httpd -f -p 8080 -h /w");
        let mut pod = pod(name, &[container("a", &serve)]);
        pod["metadata"]["labels"] = json!({"name": name});
        pod["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": node});
        pods.push(space.start(&pod).await?);
    }
    let mut on_node = pod("on-node", &[container("a", "exec sleep 100000")]);
    on_node["spec"]["hostNetwork"] = json!(true);
    on_node["spec"]["nodeName"] = json!(nodes[1].0);
    space.start(&on_node).await?;
    ensure!(
        space.exec("on-node", "a", "hostname").await?.trim() == nodes[1].0,
        "a pod in its node's network has its name"
    );
    space.delete("on-node").await?;
    Ok(pods)
}

async fn check(space: &Namespace, pods: &[Value]) -> anyhow::Result<()> {
    let nodes = nodes(space).await?;
    let ip = |pod: &Value| pod["status"]["podIP"].as_str().map(str::to_owned).context("an address");
    let names = space.exec("two", "a", "nslookup first.nodes.svc.cluster.local 10.96.0.10").await?;
    let services: Api<Service> = Api::namespaced(space.client.clone(), &space.name);
    let service = services.get("first").await?.spec.and_then(|spec| spec.cluster_ip).context("a service's address")?;
    ensure!(names.contains(&service), "names are resolved on the second node: {names}");
    let mut ways = Vec::new();
    for pod in ["one", "two"] {
        ways.push((pod, format!("{}:8080", ip(&pods[0])?), "one"));
        ways.push((pod, format!("{}:8080", ip(&pods[1])?), "two"));
        ways.push((pod, service.clone(), "one"));
        ways.extend(nodes.iter().map(|(_, address)| (pod, format!("{address}:{PORT}"), "one")));
    }
    for (from, to, expected) in ways {
        let fetch = format!("timeout 5 wget -q -O - http://{to}/");
        let said = eventually(&format!("{from} reaches {to}"), async || {
            space.exec(from, "a", &fetch).await.map_err(|error| error.to_string())
        })
        .await?;
        ensure!(said.trim() == expected, "{from} to {to}: {said}");
    }
    Ok(())
}
