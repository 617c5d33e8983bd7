//! How a pod lives: the order of its containers, restarts, signals, probes, hooks, and what may change while it runs.

use anyhow::{Context, ensure};
use futures::{StreamExt, TryStreamExt};
use kube::api::{Patch, PatchParams, WatchParams};
use serde_json::{Value, json};
use testkit::{BUSYBOX_AGAIN, Namespace, container, eventually, pod};

use crate::outbox::Outbox;
use crate::start::http_request;

const FOREVER: &str = "trap exit TERM; while true; do sleep 1 & wait $!; done";

fn sidecar(name: &str, script: &str) -> Value {
    let mut sidecar = container(name, script);
    sidecar["restartPolicy"] = json!("Always");
    sidecar
}

pub(crate) async fn p11_init_containers_and_sidecars_start_in_order(space: Namespace) -> anyhow::Result<()> {
    let outbox = Outbox::new()?;
    // The sidecar says that it started only some time after its process began: what follows it has to wait for that.
    let slow = "usleep 300000; echo sidecar >> /out/file; touch /started; exec sleep 1000";
    let mut containers = [
        container("first", "usleep 200000; echo first >> /out/file"),
        sidecar("sidecar", slow),
        container("second", "echo second >> /out/file"),
        container("main", "echo main >> /out/file; exec sleep 1000"),
    ];
    containers[1]["startupProbe"] = json!({"exec": {"command": ["test", "-e", "/started"]}, "periodSeconds": 1});
    let mut pod = outbox.mounted("p", &mut containers);
    pod["spec"]["initContainers"] = json!(containers[..3]);
    pod["spec"]["containers"] = json!(containers[3..]);
    let running = space.start(&pod).await?;
    eventually("all have written, in order", async || match outbox.read() {
        text if text == "first\nsidecar\nsecond\nmain\n" => Ok(()),
        text => Err(text),
    })
    .await?;
    let statuses = &running["status"]["initContainerStatuses"];
    ensure!(statuses[0]["state"]["terminated"]["reason"] == "Completed" && statuses[0]["ready"] == true, "{statuses}");
    ensure!(statuses[1]["state"]["running"].is_object() && statuses[1]["started"] == true, "{statuses}");
    let mut failing = testkit::pod("failing", &[container("main", "true")]);
    failing["spec"]["restartPolicy"] = json!("Never");
    failing["spec"]["initContainers"] = json!([container("first", "exit 4")]);
    let ended = space.finish(&failing).await?;
    ensure!(ended["status"]["phase"] == "Failed", "{ended}");
    let reason = &ended["status"]["containerStatuses"][0]["state"]["waiting"]["reason"];
    ensure!(*reason == "PodInitializing", "the ordinary container never ran: {}", ended["status"]);
    Ok(())
}

pub(crate) async fn p11_an_ephemeral_container_joins_a_running_pod(space: Namespace) -> anyhow::Result<()> {
    let before = space.start(&pod("p", &[container("a", FOREVER)])).await?;
    let add = async |containers: Value| {
        let path = format!("/api/v1/namespaces/{}/pods/p/ephemeralcontainers", space.name);
        let patch = json!({"spec": {"ephemeralContainers": containers}});
        let mut request = http_request("PATCH", &path, &patch)?;
        let form = http::HeaderValue::from_static("application/strategic-merge-patch+json");
        request.headers_mut().insert("content-type", form);
        anyhow::Ok(space.client.request::<Value>(request).await)
    };
    let script = "readlink /proc/self/ns/net; ls /proc | grep -c '^[0-9]'; exit 5";
    let mut debugger = container("debugger", script);
    debugger["targetContainerName"] = json!("a");
    add(json!([debugger])).await?.context("add a container")?;
    let ended = |pod: &Value| pod["status"]["ephemeralContainerStatuses"][0]["state"]["terminated"].is_object();
    let seen = space.until("p", "the debugger has ended", ended).await?;
    ensure!(seen["status"]["ephemeralContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 5, "{seen}");
    ensure!(seen["status"]["ephemeralContainerStatuses"][0]["restartCount"] == 0, "it is never restarted: {seen}");
    ensure!(seen["metadata"]["uid"] == before["metadata"]["uid"], "the same pod");
    let status = |pod: &Value| pod["status"]["containerStatuses"][0].clone();
    ensure!(status(&seen)["containerID"] == status(&before)["containerID"], "its container is not touched");
    let network = space.exec("p", "a", "readlink /proc/self/ns/net").await?;
    let said = space.log("p", "debugger").await?;
    ensure!(said.starts_with(&network), "in the pod's network: {said} {network}");
    let processes: u32 = said.lines().nth(1).context("a second line")?.parse()?;
    ensure!(processes >= 4, "it sees the processes of its target: {said}");
    let refused = async |change: fn(&mut Value), text: &str| {
        let mut other = container("other", "true");
        change(&mut other);
        let answer = add(json!([other])).await?.err().map(|error| error.to_string());
        ensure!(answer.as_ref().is_some_and(|answer| answer.contains(text)), "{text}: {answer:?}");
        anyhow::Ok(())
    };
    let ports: fn(&mut Value) = |other| other["ports"] = json!([{"containerPort": 80}]);
    refused(ports, "spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral Container").await?;
    refused(|other| other["targetContainerName"] = json!("none"), "targetContainerName: Not found: \"none\"").await?;
    refused(|other| other["name"] = json!("a"), "name: Duplicate value: \"a\"").await
}

pub(crate) async fn p21_codes_signals_and_memory_are_told(space: Namespace) -> anyhow::Result<()> {
    let ended = async |name: &str, script: &str, change: fn(&mut Value)| {
        let mut containers = [container("a", script), container("b", "exit 0")];
        change(&mut containers[0]);
        let mut pod = pod(name, &containers);
        pod["spec"]["restartPolicy"] = json!("Never");
        let ended = space.finish(&pod).await?;
        let statuses = &ended["status"]["containerStatuses"];
        ensure!(statuses[1]["state"]["terminated"]["reason"] == "Completed", "its neighbour is not blamed: {statuses}");
        anyhow::Ok(statuses[0]["state"]["terminated"].clone())
    };
    let code = ended("code", "exit 42", |_| {}).await?;
    ensure!(code["exitCode"] == 42 && code["reason"] == "Error", "{code}");
    let greedy = "x=a; while true; do x=$x$x; done";
    let memory = ended("memory", greedy, |one| one["resources"] = json!({"limits": {"memory": "20Mi"}})).await?;
    ensure!(memory["reason"] == "OOMKilled" && memory["exitCode"] == 137, "{memory}");
    let words = ended("words", "echo last words > /dev/termination-log; exit 1", |_| {}).await?;
    ensure!(words["message"] == "last words\n", "{words}");
    let log = ended("log", "echo from the log; exit 1", |one| {
        one["terminationMessagePolicy"] = json!("FallbackToLogsOnError");
    });
    let log = log.await?;
    ensure!(log["message"] == "from the log\n", "{log}");
    Ok(())
}

pub(crate) async fn p21_back_off_grows_and_rules_of_a_container_win(space: Namespace) -> anyhow::Result<()> {
    let mut ruled = container("ruled", "test -e /data/x && exit 0; touch /data/x; exit 42");
    ruled["restartPolicy"] = json!("Never");
    ruled["restartPolicyRules"] = json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]);
    ruled["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    let mut pod = pod("p", &[ruled, container("plain", "exit 42")]);
    pod["spec"]["restartPolicy"] = json!("Never");
    pod["spec"]["volumes"] = json!([{"name": "data", "emptyDir": {}}]);
    let ended = space.finish(&pod).await?;
    let statuses = &ended["status"]["containerStatuses"];
    ensure!(statuses[0]["restartCount"] == 1 && statuses[0]["state"]["terminated"]["exitCode"] == 0, "{statuses}");
    ensure!(statuses[1]["restartCount"] == 0 && statuses[1]["state"]["terminated"]["exitCode"] == 42, "{statuses}");
    space.create(&testkit::pod("loop", &[container("a", "exit 1")])).await?;
    let waits = |delay: &'static str| {
        move |pod: &Value| {
            let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
            let message = waiting["message"].as_str().unwrap_or_default();
            waiting["reason"] == "CrashLoopBackOff" && message.starts_with(&format!("back-off {delay} "))
        }
    };
    space.until("loop", "waits ten seconds", waits("10s")).await?;
    let seen = space.until("loop", "waits twice as long", waits("20s")).await?;
    ensure!(seen["status"]["containerStatuses"][0]["restartCount"] == 2, "{seen}");
    Ok(())
}

pub(crate) async fn p24_the_main_process_is_pid_1_and_zombies_are_reaped(space: Namespace) -> anyhow::Result<()> {
    let traps = "trap 'echo got HUP' HUP; trap 'exit 7' TERM; echo pid $$$$; while true; do sleep 1 & wait $!; done";
    let mut own = pod("own", &[container("a", traps)]);
    own["spec"]["restartPolicy"] = json!("Never");
    space.start(&own).await?;
    space.exec("own", "a", "kill -HUP 1").await?;
    eventually("the signal arrives", async || match space.log("own", "a").await {
        Ok(log) if log == "pid 1\ngot HUP\n" => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await?;
    // The process that sends it ends with the container.
    let _ = space.exec("own", "a", "kill -TERM 1").await;
    let ended = space.until("own", "has ended", |pod| pod["status"]["phase"] == "Failed").await?;
    ensure!(ended["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 7, "{ended}");
    let mut shared = pod("shared", &[container("a", FOREVER), container("b", FOREVER)]);
    shared["spec"]["shareProcessNamespace"] = json!(true);
    space.start(&shared).await?;
    ensure!(
        space.exec("shared", "a", "ps | grep -c 'trap exit TERM' || true").await?.trim() != "0",
        "they see each other"
    );
    // The parent of the sleeping process goes away at once: nobody but the namespace's first process can reap it.
    space.exec("shared", "a", "(sleep 0.2 &) ; exit 0").await?;
    eventually("no zombie is left", async || {
        let states = space.exec("shared", "b", "cat /proc/[0-9]*/stat 2>/dev/null | cut -d' ' -f2-3").await;
        match states {
            Ok(states) if !states.lines().any(|state| state.ends_with(" Z") || state.starts_with("(sleep) S 0.2")) => {
                Ok(())
            }
            other => Err(format!("{other:?}")),
        }
    })
    .await
}

pub(crate) async fn p26_one_containers_image_is_updated_in_place(space: Namespace) -> anyhow::Result<()> {
    for policy in ["Always", "Never"] {
        let name = policy.to_lowercase();
        let mut changed = container("a", FOREVER);
        changed["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
        let mut pod = pod(&name, &[changed, container("b", FOREVER)]);
        pod["spec"]["restartPolicy"] = json!(policy);
        pod["spec"]["volumes"] = json!([{"name": "data", "emptyDir": {}}]);
        let before = space.start(&pod).await?;
        space.exec(&name, "a", "echo kept > /data/file").await?;
        let patch = json!({"spec": {"containers": [{"name": "a", "image": BUSYBOX_AGAIN}]}});
        let pods = space.pods();
        let version = before["metadata"]["resourceVersion"].as_str().context("a version")?;
        let told = pods.watch(&WatchParams::default().fields(&format!("metadata.name={name}")), version).await?;
        pods.patch(&name, &PatchParams::default(), &Patch::Strategic(&patch)).await.context("update")?;
        let updated = |pod: &Value| {
            let status = &pod["status"]["containerStatuses"][0];
            status["image"] == BUSYBOX_AGAIN && status["state"]["running"].is_object() && testkit::is_ready(pod)
        };
        let after = space.until(&name, "runs the other image", updated).await?;
        let updates = told.map(|event| anyhow::Ok(serde_json::to_value(event?)?));
        let mut updates = std::pin::pin!(updates);
        loop {
            let event = updates.try_next().await?.context("the watch ended early")?;
            ensure!(testkit::is_ready(&event["object"]), "nobody sees it between two images: {event}");
            if updated(&event["object"]) {
                break;
            }
        }
        for kept in ["/metadata/uid", "/status/podIP", "/status/containerStatuses/1/containerID"] {
            ensure!(before.pointer(kept) == after.pointer(kept), "{kept}: {before} {after}");
        }
        let counts = |index: usize| after["status"]["containerStatuses"][index]["restartCount"].as_u64();
        ensure!(counts(0) == Some(1) && counts(1) == Some(0), "{}", after["status"]);
        ensure!(space.exec(&name, "a", "cat /data/file").await? == "kept\n", "its volume too");
        space.event(&name, "Killing", "Container a definition changed, will be restarted").await?;
    }
    Ok(())
}

fn resized(limit: &str, request: &str) -> Value {
    json!({"limits": {"cpu": limit, "memory": "64Mi"}, "requests": {"cpu": request, "memory": "64Mi"}})
}

async fn resize(space: &Namespace, name: &str, resources: &Value) -> anyhow::Result<Value> {
    let path = format!("/api/v1/namespaces/{}/pods/{name}/resize", space.name);
    let patch = json!({"spec": {"containers": [{"name": "a", "resources": resources}]}});
    let mut request = http_request("PATCH", &path, &patch)?;
    let form = http::HeaderValue::from_static("application/strategic-merge-patch+json");
    request.headers_mut().insert("content-type", form);
    Ok(space.client.request::<Value>(request).await?)
}

pub(crate) async fn p26_resources_change_in_place(space: Namespace) -> anyhow::Result<()> {
    let mut limited = container("a", FOREVER);
    limited["resources"] = resized("200m", "100m");
    limited["resizePolicy"] = json!([
        {"resourceName": "cpu", "restartPolicy": "NotRequired"},
        {"resourceName": "memory", "restartPolicy": "RestartContainer"},
    ]);
    let before = space.start(&pod("p", &[limited])).await?;
    resize(&space, "p", &resized("300m", "150m")).await.context("resize")?;
    let in_force = |cpu: &'static str, memory: &'static str| {
        move |pod: &Value| {
            let status = &pod["status"]["containerStatuses"][0];
            let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
            let open = conditions
                .into_iter()
                .any(|one| one["type"].as_str().is_some_and(|kind| kind.starts_with("PodResize")));
            status["resources"]["limits"]["cpu"] == cpu
                && status["allocatedResources"]["memory"] == memory
                && status["state"]["running"].is_object()
                && !open
        }
    };
    let after = space.until("p", "the new limit is in force", in_force("300m", "64Mi")).await?;
    let id = |pod: &Value| pod["status"]["containerStatuses"][0]["containerID"].clone();
    ensure!(id(&before) == id(&after), "without a restart");
    let quota = "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || cut -d' ' -f1 /sys/fs/cgroup/cpu.max";
    ensure!(space.exec("p", "a", quota).await? == "30000\n", "the kernel holds it");
    let mut more = resized("300m", "150m");
    more["limits"]["memory"] = json!("80Mi");
    more["requests"]["memory"] = json!("80Mi");
    resize(&space, "p", &more).await.context("resize")?;
    let after = space.until("p", "the new memory is in force", in_force("300m", "80Mi")).await?;
    ensure!(
        after["status"]["containerStatuses"][0]["restartCount"] == 1,
        "with the restart that was asked for: {after}"
    );
    resize(
        &space,
        "p",
        &json!({"limits": {"cpu": "2000", "memory": "80Mi"}, "requests": {"cpu": "1000", "memory": "80Mi"}}),
    )
    .await
    .context("resize")?;
    let refused = |pod: &Value| {
        let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
        conditions.any(|one| one["type"] == "PodResizePending" && one["reason"] == "Infeasible")
    };
    let seen = space.until("p", "more than the node has", refused).await?;
    ensure!(seen["status"]["containerStatuses"][0]["resources"]["limits"]["cpu"] == "300m", "{seen}");
    let taken = resize(&space, "p", &json!({"limits": null, "requests": null})).await.err().context("refused")?;
    ensure!(taken.to_string().contains("resource limits cannot be removed"), "{taken}");
    Ok(())
}

pub(crate) async fn p26_a_pods_own_resources_hold(space: Namespace) -> anyhow::Result<()> {
    let mut own = pod("p", &[container("a", FOREVER), container("b", FOREVER)]);
    // What is not asked for is asked for up to the limit.
    own["spec"]["resources"] = json!({"limits": {"cpu": "100m", "memory": "64Mi"}});
    let running = space.start(&own).await?;
    ensure!(running["spec"]["resources"]["requests"]["cpu"] == "100m", "{}", running["spec"]);
    ensure!(running["status"]["qosClass"] == "Guaranteed", "{}", running["status"]);
    ensure!(running["status"]["resources"]["limits"]["memory"] == "64Mi", "{}", running["status"]);
    let limit = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max";
    for name in ["a", "b"] {
        ensure!(space.exec("p", name, limit).await? == "67108864\n", "{name} shows the pod's limit");
    }
    Ok(())
}

pub(crate) async fn p27_probes_decide(space: Namespace) -> anyhow::Result<()> {
    let serve = "mkdir /w; echo ok > /w/ready; (usleep 400000; touch /started) & exec httpd -f -p 8080 -h /w";
    let mut all = container("a", serve);
    all["startupProbe"] =
        json!({"exec": {"command": ["test", "-e", "/started"]}, "periodSeconds": 1, "failureThreshold": 30});
    all["readinessProbe"] =
        json!({"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 1, "failureThreshold": 1});
    all["livenessProbe"] = json!({"tcpSocket": {"port": 8080}, "periodSeconds": 1, "failureThreshold": 1});
    space.start(&pod("p", &[all])).await?;
    space.exec("p", "a", "mv /w/ready /w/away").await?;
    let unready = |pod: &Value| pod["status"]["containerStatuses"][0]["ready"] == false;
    let seen = space.until("p", "is not ready", unready).await?;
    ensure!(seen["status"]["containerStatuses"][0]["restartCount"] == 0, "readiness restarts nothing: {seen}");
    space.event("p", "Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 404").await?;
    space.exec("p", "a", "mv /w/away /w/ready").await?;
    space.until("p", "is ready again", testkit::is_ready).await?;
    let mut dying = container("a", FOREVER);
    dying["livenessProbe"] =
        json!({"exec": {"command": ["sh", "-c", "echo no; exit 1"]}, "periodSeconds": 1, "failureThreshold": 2});
    space.create(&pod("dying", &[dying])).await?;
    let restarted = |pod: &Value| pod["status"]["containerStatuses"][0]["restartCount"].as_u64() >= Some(1);
    space.until("dying", "is restarted", restarted).await?;
    space.event("dying", "Unhealthy", "Liveness probe failed: no").await?;
    space.event("dying", "Killing", "Container a failed liveness probe, will be restarted").await
}

pub(crate) async fn p27_hooks_run_inside_the_pod(space: Namespace) -> anyhow::Result<()> {
    let outbox = Outbox::new()?;
    let mut containers =
        [container("a", "trap 'echo ended >> /out/file; exit' TERM; while true; do sleep 1 & wait $!; done")];
    containers[0]["lifecycle"] = json!({
        "postStart": {"exec": {"command": ["sh", "-c", "echo began in $(hostname) >> /out/file"]}},
        "preStop": {"exec": {"command": ["sh", "-c", "echo ends >> /out/file"]}},
    });
    space.start(&outbox.mounted("p", &mut containers)).await?;
    ensure!(outbox.read() == "began in p\n", "{}", outbox.read());
    space.delete("p").await?;
    ensure!(outbox.read() == "began in p\nends\nended\n", "{}", outbox.read());
    let mut failing = container("a", FOREVER);
    failing["lifecycle"] = json!({"postStart": {"exec": {"command": ["false"]}}});
    space.create(&pod("failing", &[failing])).await?;
    space.event("failing", "FailedPostStartHook", "PostStartHook failed").await?;
    let mut sleeping = container("a", FOREVER);
    sleeping["lifecycle"] = json!({"preStop": {"sleep": {"seconds": 2}}});
    let mut sleeping = pod("sleeping", &[sleeping]);
    sleeping["spec"]["terminationGracePeriodSeconds"] = json!(60);
    space.start(&sleeping).await?;
    let began = std::time::Instant::now();
    space.delete("sleeping").await?;
    ensure!(began.elapsed() >= std::time::Duration::from_secs(2), "it slept: {:?}", began.elapsed());
    Ok(())
}
