//! What README's first command runs: the page is served, twice in a row, and nothing is left behind.

use std::path::Path;
use std::process::Command;

use anyhow::ensure;
use testkit::{Kernel, need_root};

#[tokio::test]
async fn the_example_runs_twice_and_leaves_nothing() -> anyhow::Result<()> {
    if !need_root() {
        return Ok(());
    }
    let before = Kernel::now();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/run");
    let folder = tempfile::tempdir()?;
    for round in 1..=2 {
        let output =
            Command::new(&example).env("MINKE", env!("CARGO_BIN_EXE_minke")).env("TMPDIR", folder.path()).output()?;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "round {round}: {out}{err}");
        ensure!(out.matches("page").count() >= 3, "round {round} shows the page three times: {out}");
        before.nothing_is_left().await?;
        let left: Vec<_> = folder.path().read_dir()?.flatten().map(|entry| entry.path()).collect();
        ensure!(left.is_empty(), "round {round} left {left:?}");
    }
    Ok(())
}
