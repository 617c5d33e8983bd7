//! What users do wrong gets a clear message, upstream's where there is one, and half-writes nothing.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, ListParams};
use serde_json::{Value, json};
use testkit::{Cluster, Namespace, need_root};

const MINKE: &str = env!("CARGO_BIN_EXE_minke");

#[test]
fn objects_that_are_wrong_are_refused_in_upstreams_words() -> anyhow::Result<()> {
    if !need_root() {
        return Ok(());
    }
    let cluster = Cluster::start(Path::new(MINKE))?;
    cluster.run(async |client| {
        let space = Namespace::new(client, "bad").await?;
        let container = json!({"name": "a", "image": "b"});
        let pod = |name: &str, spec: Value| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec});
        let strict = "?fieldValidation=Strict";
        let cases = [
            (
                strict,
                pod("p", json!({"containers": [container], "nonsense": 1})),
                400,
                "strict decoding error: unknown field \"spec.nonsense\"",
            ),
            ("", pod("p", json!({"containers": "none"})), 400, "cannot unmarshal string into Go struct field"),
            ("", pod("Not_A_Name", json!({"containers": [container]})), 422, "metadata.name: Invalid value: \"Not_A_Name\": a lowercase RFC 1123 subdomain"),
            ("", pod("p", json!({"containers": [container, container]})), 422, "spec.containers[1].name: Duplicate value: \"a\""),
            ("", pod("p", json!({"containers": [container], "restartPolicy": "Maybe"})), 422, "spec.restartPolicy: Unsupported value: \"Maybe\""),
            ("", pod("p", json!({"containers": [{"name": "a", "image": "b", "ports": [{"containerPort": 70000}]}]})), 422, "must be between 1 and 65535, inclusive"),
            ("", json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "p"}}), 400, "Node in version \"v1\" cannot be handled as a Pod"),
            ("", json!(["no", "object"]), 400, ""),
        ];
        for (query, object, code, text) in cases {
            let path = format!("/api/v1/namespaces/bad/pods{query}");
            let request = http::Request::post(path).header("content-type", "application/json").body(object.to_string().into_bytes())?;
            let error = space.client.request::<Value>(request).await.err().with_context(|| format!("accepted: {object}"))?;
            let kube::Error::Api(status) = &error else { anyhow::bail!("no status: {error}") };
            ensure!(status.code == code && status.message.contains(text), "{object}: {} {}", status.code, status.message);
        }
        let pods: Api<Pod> = space.pods();
        ensure!(pods.list(&ListParams::default()).await?.items.is_empty(), "nothing was written");
        Ok(())
    })?;
    cluster.end()
}

#[test]
fn a_port_in_use_is_named() -> anyhow::Result<()> {
    if !need_root() {
        return Ok(());
    }
    let cluster = Cluster::prepare(Path::new(MINKE))?;
    let network = cluster.network().to_owned();
    let held = std::thread::spawn(move || {
        testkit::enter(&network)?;
        std::net::TcpListener::bind("0.0.0.0:6443").context("hold the port")
    });
    let held = held.join().map_err(|_| anyhow::anyhow!("the thread panicked"))??;
    let error = cluster.up().err().context("it booted on a port in use")?;
    ensure!(format!("{error:#}").contains("listen on 0.0.0.0:6443 for the API: Address already in use"), "{error:#}");
    drop(held);
    cluster.up()?;
    cluster.end()
}

#[test]
fn a_full_disk_is_told_at_the_start() -> anyhow::Result<()> {
    on_small_disk("64m", |cluster| {
        // As much as fits.
        let filled = std::fs::write(cluster.data().join("ballast"), vec![0; 80 << 20]);
        ensure!(filled.is_err(), "the disk is not full");
        let error = cluster.up().err().context("it booted on a full disk")?;
        ensure!(format!("{error:#}").contains("No space left on device"), "{error:#}");
        Ok(())
    })
}

#[test]
fn a_disk_that_gets_full_loses_nothing() -> anyhow::Result<()> {
    on_small_disk("2g", |cluster| {
        cluster.up()?;
        // The program's own size must not matter: what it left is taken but for a little.
        let disk = nix::sys::statvfs::statvfs(&cluster.data()).context("look at the disk")?;
        let free = disk.blocks_available() * disk.fragment_size();
        std::fs::write(cluster.data().join("ballast"), vec![0; usize::try_from(free)?.saturating_sub(16 << 20)])?;
        let acknowledged = cluster.run(async |client| fill(&client).await)?;
        // What was acknowledged is there, also after a crash on the full disk.
        cluster.kill()?;
        std::fs::remove_file(cluster.data().join("ballast")).context("make room")?;
        cluster.up()?;
        cluster.run(async |client| {
            let maps: Api<ConfigMap> = Api::namespaced(client, "default");
            for name in &acknowledged {
                maps.get(name).await.with_context(|| format!("{name} was acknowledged"))?;
            }
            Ok(())
        })
    })
}

/// A cluster, not started, whose data folder is a file system of that size.
fn on_small_disk(size: &str, test: impl FnOnce(&Cluster) -> anyhow::Result<()>) -> anyhow::Result<()> {
    if !need_root() {
        return Ok(());
    }
    let cluster = Cluster::prepare(Path::new(MINKE))?;
    std::fs::create_dir(cluster.data())?;
    run(Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(cluster.data()))?;
    let tested = test(&cluster);
    let ended = cluster.minke(&["down"]);
    // The daemon's last file closes a moment after it has answered.
    let unmounted = run(Command::new("umount").arg("--lazy").arg(cluster.data()));
    tested?;
    ended?;
    unmounted?;
    cluster.end()
}

/// Writes config maps until one is refused for want of room; gives the names of those that were not.
async fn fill(client: &kube::Client) -> anyhow::Result<Vec<String>> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    let mut names = Vec::new();
    for number in 0..400 {
        let name = format!("map-{number}");
        let map = serde_json::from_value(json!({"metadata": {"name": name}, "data": {"a": "x".repeat(900_000)}}))?;
        match maps.create(&kube::api::PostParams::default(), &map).await {
            Ok(_) => names.push(name),
            Err(kube::Error::Api(status)) => {
                ensure!(
                    status.code == 500 && status.message.contains("disk is full"),
                    "{} {}",
                    status.code,
                    status.message
                );
                return Ok(names);
            }
            Err(error) => return Err(error.into()),
        }
    }
    anyhow::bail!("the disk never got full")
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("run {command:?}"))?;
    ensure!(status.success(), "{command:?} failed");
    Ok(())
}

#[test]
fn without_root_it_says_so() -> anyhow::Result<()> {
    if !need_root() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let program = folder.path().join("minke");
    std::fs::copy(MINKE, &program)?;
    run(Command::new("chmod").args(["755"]).arg(folder.path()))?;
    use std::os::unix::process::CommandExt;
    let output = Command::new(&program).args(["up", "--data-dir", "/tmp/never"]).uid(65534).gid(65534).output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success() && text.contains("minke up needs root"), "{text}");
    Ok(())
}
