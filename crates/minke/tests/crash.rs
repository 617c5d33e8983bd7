//! `kill -9` of the program, twenty times, while objects are written and a pod counts: what was acknowledged is there, the pod keeps its
//! process and its log has no gap, and what ended meanwhile is reported with its true exit code.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use testkit::{Cluster, Namespace, container, need_root, pod, seed};

const ROUNDS: u32 = 20;

#[test]
fn nothing_is_lost_in_twenty_crashes() -> anyhow::Result<()> {
    if !need_root() {
        return Ok(());
    }
    let mut random = StdRng::seed_from_u64(seed()?);
    let cluster = Cluster::start(Path::new(env!("CARGO_BIN_EXE_minke")))?;
    let counter = cluster.run(async |client| {
        let space = Namespace::new(client, "crash").await?;
        let count = "i=0; while true; do i=$((i+1)); echo $i; usleep 20000; done";
        space.start(&pod("counter", &[container("a", count)])).await
    })?;
    let mut acknowledged = Vec::new();
    for round in 0..ROUNDS {
        let delay = Duration::from_millis(random.random_range(5..700));
        acknowledged.extend(crash(&cluster, round, delay)?);
        cluster.up().with_context(|| format!("after crash {round}"))?;
        cluster.run(async |client| {
            check(&Namespace { client, name: "crash".to_owned() }, &acknowledged, &counter, round).await
        })?;
    }
    cluster.end()
}

#[test]
fn a_resize_outlives_a_crash() -> anyhow::Result<()> {
    if !need_root() {
        return Ok(());
    }
    let cluster = Cluster::start(Path::new(env!("CARGO_BIN_EXE_minke")))?;
    let amounts = |cpu: &str, memory: &str| {
        let both = json!({"cpu": cpu, "memory": memory});
        json!({"limits": both, "requests": both})
    };
    let resize = async |space: &Namespace, resources: &Value| {
        let patch = json!({"spec": {"containers": [{"name": "a", "resources": resources}]}});
        let patch = Patch::Strategic(patch);
        space.pods().patch_subresource("resize", "p", &PatchParams::default(), &patch).await.context("resize").map(drop)
    };
    let before = cluster.run(async |client| {
        let space = Namespace::new(client, "resize").await?;
        let mut container = container("a", "exec sleep 1000");
        container["resources"] = amounts("100m", "64Mi");
        let before = space.start(&pod("p", &[container])).await?;
        resize(&space, &amounts("200m", "64Mi")).await?;
        let limit = |pod: &Value| pod["status"]["containerStatuses"][0]["resources"]["limits"]["cpu"] == "200m";
        space.until("p", "has more", limit).await?;
        // What the node can never have is wanted, not granted: it must count neither for this pod nor for others.
        resize(&space, &amounts("1000", "64Mi")).await?;
        Ok(before)
    })?;
    cluster.kill()?;
    cluster.up()?;
    cluster.run(async |client| {
        let space = Namespace { client, name: "resize".to_owned() };
        let refused = |pod: &Value| {
            let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
            conditions.any(|one| one["type"] == "PodResizePending" && one["reason"] == "Infeasible")
        };
        let after = space.until("p", "waits for more", refused).await?;
        let status = |pod: &Value| pod["status"]["containerStatuses"][0].clone();
        ensure!(status(&after)["resources"]["limits"]["cpu"] == "200m", "{after}");
        ensure!(status(&after)["allocatedResources"]["cpu"] == "200m", "{after}");
        ensure!(status(&after)["containerID"] == status(&before)["containerID"], "its container is not touched");
        let quota = "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || cut -d' ' -f1 /sys/fs/cgroup/cpu.max";
        ensure!(space.exec("p", "a", quota).await? == "20000\n", "the kernel holds what was granted");
        let mut neighbour = container("a", "exec sleep 1000");
        neighbour["resources"] = amounts("100m", "16Mi");
        space.start(&pod("neighbour", &[neighbour])).await.map(drop)
    })?;
    cluster.end()
}

/// Writes until the daemon is killed; gives the names that it acknowledged.
fn crash(cluster: &Cluster, round: u32, delay: Duration) -> anyhow::Result<Vec<String>> {
    let process = cluster.process()?;
    cluster.run(async |client| {
        let space = Namespace { client, name: "crash".to_owned() };
        let mut ends = pod(&format!("ends-{round}"), &[container("a", &format!("usleep 400000; exit {}", 10 + round))]);
        ends["spec"]["restartPolicy"] = json!("Never");
        space.create(&ends).await?;
        let begun = |pod: &Value| {
            let state = &pod["status"]["containerStatuses"][0]["state"];
            state["running"].is_object() || state["terminated"].is_object()
        };
        space.until(&format!("ends-{round}"), "has begun", begun).await?;
        let maps: Api<ConfigMap> = Api::namespaced(space.client.clone(), &space.name);
        let write = async {
            let mut names = Vec::new();
            for number in 0.. {
                let name = format!("round-{round}-{number}");
                let map =
                    serde_json::from_value(json!({"metadata": {"name": name}, "data": {"round": round.to_string()}}));
                match maps.create(&PostParams::default(), &map?).await {
                    Ok(_) => names.push(name),
                    Err(_) => break,
                }
            }
            anyhow::Ok(names)
        };
        let kill = async {
            tokio::time::sleep(delay).await;
            nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGKILL)
        };
        let (names, killed) = tokio::join!(write, kill);
        killed.context("kill the daemon")?;
        names
    })
}

async fn check(space: &Namespace, acknowledged: &[String], counter: &Value, round: u32) -> anyhow::Result<()> {
    let maps: Api<ConfigMap> = Api::namespaced(space.client.clone(), &space.name);
    let there: Vec<String> =
        maps.list(&ListParams::default()).await?.items.into_iter().filter_map(|map| map.metadata.name).collect();
    let lost: Vec<_> = acknowledged.iter().filter(|name| !there.contains(name)).collect();
    ensure!(lost.is_empty(), "lost after crash {round}: {lost:?}");
    let ended = space.until(&format!("ends-{round}"), "has ended", |pod| pod["status"]["phase"] == "Failed").await?;
    let code = &ended["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"];
    ensure!(*code == 10 + round, "the code of what ended meanwhile: {code}");
    let now = space.until("counter", "runs", |_| true).await?;
    let instance = |pod: &Value| {
        let status = &pod["status"]["containerStatuses"][0];
        (status["containerID"].clone(), status["restartCount"].clone(), status["state"]["running"]["startedAt"].clone())
    };
    ensure!(
        instance(&now) == instance(counter),
        "the process was disturbed: {} {}",
        instance(&now).0,
        instance(counter).0
    );
    let log = space.log("counter", "a").await?;
    for (line, expected) in log.lines().zip(1_u64..) {
        ensure!(line == expected.to_string(), "a gap in the log before {line}, at {expected}");
    }
    ensure!(log.lines().count() > 5 * round as usize, "it goes on counting: {} lines", log.lines().count());
    Ok(())
}
