//! How the command line speaks to a running cluster: one JSON line each way per request, over a socket that only root
//! may open. Steps may come before the answer.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

/// What the command line asks.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// What runs?
    Status,
    /// Answer once the node is Ready.
    Ready,
    /// End all pods and stop.
    Stop,
    /// Import an archive.
    ImportImage(PathBuf),
    /// Pull an image.
    PullImage(String),
    /// List images.
    ListImages,
    /// Remove an image.
    RemoveImage(String),
    /// Apply an object.
    Apply(serde_json::Value),
    /// Answer once this pod (namespace, name) is Ready.
    PodReady(String, String),
    /// Tell what these pods do, and answer once all have ended.
    Follow(Vec<PodChoice>),
    /// Fetch the page that this pod (namespace, name) serves on a port.
    Page(String, String, u16),
    /// Delete an object, and answer once it is gone.
    Remove(serde_json::Value),
}

/// Pods of one namespace: by name, or all that have these labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PodChoice {
    pub(crate) namespace: String,
    pub(crate) name: Option<String>,
    pub(crate) labels: BTreeMap<String, String>,
}

/// An image as the command line shows it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ImageRow {
    pub(crate) names: Vec<String>,
    pub(crate) id: String,
    pub(crate) bytes: u64,
}

/// What a cluster tells of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Status {
    /// The cluster's id, which names of the kernel carry.
    pub(crate) cluster: String,
    pub(crate) server: String,
    pub(crate) nodes: Vec<String>,
    pub(crate) ready_after_ms: Option<u64>,
    pub(crate) process: u32,
    pub(crate) kubeconfig: PathBuf,
}

/// What is told before the answer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Step {
    /// So many of so many bytes of this thing are done.
    Progress { what: String, done: u64, total: u64 },
    /// Something to show.
    Line(String),
}

/// What the cluster answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Step(Step),
    Status(Status),
    Images(Vec<ImageRow>),
    Text(String),
    Done,
    Failed(String),
}

/// A connection to a running cluster.
pub(crate) struct Client(BufReader<UnixStream>);

impl Client {
    /// Connects; `None` if nothing runs there.
    pub(crate) async fn connect(socket: &Path) -> anyhow::Result<Option<Self>> {
        match UnixStream::connect(socket).await {
            Ok(stream) => Ok(Some(Self(BufReader::new(stream)))),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                Ok(None)
            }
            Err(error) => Err(error).with_context(|| format!("connect to {}", socket.display())),
        }
    }

    /// Sends a request and waits for its answer.
    pub(crate) async fn call(&mut self, request: &Request) -> anyhow::Result<Answer> {
        self.call_in_steps(request, |_| {}).await
    }

    /// Sends a request and waits for its answer; what comes before it goes to `on_step`.
    pub(crate) async fn call_in_steps(
        &mut self,
        request: &Request,
        mut on_step: impl FnMut(Step),
    ) -> anyhow::Result<Answer> {
        self.0.get_mut().write_all(&line(request)?).await.context("ask the cluster")?;
        loop {
            let mut answer = String::new();
            let length = self.0.read_line(&mut answer).await.context("hear the cluster's answer")?;
            anyhow::ensure!(length > 0, "the cluster ended before it answered");
            match serde_json::from_str(&answer).context("understand the cluster's answer")? {
                Answer::Step(step) => on_step(step),
                Answer::Failed(why) => anyhow::bail!(why),
                answer => return Ok(answer),
            }
        }
    }

    /// Waits until the cluster's process closes the connection: it is gone then.
    pub(crate) async fn closed(mut self) -> anyhow::Result<()> {
        let mut rest = String::new();
        while self.0.read_line(&mut rest).await.context("wait for the cluster's end")? > 0 {}
        Ok(())
    }
}

/// One client's connection, on the cluster's side.
pub(crate) struct Connection(BufReader<UnixStream>);

impl Connection {
    pub(crate) async fn request(&mut self) -> anyhow::Result<Option<Request>> {
        let mut text = String::new();
        let length = self.0.read_line(&mut text).await.context("read a request")?;
        if length == 0 {
            return Ok(None);
        }
        serde_json::from_str(&text).context("understand a request").map(Some)
    }

    pub(crate) async fn answer(&mut self, answer: &Answer) -> anyhow::Result<()> {
        self.0.get_mut().write_all(&line(answer)?).await.context("answer a request")
    }
}

/// The socket that a cluster listens on. A socket file that nobody listens on any more is replaced.
pub(crate) struct Listener(UnixListener);

impl Listener {
    pub(crate) fn bind(socket: &Path) -> anyhow::Result<Self> {
        use std::os::unix::fs::PermissionsExt;
        let bind = || format!("listen on {}", socket.display());
        if let Some(folder) = socket.parent() {
            std::fs::create_dir_all(folder).with_context(bind)?;
            std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)).with_context(bind)?;
        }
        match std::fs::remove_file(socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).with_context(bind),
            Ok(()) | Err(_) => {}
        }
        Ok(Self(UnixListener::bind(socket).with_context(bind)?))
    }

    pub(crate) async fn accept(&self) -> anyhow::Result<Connection> {
        let (stream, _) = self.0.accept().await.context("accept a command's connection")?;
        Ok(Connection(BufReader::new(stream)))
    }
}

fn line(message: &impl Serialize) -> anyhow::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}
