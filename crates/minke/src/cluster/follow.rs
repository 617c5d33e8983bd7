//! What pods do, told line by line: their state as `kubectl get pods` has it, and what their containers print.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context;
use client::Client;
use futures::StreamExt;
use kubelet::Pods;
use kubelet::logs::{self, LogOptions};
use meta::{Gvr, Object, ResourcePath, WatchKind, WatchOptions};
use serde_json::Value;
use tokio::sync::mpsc::Sender;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::control::{PodChoice, Step};

/// Tells of the chosen pods until all that were chosen by name have ended; an error names the first that failed. Pods chosen by labels may come
/// at any time, so with such a choice it goes on.
pub(super) async fn follow(
    client: &Client,
    nodes: &[Pods],
    choices: &[PodChoice],
    steps: Sender<Step>,
) -> anyhow::Result<()> {
    let path = ResourcePath::collection(Gvr::new("", "v1", "pods"), "");
    let mut events = client.watch(&path, WatchOptions::default()).await?;
    let mut follower = Follower { nodes, steps, seen: BTreeMap::new(), logs: BTreeMap::new(), readers: JoinSet::new() };
    while let Some(event) = events.next().await {
        let event = event?;
        if !choices.iter().any(|choice| chosen(choice, &event.object)) {
            continue;
        }
        match event.kind {
            WatchKind::Deleted => follower.gone(&event.object).await?,
            _ => follower.see(&event.object).await?,
        }
        if let Some(phases) = ended(choices, &follower.seen) {
            follower.finish().await;
            let failed = phases.iter().find(|(_, phase)| phase == "Failed");
            return failed.map_or(Ok(()), |(pod, _)| Err(anyhow::anyhow!("pod/{pod} failed")));
        }
    }
    anyhow::bail!("the watch of pods ended")
}

fn chosen(choice: &PodChoice, pod: &Object) -> bool {
    let metadata = &pod.metadata;
    metadata.namespace == choice.namespace
        && choice.name.as_ref().is_none_or(|name| *name == metadata.name)
        && choice.labels.iter().all(|(key, value)| metadata.labels.get(key) == Some(value))
}

/// What was said of a pod last.
#[derive(Debug, Default)]
struct Seen {
    state: String,
    phase: String,
}

/// The phases of all pods, once all have ended and no other can come.
fn ended(choices: &[PodChoice], seen: &BTreeMap<(String, String), Seen>) -> Option<Vec<(String, String)>> {
    let phase = |choice: &PodChoice| {
        let name = choice.name.clone()?;
        let phase = &seen.get(&(choice.namespace.clone(), name.clone()))?.phase;
        matches!(phase.as_str(), "Succeeded" | "Failed").then(|| (name, phase.clone()))
    };
    choices.iter().map(phase).collect()
}

struct Follower<'a> {
    nodes: &'a [Pods],
    steps: Sender<Step>,
    seen: BTreeMap<(String, String), Seen>,
    /// By container id: cancelled when it writes nothing more.
    logs: BTreeMap<String, CancellationToken>,
    readers: JoinSet<()>,
}

impl Follower<'_> {
    async fn say(&self, line: String) -> anyhow::Result<()> {
        self.steps.send(Step::Line(line)).await.context("nobody listens any more")
    }

    async fn see(&mut self, pod: &Object) -> anyhow::Result<()> {
        let value = pod.value();
        let state = state(&value);
        let (namespace, name) = (pod.metadata.namespace.clone(), pod.metadata.name.clone());
        let phase = value["status"]["phase"].as_str().unwrap_or_default().to_owned();
        let seen = self.seen.entry((namespace, name.clone())).or_default();
        seen.phase = phase;
        if seen.state != state {
            seen.state.clone_from(&state);
            self.say(format!("pod/{name} {state}")).await?;
        }
        for list in ["initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"] {
            for status in value["status"][list].as_array().into_iter().flatten() {
                self.container(pod, status);
            }
        }
        Ok(())
    }

    /// Begins to read a container's log, or notes that it has ended.
    fn container(&mut self, pod: &Object, status: &Value) {
        let text = |pointer: &str| status.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let ended = !status["state"]["terminated"].is_null();
        if !ended && status["state"]["running"].is_null() {
            return;
        }
        let id = text("/containerID").rsplit('/').next().unwrap_or_default().to_owned();
        if !self.logs.contains_key(&id) {
            let Some(path) = self.log(pod, text("/name"), &id) else { return };
            let token = CancellationToken::new();
            let prefix = format!("[pod/{}/{}]", pod.metadata.name, text("/name"));
            self.readers.spawn(print(path, prefix, token.clone(), self.steps.clone()));
            self.logs.insert(id.clone(), token);
        }
        if let Some(token) = self.logs.get(&id).filter(|_| ended) {
            token.cancel();
        }
    }

    fn log(&self, pod: &Object, container: &str, id: &str) -> Option<PathBuf> {
        let handle = self.nodes.iter().find_map(|node| node.by_uid(&pod.metadata.uid))?;
        let container = handle.containers.get(container)?;
        let mut instances = [&container.current, &container.previous].into_iter().flatten();
        instances.find(|instance| instance.id == id).map(|instance| instance.log_path.clone())
    }

    async fn gone(&mut self, pod: &Object) -> anyhow::Result<()> {
        let metadata = &pod.metadata;
        self.seen.remove(&(metadata.namespace.clone(), metadata.name.clone()));
        self.say(format!("pod/{} is gone", metadata.name)).await
    }

    /// Lets every log be read to its end.
    async fn finish(self) {
        self.logs.values().for_each(CancellationToken::cancel);
        self.readers.join_all().await;
    }
}

/// Ready containers and status, as in the pod's row.
fn state(pod: &Value) -> String {
    let pods = kinds::all().iter().find(|row| row.group.is_empty() && row.plural == "pods");
    let row = pods.map(|pods| pods.rules().row(pod, 0)).unwrap_or_default();
    let cell = |index: usize| row.get(index).and_then(Value::as_str).unwrap_or_default().to_owned();
    format!("{} {}", cell(1), cell(2))
}

/// Sends a log's lines until the token says that there are no more, and all are sent.
async fn print(path: PathBuf, prefix: String, ended: CancellationToken, steps: Sender<Step>) {
    let options = LogOptions { follow: true, ..LogOptions::default() };
    let mut lines = std::pin::pin!(logs::read(path, options, async move { ended.cancelled().await }));
    while let Some(line) = lines.next().await {
        let line = match line {
            Ok(line) => String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned(),
            Err(error) => format!("read the log: {error}"),
        };
        if steps.send(Step::Line(format!("{prefix} {line}"))).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_with_the_last_named_pod() {
        let named = |name: &str| PodChoice { name: Some(name.to_owned()), ..PodChoice::default() };
        let check = |choices: &[PodChoice], phases: &[(&str, &str)], expected: bool| {
            let seen = phases.iter().map(|(name, phase)| {
                ((String::new(), (*name).to_owned()), Seen { state: String::new(), phase: (*phase).to_owned() })
            });
            assert_eq!(ended(choices, &seen.collect()).is_some(), expected, "{choices:?} {phases:?}");
        };
        check(&[named("a")], &[("a", "Succeeded")], true);
        check(&[named("a")], &[("a", "Running")], false);
        check(&[named("a")], &[], false);
        check(&[named("a"), named("b")], &[("a", "Succeeded"), ("b", "Running")], false);
        check(&[named("a"), named("b")], &[("a", "Succeeded"), ("b", "Failed")], true);
        check(&[PodChoice::default()], &[("a", "Succeeded")], false);
    }
}
