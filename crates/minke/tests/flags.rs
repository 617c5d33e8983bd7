//! What needs a cluster of its own: switches of server and node, and a crash in the middle of a pod's end.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::{Value, json};
use testkit::{Cluster, Namespace, container, eventually, need_root, pod};

const FOREVER: &str = "trap exit TERM; while true; do sleep 1 & wait $!; done";

fn privileged() -> Value {
    let mut container = container("a", FOREVER);
    container["securityContext"] = json!({"privileged": true});
    let mut pod = pod("x", &[container]);
    pod["spec"]["restartPolicy"] = json!("Always");
    pod
}

fn minke() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_minke"))
}

#[test]
fn p36_an_interrupted_end_is_retried_with_the_full_grace() -> anyhow::Result<()> {
    const GRACE: Duration = Duration::from_secs(6);
    if !need_root() {
        return Ok(());
    }
    let cluster = Cluster::start(minke())?;
    let before = cluster.run(async |client| {
        let space = Namespace::new(client, "p36").await?;
        let bystander = space.start(&pod("bystander", &[container("a", FOREVER)])).await?;
        let mut stubborn = pod("stubborn", &[container("a", "trap : TERM; while true; do sleep 1 & wait $!; done")]);
        stubborn["spec"]["terminationGracePeriodSeconds"] = json!(GRACE.as_secs());
        space.start(&stubborn).await?;
        space.pods().delete("stubborn", &DeleteParams::default()).await?;
        space.event("stubborn", "Killing", "Stopping container a").await?;
        Ok(bystander)
    })?;
    cluster.kill()?;
    cluster.up()?;
    let again = Instant::now();
    cluster.run(async |client| {
        let space = Namespace { client, name: "p36".to_owned() };
        space.gone("stubborn").await?;
        // The daemon has to come up and find the pod: its time began a little before `up` returned.
        ensure!(again.elapsed() + Duration::from_secs(3) >= GRACE, "the full grace: {:?}", again.elapsed());
        let after = space.until("bystander", "is there", testkit::is_ready).await?;
        let id = "/status/containerStatuses/0/containerID";
        ensure!(before.pointer(id) == after.pointer(id), "others are not touched: {after}");
        ensure!(after["status"]["containerStatuses"][0]["restartCount"] == 0, "{after}");
        Ok(())
    })?;
    cluster.end()
}

#[test]
fn p23_a_node_that_runs_short_says_so_and_ends_pods() -> anyhow::Result<()> {
    if !need_root() {
        return Ok(());
    }
    // No machine has so much memory: the node runs short from its first look on.
    let cluster = Cluster::start_with(minke(), &["--eviction-hard", "memory.available<1Pi"])?;
    cluster.run(async |client| {
        let space = Namespace::new(client, "p23").await?;
        let nodes: Api<Node> = Api::all(space.client.clone());
        let node = eventually("the node tells of it", async || {
            let list = nodes.list(&ListParams::default()).await.map_err(|error| json!(error.to_string()))?;
            let node = serde_json::to_value(list.items.first()).map_err(|error| json!(error.to_string()))?;
            let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
            let short =
                |one: &Value| one["type"] == "MemoryPressure" && one["reason"] == "KubeletHasInsufficientMemory";
            let tainted = taints.iter().any(|taint| taint["key"] == "node.kubernetes.io/memory-pressure");
            if conditions.iter().any(short) && tainted { Ok(node) } else { Err(node["status"]["conditions"].clone()) }
        })
        .await?;
        let bound = |name: &str| {
            let mut pod = pod(name, &[container("a", FOREVER)]);
            pod["spec"]["nodeName"] = node["metadata"]["name"].clone();
            pod
        };
        let refused = space.finish(&bound("refused")).await?;
        let message = "Pod was rejected: The node had condition: [MemoryPressure]. ";
        ensure!(refused["status"]["reason"] == "Evicted" && refused["status"]["message"] == message, "{refused}");
        let mut asking = bound("asking");
        asking["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "10m"}});
        let evicted = space.finish(&asking).await?;
        let message = evicted["status"]["message"].as_str().unwrap_or_default();
        let low = "The node was low on resource: memory. Threshold quantity: 1Pi, available: ";
        ensure!(evicted["status"]["reason"] == "Evicted" && message.starts_with(low), "{evicted}");
        ensure!(message.contains("Container a was using "), "it tells who used more than he asked for: {message}");
        let disrupted = |one: &Value| one["type"] == "DisruptionTarget" && one["reason"] == "TerminationByKubelet";
        let conditions = evicted["status"]["conditions"].as_array().context("conditions")?;
        ensure!(conditions.iter().any(disrupted), "{evicted}");
        Ok(())
    })?;
    cluster.end()
}

#[test]
fn p41_a_server_that_forbids_privileged_containers_refuses_them() -> anyhow::Result<()> {
    if !need_root() {
        return Ok(());
    }
    let cluster = Cluster::start_with(minke(), &["--allow-privileged=false"])?;
    cluster.run(async |client| {
        let space = Namespace::new(client, "p41").await?;
        let body = serde_json::to_vec(&privileged())?;
        let request = http::Request::post("/api/v1/namespaces/p41/pods").header("content-type", "application/json");
        let refused = space.client.request::<Value>(request.body(body)?).await.err().context("it is refused")?;
        let kube::Error::Api(status) = refused else { anyhow::bail!("{refused}") };
        let field = "spec.containers[0].securityContext.privileged";
        ensure!(status.code == 422 && status.reason == "Invalid", "{status:?}");
        let begin = format!("Pod \"x\" is invalid: {field}: Forbidden: ");
        ensure!(status.message.starts_with(&begin), "{}", status.message);
        let causes = status.details.clone().map(|details| details.causes).unwrap_or_default();
        ensure!(causes.len() == 1 && causes[0].field == field, "{causes:?}");
        space.start(&pod("plain", &[container("a", FOREVER)])).await?;
        space.delete("plain").await
    })?;
    cluster.end()
}

#[test]
fn p42_a_node_that_forbids_privileged_containers_ignores_them() -> anyhow::Result<()> {
    if !need_root() {
        return Ok(());
    }
    let cluster = Cluster::start_with(minke(), &["--node-allow-privileged=false"])?;
    cluster.run(async |client| {
        let space = Namespace::new(client, "p42").await?;
        space.create(&privileged()).await?;
        let text = "Error validating pod \"x\".\"p42\" from api, ignoring: \
                    spec.containers[0].securityContext.privileged: forbidden";
        space.event("x", "FailedValidation", text).await?;
        let pod = space.until("x", "is bound", |pod| pod["spec"]["nodeName"].is_string()).await?;
        ensure!(pod["status"]["phase"] == "Pending", "{pod}");
        // Other pods live beside it, and it can be deleted.
        space.start(&testkit::pod("plain", &[container("a", FOREVER)])).await?;
        ensure!(space.until("x", "is there", |_| true).await?["status"]["phase"] == "Pending", "it stays pending");
        space.delete("x").await?;
        let pods = space.pods();
        eventually("only the other is left", async || match pods.list(&Default::default()).await {
            Ok(list) if list.items.len() == 1 => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await
    })?;
    cluster.end()
}
