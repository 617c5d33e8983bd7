//! What the kubelet asks and tells the API.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use client::{Client, Informer};
use k8s_openapi::api::core::v1::{Pod, PodStatus, Service};
use meta::{ApiError, DeleteOptions, Gvr, Object, Preconditions, Reason, ResourcePath};
use serde_json::{Value, json};

use crate::env::Data;

/// A resource of the core group.
pub(crate) fn core(resource: &str) -> Gvr {
    Gvr::new("", "v1", resource)
}

/// The API, as the node's user.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) services: Informer,
}

impl Cluster {
    pub(crate) fn new(client: Client) -> Self {
        let services = Informer::new(client.clone(), core("services"));
        Self { client, services }
    }

    async fn read(&self, resource: &str, namespace: &str, name: &str) -> Result<Option<Value>, ApiError> {
        match self.client.get(&core(resource), namespace, name).await {
            Ok(object) => Ok(Some(object.value())),
            Err(error) if error.reason == Reason::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The content of a config map.
    pub(crate) async fn config_map(&self, namespace: &str, name: &str) -> Result<Data, ApiError> {
        let Some(object) = self.read("configmaps", namespace, name).await? else { return Ok(None) };
        let text = |value: &Value| value.as_str().unwrap_or_default().as_bytes().to_vec();
        let mut data = decode(&object["data"], text);
        data.extend(decode(&object["binaryData"], bytes));
        Ok(Some(data))
    }

    /// The content of a secret.
    pub(crate) async fn secret(&self, namespace: &str, name: &str) -> Result<Data, ApiError> {
        let Some(object) = self.read("secrets", namespace, name).await? else { return Ok(None) };
        Ok(Some(decode(&object["data"], bytes)))
    }

    /// The services that a pod of this namespace is told of.
    pub(crate) fn services(&self, namespace: &str) -> Vec<Service> {
        let mut objects = self.services.in_namespace(namespace);
        if namespace != "default" {
            objects.extend(self.services.get("default/kubernetes"));
        }
        objects.iter().filter_map(|object| object.view().ok()).collect()
    }

    /// Writes a pod's status; `None` if the pod is gone or another one has its name.
    pub(crate) async fn write_status(
        &self,
        pod: &Object,
        old: &Value,
        status: &PodStatus,
    ) -> Result<Option<Arc<Object>>, ApiError> {
        let mut new = serde_json::to_value(status).map_err(ApiError::internal)?;
        if let (Some(old), Some(new)) = (old.as_object(), new.as_object_mut()) {
            // A merge patch only removes what it names.
            for key in old.keys() {
                new.entry(key.clone()).or_insert(Value::Null);
            }
        }
        let metadata = &pod.metadata;
        let path = ResourcePath::object(core("pods"), &metadata.namespace, &metadata.name).subresource("status");
        let patch = json!({"metadata": {"uid": metadata.uid}, "status": new});
        match self.client.merge(&path, &patch).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if matches!(error.reason, Reason::NotFound | Reason::Conflict) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Ends a pod's object for good. One that is gone already, or has been replaced, is left alone.
    pub(crate) async fn delete(&self, pod: &Object) -> Result<(), ApiError> {
        let metadata = &pod.metadata;
        let preconditions = Preconditions { uid: Some(metadata.uid.clone()), ..Preconditions::default() };
        let options = DeleteOptions { grace_period_seconds: Some(0), preconditions, ..DeleteOptions::default() };
        match self.client.delete(&core("pods"), &metadata.namespace, &metadata.name, options).await {
            Err(error) if matches!(error.reason, Reason::NotFound | Reason::Conflict) => Ok(()),
            other => other,
        }
    }

    /// Credentials for a registry from the pod's pull secrets.
    pub(crate) async fn credentials(&self, pod: &Pod, registry: &str) -> Option<container::images::Credentials> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        for reference in pod.spec.as_ref()?.image_pull_secrets.iter().flatten() {
            let Ok(Some(secret)) = self.secret(namespace, &reference.name).await else { continue };
            let Some(config) = secret.get(".dockerconfigjson") else { continue };
            let Ok(config) = serde_json::from_slice::<Value>(config) else { continue };
            if let Some(found) = registry_login(&config["auths"], registry) {
                return Some(found);
            }
        }
        None
    }
}

fn registry_login(auths: &Value, registry: &str) -> Option<container::images::Credentials> {
    let wanted = |key: &str| {
        let host = key.trim_start_matches("https://").trim_start_matches("http://");
        let host = host.split('/').next().unwrap_or(host);
        host == registry || (registry == "docker.io" && host == "index.docker.io")
    };
    let (_, entry) = auths.as_object()?.iter().find(|(key, _)| wanted(key))?;
    let text = |name: &str| entry[name].as_str().map(str::to_owned);
    if let (Some(username), Some(password)) = (text("username"), text("password")) {
        return Some(container::images::Credentials { username, password });
    }
    let decoded = String::from_utf8(bytes(&entry["auth"])).ok()?;
    let (username, password) = decoded.split_once(':')?;
    Some(container::images::Credentials { username: username.to_owned(), password: password.to_owned() })
}

fn bytes(value: &Value) -> Vec<u8> {
    base64::engine::general_purpose::STANDARD.decode(value.as_str().unwrap_or_default()).unwrap_or_default()
}

fn decode(data: &Value, value: impl Fn(&Value) -> Vec<u8>) -> BTreeMap<String, Vec<u8>> {
    data.as_object().into_iter().flatten().map(|(key, entry)| (key.clone(), value(entry))).collect()
}
