//! `cargo xtask`: the menu of development tasks. `check` only reads, `fix` writes.

mod bench;
mod clients;
mod conformance;
mod netns;
mod peer;
mod schema;
mod storm;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The tasks of minke's development")]
struct Menu {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Formatting, clippy with warnings as errors, tidy; changes nothing
    Check,
    /// Formats, and applies clippy's own suggestions
    Fix,
    /// Every test; those with real containers need root
    Test,
    /// Writes crates/schema/data anew from upstream's Go modules
    Schema {
        /// Only compare
        #[arg(long)]
        check: bool,
    },
    /// Runs official conformance tests on a cluster of its own
    Conformance(conformance::Options),
    /// Runs one kubectl script on minke and on upstream, and shows where the outputs differ
    Clients(clients::Options),
    /// Kills the program again and again while pods are made, changed and deleted
    Storm(storm::Options),
    /// Measures minke beside upstream and podman, and prints the table of README
    Bench(bench::Options),
}

fn main() -> anyhow::Result<()> {
    match Menu::parse().task {
        Task::Check => check(),
        Task::Fix => fix(),
        Task::Test => cargo(&["test", "--workspace", "--no-fail-fast"]),
        Task::Schema { check } => schema::run(check),
        Task::Conformance(options) => conformance::run(&options),
        Task::Clients(options) => clients::run(&options),
        Task::Storm(options) => storm::run(&options),
        Task::Bench(options) => bench::run(&options),
    }
}

fn check() -> anyhow::Result<()> {
    cargo(&["fmt", "--all", "--check"])?;
    cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    let found = tidy::findings(&root())?;
    if !found.is_empty() {
        bail!("tidy found:\n{}", found.join("\n"));
    }
    Ok(())
}

fn fix() -> anyhow::Result<()> {
    cargo(&["fmt", "--all"])?;
    cargo(&["clippy", "--workspace", "--all-targets", "--fix", "--allow-dirty", "--allow-staged"])
}

fn cargo(args: &[&str]) -> anyhow::Result<()> {
    run(Command::new(env!("CARGO")).args(args).current_dir(root()))
}

/// Runs a command to its end; its output goes where ours goes.
fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("start {command:?}"))?;
    if !status.success() {
        bail!("{command:?} failed: {status}");
    }
    Ok(())
}

/// Runs a command to its end, and gives what it printed.
fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("start {command:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("{command:?} failed: {}\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(text)
}

/// The checkout's top folder.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}

/// Cargo's target folder: this program runs from its `debug`.
fn target() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("find this program")?;
    own.ancestors().nth(2).map(Path::to_owned).context("find the target folder")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_repository_is_tidy() {
        let found = super::tidy::findings(&super::root()).expect("the checkout can be read");
        assert!(found.is_empty(), "{}", found.join("\n"));
    }

    #[test]
    fn the_menu_is_sound() {
        super::Menu::command().debug_assert();
    }
}
