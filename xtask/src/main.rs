//! `cargo xtask`: the menu of development tasks. `check` only reads, `fix` writes.

mod schema;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

const MENU: &str = "usage: cargo xtask TASK

  check    formatting, clippy with warnings as errors, tidy; changes nothing
  fix      formats, and applies clippy's own suggestions
  test     every test; those with real containers need root
  schema   writes crates/schema/data anew from upstream's Go modules";

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        Some("check") => check(),
        Some("fix") => fix(),
        Some("test") => cargo(&["test", "--workspace", "--no-fail-fast"]),
        Some("schema") => schema::run(),
        Some("--help" | "help") | None => {
            println!("{MENU}");
            Ok(())
        }
        Some(other) => bail!("no task is called {other:?}\n{MENU}"),
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
    let status = Command::new(env!("CARGO")).args(args).current_dir(root()).status().context("start cargo")?;
    if !status.success() {
        bail!("cargo {} failed", args.join(" "));
    }
    Ok(())
}

/// The checkout's top folder.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_repository_is_tidy() {
        let found = super::tidy::findings(&super::root()).expect("the checkout can be read");
        assert!(found.is_empty(), "{}", found.join("\n"));
    }
}
