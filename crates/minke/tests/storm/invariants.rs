//! What holds after every crash.

use std::fs;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use testkit::{Namespace, is_ready};

use crate::mix::{BESIDE, FIRST, GRACE, Mix};
use crate::users::Story;

/// How old a mark of life may be, in seconds.
const MARK: f64 = 0.3;
/// The code of what was killed.
const KILLED: u64 = 137;

/// Seconds since the machine's start, as pods see them too.
pub(crate) fn uptime() -> anyhow::Result<f64> {
    first_number(&fs::read_to_string("/proc/uptime").context("read the uptime")?)
}

fn first_number(text: &str) -> anyhow::Result<f64> {
    text.split_whitespace().next().context("no number")?.parse().context("read a number")
}

/// When the daemon was killed, and when it was started again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) crash: f64,
    pub(crate) resumed: f64,
}

/// Checks one pod, and waits for what has to come of it.
pub(crate) async fn hold(space: &Namespace, story: &Story, times: Times) -> anyhow::Result<()> {
    let Some(uid) = &story.uid else { return Ok(()) };
    if story.deleted {
        space.gone(&story.name).await?;
        return if story.mix == Mix::Stubborn && !story.struck { full_grace(story, times) } else { Ok(()) };
    }
    if story.asked_deletion {
        return Ok(());
    }
    let found = space.pods().get_opt(&story.name).await.context("read the pod")?;
    let pod = serde_json::to_value(found.context("an acknowledged pod is lost")?)?;
    ensure!(pod["metadata"]["uid"] == json!(uid), "another pod has its name");
    let label = pod["metadata"]["labels"]["storm"].as_str().and_then(|label| label.parse().ok());
    ensure!(
        label == story.label || label == story.asked_label,
        "label {label:?}, acknowledged {:?}, asked for {:?}",
        story.label,
        story.asked_label
    );
    containers(space, story).await
}

async fn containers(space: &Namespace, story: &Story) -> anyhow::Result<()> {
    match story.mix {
        Mix::Ends(code) => ends(space, story, code).await,
        Mix::Beside => ends(space, story, BESIDE).await,
        Mix::Restarts => {
            let pod =
                space.until(&story.name, "runs again", |pod| is_ready(pod) && status(pod)["restartCount"] != 0).await?;
            let code = &status(&pod)["lastState"]["terminated"]["exitCode"];
            ensure!(*code == FIRST || story.struck, "its first exit code: {code}");
            Ok(())
        }
        Mix::Counter | Mix::Pair | Mix::Stubborn => {
            let pod = space.until(&story.name, "is Ready", is_ready).await?;
            if story.struck {
                return Ok(());
            }
            if let Some(before) = &story.ready {
                ensure!(
                    instances(before) == instances(&pod),
                    "disturbed: {:?}, now {:?}",
                    instances(before),
                    instances(&pod)
                );
            }
            if story.mix == Mix::Counter { no_gap(&space.log(&story.name, "a").await?) } else { Ok(()) }
        }
    }
}

async fn ends(space: &Namespace, story: &Story, expected: u64) -> anyhow::Result<()> {
    let pod = space.until(&story.name, "has ended", |pod| pod["status"]["phase"] == "Failed").await?;
    let code = &status(&pod)["state"]["terminated"]["exitCode"];
    ensure!(*code == expected || story.struck && *code == KILLED, "its exit code: {code}, not {expected}");
    Ok(())
}

fn status(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]
}

/// What identifies the processes of a pod.
fn instances(pod: &Value) -> Vec<(Value, Value, Value)> {
    let all = pod["status"]["containerStatuses"].as_array().into_iter().flatten();
    all.map(|one| {
        (one["containerID"].clone(), one["restartCount"].clone(), one["state"]["running"]["startedAt"].clone())
    })
    .collect()
}

fn no_gap(log: &str) -> anyhow::Result<()> {
    for (line, expected) in log.lines().zip(1_u64..) {
        ensure!(line == expected.to_string(), "a gap in the log before {line}, at {expected}");
    }
    Ok(())
}

/// What lived on after the crash lived on for a whole grace period after the daemon came back.
fn full_grace(story: &Story, times: Times) -> anyhow::Result<()> {
    let mark = story.marks.join(&story.name).join(&story.name);
    let Ok(text) = fs::read_to_string(mark) else { return Ok(()) };
    let last = first_number(&text)?;
    if last <= times.crash + MARK {
        return Ok(());
    }
    eprintln!("{} ended {:.1} s after the daemon came back", story.name, last - times.resumed);
    ensure!(
        last >= times.resumed + GRACE as f64 - MARK,
        "killed {:.1} s after the daemon came back, its grace period is {GRACE} s",
        last - times.resumed
    );
    Ok(())
}
