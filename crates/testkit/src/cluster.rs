//! A cluster of the program under test, in a network namespace of its own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::{busybox_archive, eventually, nothing_is_left};

/// A cluster, running or not.
pub struct Cluster {
    minke: PathBuf,
    network: String,
    folder: TempDir,
    ended: bool,
}

/// So many lines of a log are shown of a cluster whose test failed.
const LAST_WORDS: usize = 100;

impl Cluster {
    /// A namespace and a folder for a cluster of this program; nothing runs yet.
    pub fn prepare(minke: &Path) -> anyhow::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let network = format!("mt-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let folder = TempDir::with_prefix("minke-test-").context("make a folder")?;
        succeed(Command::new("ip").args(["netns", "add", &network]))?;
        let cluster = Self { minke: minke.to_owned(), network, folder, ended: false };
        succeed(Command::new("ip").args(["-n", &cluster.network, "link", "set", "lo", "up"]))?;
        Ok(cluster)
    }

    /// A running cluster with the image [`crate::BUSYBOX`].
    pub fn start(minke: &Path) -> anyhow::Result<Self> {
        Self::start_with(minke, &[])
    }

    /// The same, booted with further options.
    pub fn start_with(minke: &Path, options: &[&str]) -> anyhow::Result<Self> {
        let cluster = Self::prepare(minke)?;
        cluster.up_with(options)?;
        let archive = cluster.folder().join("busybox.tar");
        busybox_archive(&archive)?;
        let archive = archive.to_string_lossy().into_owned();
        cluster.succeed(&["image", "import", &archive])?;
        Ok(cluster)
    }

    /// A folder of the test's own, gone at the end.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where the cluster keeps everything.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Boots, or resumes; returns when the node is Ready.
    pub fn up(&self) -> anyhow::Result<()> {
        self.up_with(&[])
    }

    /// The same, with further options.
    pub fn up_with(&self, options: &[&str]) -> anyhow::Result<()> {
        let kubeconfig = self.kubeconfig().to_string_lossy().into_owned();
        self.succeed(&[&["up", "--detach", "--kubeconfig", &kubeconfig], options].concat()).map(drop)
    }

    /// Where `up` writes how to reach it.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// Runs the program in the cluster's network on its folder.
    pub fn minke(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        let network = format!("--net=/run/netns/{}", self.network);
        let data = self.data();
        Command::new("nsenter")
            .arg(network)
            .arg(&self.minke)
            .args(arguments)
            .arg("--data-dir")
            .arg(data)
            .output()
            .context("run minke")
    }

    fn succeed(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.minke(arguments)?;
        if !output.status.success() {
            bail!("minke {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The daemon's process.
    pub fn process(&self) -> anyhow::Result<Pid> {
        let text = self.succeed(&["status"])?;
        let number = text.lines().find_map(|line| line.strip_prefix("process")).context("no process in the status")?;
        Ok(Pid::from_raw(number.trim().parse().context("read the process's number")?))
    }

    /// Ends the daemon as a crash does.
    pub fn kill(&self) -> anyhow::Result<()> {
        let process = self.process()?;
        kill(process, Signal::SIGKILL).context("kill the daemon")?;
        let gone = PathBuf::from(format!("/proc/{process}"));
        block_on(eventually("the daemon is gone", async || if gone.exists() { Err(()) } else { Ok(()) }))
    }

    /// Runs `work` on this thread inside the cluster's network, with a client of the cluster's administrator.
    pub fn run<T>(&self, work: impl AsyncFnOnce(kube::Client) -> anyhow::Result<T>) -> anyhow::Result<T> {
        self.enter()?;
        block_on(async { work(self.client().await?).await })
    }

    /// Takes the calling thread, and what it starts, into the cluster's network.
    pub fn enter(&self) -> anyhow::Result<()> {
        enter(&self.network)
    }

    /// The name of its network namespace.
    pub fn network(&self) -> &str {
        &self.network
    }

    /// A client; to be called inside the cluster's network.
    pub async fn client(&self) -> anyhow::Result<kube::Client> {
        let config = Kubeconfig::read_from(self.kubeconfig()).context("read the kubeconfig")?;
        let config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
        Ok(kube::Client::try_from(config)?)
    }

    /// Ends it, and fails if something of it stays on the machine.
    pub fn end(mut self) -> anyhow::Result<()> {
        let folder = self.folder().to_string_lossy().into_owned();
        let id = std::fs::read_to_string(self.data().join("cluster-id")).ok();
        self.succeed(&["down", "--purge"])?;
        if self.data().join("store").exists() {
            bail!("the data folder is still there");
        }
        succeed(Command::new("ip").args(["netns", "del", &self.network]))?;
        self.ended = true;
        // Before a first start there is no id.
        let marks: Vec<String> = [Some(folder), id, Some(self.network.clone())].into_iter().flatten().collect();
        block_on(nothing_is_left(&marks))
    }
}

impl Drop for Cluster {
    /// A test that failed leaves nothing running either, but what the daemon said last.
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let log = std::fs::read_to_string(self.data().join("minke.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        eprintln!("the daemon's last words:\n{}", lines[lines.len().saturating_sub(LAST_WORDS)..].join("\n"));
        let down = self.minke(&["down", "--purge"]);
        let removed = succeed(Command::new("ip").args(["netns", "del", &self.network]));
        if let Err(error) = down.map(drop).and(removed) {
            eprintln!("clean up after a failed test: {error:#}");
        }
    }
}

/// Takes the calling thread into a network namespace.
pub fn enter(network: &str) -> anyhow::Result<()> {
    let file = File::open(Path::new("/run/netns").join(network)).context("open the namespace")?;
    setns(file, CloneFlags::CLONE_NEWNET).context("enter the namespace")
}

fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start a runtime")?;
    runtime.block_on(work)
}

fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
