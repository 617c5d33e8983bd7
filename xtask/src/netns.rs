//! A network namespace of its own for each cluster, so that clusters and this machine never meet.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, anyhow};
use rustix::fd::AsFd;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A named network namespace with its loopback up. Dropping it removes it, if it was made here.
pub(crate) struct Netns {
    name: String,
    made: bool,
}

impl Netns {
    /// Makes one.
    pub(crate) fn make(purpose: &str) -> anyhow::Result<Self> {
        let name = format!("{purpose}-{}", std::process::id());
        crate::run(Command::new("ip").args(["netns", "add", &name]))?;
        let made = Self { name, made: true };
        crate::run(Command::new("ip").args(["-n", &made.name, "link", "set", "lo", "up"]))?;
        Ok(made)
    }

    /// One that somebody else makes and removes.
    pub(crate) fn of(name: &str) -> Self {
        Self { name: name.to_owned(), made: false }
    }

    /// Does work on a thread inside; commands started by it are inside as well.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> anyhow::Result<T> + Send) -> anyhow::Result<T> {
        let path = PathBuf::from("/run/netns").join(&self.name);
        let enter = move || {
            let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).context("enter the namespace")?;
            work()
        };
        let done = std::thread::scope(|scope| scope.spawn(enter).join());
        done.map_err(|_| anyhow!("the work inside {} panicked", self.name))?
    }

    /// The processes inside.
    pub(crate) fn processes(&self) -> anyhow::Result<Vec<u32>> {
        let text = crate::output(Command::new("ip").args(["netns", "pids", &self.name]))?;
        let own = std::process::id();
        Ok(text.lines().filter_map(|line| line.trim().parse().ok()).filter(|process| *process != own).collect())
    }

    /// Whether it exists.
    pub(crate) fn exists(&self) -> bool {
        fs::exists(PathBuf::from("/run/netns").join(&self.name)).unwrap_or(false)
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        if self.made
            && let Err(error) = crate::run(Command::new("ip").args(["netns", "del", &self.name]))
        {
            eprintln!("remove the namespace {}: {error:#}", self.name);
        }
    }
}
