//! The clusters that tasks boot: minke, and upstream to compare with.

mod minke;
mod upstream;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;

use crate::netns::Netns;

pub(crate) use minke::Minke;
pub(crate) use upstream::Upstream;

/// Which binary, and which images.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Given {
    /// The minke to run, instead of building a release
    #[arg(long, value_name = "FILE")]
    pub(crate) minke: Option<PathBuf>,
    /// What the conformance suite's build left: `bin` and `images` [default: ~/.cache/minke-conformance]
    #[arg(long, value_name = "DIR", env = "CONFORMANCE")]
    pub(crate) cache: Option<PathBuf>,
}

impl Given {
    /// The binary; built first, if none was given.
    pub(crate) fn binary(&self) -> anyhow::Result<PathBuf> {
        match &self.minke {
            Some(path) => path.canonicalize().with_context(|| format!("find {}", path.display())),
            None => {
                crate::cargo(&["build", "--release", "--package", "minke"])?;
                Ok(crate::target()?.join("release/minke"))
            }
        }
    }

    pub(crate) fn cache(&self) -> PathBuf {
        let home = || std::env::home_dir().unwrap_or_default();
        self.cache.clone().unwrap_or_else(|| home().join(".cache/minke-conformance"))
    }

    /// The archives of all images.
    pub(crate) fn images(&self) -> anyhow::Result<Vec<PathBuf>> {
        let folder = self.cache().join("images");
        let entries = std::fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))?;
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let mut archives: Vec<PathBuf> =
            paths.filter(|path| path.extension().is_some_and(|end| end == "tar")).collect();
        archives.sort();
        Ok(archives)
    }

    /// The archive of one image.
    pub(crate) fn image(&self, name: &str) -> PathBuf {
        self.cache().join("images").join(format!("{name}.tar"))
    }
}

/// How long a cluster took from nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ColdStart {
    /// Until the API said that it is ready.
    pub(crate) api: Duration,
    /// Until the node was Ready.
    pub(crate) node: Duration,
}

/// A running cluster in a network namespace of its own. Dropping it removes all of it.
pub(crate) trait Peer: Sync {
    fn name(&self) -> &'static str;
    fn netns(&self) -> &Netns;
    fn kubeconfig(&self) -> &Path;
    fn cold_start(&self) -> ColdStart;
    fn import(&self, archives: &[PathBuf]) -> anyhow::Result<()>;
}
