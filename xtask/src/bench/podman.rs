//! `podman kube play` of the same pod: no API and no daemon, so a command's run is the figure.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tempfile::TempDir;

use super::pods::{self, Times};
use crate::netns::Netns;

const LIMIT: &str = "60";

/// A podman with its state in a temporary folder.
pub(crate) struct Podman {
    folder: TempDir,
    netns: Netns,
    image: String,
}

impl Podman {
    /// Takes the images; one of them is the pod's own container, and holds the pod as well.
    pub(crate) fn open(archives: &[PathBuf], image: &str) -> anyhow::Result<Self> {
        let folder = TempDir::with_prefix("podman-").context("make a temporary folder")?;
        let podman = Self { folder, netns: Netns::make("podman")?, image: image.to_owned() };
        let config = format!(
            "[engine]\ninfra_image = \"{image}\"\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\n\
             [containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n"
        );
        std::fs::write(podman.folder.path().join("containers.conf"), config).context("write podman's settings")?;
        for archive in archives {
            podman.run(&["load".as_ref(), "-qi".as_ref(), archive.as_os_str()])?;
        }
        Ok(podman)
    }

    /// Starts and ends pods one after the other.
    pub(crate) fn one_at_a_time(&self, count: usize) -> anyhow::Result<Times> {
        let mut times = Times::default();
        for index in 0..count {
            let file = self.manifest(&format!("one-{index}"))?;
            times.starts.push(self.play("play", &file)?);
            times.ends.push(self.play("down", &file)?);
        }
        Ok(times)
    }

    /// Starts pods by as many commands at once.
    pub(crate) fn at_once(&self, count: usize) -> anyhow::Result<Duration> {
        let files: Vec<PathBuf> =
            (0..count).map(|index| self.manifest(&format!("burst-{index}"))).collect::<Result<_, _>>()?;
        let began = Instant::now();
        std::thread::scope(|scope| {
            let plays: Vec<_> = files.iter().map(|file| scope.spawn(|| self.play("play", file))).collect();
            plays
                .into_iter()
                .try_for_each(|play| play.join().map_or_else(|_| anyhow::bail!("a play panicked"), |it| it.map(drop)))
        })?;
        let took = began.elapsed();
        files.iter().try_for_each(|file| self.play("down", file).map(drop))?;
        Ok(took)
    }

    fn manifest(&self, name: &str) -> anyhow::Result<PathBuf> {
        let file = self.folder.path().join(format!("{name}.yaml"));
        std::fs::write(&file, pods::pod(name, &self.image).to_string()).context("write a manifest")?;
        Ok(file)
    }

    fn play(&self, verb: &str, file: &std::path::Path) -> anyhow::Result<Duration> {
        let began = Instant::now();
        self.run(&["kube".as_ref(), verb.as_ref(), file.as_os_str()])?;
        Ok(began.elapsed())
    }

    fn run(&self, arguments: &[&std::ffi::OsStr]) -> anyhow::Result<()> {
        let mut command = Command::new("timeout");
        command.args([LIMIT, "podman", "--root"]).arg(self.folder.path().join("root"));
        command.arg("--runroot").arg(self.folder.path().join("run")).args(["--cgroup-manager", "cgroupfs"]);
        command.args(["--runtime", "runc"]).args(arguments).stdin(Stdio::null());
        command.env("CONTAINERS_CONF", self.folder.path().join("containers.conf"));
        let output = self.netns.inside(move || command.output().context("start podman"))?;
        ensure!(output.status.success(), "podman {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        for arguments in [["pod", "rm", "-fa"].as_slice(), &["system", "reset", "-f"]] {
            let arguments: Vec<&std::ffi::OsStr> = arguments.iter().map(AsRef::as_ref).collect();
            if let Err(error) = self.run(&arguments) {
                eprintln!("clean up after podman: {error:#}");
            }
        }
    }
}
