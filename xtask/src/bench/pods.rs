//! Start and end of pods, seen by a client with a watch.

use std::time::{Duration, Instant};

use anyhow::Context;
use hyper::Method;
use serde_json::{Value, json};

use super::access::Access;
use super::api::{Api, Watch};

const NAMESPACE: &str = "bench";
const PODS: &str = "/api/v1/namespaces/bench/pods";
/// The default service account of a new namespace comes a moment after it.
const TRIES: u32 = 200;
const AGAIN: Duration = Duration::from_millis(50);

/// Times of pods.
#[derive(Debug, Default)]
pub(crate) struct Times {
    pub(crate) starts: Vec<Duration>,
    pub(crate) ends: Vec<Duration>,
}

/// A namespace with a watch on its pods.
pub(crate) struct Pods {
    api: Api,
    watch: Watch,
    image: String,
}

impl Pods {
    pub(crate) async fn open(access: &Access, image: &str) -> anyhow::Result<Self> {
        let mut api = Api::connect(access).await?;
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
        api.call(Method::POST, "/api/v1/namespaces", Some(&namespace)).await?;
        wait_for_account(&mut api, NAMESPACE).await?;
        let watch = api.another().await?.watch(&format!("{PODS}?watch=1")).await?;
        Ok(Self { api, watch, image: image.to_owned() })
    }

    /// Starts and ends pods one after the other.
    pub(crate) async fn one_at_a_time(&mut self, count: usize) -> anyhow::Result<Times> {
        let mut times = Times::default();
        for index in 0..count {
            let name = [format!("one-{index}")];
            let began = Instant::now();
            self.api.call(Method::POST, PODS, Some(&pod(&name[0], &self.image))).await?;
            self.watch.until(&name, is_ready).await.with_context(|| format!("start {}", name[0]))?;
            times.starts.push(began.elapsed());
            let began = Instant::now();
            self.api.call(Method::DELETE, &format!("{PODS}/{}", name[0]), None).await?;
            self.watch.until(&name, is_gone).await.with_context(|| format!("end {}", name[0]))?;
            times.ends.push(began.elapsed());
        }
        Ok(times)
    }

    /// Starts pods at once, each on a connection of its own, and returns when the last is Ready.
    pub(crate) async fn at_once(&mut self, count: usize) -> anyhow::Result<Duration> {
        let names: Vec<String> = (0..count).map(|index| format!("burst-{index}")).collect();
        let mut connections = Vec::new();
        for _ in 0..count {
            connections.push(self.api.another().await?);
        }
        let began = Instant::now();
        let mut posts = tokio::task::JoinSet::new();
        for (mut api, name) in connections.into_iter().zip(&names) {
            let pod = pod(name, &self.image);
            posts.spawn(async move { api.call(Method::POST, PODS, Some(&pod)).await });
        }
        self.watch.until(&names, is_ready).await.context("start pods at once")?;
        let took = began.elapsed();
        for post in posts.join_all().await {
            post?;
        }
        Ok(took)
    }

    /// Ends the pods of [`Pods::at_once`].
    pub(crate) async fn end(&mut self, count: usize) -> anyhow::Result<()> {
        let names: Vec<String> = (0..count).map(|index| format!("burst-{index}")).collect();
        for name in &names {
            self.api.call(Method::DELETE, &format!("{PODS}/{name}"), None).await?;
        }
        self.watch.until(&names, is_gone).await.context("end the pods")
    }
}

/// Waits until a namespace takes pods.
pub(super) async fn wait_for_account(api: &mut Api, namespace: &str) -> anyhow::Result<()> {
    let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/default");
    for _ in 0..TRIES {
        if api.try_call(Method::GET, &path, None).await?.0.is_success() {
            break;
        }
        tokio::time::sleep(AGAIN).await;
    }
    Ok(())
}

fn is_ready(event: &Value) -> bool {
    let conditions = event["object"]["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
}

fn is_gone(event: &Value) -> bool {
    event["type"] == "DELETED"
}

/// One container that ends on TERM.
pub(super) fn pod(name: &str, image: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [{"name": "main", "image": image, "imagePullPolicy": "IfNotPresent"}]},
    })
}
