//! How a pod ends.

use anyhow::{Context, ensure};
use kube::api::DeleteParams;
use serde_json::{Value, json};
use testkit::{Namespace, container, eventually, pod};

use crate::host::processes;
use crate::outbox::Outbox;

fn on(signal: &str, then: &str) -> String {
    format!("trap '{then}' {signal}; echo ready > /dev/null; while true; do sleep 1 & wait $!; done")
}

pub(crate) async fn p30_deleting_records_the_grace_period(space: Namespace) -> anyhow::Result<()> {
    let mut default = pod("default", &[container("a", &on("TERM", ":"))]);
    default["spec"]["terminationGracePeriodSeconds"].take();
    space.start(&default).await?;
    space.start(&pod("own", &[container("a", &on("TERM", ":"))])).await?;
    let check = async |name: &str, options: DeleteParams, expected: u64| {
        space.pods().delete(name, &options).await?;
        let ending = space.until(name, "is ending", |pod| pod["metadata"]["deletionTimestamp"].is_string()).await?;
        ensure!(ending["metadata"]["deletionGracePeriodSeconds"] == expected, "{name}: {}", ending["metadata"]);
        anyhow::Ok(())
    };
    check("default", DeleteParams::default(), 30).await?;
    let path = format!("/api/v1/namespaces/{}/pods/default", space.name);
    let request = http::Request::get(path).header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
    let table = space.client.request::<Value>(request.body(Vec::new())?).await?;
    ensure!(table["rows"][0]["cells"][2] == "Terminating", "{table}");
    check("default", DeleteParams { grace_period_seconds: Some(1), ..DeleteParams::default() }, 1).await?;
    check("own", DeleteParams { grace_period_seconds: Some(2), ..DeleteParams::default() }, 2).await?;
    space.gone("default").await?;
    space.gone("own").await
}

pub(crate) async fn p32_every_container_gets_its_signal(space: Namespace) -> anyhow::Result<()> {
    let outbox = Outbox::new()?;
    let mut containers = [
        container("term", &on("TERM", "echo term got TERM >> /out/file; exit 0")),
        container("usr1", &on("USR1", "echo usr1 got USR1 >> /out/file; exit 0")),
    ];
    containers[1]["lifecycle"] = json!({"stopSignal": "SIGUSR1"});
    let mut pod = outbox.mounted("p", &mut containers);
    pod["spec"]["os"] = json!({"name": "linux"});
    pod["spec"]["terminationGracePeriodSeconds"] = json!(60);
    space.start(&pod).await?;
    space.delete("p").await?;
    let mut lines: Vec<String> = outbox.read().lines().map(str::to_owned).collect();
    lines.sort();
    ensure!(lines == ["term got TERM", "usr1 got USR1"], "{lines:?}");
    Ok(())
}

pub(crate) async fn p32_sidecars_end_last_in_reverse(space: Namespace) -> anyhow::Result<()> {
    let outbox = Outbox::new()?;
    let say = |name: &str| container(name, &on("TERM", &format!("echo {name} >> /out/file; exit 0")));
    let mut all = [say("main"), say("first"), say("second")];
    let mut pod = outbox.mounted("p", &mut all);
    let mut sidecars = [all[1].clone(), all[2].clone()];
    for sidecar in &mut sidecars {
        sidecar["restartPolicy"] = json!("Always");
    }
    pod["spec"]["containers"] = json!([all[0]]);
    pod["spec"]["initContainers"] = json!(sidecars);
    pod["spec"]["terminationGracePeriodSeconds"] = json!(60);
    space.start(&pod).await?;
    space.delete("p").await?;
    ensure!(outbox.read() == "main\nsecond\nfirst\n", "{}", outbox.read());
    Ok(())
}

pub(crate) async fn p34_what_ignores_term_is_killed(space: Namespace) -> anyhow::Result<()> {
    let outbox = Outbox::new()?;
    let mut containers = [container("a", &on("TERM", "echo ignored >> /out/file"))];
    let mut pod = outbox.mounted("p", &mut containers);
    pod["spec"]["terminationGracePeriodSeconds"] = json!(3);
    let started = space.start(&pod).await?;
    space.delete("p").await?;
    ensure!(outbox.read() == "ignored\n", "TERM came first: {}", outbox.read());
    ensure!(processes(started["metadata"]["uid"].as_str().context("a uid")?) == 0, "then KILL");
    Ok(())
}

pub(crate) async fn p35_a_pod_is_there_until_its_processes_are_gone(space: Namespace) -> anyhow::Result<()> {
    let started = space.start(&pod("p", &[container("a", &on("TERM", "usleep 300000; exit 0"))])).await?;
    let uid = started["metadata"]["uid"].as_str().context("a uid")?.to_owned();
    space.pods().delete("p", &DeleteParams { grace_period_seconds: Some(60), ..DeleteParams::default() }).await?;
    let pods = space.pods();
    eventually("the pod is gone", async || {
        // In this order: a process that is still there while the object is gone would show.
        let there = pods.get_opt("p").await.map_err(|error| error.to_string())?.is_some();
        let left = processes(&uid);
        match (there, left) {
            (false, 0) => Ok(Ok(())),
            (false, left) => Ok(Err(anyhow::anyhow!("the pod has gone while {left} processes live"))),
            (true, left) => Err(format!("{left} processes")),
        }
    })
    .await?
}

pub(crate) async fn p37_forced_deletion_frees_the_name_at_once(space: Namespace) -> anyhow::Result<()> {
    let outbox = Outbox::new()?;
    let mut containers = [container("a", &on("TERM", "echo ended in peace >> /out/file; exit 0"))];
    let pod = outbox.mounted("p", &mut containers);
    let first = space.start(&pod).await?;
    space.pods().delete("p", &DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() }).await?;
    let second = space.start(&pod).await.context("the same name can be used at once")?;
    ensure!(first["metadata"]["uid"] != second["metadata"]["uid"], "another pod");
    let uid = first["metadata"]["uid"].as_str().context("a uid")?;
    eventually("the old processes end", async || match processes(uid) {
        0 => Ok(()),
        left => Err(left),
    })
    .await?;
    ensure!(outbox.read() == "ended in peace\n", "a small grace: {}", outbox.read());
    ensure!(space.exec("p", "a", "echo alive").await? == "alive\n", "the new one is not touched");
    Ok(())
}

pub(crate) async fn p38_a_second_delete_only_shortens(space: Namespace) -> anyhow::Result<()> {
    space.start(&pod("p", &[container("a", &on("TERM", ":"))])).await?;
    let delete = async |seconds: u32| {
        let options = DeleteParams { grace_period_seconds: Some(seconds), ..DeleteParams::default() };
        space.pods().delete("p", &options).await?;
        let seen = space.until("p", "is ending", |pod| pod["metadata"]["deletionTimestamp"].is_string()).await?;
        anyhow::Ok(seen["metadata"]["deletionGracePeriodSeconds"].as_u64())
    };
    ensure!(delete(50).await? == Some(50), "the first");
    ensure!(delete(100).await? == Some(50), "never longer");
    ensure!(delete(1).await? == Some(1), "shorter");
    space.gone("p").await
}

pub(crate) async fn p31_a_hook_that_hangs_has_the_grace_period_and_two_seconds(space: Namespace) -> anyhow::Result<()> {
    let outbox = Outbox::new()?;
    let mut containers = [container("a", &on("TERM", "echo got TERM >> /out/file"))];
    let hook = "echo the hook began >> /out/file; sleep 1000";
    containers[0]["lifecycle"] = json!({"preStop": {"exec": {"command": ["sh", "-c", hook]}}});
    let mut pod = outbox.mounted("p", &mut containers);
    pod["spec"]["terminationGracePeriodSeconds"] = json!(3);
    space.start(&pod).await?;
    let began = std::time::Instant::now();
    space.delete("p").await?;
    let took = began.elapsed().as_secs_f32();
    ensure!(outbox.read() == "the hook began\ngot TERM\n", "TERM comes after the grace period: {}", outbox.read());
    ensure!(took >= 5.0, "three seconds, and two more: {took}");
    Ok(())
}

pub(crate) async fn p33_an_ending_pod_leaves_the_ready_endpoints_and_serves(space: Namespace) -> anyhow::Result<()> {
    let script = "mkdir /w; echo hello > /w/index.html; httpd -p 8080 -h /w; trap 'sleep 4; exit' TERM; while true; do sleep 1 & wait $!; done";
    let mut serving = container("a", script);
    serving["readinessProbe"] = json!({"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1});
    let mut pod = pod("p", &[serving]);
    pod["metadata"]["labels"] = json!({"app": "p33"});
    pod["spec"]["terminationGracePeriodSeconds"] = json!(30);
    space.start(&pod).await?;
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
        "spec": {"selector": {"app": "p33"}, "ports": [{"port": 80, "targetPort": 8080}]}});
    let path = format!("/api/v1/namespaces/{}/services", space.name);
    space.client.request::<Value>(crate::start::http_request("POST", &path, &service)?).await?;
    let conditions = async |what: &str, expected: Value| {
        let path = format!("/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices", space.name);
        eventually(what, async || {
            let request = http::Request::get(&path).body(Vec::new()).map_err(|error| error.to_string())?;
            let slices = space.client.request::<Value>(request).await.map_err(|error| error.to_string())?;
            let seen = &slices["items"][0]["endpoints"][0]["conditions"];
            if *seen == expected { Ok(()) } else { Err(slices.to_string()) }
        })
        .await
    };
    conditions("a ready endpoint", json!({"ready": true, "serving": true, "terminating": false})).await?;
    space.pods().delete("p", &DeleteParams::default()).await?;
    conditions("it is ending", json!({"ready": false, "serving": true, "terminating": true})).await?;
    ensure!(space.fetch("p", 8080, "/index.html").await? == "hello\n", "and still serves");
    space.gone("p").await
}

pub(crate) async fn p38_finalizers_hold_the_object_not_the_processes(space: Namespace) -> anyhow::Result<()> {
    let mut held = pod("p", &[container("a", &on("TERM", "exit 0"))]);
    held["metadata"]["finalizers"] = json!(["example.com/held"]);
    let started = space.start(&held).await?;
    let uid = started["metadata"]["uid"].as_str().context("a uid")?.to_owned();
    space.pods().delete("p", &DeleteParams::default()).await?;
    eventually("the processes end", async || match processes(&uid) {
        0 => Ok(()),
        left => Err(left),
    })
    .await?;
    let there = space.until("p", "is still there", |_| true).await?;
    ensure!(there["metadata"]["deletionTimestamp"].is_string(), "{there}");
    let patch = kube::api::Patch::Merge(json!({"metadata": {"finalizers": null}}));
    space.pods().patch("p", &kube::api::PatchParams::default(), &patch).await?;
    space.gone("p").await
}

pub(crate) async fn p23_a_pod_that_fills_the_disk_is_evicted(space: Namespace) -> anyhow::Result<()> {
    let fill = |path: &str| format!("dd if=/dev/zero of={path}/file bs=1M count=4 2>/dev/null; exec sleep 1000");
    let mut volume = container("a", &fill("/data"));
    volume["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    let mut of_volume = pod("volume", &[volume]);
    of_volume["spec"]["volumes"] = json!([{"name": "data", "emptyDir": {"sizeLimit": "2Mi"}}]);
    let mut layer = container("a", &fill("/tmp"));
    layer["command"][2] = json!(format!("mkdir -p /tmp; {}", fill("/tmp")));
    layer["resources"] = json!({"limits": {"ephemeral-storage": "2Mi"}});
    let neighbour = space.start(&pod("neighbour", &[container("a", &on("TERM", ":"))])).await?;
    for (name, pod, message) in [
        ("volume", of_volume, "Usage of EmptyDir volume \"data\" exceeds the limit \"2Mi\". "),
        (
            "layer",
            pod("layer", &[layer]),
            "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. ",
        ),
    ] {
        space.create(&pod).await?;
        let ended = space.until(name, "is evicted", |pod| pod["status"]["phase"] == "Failed").await?;
        ensure!(ended["status"]["reason"] == "Evicted" && ended["status"]["message"] == message, "{}", ended["status"]);
        let state = &ended["status"]["containerStatuses"][0]["state"]["terminated"];
        ensure!(state["exitCode"] == 137, "its process was ended: {state}");
        space.event(name, "Evicted", message).await?;
    }
    let after = space.until("neighbour", "goes on", testkit::is_ready).await?;
    let id = "/status/containerStatuses/0/containerID";
    ensure!(neighbour.pointer(id) == after.pointer(id), "its neighbour is not touched");
    Ok(())
}
