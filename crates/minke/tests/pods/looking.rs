//! Looking into a pod: logs, streams, usage.

use anyhow::{Context, ensure};
use kube::api::{AttachParams, LogParams, TerminalSize};
use serde_json::{Value, json};
use testkit::{Namespace, container, eventually, pod};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const FOREVER: &str = "trap exit TERM; while true; do sleep 1 & wait $!; done";

fn of(container: &str) -> LogParams {
    LogParams { container: Some(container.to_owned()), ..LogParams::default() }
}

pub(crate) async fn logs_are_cut_as_asked(space: Namespace) -> anyhow::Result<()> {
    let script =
        "test -e /data/x || { touch /data/x; echo the first; exit 1; }; seq 1 100; echo wrong >&2; exec sleep 1000";
    let mut main = container("a", script);
    main["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    let mut pod = pod("p", &[main]);
    pod["spec"]["volumes"] = json!([{"name": "data", "emptyDir": {}}]);
    space.create(&pod).await?;
    let again = |pod: &Value| {
        let status = &pod["status"]["containerStatuses"][0];
        status["restartCount"] == 1 && status["state"]["running"].is_object()
    };
    space.until("p", "runs again", again).await?;
    let pods = space.pods();
    eventually("everything is written", async || match space.log("p", "a").await {
        Ok(log) if log.lines().count() == 101 => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await?;
    ensure!(pods.logs("p", &LogParams { previous: true, ..of("a") }).await? == "the first\n", "previous");
    let tail = pods.logs("p", &LogParams { tail_lines: Some(2), ..of("a") }).await?;
    ensure!(tail.lines().count() == 2, "tail: {tail}");
    ensure!(pods.logs("p", &LogParams { limit_bytes: Some(5), ..of("a") }).await? == "1\n2\n3", "limit");
    let stamped = pods.logs("p", &LogParams { timestamps: true, tail_lines: Some(1), ..of("a") }).await?;
    let (stamp, _) = stamped.split_once(' ').context("a stamp")?;
    ensure!(stamp.len() == "2026-01-01T00:00:00.123456789Z".len() && stamp.ends_with('Z'), "{stamped}");
    ensure!(pods.logs("p", &LogParams { since_seconds: Some(1000), ..of("a") }).await?.lines().count() == 101, "since");
    Ok(())
}

pub(crate) async fn logs_are_rotated_and_followed_across_it(space: Namespace) -> anyhow::Result<()> {
    // Some 12 MB beside the prefixes: more than one file takes.
    let lines = 750;
    let line = "x".repeat(16_000);
    let script = format!("usleep 300000; yes {line} | head -n {lines}; echo the end; sleep 1");
    let mut pod = pod("p", &[container("a", &script)]);
    pod["spec"]["restartPolicy"] = json!("Never");
    space.start(&pod).await?;
    let followed = space.follow("p", "a").await?;
    ensure!(followed.lines().count() == lines + 1, "nothing is lost while following: {}", followed.lines().count());
    ensure!(followed.ends_with("the end\n"), "to the end");
    let now = space.log("p", "a").await?;
    ensure!(now.ends_with("the end\n") && now.lines().count() < lines, "the newest file: {}", now.lines().count());
    let nodes = std::env::temp_dir().read_dir()?.flatten();
    let logs = nodes.flat_map(|entry| entry.path().join("data/nodes").read_dir().into_iter().flatten().flatten());
    let own = format!("{}_p_", space.name);
    let folders = logs.flat_map(|node| node.path().join("logs").read_dir().into_iter().flatten().flatten());
    let folder = folders.map(|folder| folder.path()).find(|path| path.to_string_lossy().contains(&own));
    let files: Vec<_> =
        folder.context("the pod's logs")?.join("a").read_dir()?.flatten().map(|file| file.path()).collect();
    ensure!(files.len() == 2, "one was put aside: {files:?}");
    for file in files {
        ensure!(file.metadata()?.len() < 11 << 20, "{} is bounded", file.display());
    }
    Ok(())
}

pub(crate) async fn a_terminal_has_a_size(space: Namespace) -> anyhow::Result<()> {
    space.start(&pod("p", &[container("a", FOREVER)])).await?;
    let options = AttachParams::interactive_tty().container("a");
    let mut process = space.pods().exec("p", ["sh"], &options).await?;
    let mut sizes = process.terminal_size().context("sizes")?;
    let (mut stdin, mut stdout) = (process.stdin().context("input")?, process.stdout().context("output")?);
    futures::SinkExt::send(&mut sizes, TerminalSize { width: 123, height: 45 }).await?;
    let mut said = String::new();
    stdin.write_all(b"for i in 1 2 3 4 5 6 7 8 9; do stty size; usleep 200000; done; exit 3\n").await?;
    stdout.read_to_string(&mut said).await?;
    ensure!(said.contains("45 123"), "{said}");
    let status = process.take_status().context("a status")?.await.context("the end")?;
    ensure!(status.message.as_deref().unwrap_or_default().contains("exit status 3"), "{status:?}");
    Ok(())
}

pub(crate) async fn p25_usage_is_visible(space: Namespace) -> anyhow::Result<()> {
    let busy = "x=$(seq 1 300000); while true; do :; done";
    space.start(&pod("p", &[container("busy", busy), container("idle", FOREVER)])).await?;
    let node = space.until("p", "is bound", |_| true).await?["spec"]["nodeName"].as_str().context("a node")?.to_owned();
    let get = async |path: String| -> anyhow::Result<String> {
        let request = http::Request::get(path).body(Vec::new())?;
        Ok(space.client.request_text(request).await?)
    };
    let summary = async || -> anyhow::Result<Value> {
        let text = get(format!("/api/v1/nodes/{node}/proxy/stats/summary")).await?;
        let summary: Value = serde_json::from_str(&text)?;
        ensure!(summary["node"]["memory"]["workingSetBytes"].as_u64() > Some(0), "the node: {}", summary["node"]);
        let own = summary["pods"]
            .as_array()
            .context("pods")?
            .iter()
            .find(|pod| pod["podRef"]["name"] == "p" && pod["podRef"]["namespace"] == space.name.as_str());
        Ok(own.context("the pod")?.clone())
    };
    let used = |pod: &Value, name: &str| {
        let mut containers = pod["containers"].as_array().into_iter().flatten();
        containers.find(|one| one["name"] == name).cloned().unwrap_or_default()
    };
    eventually("what the busy one uses", async || {
        let pod = summary().await.map_err(|error| error.to_string())?;
        let (busy, idle) = (used(&pod, "busy"), used(&pod, "idle"));
        let seconds = busy["cpu"]["usageCoreNanoSeconds"].as_u64();
        let more = seconds > Some(200_000_000) && seconds > idle["cpu"]["usageCoreNanoSeconds"].as_u64();
        let seen = more
            && busy["memory"]["workingSetBytes"].as_u64() > Some(1 << 20)
            && pod["process_stats"]["process_count"].as_u64() > Some(2);
        if seen { Ok(()) } else { Err(pod.to_string()) }
    })
    .await?;
    let metrics = get(format!("/api/v1/nodes/{node}/proxy/metrics/resource")).await?;
    let sample =
        format!("container_memory_working_set_bytes{{container=\"busy\",namespace=\"{}\",pod=\"p\"}}", space.name);
    ensure!(metrics.lines().any(|line| line.starts_with(&sample)), "{sample}: {metrics}");
    eventually("the metrics API", async || {
        let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{}/pods/p", space.name);
        let text = get(path).await.map_err(|error| error.to_string())?;
        let metrics: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let names: Vec<_> =
            metrics["containers"].as_array().into_iter().flatten().map(|one| one["name"].clone()).collect();
        if metrics["kind"] == "PodMetrics" && names == ["busy", "idle"] { Ok(()) } else { Err(text) }
    })
    .await?;
    let nodes: Value = serde_json::from_str(&get("/apis/metrics.k8s.io/v1beta1/nodes".to_owned()).await?)?;
    ensure!(nodes["items"][0]["usage"]["memory"].is_string(), "{nodes}");
    Ok(())
}
