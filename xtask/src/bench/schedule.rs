//! How fast pods get their nodes: many pods for nodes on which nothing runs.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::Context;
use hyper::Method;
use serde_json::{Value, json};

use super::access::Access;
use super::api::Api;

const NAMESPACE: &str = "bench-schedule";
const PODS: &str = "/api/v1/namespaces/bench-schedule/pods";
const NODES: usize = 20;
/// How many connections post pods beside each other.
const CONNECTIONS: usize = 16;

/// Posts pods and returns how many a second got their nodes, from the first post to the last binding.
pub(super) async fn rate(access: &Access, count: usize) -> anyhow::Result<f64> {
    let mut api = Api::connect(access).await?;
    for index in 0..NODES {
        make_node(&mut api, index).await?;
    }
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    api.call(Method::POST, "/api/v1/namespaces", Some(&namespace)).await?;
    super::pods::wait_for_account(&mut api, NAMESPACE).await?;
    let mut watch = api.another().await?.watch(&format!("{PODS}?watch=1")).await?;
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(api.another().await?);
    }
    let began = Instant::now();
    let mut posts = tokio::task::JoinSet::new();
    for (first, mut api) in connections.into_iter().enumerate() {
        posts.spawn(async move {
            for index in (first..count).step_by(CONNECTIONS) {
                api.call(Method::POST, PODS, Some(&pod(index))).await?;
            }
            anyhow::Ok(())
        });
    }
    let mut open: BTreeSet<String> = (0..count).map(name).collect();
    while !open.is_empty() {
        let event = watch.next().await.with_context(|| format!("{} pods have no node", open.len()))?;
        if event["object"]["spec"]["nodeName"].is_string() {
            open.remove(event["object"]["metadata"]["name"].as_str().unwrap_or_default());
        }
    }
    let took = began.elapsed();
    for post in posts.join_all().await {
        post?;
    }
    Ok(count as f64 / took.as_secs_f64())
}

/// A node that says that it is ready, with room for a share of the pods and to spare.
async fn make_node(api: &mut Api, index: usize) -> anyhow::Result<()> {
    let name = format!("hollow-{index}");
    let metadata = json!({"name": name, "labels": {"kubernetes.io/hostname": name, "hollow": "true"}});
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": metadata});
    let mut made = api.call(Method::POST, "/api/v1/nodes", Some(&node)).await?;
    let amounts = json!({"cpu": "64", "memory": "256Gi", "pods": "500"});
    made["status"] = json!({
        "capacity": amounts, "allocatable": amounts,
        "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": ""}],
    });
    // Its conditions are judged in the meantime: what was read is no longer what is there.
    made["metadata"]["resourceVersion"] = Value::Null;
    api.call(Method::PUT, &format!("/api/v1/nodes/{name}/status"), Some(&made)).await.map(drop)
}

fn name(index: usize) -> String {
    format!("pod-{index}")
}

fn pod(index: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name(index), "labels": {"app": "bench"}},
        "spec": {
            "nodeSelector": {"hollow": "true"}, "tolerations": [{"operator": "Exists"}],
            "containers": [{"name": "main", "image": "none", "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}}}],
        },
    })
}
