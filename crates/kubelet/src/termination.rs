//! The end of containers: hooks, signals, grace, and what a container said at last.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use container::{ContainerState, Runtime};
use k8s_openapi::api::core::v1::LifecycleHandler;
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use crate::handler::Target;
use crate::hooks;

/// What a container gets after its signal, however little of its grace period is left.
const LAST_GRACE: Duration = Duration::from_secs(2);
/// Upstream's bound of a termination message.
const MAX_MESSAGE: usize = 4096;
/// Upstream's bounds of a message taken from the log.
const MAX_LOG_MESSAGE: usize = 2048;
const MAX_LOG_LINES: usize = 80;

/// How to end a container.
pub(crate) struct Stop {
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) namespace: net::Namespace,
    pub(crate) target: Target,
    pub(crate) pre_stop: Option<LifecycleHandler>,
    pub(crate) signal: i32,
    /// When the grace period ends; may come nearer while we wait.
    pub(crate) deadline: watch::Receiver<Instant>,
}

/// Runs the hook, asks the container to end, and kills it when its grace period is over. Gives the hook's failure.
pub(crate) async fn stop(mut stop: Stop) -> Option<String> {
    let mut hook_failure = None;
    if let Some(handler) = stop.pre_stop.take() {
        let mut deadline = stop.deadline.clone();
        tokio::select! {
            result = hooks::run(&*stop.runtime, &stop.namespace, &stop.target, &handler) => {
                hook_failure = result.err();
            }
            () = reached(&mut deadline) => {}
            () = ended(&*stop.runtime, &stop.target.id) => return None,
        }
    }
    let id = stop.target.id.as_str();
    let least = Instant::now() + LAST_GRACE;
    let signal = async {
        if let Err(error) = stop.runtime.signal_container(id, stop.signal).await {
            tracing::debug!(container = id, %error, "signal a container");
        }
        std::future::pending().await
    };
    tokio::select! {
        () = signal => {}
        () = ended(&*stop.runtime, id) => return hook_failure,
        () = async {
            reached(&mut stop.deadline).await;
            tokio::time::sleep_until(least).await;
        } => {}
    }
    if let Err(error) = stop.runtime.signal_container(id, 9).await {
        tracing::warn!(container = id, %error, "kill a container");
    }
    ended(&*stop.runtime, id).await;
    hook_failure
}

/// Resolves when the deadline, which may change, has passed.
async fn reached(deadline: &mut watch::Receiver<Instant>) {
    loop {
        let until = *deadline.borrow_and_update();
        tokio::select! {
            () = tokio::time::sleep_until(until) => return,
            changed = deadline.changed() => if changed.is_err() {
                return tokio::time::sleep_until(until).await;
            },
        }
    }
}

/// Resolves when the container's process has ended, or nothing is known of it.
async fn ended(runtime: &dyn Runtime, id: &str) {
    let mut events = runtime.events();
    while runtime.status(id).is_some_and(|status| matches!(status.state, ContainerState::Running { .. })) {
        match events.recv().await {
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// A signal's number by its name, `SIGTERM`, `TERM` or a number.
pub(crate) fn signal_number(name: &str) -> i32 {
    use std::str::FromStr;
    let upper = name.trim().to_uppercase();
    let full = if upper.starts_with("SIG") { upper.clone() } else { format!("SIG{upper}") };
    let named = nix::sys::signal::Signal::from_str(&full).ok().map(|signal| signal as i32);
    let real_time = full.strip_prefix("SIGRTMIN+").and_then(|above| above.parse::<i32>().ok()).map(|n| 34 + n);
    let below = full.strip_prefix("SIGRTMAX-").and_then(|below| below.parse::<i32>().ok()).map(|n| 64 - n);
    named.or(real_time).or(below).or_else(|| upper.parse().ok()).unwrap_or(nix::libc::SIGTERM)
}

/// What a container left as its last words: its message file, or with `from_log` and an empty file, the end of its log.
pub(crate) fn message(file: &Path, log: &Path, from_log: bool) -> String {
    let said = std::fs::read(file).unwrap_or_default();
    if !said.is_empty() || !from_log {
        return String::from_utf8_lossy(said.get(..MAX_MESSAGE).unwrap_or(&said)).into_owned();
    }
    log_end(&std::fs::read_to_string(log).unwrap_or_default())
}

/// The last lines of a log in CRI's format, without its prefixes.
fn log_end(log: &str) -> String {
    let mut text = String::new();
    let lines: Vec<&str> = log.lines().collect();
    for line in lines.iter().skip(lines.len().saturating_sub(MAX_LOG_LINES)) {
        let mut parts = line.splitn(4, ' ');
        let (tag, content) = (parts.nth(2), parts.next().unwrap_or_default());
        text.push_str(content);
        if tag == Some("F") {
            text.push('\n');
        }
    }
    let mut start = text.len().saturating_sub(MAX_LOG_MESSAGE);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    text.split_off(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_name() {
        for (name, number) in [("SIGTERM", 15), ("quit", 3), ("SIGRTMIN+3", 37), ("12", 12), ("nonsense", 15)] {
            assert_eq!(signal_number(name), number, "{name}");
        }
    }

    #[test]
    fn the_end_of_a_log() {
        let log =
            "2026-01-01T00:00:00Z stdout F one\n2026-01-01T00:00:00Z stderr P tw\n2026-01-01T00:00:00Z stderr F o\n";
        assert_eq!(log_end(log), "one\ntwo\n");
        assert_eq!(log_end(&log.repeat(60)).lines().count(), 53);
    }
}
