//! What README's first command runs: the page is served, twice in a row, and nothing is left behind.

use std::path::Path;
use std::process::Command;

use anyhow::ensure;
use testkit::{need_root, nothing_is_left};

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
