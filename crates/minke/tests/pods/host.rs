//! A pod is a logical host.

use anyhow::{Context, ensure};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::{Value, json};
use testkit::{BUSYBOX, Namespace, container, eventually, pod};

const FOREVER: &str = "trap exit TERM; while true; do sleep 1 & wait $!; done";

fn with_volume(mut container: Value, volume: &str, path: &str) -> Value {
    container["volumeMounts"] = json!([{"name": volume, "mountPath": path}]);
    container
}

pub(crate) async fn p01_containers_start_and_end_together(space: Namespace) -> anyhow::Result<()> {
    let running = space.start(&pod("p", &[container("a", FOREVER), container("b", FOREVER)])).await?;
    ensure!(running["spec"]["nodeName"].is_string(), "bound to a node");
    let statuses = running["status"]["containerStatuses"].as_array().context("statuses")?;
    ensure!(statuses.iter().filter(|one| one["state"]["running"].is_object()).count() == 2, "{statuses:?}");
    let uid = running["metadata"]["uid"].as_str().context("a uid")?.to_owned();
    ensure!(processes(&uid) >= 2, "processes of both");
    space.delete("p").await?;
    ensure!(processes(&uid) == 0, "no process is left");
    Ok(())
}

/// How many processes this machine has in cgroups of a pod.
pub(crate) fn processes(uid: &str) -> usize {
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter(|entry| {
        let groups = std::fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        groups.contains(uid)
    })
    .count()
}

pub(crate) async fn p01_scheduling_is_all_or_nothing(space: Namespace) -> anyhow::Result<()> {
    let mut large = container("b", FOREVER);
    large["resources"] = json!({"requests": {"cpu": "1000"}});
    space.create(&pod("p", &[container("a", FOREVER), large])).await?;
    let refused = |pod: &Value| {
        let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
        conditions
            .any(|one| one["type"] == "PodScheduled" && one["status"] == "False" && one["reason"] == "Unschedulable")
    };
    let pending = space.until("p", "can't be scheduled", refused).await?;
    ensure!(pending["status"]["phase"] == "Pending" && pending["spec"]["nodeName"].is_null(), "{pending}");
    space.event("p", "FailedScheduling", "0/1 nodes are available: 1 Insufficient cpu.").await?;
    space.delete("p").await
}

pub(crate) async fn p02_containers_share_the_network(space: Namespace) -> anyhow::Result<()> {
    let server = container("server", "mkdir /w; echo hello > /w/index.html; exec httpd -f -p 8080 -h /w");
    // The port is taken: this container fails, the other two do not.
    let clash = container(
        "clash",
        "until wget -q -O /dev/null http://localhost:8080/; do usleep 10000; done; exec httpd -f -p 8080 -h /",
    );
    let mut pod = pod("p", &[server, container("client", FOREVER), clash]);
    pod["spec"]["restartPolicy"] = json!("Never");
    space.create(&pod).await?;
    let failed = |pod: &Value| pod["status"]["containerStatuses"][2]["state"]["terminated"]["exitCode"] == 1;
    let seen = space.until("p", "the clash is the third container's failure", failed).await?;
    ensure!(seen["status"]["containerStatuses"][2]["state"]["terminated"]["reason"] == "Error", "{seen}");
    ensure!(space.exec("p", "client", "wget -q -O - http://localhost:8080/").await? == "hello\n", "on localhost");
    let ip = seen["status"]["podIP"].as_str().context("an address")?;
    let other = container("c", &format!("wget -q -O - http://{ip}:8080/"));
    let mut other = testkit::pod("other", &[other]);
    other["spec"]["restartPolicy"] = json!("Never");
    ensure!(space.finish(&other).await?["status"]["phase"] == "Succeeded", "from another pod");
    ensure!(space.log("other", "c").await? == "hello\n", "from another pod");
    Ok(())
}

pub(crate) async fn p03_containers_share_ipc(space: Namespace) -> anyhow::Result<()> {
    space.start(&pod("p", &[container("a", FOREVER), container("b", FOREVER)])).await?;
    space.start(&pod("q", &[container("a", FOREVER)])).await?;
    space.exec("p", "a", "echo shared > /dev/shm/file").await?;
    ensure!(space.exec("p", "b", "cat /dev/shm/file").await? == "shared\n", "POSIX shared memory");
    let inside = "readlink /proc/self/ns/ipc";
    let (a, b, other) =
        (space.exec("p", "a", inside).await?, space.exec("p", "b", inside).await?, space.exec("q", "a", inside).await?);
    ensure!(a == b && a != other, "System V IPC: {a} {b} {other}");
    ensure!(space.exec("q", "a", "ls /dev/shm").await?.is_empty(), "another pod sees none of it");
    Ok(())
}

pub(crate) async fn p04_namespaces_are_shared_as_asked(space: Namespace) -> anyhow::Result<()> {
    let pair = |name: &str| pod(name, &[container("a", FOREVER), container("b", "exec httpd -f -p 8080 -h /")]);
    let mut shared = pair("shared");
    shared["spec"]["shareProcessNamespace"] = json!(true);
    space.start(&shared).await?;
    space.start(&pair("apart")).await?;
    let kill = "busybox killall -9 httpd";
    space.exec("shared", "a", kill).await.context("the neighbour's process")?;
    space.until("shared", "the neighbour starts anew", |pod| restarts(pod, "b") == 1).await?;
    ensure!(space.exec("apart", "a", kill).await.is_err(), "hidden by default");

    let mut host = pod("host", &[container("a", FOREVER)]);
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        host["spec"][field] = json!(true);
    }
    let seen = space.start(&host).await?;
    ensure!(seen["status"]["podIP"] == seen["status"]["hostIP"], "the node's address: {}", seen["status"]);
    for namespace in ["net", "pid", "ipc"] {
        let node = std::fs::read_link(format!("/proc/thread-self/ns/{namespace}"))?;
        let inside = format!("readlink /proc/self/ns/{namespace}");
        ensure!(space.exec("host", "a", &inside).await?.trim() == node.to_string_lossy(), "the node's {namespace}");
        ensure!(space.exec("apart", "a", &inside).await?.trim() != node.to_string_lossy(), "a {namespace} of its own");
    }
    Ok(())
}

/// How often a container was started again.
fn restarts(pod: &Value, container: &str) -> u64 {
    let statuses = pod["status"]["containerStatuses"].as_array().into_iter().flatten();
    statuses.filter(|one| one["name"] == container).filter_map(|one| one["restartCount"].as_u64()).sum()
}

pub(crate) async fn p05_containers_are_isolated(space: Namespace) -> anyhow::Result<()> {
    let mut strict = container("strict", FOREVER);
    strict["securityContext"] = json!({
        "runAsUser": 1000, "runAsGroup": 1000, "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"},
    });
    let mut able = container("able", FOREVER);
    able["securityContext"] = json!({"capabilities": {"add": ["NET_ADMIN"]}});
    space.start(&pod("p", &[strict, able])).await?;
    space.exec("p", "able", "echo x > /tmp/file").await?;
    ensure!(space.exec("p", "strict", "ls /tmp").await?.is_empty(), "its own root file system");
    ensure!(space.exec("p", "strict", "echo x > /tmp/file").await.is_err(), "which is read-only");
    ensure!(space.exec("p", "strict", "id -u; id -g").await? == "1000\n1000\n", "its own user");
    let status = |field: &str| format!("grep {field}: /proc/self/status | head -n 1");
    let strict = space.exec("p", "strict", &status("CapEff")).await?;
    ensure!(strict.trim_end().ends_with("0000000000000000"), "no capability: {strict}");
    let able = space.exec("p", "able", &status("CapEff")).await?;
    let set = u64::from_str_radix(able.split_whitespace().last().context("a set")?, 16)?;
    ensure!(set & (1 << 12) != 0, "NET_ADMIN: {able}");
    ensure!(space.exec("p", "strict", &status("Seccomp")).await?.trim_end().ends_with('2'), "a seccomp filter");
    let names = "readlink /proc/self/ns/mnt; readlink /proc/self/ns/pid";
    ensure!(space.exec("p", "strict", names).await? != space.exec("p", "able", names).await?, "mounts and processes");
    Ok(())
}

pub(crate) async fn p06_the_hostname_is_the_pods_name(space: Namespace) -> anyhow::Result<()> {
    let mut plain = pod("plain", &[container("a", FOREVER), container("b", FOREVER)]);
    plain["spec"]["hostAliases"] = json!([{"ip": "192.0.2.1", "hostnames": ["one", "two"]}]);
    space.start(&plain).await?;
    for container in ["a", "b"] {
        ensure!(space.exec("plain", container, "hostname").await? == "plain\n", "{container}");
        let hosts = space.exec("plain", container, "cat /etc/hosts").await?;
        ensure!(hosts.contains("192.0.2.1\tone\ttwo"), "{hosts}");
    }
    let long = format!("{}-tail", "x".repeat(62));
    space.start(&pod(&long, &[container("a", FOREVER)])).await?;
    // Compat: cut at 63 bytes, and a dash or dot at the cut goes too.
    ensure!(space.exec(&long, "a", "hostname").await? == format!("{}\n", "x".repeat(62)), "cut");
    let mut named = pod("named", &[container("a", FOREVER)]);
    named["spec"]["hostname"] = json!("other");
    named["spec"]["subdomain"] = json!("sub");
    named["spec"]["setHostnameAsFQDN"] = json!(true);
    space.start(&named).await?;
    let expected = format!("other.sub.{}.svc.cluster.local\n", space.name);
    ensure!(space.exec("named", "a", "hostname").await? == expected, "{expected}");
    Ok(())
}

pub(crate) async fn p07_volume_outlives_container_restart(space: Namespace) -> anyhow::Result<()> {
    // The first run leaves a file and fails; the second finds it.
    let first = container("a", "test -e /data/file && exec sleep 1000; echo kept > /data/file; exit 3");
    let second = container("b", FOREVER);
    let mut pod = pod("p", &[with_volume(first, "data", "/data"), with_volume(second, "data", "/elsewhere")]);
    pod["spec"]["volumes"] = json!([{"name": "data", "emptyDir": {}}]);
    space.create(&pod).await?;
    let restarted = |pod: &Value| {
        let status = &pod["status"]["containerStatuses"][0];
        status["restartCount"] == 1 && status["state"]["running"].is_object()
    };
    let seen = space.until("p", "the first container runs again", restarted).await?;
    ensure!(seen["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 3, "{seen}");
    ensure!(space.exec("p", "a", "cat /data/file").await? == "kept\n", "it outlived the restart");
    ensure!(space.exec("p", "b", "cat /elsewhere/file").await? == "kept\n", "it is shared, elsewhere");
    Ok(())
}

pub(crate) async fn p08_volume_ends_with_the_uid(space: Namespace) -> anyhow::Result<()> {
    let mut pod = pod("p", &[with_volume(container("a", FOREVER), "data", "/data")]);
    pod["spec"]["volumes"] = json!([{"name": "data", "emptyDir": {}}]);
    let first = space.start(&pod).await?;
    space.exec("p", "a", "echo old > /data/a-file-of-the-first-pod").await?;
    space.delete("p").await?;
    let second = space.start(&pod).await?;
    ensure!(first["metadata"]["uid"] != second["metadata"]["uid"], "another pod");
    ensure!(space.exec("p", "a", "ls /data").await?.is_empty(), "an empty volume");
    let uid = first["metadata"]["uid"].as_str().context("a uid")?;
    let left = || -> Vec<_> {
        let nodes = std::env::temp_dir().read_dir().into_iter().flatten().flatten();
        let folders =
            nodes.flat_map(|entry| entry.path().join("data/nodes").read_dir().into_iter().flatten().flatten());
        folders.map(|node| node.path().join("pods").join(uid)).filter(|path| path.exists()).collect()
    };
    eventually("nothing of the old one is on disk", async || match left() {
        paths if paths.is_empty() => Ok(()),
        paths => Err(paths),
    })
    .await
}

pub(crate) async fn p09_puller_and_server_share_a_volume(space: Namespace) -> anyhow::Result<()> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(space.client.clone(), &space.name);
    let claim = json!({
        "metadata": {"name": "content"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    });
    claims.create(&PostParams::default(), &serde_json::from_value(claim)?).await?;
    let pull = "i=0; while true; do i=$((i+1)); echo page $i > /content/new; mv /content/new /content/index.html; usleep 50000; done";
    let puller = json!({"name": "puller", "image": BUSYBOX, "command": ["busybox", "sh", "-c", pull.replace("mv ", "busybox mv ")]});
    let serve = "echo a server ran >> /content/history; exec httpd -f -p 80 -h /content";
    let containers = [with_volume(puller, "v", "/content"), with_volume(container("server", serve), "v", "/content")];
    let mut pod = pod("p", &containers);
    pod["spec"]["volumes"] = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "content"}}]);
    for round in 1..=2 {
        space.start(&pod).await?;
        let first = eventually("a page", async || match space.fetch("p", 80, "/index.html").await {
            Ok(page) if page.starts_with("page ") => Ok(page),
            other => Err(format!("{other:?}")),
        })
        .await?;
        eventually("another page", async || match space.fetch("p", 80, "/index.html").await {
            Ok(page) if page.starts_with("page ") && page != first => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await?;
        let history = space.fetch("p", 80, "/history").await?;
        ensure!(history.lines().count() == round, "the content outlives the pod: {history}");
        space.delete("p").await?;
    }
    let volume = claims.get("content").await?.spec.and_then(|spec| spec.volume_name).context("its volume")?;
    claims.delete("content", &DeleteParams::default()).await?;
    let volumes: Api<PersistentVolume> = Api::all(space.client.clone());
    eventually("the volume goes with its claim", async || match volumes.get_opt(&volume).await {
        Ok(None) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await
}

pub(crate) async fn p08_an_ephemeral_volume_is_its_pods_own(space: Namespace) -> anyhow::Result<()> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(space.client.clone(), &space.name);
    let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}});
    let with_ephemeral = |name: &str| {
        let mut pod = pod(name, &[with_volume(container("a", FOREVER), "own", "/data")]);
        let template = json!({"metadata": {"labels": {"of": name}}, "spec": spec});
        pod["spec"]["volumes"] = json!([{"name": "own", "ephemeral": {"volumeClaimTemplate": template}}]);
        pod
    };
    let running = space.start(&with_ephemeral("p")).await?;
    space.exec("p", "a", "echo kept > /data/file").await?;
    let claim = serde_json::to_value(claims.get("p-own").await.context("the claim")?)?;
    ensure!(claim["metadata"]["ownerReferences"][0]["uid"] == running["metadata"]["uid"], "{claim}");
    ensure!(claim["metadata"]["labels"]["of"] == "p" && claim["status"]["phase"] == "Bound", "{claim}");
    space.delete("p").await?;
    eventually("the claim goes with its pod", async || match claims.get_opt("p-own").await {
        Ok(None) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await?;
    let foreign = json!({"metadata": {"name": "q-own"}, "spec": spec});
    claims.create(&PostParams::default(), &serde_json::from_value(foreign)?).await?;
    space.create(&with_ephemeral("q")).await?;
    let text = format!("PVC {0}/q-own was not created for pod {0}/q (pod is not owner)", space.name);
    space.event("q", "FailedBinding", &format!("ephemeral volume own: {text}")).await?;
    let refused = |pod: &Value| {
        let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
        conditions.any(|one| one["message"].as_str().is_some_and(|message| message.contains(&text)))
    };
    space.until("q", "does not get somebody else's claim", refused).await?;
    Ok(())
}
