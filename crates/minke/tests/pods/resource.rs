//! Pod is a resource with every verb and its subresources.

use anyhow::{Context, ensure};
use futures::{StreamExt, TryStreamExt};
use kube::api::{
    AttachParams, DeleteParams, EvictParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use serde_json::{Value, json};
use testkit::{Namespace, container, eventually, pod};
use tokio::io::AsyncWriteExt;

use crate::start::http_request;

const FOREVER: &str = "trap exit TERM; while true; do sleep 1 & wait $!; done";

pub(crate) async fn p50_verbs_of_the_collection(space: Namespace) -> anyhow::Result<()> {
    let pods = space.pods();
    let watch = pods.watch(&WatchParams::default(), "0").await?.boxed();
    for name in ["one", "two"] {
        let mut pod = pod(name, &[container("a", FOREVER)]);
        pod["metadata"]["labels"] = json!({"name": name});
        space.start(&pod).await?;
    }
    ensure!(pods.list(&ListParams::default().labels("name=one")).await?.items.len() == 1, "list by label");
    let patch = json!({"metadata": {"labels": {"patched": "yes"}}});
    pods.patch("one", &PatchParams::default(), &Patch::Merge(&patch)).await?;
    pods.patch("one", &PatchParams::default(), &Patch::Strategic(&patch)).await?;
    let mut read = pods.get("one").await?;
    ensure!(read.metadata.labels.as_ref().is_some_and(|labels| labels["patched"] == "yes"), "patch");
    read.metadata.labels.get_or_insert_default().insert("updated".to_owned(), "yes".to_owned());
    // The status may have moved on since; an update of an old revision is refused, so it is left out here.
    read.metadata.resource_version = None;
    pods.replace("one", &PostParams::default(), &read).await.context("update")?;
    let options = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    pods.delete_collection(&options, &ListParams::default().labels("name in (one, two)")).await?;
    eventually("all are gone", async || match pods.list(&ListParams::default()).await {
        Ok(list) if list.items.is_empty() => Ok(()),
        other => Err(other.map(|list| list.items.len())),
    })
    .await?;
    let ends = watch.try_filter_map(async |event| match event {
        WatchEvent::Deleted(pod) => Ok(pod.metadata.name),
        WatchEvent::Added(_) | WatchEvent::Modified(_) | WatchEvent::Bookmark(_) | WatchEvent::Error(_) => Ok(None),
    });
    let mut ended: Vec<String> = ends.take(2).try_collect().await?;
    ended.sort();
    ensure!(ended == ["one", "two"], "{ended:?}");
    Ok(())
}

pub(crate) async fn p50_subresources(space: Namespace) -> anyhow::Result<()> {
    let pods = space.pods();
    let script = "echo started; while read line; do echo got $line; done; echo over";
    let mut main = container("a", script);
    main["stdin"] = json!(true);
    main["stdinOnce"] = json!(true);
    let mut pod = pod("p", &[main]);
    pod["spec"]["restartPolicy"] = json!("Never");
    space.start(&pod).await?;
    let failed = space.exec("p", "a", "echo out; exit 3").await.err().context("a failing command")?;
    ensure!(format!("{failed:#}").contains("exit status 3"), "exec tells the code: {failed:#}");
    let mut attached =
        pods.attach("p", &AttachParams::default().stdin(true).stdout(true).stderr(false)).await.context("attach")?;
    let mut stdin = attached.stdin().context("no standard input")?;
    stdin.write_all(b"hello\n").await?;
    stdin.shutdown().await?;
    ensure!(space.follow("p", "a").await? == "started\ngot hello\nover\n", "attach and log");
    drop(attached);
    let ended = space.until("p", "has ended", |pod| pod["status"]["phase"] == "Succeeded").await?;
    ensure!(ended["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 0, "{ended}");
    let status = json!({"status": {"conditions": [{"type": "example.com/own", "status": "True"}]}});
    pods.patch_status("p", &PatchParams::default(), &Patch::Strategic(&status)).await.context("status")?;
    let own = |pod: &Value| {
        let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
        conditions.any(|one| one["type"] == "example.com/own")
    };
    space.until("p", "has the condition", own).await?;
    pods.evict("p", &EvictParams::default()).await.context("eviction")?;
    space.gone("p").await
}

pub(crate) async fn p50_ports_are_forwarded(space: Namespace) -> anyhow::Result<()> {
    let server = "mkdir /w; seq 1 20000 > /w/index.html; exec httpd -f -p 127.0.0.1:8080 -h /w";
    space.start(&pod("p", &[container("a", server)])).await?;
    let page = eventually("the server answers", async || match space.fetch("p", 8080, "/index.html").await {
        Ok(page) if !page.is_empty() => Ok(page),
        other => Err(format!("{other:?}")),
    })
    .await?;
    ensure!(page.lines().count() == 20_000 && page.ends_with("\n20000\n"), "{} bytes", page.len());
    let review = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "q"}, "spec": {"containers": []}});
    let request = http_request("POST", &format!("/api/v1/namespaces/{}/pods", space.name), &review)?;
    let refused = space.client.request::<Value>(request).await.err().context("a pod without containers")?;
    ensure!(refused.to_string().contains("spec.containers: Required value"), "{refused}");
    Ok(())
}
