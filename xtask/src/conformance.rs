//! `cargo xtask conformance`: official tests on a minke that is booted for them.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, ensure};

use crate::peer::{Given, Minke, Peer};

#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// The folder with the suite's `run.sh`
    #[arg(long, value_name = "DIR", env = "MINKE_SUITE")]
    suite: PathBuf,
    /// Tests at a time
    #[arg(long, default_value_t = 4)]
    procs: u32,
    /// Fail unless at least so many tests pass
    #[arg(long, value_name = "N")]
    at_least: Option<usize>,
    #[command(flatten)]
    given: Given,
    /// Files of test names, one a line
    #[arg(required = true, value_name = "LIST")]
    lists: Vec<PathBuf>,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let script = options.suite.join("run.sh").canonicalize().context("find the suite's run.sh")?;
    let folder = tempfile::TempDir::with_prefix("conformance-").context("make a temporary folder")?;
    let mut names = String::new();
    for list in &options.lists {
        names += std::fs::read_to_string(list).with_context(|| format!("read {}", list.display()))?.trim_end();
        names.push('\n');
    }
    let list = folder.path().join("list.txt");
    std::fs::write(&list, &names).context("write the list")?;
    let minke = Minke::boot(&options.given.binary()?)?;
    minke.import(&options.given.images()?)?;
    let results = folder.path().join("results");
    let mut suite = Command::new(script);
    suite.arg(minke.kubeconfig()).arg(list).arg(options.procs.to_string());
    suite.env("RESULTS", &results).env("CONFORMANCE", options.given.cache());
    minke.netns().inside(move || crate::run(&mut suite))?;
    let passed = std::fs::read_to_string(results.join("passed.txt")).context("read what passed")?.lines().count();
    if let Some(least) = options.at_least {
        ensure!(passed >= least, "only {passed} of {} passed, {least} should", names.lines().count());
    }
    Ok(())
}
