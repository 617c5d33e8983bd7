//! What the command line asks of objects, as the administrator.

use std::net::{IpAddr, SocketAddr};

use anyhow::Context;
use client::Client;
use futures::StreamExt;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use meta::{
    DeleteOptions, FieldSelector, GroupVersion, Gvr, Object, PatchType, Reason, ResourcePath, WatchKind, WatchOptions,
    WriteOptions,
};
use serde_json::Value;

/// A client that may do everything.
#[derive(Clone)]
pub(super) struct Objects(pub(super) Client);

fn path(object: &Value) -> anyhow::Result<ResourcePath> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let gv = GroupVersion::parse(text("/apiVersion")).context("an object has no apiVersion")?;
    let of_kind =
        |row: &&kinds::Resource| row.group == gv.group && row.version == gv.version && row.kind == text("/kind");
    let row = kinds::all().iter().find(of_kind).with_context(|| format!("no kind {} in {gv}", text("/kind")))?;
    let namespace = match (row.namespaced, text("/metadata/namespace")) {
        (false, _) => "",
        (true, "") => "default",
        (true, namespace) => namespace,
    };
    Ok(ResourcePath::object(row.gvr(), namespace, text("/metadata/name")))
}

impl Objects {
    /// Applies an object server-side.
    pub(super) async fn apply(&self, object: &Value) -> anyhow::Result<()> {
        let options = WriteOptions { field_manager: "minke".to_owned(), force: true, ..WriteOptions::default() };
        self.0.patch(&path(object)?, PatchType::Apply, object, options).await?;
        Ok(())
    }

    /// Deletes an object, and returns when it is gone.
    pub(super) async fn remove(&self, object: &Value) -> anyhow::Result<()> {
        let path = path(object)?;
        let namespace = path.namespace.clone().unwrap_or_default();
        let name = path.name.clone().unwrap_or_default();
        match self.0.delete(&path.gvr, &namespace, &name, DeleteOptions::default()).await {
            Err(error) if error.reason == Reason::NotFound => return Ok(()),
            other => other?,
        }
        self.wait(&path.gvr, &namespace, &name, |found| found.is_none()).await.map(drop)
    }

    /// Returns when a pod is Ready.
    pub(super) async fn ready(&self, namespace: &str, name: &str) -> anyhow::Result<()> {
        let ready = |found: Option<&Object>| {
            let value = found.map(Object::value).unwrap_or_default();
            let conditions = value["status"]["conditions"].as_array().into_iter().flatten();
            conditions.filter(|condition| condition["type"] == "Ready").any(|condition| condition["status"] == "True")
        };
        self.wait(&Gvr::new("", "v1", "pods"), namespace, name, ready).await.map(drop)
    }

    /// Watches one object until it is as asked; `None` is an object that isn't there.
    async fn wait(
        &self,
        gvr: &Gvr,
        namespace: &str,
        name: &str,
        fine: impl Fn(Option<&Object>) -> bool,
    ) -> anyhow::Result<()> {
        let path = ResourcePath::collection(gvr.clone(), namespace);
        let fields = FieldSelector::equal("metadata.name", name);
        let options = WatchOptions { fields, ..WatchOptions::default() };
        let mut events = self.0.watch(&path, options).await?;
        // The watch begins with what is there; an object that is gone already has no event.
        if fine(self.0.get(gvr, namespace, name).await.ok().as_deref()) {
            return Ok(());
        }
        while let Some(event) = events.next().await {
            let event = event?;
            if fine((event.kind != WatchKind::Deleted).then_some(&*event.object)) {
                return Ok(());
            }
        }
        anyhow::bail!("the watch of {name} ended")
    }

    /// The page that a pod serves.
    pub(super) async fn page(&self, namespace: &str, name: &str, port: u16) -> anyhow::Result<String> {
        let pod = self.0.get(&Gvr::new("", "v1", "pods"), namespace, name).await?.value();
        let address: IpAddr = pod["status"]["podIP"].as_str().context("the pod has no address")?.parse()?;
        let stream = net::Namespace::own().connect(SocketAddr::new(address, port)).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::get("/").header("host", name).body(Empty::<Bytes>::new())?;
        let exchange = async {
            let body = sender.send_request(request).await?.into_body().collect().await?;
            anyhow::Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned())
        };
        tokio::pin!(exchange);
        tokio::select! {
            page = &mut exchange => page,
            ended = connection => { ended?; exchange.await }
        }
    }
}
