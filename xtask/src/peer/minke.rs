//! A minke with its data in a temporary folder.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tempfile::TempDir;

use super::{ColdStart, Peer};
use crate::bench::api;
use crate::netns::Netns;

const ADDRESS: &str = "127.0.0.1:6443";
const BOOT: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(2);

/// A minke that runs.
pub(crate) struct Minke {
    binary: PathBuf,
    folder: TempDir,
    netns: Netns,
    kubeconfig: PathBuf,
    cold_start: ColdStart,
}

impl Minke {
    /// Boots it, and returns when its node is Ready.
    pub(crate) fn boot(binary: &Path) -> anyhow::Result<Self> {
        let folder = TempDir::with_prefix("minke-").context("make a temporary folder")?;
        let mut minke = Self {
            binary: binary.to_owned(),
            netns: Netns::make("minke")?,
            kubeconfig: folder.path().join("kubeconfig"),
            folder,
            cold_start: ColdStart { api: Duration::ZERO, node: Duration::ZERO },
        };
        minke.cold_start = minke.up()?;
        Ok(minke)
    }

    fn up(&self) -> anyhow::Result<ColdStart> {
        let mut command = self.command("up");
        command.arg("--detach").arg("--kubeconfig").arg(&self.kubeconfig).stdout(Stdio::null());
        self.netns.inside(move || {
            let began = Instant::now();
            let mut child = command.spawn().context("start minke")?;
            let api = api::runtime()?.block_on(answers(began));
            let status = child.wait().context("wait for minke")?;
            let node = began.elapsed();
            if !status.success() {
                bail!("minke up failed: {status}");
            }
            Ok(ColdStart { api: api?, node })
        })
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg(name).arg("--data-dir").arg(self.folder.path().join("data"));
        command
    }
}

/// When the API says that it is ready; it is asked almost without pause.
async fn answers(began: Instant) -> anyhow::Result<Duration> {
    while began.elapsed() < BOOT {
        if api::ready(ADDRESS).await {
            return Ok(began.elapsed());
        }
        tokio::time::sleep(LOOK).await;
    }
    bail!("the API did not answer within {BOOT:?}")
}

impl Peer for Minke {
    fn name(&self) -> &'static str {
        "minke"
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
        let mut command = Command::new(&self.binary);
        command.args(["image", "import", "--data-dir"]).arg(self.folder.path().join("data"));
        crate::run(command.args(archives).stdout(Stdio::null()))
    }
}

impl Drop for Minke {
    fn drop(&mut self) {
        let mut down = self.command("down");
        down.arg("--purge").stdout(Stdio::null());
        if let Err(error) = self.netns.inside(move || crate::run(&mut down)) {
            eprintln!("remove the cluster: {error:#}");
        }
    }
}
