//! `minke play FILE…`: runs manifests and shows them working, then cleans up.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

use super::{down, need_root, running, up, wait};
use crate::cli::Play;
use crate::control::{Answer, Client, Request};

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
            client
                .call(&Request::Remove(object.clone()), |_, _, _| {})
                .await
                .with_context(|| format!("delete {}", title(object)))?;
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

/// Applies everything, waits for the pods, and shows the page that was asked for.
async fn play(client: &mut Client, objects: &[Value], options: &Play) -> anyhow::Result<()> {
    for object in objects {
        client
            .call(&Request::Apply(object.clone()), |_, _, _| {})
            .await
            .with_context(|| format!("apply {}", title(object)))?;
        println!("{} applied", title(object));
    }
    let namespace = |object: &Value| object["metadata"]["namespace"].as_str().unwrap_or("default").to_owned();
    for pod in objects.iter().filter(|object| object["kind"] == "Pod") {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        client.call(&Request::PodReady(namespace(pod), name), |_, _, _| {}).await?;
        println!("{} is ready", title(pod));
    }
    match &options.show {
        Some(show) => pages(client, show, options.times).await,
        None => std::future::pending().await,
    }
}

async fn pages(client: &mut Client, show: &str, times: Option<u32>) -> anyhow::Result<()> {
    let (pod, port) = show.split_once(':').context("--show wants POD:PORT")?;
    let request = Request::Page("default".to_owned(), pod.to_owned(), port.parse().context("--show wants POD:PORT")?);
    let (mut last, mut shown) = (String::new(), 0);
    let mut look = tokio::time::interval(LOOK);
    while times.is_none_or(|times| shown < times) {
        look.tick().await;
        let Answer::Text(page) = client.call(&request, |_, _, _| {}).await? else { continue };
        if page != last {
            print!("{page}");
            last = page;
            shown += 1;
        }
    }
    Ok(())
}
