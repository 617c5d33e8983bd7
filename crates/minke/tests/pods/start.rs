//! How a pod gets to its node, starts, and starts again.

use anyhow::ensure;
use kube::api::PostParams;
use serde_json::{Value, json};
use testkit::{Namespace, container, pod};

const FOREVER: &str = "trap exit TERM; while true; do sleep 1 & wait $!; done";

pub(crate) async fn p20_a_pod_is_bound_once(space: Namespace) -> anyhow::Result<()> {
    let running = space.start(&pod("p", &[container("a", FOREVER)])).await?;
    let node = running["spec"]["nodeName"].clone();
    let mut moved = running.clone();
    moved["spec"]["nodeName"] = json!("elsewhere");
    let typed = serde_json::from_value(moved)?;
    let refused = space.pods().replace("p", &PostParams::default(), &typed).await.err();
    ensure!(matches!(&refused, Some(kube::Error::Api(status)) if status.code == 422), "{refused:?}");
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": "elsewhere"}});
    let path = format!("/api/v1/namespaces/{}/pods/p/binding", space.name);
    let request = http_request("POST", &path, &binding)?;
    let refused = space.client.request::<Value>(request).await.err();
    ensure!(matches!(&refused, Some(kube::Error::Api(status)) if status.code == 409), "{refused:?}");
    ensure!(space.until("p", "is where it was", |_| true).await?["spec"]["nodeName"] == node, "it never moves");
    Ok(())
}

/// A request with a JSON body.
pub(crate) fn http_request(method: &str, path: &str, body: &Value) -> anyhow::Result<http::Request<Vec<u8>>> {
    let request = http::Request::builder().method(method).uri(path).header("content-type", "application/json");
    Ok(request.body(body.to_string().into_bytes())?)
}

pub(crate) async fn p21_restarts_and_reasons(space: Namespace) -> anyhow::Result<()> {
    let check = async |name: &str, policy: &str, script: &str, condition: fn(&Value) -> bool| {
        let mut pod = pod(name, &[container("a", script)]);
        pod["spec"]["restartPolicy"] = json!(policy);
        space.create(&pod).await?;
        space.until(name, policy, condition).await.map(drop)
    };
    check("done", "Never", "exit 0", |pod| {
        let ended = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
        pod["status"]["phase"] == "Succeeded" && ended["reason"] == "Completed" && ended["exitCode"] == 0
    })
    .await?;
    check("failed", "Never", "exit 7", |pod| {
        let ended = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
        pod["status"]["phase"] == "Failed" && ended["reason"] == "Error" && ended["exitCode"] == 7
    })
    .await?;
    check("killed", "Never", "kill -9 $$; sleep 1000 & kill -TERM $!; wait $!; exit 143", |pod| {
        pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 143
    })
    .await?;
    check("on-failure", "OnFailure", "exit 1", |pod| {
        let status = &pod["status"]["containerStatuses"][0];
        status["state"]["waiting"]["reason"] == "CrashLoopBackOff" && status["lastState"]["terminated"]["exitCode"] == 1
    })
    .await?;
    check("always", "Always", "exit 0", |pod| {
        let status = &pod["status"]["containerStatuses"][0];
        let message = status["state"]["waiting"]["message"].as_str().unwrap_or_default();
        status["restartCount"].as_u64() >= Some(1)
            && message.starts_with("back-off 10s restarting failed container=a pod=always_")
    })
    .await
}

pub(crate) async fn p55_events_tell_what_happens(space: Namespace) -> anyhow::Result<()> {
    space.start(&pod("p", &[container("a", FOREVER)])).await?;
    space.event("p", "Scheduled", &format!("Successfully assigned {}/p to ", space.name)).await?;
    space.event("p", "Pulled", "Container image \"test.local/busybox:1\" already present on machine").await?;
    space.event("p", "Created", "Container created").await?;
    space.event("p", "Started", "Container started").await?;
    space.delete("p").await?;
    space.event("p", "Killing", "Stopping container a").await?;
    space.create(&pod("loop", &[container("a", "exit 1")])).await?;
    space.event("loop", "BackOff", "Back-off restarting failed container a in pod loop_").await
}

pub(crate) async fn images_and_commands_that_are_wrong(space: Namespace) -> anyhow::Result<()> {
    let waiting = async |name: &str, change: fn(&mut Value), reasons: &'static [&'static str]| {
        let mut container = container("a", "true");
        change(&mut container);
        space.create(&pod(name, &[container])).await?;
        let what = reasons.join(" or ");
        let seen = space.until(name, &what, |pod| {
            let reason = pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"].as_str();
            reasons.iter().any(|wanted| reason == Some(wanted))
        });
        seen.await
    };
    let unknown: fn(&mut Value) = |container| container["image"] = json!("test.local/nothing:1");
    waiting("unknown", unknown, &["ErrImagePull", "ImagePullBackOff"]).await?;
    space.event("unknown", "Failed", "Failed to pull image \"test.local/nothing:1\": ").await?;
    space.event("unknown", "Failed", "Error: ErrImagePull").await?;
    space.event("unknown", "BackOff", "Back-off pulling image \"test.local/nothing:1\"").await?;
    waiting(
        "never",
        |container| {
            container["image"] = json!("test.local/nothing:1");
            container["imagePullPolicy"] = json!("Never");
        },
        &["ErrImageNeverPull"],
    )
    .await?;
    waiting("invalid", |container| container["image"] = json!("Not An Image"), &["InvalidImageName"]).await?;
    let check = async |name: &str, command: &str, code: i64| {
        let mut container = container("a", "true");
        container["command"] = json!([command]);
        let mut pod = pod(name, &[container]);
        pod["spec"]["restartPolicy"] = json!("Never");
        let seen = space.finish(&pod).await?;
        let ended = &seen["status"]["containerStatuses"][0]["state"]["terminated"];
        // Compat: what containerd and runc report for a process that could not be started.
        ensure!(ended["exitCode"] == code && ended["reason"] == "StartError", "{name}: {ended}");
        let message = ended["message"].as_str().unwrap_or_default();
        ensure!(message.contains(command), "{name}: {message}");
        anyhow::Ok(())
    };
    check("missing", "/no/such/command", 128).await?;
    check("not-executable", "/etc/passwd", 128).await
}
