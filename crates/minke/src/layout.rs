//! Where a cluster keeps its things. `--data-dir` moves all of it; names in the kernel carry the cluster's id.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// The folders and files of one cluster.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root: PathBuf,
    id: String,
}

impl Layout {
    /// The cluster of a data folder, which is made if it isn't there.
    pub(crate) fn create(root: &Path) -> anyhow::Result<Self> {
        let make = || format!("make the data folder {}", root.display());
        fs::create_dir_all(root).with_context(make)?;
        let root = root.canonicalize().with_context(make)?;
        let file = root.join("cluster-id");
        if !file.exists() {
            let id = hex::encode(rand::random::<[u8; 4]>());
            write_whole(&file, id.as_bytes())?;
        }
        Self::read(root)
    }

    /// The cluster of a data folder, if there is one.
    pub(crate) fn open(root: &Path) -> anyhow::Result<Option<Self>> {
        if !root.join("cluster-id").exists() {
            return Ok(None);
        }
        Self::read(root.canonicalize().with_context(|| format!("open {}", root.display()))?).map(Some)
    }

    fn read(root: PathBuf) -> anyhow::Result<Self> {
        let file = root.join("cluster-id");
        let id = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let valid = id.len() == 8 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        anyhow::ensure!(valid, "{} does not hold a cluster's id", file.display());
        Ok(Self { root, id })
    }

    /// Eight hex digits.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.root.join("store")
    }

    pub(crate) fn pki(&self) -> PathBuf {
        self.root.join("pki")
    }

    pub(crate) fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    pub(crate) fn node(&self, name: &str) -> PathBuf {
        self.root.join("nodes").join(name)
    }

    /// How many nodes the cluster had when it last started; `None` before the first time.
    pub(crate) fn nodes(&self) -> Option<u16> {
        fs::read_to_string(self.root.join("node-count")).ok()?.trim().parse().ok()
    }

    pub(crate) fn remember_nodes(&self, count: u16) -> anyhow::Result<()> {
        if self.nodes() == Some(count) {
            return Ok(());
        }
        write_whole(&self.root.join("node-count"), count.to_string().as_bytes())
    }

    pub(crate) fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.root.join("minke.log")
    }

    /// Sockets and records that end with the machine.
    pub(crate) fn run(&self) -> PathBuf {
        Path::new("/run/minke").join(&self.id)
    }

    pub(crate) fn control(&self) -> PathBuf {
        self.run().join("control.sock")
    }

    /// The administrator's kubeconfig, always there for the CLI itself.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.root.join("admin.conf")
    }
}

/// Writes a file whole or not at all, readable by its owner only.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let draft = path.with_extension("new");
    let write = || {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&draft, path)
    };
    write().with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_keeps_its_id() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(Layout::open(folder.path()).expect("open").is_none());
        let made = Layout::create(folder.path()).expect("create");
        assert_eq!(Layout::create(folder.path()).expect("create").id(), made.id());
        assert_eq!(Layout::open(folder.path()).expect("open").map(|layout| layout.id), Some(made.id));
        fs::write(folder.path().join("cluster-id"), "../../etc").expect("write");
        assert!(Layout::open(folder.path()).is_err());
    }
}
