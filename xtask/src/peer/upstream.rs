//! Upstream Kubernetes, started and stopped by scripts that are given.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use tempfile::TempDir;

use super::{ColdStart, Peer};
use crate::netns::Netns;

/// Upstream that runs.
pub(crate) struct Upstream {
    scripts: PathBuf,
    cache: PathBuf,
    folder: TempDir,
    netns: Netns,
    kubeconfig: PathBuf,
    cold_start: ColdStart,
}

impl Upstream {
    /// Boots it with `up.sh` of the folder of scripts, without images.
    pub(crate) fn boot(scripts: &Path, cache: &Path) -> anyhow::Result<Self> {
        let folder = TempDir::with_prefix("upstream-").context("make a temporary folder")?;
        let netns = Netns::of("ref");
        if netns.exists() {
            bail!("another upstream runs in the namespace `ref`: stop it with down.sh");
        }
        let scripts = scripts.canonicalize().with_context(|| format!("find {}", scripts.display()))?;
        let kubeconfig = folder.path().join("state/admin.conf");
        let none = ColdStart { api: Duration::ZERO, node: Duration::ZERO };
        let mut upstream = Self { scripts, cache: cache.to_owned(), folder, netns, kubeconfig, cold_start: none };
        // Its processes keep the script's output open, so it goes to a file.
        let log = upstream.folder.path().join("up.log");
        let file = std::fs::File::create(&log).context("make the script's log")?;
        let mut up = upstream.script("up.sh");
        crate::run(up.env("IMAGES", "").stderr(file.try_clone()?).stdout(file))?;
        let said = std::fs::read_to_string(&log).context("read what the script said")?;
        upstream.cold_start =
            ColdStart { api: said_after(&said, "apiserver ready")?, node: said_after(&said, "node ready")? };
        Ok(upstream)
    }

    fn script(&self, name: &str) -> Command {
        let mut command = Command::new(self.scripts.join(name));
        command.env("STATE", self.folder.path().join("state")).env("CONFORMANCE", &self.cache).stdin(Stdio::null());
        command
    }
}

/// Reads `WHAT after SECONDS s`.
fn said_after(said: &str, what: &str) -> anyhow::Result<Duration> {
    let seconds = said.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(" after ")?.strip_suffix(" s"));
    let seconds = seconds.and_then(|text| text.trim().parse().ok()).with_context(|| format!("{what}: {said}"))?;
    Ok(Duration::from_secs_f64(seconds))
}

impl Peer for Upstream {
    fn name(&self) -> &'static str {
        "upstream"
    }

    fn netns(&self) -> &Netns {
        &self.netns
    }

    fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    fn cold_start(&self) -> ColdStart {
        self.cold_start
    }

    fn import(&self, archives: &[PathBuf]) -> anyhow::Result<()> {
        for archive in archives {
            let mut ctr = Command::new(self.cache.join("bin/ctr"));
            ctr.arg("-a").arg(self.folder.path().join("state/run/containerd.sock"));
            crate::output(ctr.args(["-n", "k8s.io", "images", "import"]).arg(archive))?;
        }
        Ok(())
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        if let Err(error) = crate::output(&mut self.script("down.sh")) {
            eprintln!("stop upstream: {error:#}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_tells_its_times() {
        let said = "apiserver ready after 3.12 s\nnode ready after 4.5 s\n";
        assert_eq!(said_after(said, "node ready").expect("is told"), Duration::from_millis(4500));
        assert!(said_after("", "node ready").is_err());
    }
}
