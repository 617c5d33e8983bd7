//! Pods of a test.

use anyhow::{Context, bail};
use futures::AsyncReadExt as _;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{Api, AttachParams, DeleteParams, ListParams, LogParams, PostParams};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use crate::{BUSYBOX, eventually};

/// A pod of these containers that is ended at once, as JSON to be changed further.
pub fn pod(name: &str, containers: &[Value]) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": containers},
    })
}

/// A container that runs a script in the shell.
pub fn container(name: &str, script: &str) -> Value {
    json!({"name": name, "image": BUSYBOX, "command": ["sh", "-c", script]})
}

/// A namespace of a test's own.
pub struct Namespace {
    /// The client.
    pub client: kube::Client,
    /// Its name.
    pub name: String,
}

impl Namespace {
    /// Makes it, with its service account.
    pub async fn new(client: kube::Client, name: &str) -> anyhow::Result<Self> {
        let spaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(client.clone());
        let space = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        spaces.create(&PostParams::default(), &space).await.context("make a namespace")?;
        let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> = Api::namespaced(client.clone(), name);
        eventually("the namespace's service account", async || accounts.get("default").await.map(drop)).await?;
        Ok(Self { client, name: name.to_owned() })
    }

    /// Its pods.
    pub fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// Makes a pod.
    pub async fn create(&self, pod: &Value) -> anyhow::Result<Pod> {
        let typed = serde_json::from_value(pod.clone()).context("read the pod")?;
        self.pods().create(&PostParams::default(), &typed).await.context("make the pod")
    }

    /// The pod once its JSON meets a condition.
    pub async fn until(&self, name: &str, what: &str, condition: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        let pods = self.pods();
        eventually(&format!("pod {name}: {what}"), async || {
            let pod = pods.get(name).await.map_err(|error| json!(error.to_string()))?;
            let value = serde_json::to_value(pod).map_err(|error| json!(error.to_string()))?;
            if condition(&value) { Ok(value) } else { Err(value["status"].clone()) }
        })
        .await
    }

    /// Makes a pod and waits until it is Ready.
    pub async fn start(&self, pod: &Value) -> anyhow::Result<Value> {
        self.create(pod).await?;
        let name = pod["metadata"]["name"].as_str().context("a pod without a name")?;
        self.until(name, "is Ready", is_ready).await
    }

    /// Makes a pod and waits until all its containers have ended.
    pub async fn finish(&self, pod: &Value) -> anyhow::Result<Value> {
        self.create(pod).await?;
        let name = pod["metadata"]["name"].as_str().context("a pod without a name")?;
        self.until(name, "has ended", |pod| matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed")))
            .await
    }

    /// Deletes a pod with its own grace period and waits until it is gone.
    pub async fn delete(&self, name: &str) -> anyhow::Result<()> {
        self.pods().delete(name, &DeleteParams::default()).await.context("delete the pod")?;
        self.gone(name).await
    }

    /// Waits until a pod is gone.
    pub async fn gone(&self, name: &str) -> anyhow::Result<()> {
        let pods = self.pods();
        eventually(&format!("pod {name} is gone"), async || match pods.get_opt(name).await {
            Ok(None) => Ok(()),
            Ok(Some(pod)) => Err(format!("{:?}", pod.status)),
            Err(error) => Err(error.to_string()),
        })
        .await
    }

    /// What a container has written.
    pub async fn log(&self, pod: &str, container: &str) -> anyhow::Result<String> {
        let options = LogParams { container: Some(container.to_owned()), ..LogParams::default() };
        self.pods().logs(pod, &options).await.context("read the log")
    }

    /// Runs a script in a container and gives what it writes; fails if the script does.
    pub async fn exec(&self, pod: &str, container: &str, script: &str) -> anyhow::Result<String> {
        let options = AttachParams::default().container(container).stderr(true);
        let mut process = self.pods().exec(pod, ["sh", "-c", script], &options).await.context("exec")?;
        let (mut out, mut errors) = (String::new(), String::new());
        let mut stdout = process.stdout().context("no standard output")?;
        let mut stderr = process.stderr().context("no standard error")?;
        let ended = process.take_status().context("no status")?;
        let (read_out, read_errors) = tokio::join!(stdout.read_to_string(&mut out), stderr.read_to_string(&mut errors));
        read_out.and(read_errors)?;
        let status = ended.await.context("the stream ended without a status")?;
        if status.status.as_deref() != Some("Success") {
            bail!("{script}: {:?}: {out}{errors}", status.message);
        }
        Ok(out)
    }

    /// What an HTTP server in a pod answers, over a forwarded port.
    pub async fn fetch(&self, pod: &str, port: u16, path: &str) -> anyhow::Result<String> {
        let mut forward = self.pods().portforward(pod, &[port]).await.context("forward a port")?;
        let mut stream = forward.take_stream(port).context("no stream")?;
        let request = format!("GET {path} HTTP/1.0\r\nHost: pod\r\n\r\n");
        tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or(answer))
    }

    /// Waits for an event of a pod with this reason, whose message begins so.
    pub async fn event(&self, pod: &str, reason: &str, message: &str) -> anyhow::Result<()> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), &self.name);
        let selector = ListParams::default().fields(&format!("involvedObject.name={pod}"));
        eventually(&format!("an event {reason} of {pod}: {message}"), async || {
            let found = events.list(&selector).await.map_err(|error| vec![(error.to_string(), String::new())])?;
            let text = |event: Event| (event.reason.unwrap_or_default(), event.message.unwrap_or_default());
            let all: Vec<(String, String)> = found.items.into_iter().map(text).collect();
            if all.iter().any(|(own, text)| own == reason && text.starts_with(message)) { Ok(()) } else { Err(all) }
        })
        .await
    }

    /// Reads a whole stream of the log.
    pub async fn follow(&self, pod: &str, container: &str) -> anyhow::Result<String> {
        let options = LogParams { container: Some(container.to_owned()), follow: true, ..LogParams::default() };
        let mut text = String::new();
        self.pods().log_stream(pod, &options).await?.read_to_string(&mut text).await?;
        Ok(text)
    }
}

/// Whether a pod says so.
pub fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}
