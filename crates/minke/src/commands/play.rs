//! `minke play FILE…`: runs manifests and shows them working, then cleans up.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

use super::{down, need_root, running, up, wait};
use crate::cli::Play;
use crate::control::{Answer, Client, PodChoice, Request, Step};

/// How often a page is looked at.
const LOOK: Duration = Duration::from_secs(1);

pub(super) fn run(options: &Play) -> anyhow::Result<ExitCode> {
    need_root("minke play")?;
    let objects = read(options)?;
    let data_dir = &options.data_dir.data_dir;
    let booted = wait(async { Ok(running(data_dir).await?.is_none()) })?;
    if booted {
        let mut arguments: Vec<OsString> = vec!["up".into(), "--data-dir".into(), data_dir.into()];
        if let Some(kubeconfig) = &options.kubeconfig {
            arguments.extend(["--kubeconfig".into(), kubeconfig.into()]);
        }
        up::start_background(data_dir, arguments)?;
    }
    wait(async {
        let (_, mut client) = running(data_dir).await?.context("the cluster ended")?;
        let played = interruptible(play(&mut client, &objects, options)).await;
        // Each request has a connection of its own again: an interrupted one may still be answered on the first.
        let (_, mut client) = running(data_dir).await?.context("the cluster ended")?;
        for object in objects.iter().rev() {
            client.call(&Request::Remove(object.clone())).await.with_context(|| format!("delete {}", title(object)))?;
            println!("{} deleted", title(object));
        }
        if booted {
            down::stop(client).await?;
            println!("the cluster is down");
        }
        played
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The manifests' objects, in their order.
fn read(options: &Play) -> anyhow::Result<Vec<Value>> {
    let mut objects = Vec::new();
    for file in &options.files {
        let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        for document in serde_yaml_ng::Deserializer::from_str(&text) {
            let object = Value::deserialize(document).with_context(|| format!("understand {}", file.display()))?;
            if !object.is_null() {
                objects.push(object);
            }
        }
    }
    anyhow::ensure!(!objects.is_empty(), "the manifests hold no objects");
    Ok(objects)
}

fn title(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_lowercase();
    format!("{}/{}", text(&object["kind"]), text(&object["metadata"]["name"]))
}

async fn interruptible(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("wait for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("wait for TERM")?;
    tokio::select! {
        done = work => done,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    }
}

/// Applies everything and tells what its pods do, until all have ended or the page was shown as often as asked for.
async fn play(client: &mut Client, objects: &[Value], options: &Play) -> anyhow::Result<()> {
    for object in objects {
        client.call(&Request::Apply(object.clone())).await.with_context(|| format!("apply {}", title(object)))?;
        println!("{} applied", title(object));
    }
    let choices: Vec<PodChoice> = objects.iter().filter_map(pods_of).collect();
    anyhow::ensure!(!choices.is_empty(), "the manifests make no pods");
    let follow = async {
        let (_, mut client) = running(&options.data_dir.data_dir).await?.context("the cluster ended")?;
        let show = |step| {
            if let Step::Line(line) = step {
                println!("{line}");
            }
        };
        client.call_in_steps(&Request::Follow(choices), show).await.map(drop)
    };
    match &options.show {
        Some(page) => tokio::select! {
            shown = pages(client, page, options.times) => shown,
            followed = follow => followed,
        },
        None => follow.await,
    }
}

/// The pods that an object is, or makes: those that its selector chooses.
fn pods_of(object: &Value) -> Option<PodChoice> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let namespace = text("/metadata/namespace").unwrap_or_else(|| "default".to_owned());
    let labels = |pairs: &Value| -> BTreeMap<String, String> {
        let pairs = pairs.as_object().into_iter().flatten();
        pairs.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
    };
    let spec = &object["spec"];
    let (name, labels) = match object["kind"].as_str()? {
        "Pod" => (text("/metadata/name"), BTreeMap::new()),
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" => (None, labels(&spec["selector"]["matchLabels"])),
        "ReplicationController" => (None, labels(&spec["template"]["metadata"]["labels"])),
        "Job" => (None, BTreeMap::from([("batch.kubernetes.io/job-name".to_owned(), text("/metadata/name")?)])),
        "CronJob" => (None, labels(&spec["jobTemplate"]["spec"]["template"]["metadata"]["labels"])),
        _ => return None,
    };
    Some(PodChoice { namespace, name, labels })
}

async fn pages(client: &mut Client, show: &str, times: Option<u32>) -> anyhow::Result<()> {
    let (pod, port) = show.split_once(':').context("--show wants POD:PORT")?;
    let request = Request::Page("default".to_owned(), pod.to_owned(), port.parse().context("--show wants POD:PORT")?);
    client.call(&Request::PodReady("default".to_owned(), pod.to_owned())).await?;
    let (mut last, mut shown) = (String::new(), 0);
    let mut look = tokio::time::interval(LOOK);
    while times.is_none_or(|times| shown < times) {
        look.tick().await;
        let Answer::Text(page) = client.call(&request).await? else { continue };
        if page != last {
            print!("{page}");
            last = page;
            shown += 1;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_choose_their_pods() {
        let choice = |namespace: &str, name: Option<&str>, label: Option<(&str, &str)>| {
            let labels = label.map(|(key, value)| (key.to_owned(), value.to_owned())).into_iter().collect();
            Some(PodChoice { namespace: namespace.to_owned(), name: name.map(str::to_owned), labels })
        };
        let check = |object: Value, expected: Option<PodChoice>| assert_eq!(pods_of(&object), expected, "{object}");
        check(json!({"kind": "Pod", "metadata": {"name": "a"}}), choice("default", Some("a"), None));
        check(json!({"kind": "Pod", "metadata": {"name": "a", "namespace": "n"}}), choice("n", Some("a"), None));
        let deployment = json!({"kind": "Deployment", "spec": {"selector": {"matchLabels": {"app": "x"}}}});
        check(deployment, choice("default", None, Some(("app", "x"))));
        let job = json!({"kind": "Job", "metadata": {"name": "j"}});
        check(job, choice("default", None, Some(("batch.kubernetes.io/job-name", "j"))));
        check(json!({"kind": "ConfigMap", "metadata": {"name": "a"}}), None);
    }
}
