//! `minke play`: what README's first command runs is served twice in a row and leaves nothing behind; pods that end tell it.

use std::path::Path;
use std::process::Command;

use anyhow::ensure;
use serde_json::json;
use testkit::{Cluster, need_root, nothing_is_left, pod};

#[tokio::test]
async fn the_example_runs_twice_and_leaves_nothing() -> anyhow::Result<()> {
    if !need_root() {
        return Ok(());
    }
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/run");
    let folder = tempfile::tempdir()?;
    for round in 1..=2 {
        let output =
            Command::new(&example).env("MINKE", env!("CARGO_BIN_EXE_minke")).env("TMPDIR", folder.path()).output()?;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "round {round}: {out}{err}");
        ensure!(out.matches("Hello from a pod").count() >= 3, "round {round} shows the page three times: {out}");
        let id = out.lines().find_map(|line| line.strip_prefix("cluster      ")).unwrap_or_default();
        ensure!(id.len() == 8, "round {round} tells the cluster's id: {out}");
        let marks = [id.to_owned(), folder.path().to_string_lossy().into_owned(), "minke-example-".to_owned()];
        nothing_is_left(&marks).await?;
        let left: Vec<_> = folder.path().read_dir()?.flatten().map(|entry| entry.path()).collect();
        ensure!(left.is_empty(), "round {round} left {left:?}");
    }
    Ok(())
}

#[test]
fn played_pods_tell_what_they_do_and_how_they_ended() -> anyhow::Result<()> {
    if !need_root() {
        return Ok(());
    }
    let cluster = Cluster::start(Path::new(env!("CARGO_BIN_EXE_minke")))?;
    for (name, command, succeeds) in [("fine", ["echo", "done"], true), ("broken", ["cat", "/nothing"], false)] {
        let mut object = pod(
            name,
            &[
                json!({"name": "main", "image": "minke.dev/toolbox:latest", "imagePullPolicy": "IfNotPresent", "command": command}),
            ],
        );
        object["spec"]["restartPolicy"] = "Never".into();
        let file = cluster.folder().join("manifest.json");
        std::fs::write(&file, object.to_string())?;
        let output = cluster.minke(&["play", &file.to_string_lossy()])?;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let (state, line) = if succeeds { ("Completed", "done") } else { ("Error", "cat: /nothing: ") };
        for told in [
            format!("pod/{name} applied"),
            format!("pod/{name} 0/1 {state}"),
            format!("[pod/{name}/main] {line}"),
            format!("pod/{name} deleted"),
        ] {
            ensure!(out.lines().any(|shown| shown.starts_with(&told)), "no line {told:?}: {out}{err}");
        }
        ensure!(output.status.success() == succeeds, "{:?}: {out}{err}", output.status);
        ensure!(err.contains("pod/broken failed") != succeeds, "{err}");
    }
    cluster.end()
}
