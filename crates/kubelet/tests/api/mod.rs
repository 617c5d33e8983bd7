//! As much of an API server as a kubelet needs: objects in memory, merge patches, watches.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use auth::pki::{Pki, Purpose};
use auth::tls::{PeerVerifier, ServerCertificate, server_config};
use client::{Transport, WatchStream};
use futures::StreamExt;
use meta::{
    ApiError, Call, Clock, Gvr, Object, ObjectList, Reply, ResourcePath, Status, WatchEvent, WatchKind, WatchOptions,
};
use serde_json::{Value, json};
use tokio::sync::broadcast;

type Key = (String, String, String);

/// The objects, shared by its clones.
#[derive(Clone)]
pub(crate) struct Api(Arc<Inner>);

/// The resource, what happened and to what.
type Change = (String, WatchKind, Arc<Object>);

struct Inner {
    state: Mutex<(u64, BTreeMap<Key, Value>)>,
    /// All changes until now.
    history: Mutex<Vec<Change>>,
    changes: broadcast::Sender<Change>,
}

impl Default for Api {
    fn default() -> Self {
        Self(Arc::new(Inner {
            state: Mutex::default(),
            history: Mutex::default(),
            changes: broadcast::Sender::new(1024),
        }))
    }
}

fn key(resource: &str, namespace: &str, name: &str) -> Key {
    (resource.to_owned(), namespace.to_owned(), name.to_owned())
}

fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else { return *target = patch.clone() };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in patch {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(name);
        } else {
            merge(&mut target[name], value);
        }
    }
}

impl Api {
    fn change(&self, key: Key, value: Option<Value>) -> Arc<Object> {
        let mut state = self.0.state.lock().unwrap();
        state.0 += 1;
        let revision = state.0;
        let (kind, mut value) = match value {
            Some(value) if state.1.contains_key(&key) => (WatchKind::Modified, value),
            Some(value) => (WatchKind::Added, value),
            None => (WatchKind::Deleted, state.1.remove(&key).unwrap()),
        };
        value["metadata"]["resourceVersion"] = json!(revision.to_string());
        if kind != WatchKind::Deleted {
            state.1.insert(key.clone(), value.clone());
        }
        let object = Arc::new(Object::from_value(&value).unwrap());
        let change = (key.0, kind, Arc::clone(&object));
        let mut history = self.0.history.lock().unwrap();
        history.push(change.clone());
        let _ = self.0.changes.send(change);
        object
    }

    pub(crate) fn get(&self, resource: &str, namespace: &str, name: &str) -> Value {
        let state = self.0.state.lock().unwrap();
        state.1.get(&key(resource, namespace, name)).cloned().unwrap_or(Value::Null)
    }

    pub(crate) fn put(&self, resource: &str, namespace: &str, name: &str, mut object: Value) {
        object["metadata"]["name"] = json!(name);
        object["metadata"]["namespace"] = json!(namespace);
        object["metadata"]["uid"] = json!(format!("uid-{name}"));
        object["metadata"]["generation"] = json!(1);
        self.change(key(resource, namespace, name), Some(object));
    }

    pub(crate) fn remove(&self, resource: &str, namespace: &str, name: &str) {
        self.change(key(resource, namespace, name), None);
    }

    pub(crate) fn mark_deleted(&self, resource: &str, namespace: &str, name: &str, grace: i64) {
        let mut object = self.get(resource, namespace, name);
        object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        object["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        self.change(key(resource, namespace, name), Some(object));
    }

    /// Waits until an object, null while there is none, satisfies `enough`.
    pub(crate) async fn wait(
        &self,
        resource: &str,
        namespace: &str,
        name: &str,
        what: &str,
        enough: impl Fn(&Value) -> bool,
    ) -> Value {
        let mut changes = self.0.changes.subscribe();
        let wait = async {
            loop {
                let object = self.get(resource, namespace, name);
                if enough(&object) {
                    return object;
                }
                let _ = changes.recv().await;
            }
        };
        match tokio::time::timeout(Duration::from_secs(60), wait).await {
            Ok(object) => object,
            Err(_) => panic!("waiting for {what}; it is {:#}", self.get(resource, namespace, name)),
        }
    }
}

/// TLS of a kubelet on this machine, and what knows its callers.
pub(crate) fn tls(pki: &Arc<Pki>, clock: &Arc<dyn Clock>) -> (Arc<rustls::ServerConfig>, Arc<PeerVerifier>) {
    let localhost = vec!["127.0.0.1".parse().unwrap()];
    let purpose = Purpose::Server { name: "system:node:n1".to_owned(), hosts: Vec::new(), addresses: localhost };
    let certificate = ServerCertificate::new(Arc::clone(pki), purpose, Arc::clone(clock)).unwrap();
    let peers = Arc::new(PeerVerifier::new(pki).unwrap());
    (Arc::new(server_config(Arc::clone(&peers), Arc::new(certificate)).unwrap()), peers)
}

/// What the API says of tokens and of what users may do: there is one token, of the user `reader`, who may see statistics.
fn review(resource: &str, mut object: Value) -> Option<Value> {
    let spec = &object["spec"];
    object["status"] = match resource {
        "tokenreviews" if spec["token"] == "good" => {
            json!({"authenticated": true, "user": {"username": "reader", "groups": ["readers"]}})
        }
        "tokenreviews" => json!({"authenticated": false}),
        "subjectaccessreviews" => {
            let masters = spec["groups"].as_array().is_some_and(|groups| groups.contains(&json!("system:masters")));
            let asked =
                json!({"resource": "nodes", "name": "n1", "verb": "get", "version": "v1", "subresource": "stats"});
            json!({"allowed": masters || spec["user"] == "reader" && spec["resourceAttributes"] == asked})
        }
        _ => return None,
    };
    Some(object)
}

#[async_trait]
impl Transport for Api {
    async fn call(&self, path: &ResourcePath, call: Call) -> Result<Reply, ApiError> {
        let resource = path.gvr.resource.as_str();
        let namespace = path.namespace.clone().unwrap_or_default();
        let name = path.name.clone().unwrap_or_default();
        let current = self.get(resource, &namespace, &name);
        let missing = || ApiError::not_found(&path.gvr, &name);
        match call {
            Call::List(_) => {
                let state = self.0.state.lock().unwrap();
                let of_kind = state.1.iter().filter(|(key, _)| key.0 == resource);
                let items = of_kind.map(|(_, value)| Arc::new(Object::from_value(value).unwrap())).collect();
                Ok(Reply::List(ObjectList { revision: state.0, items, ..ObjectList::default() }))
            }
            Call::Create { object, .. } if resource.ends_with("reviews") => {
                let answer = review(resource, object).ok_or_else(missing)?;
                Ok(Reply::object(Arc::new(Object::from_value(&answer).unwrap())))
            }
            Call::Create { mut object, .. } => {
                let name = object["metadata"]["name"].as_str().unwrap_or("x").to_owned();
                object["metadata"]["uid"] = json!(format!("uid-{name}"));
                Ok(Reply::object(self.change(key(resource, &namespace, &name), Some(object))))
            }
            Call::Get { .. } | Call::Patch { .. } | Call::Delete(_) if current.is_null() => Err(missing()),
            Call::Get { .. } => Ok(Reply::object(Arc::new(Object::from_value(&current).unwrap()))),
            Call::Patch { patch, .. } => {
                let mut object = current;
                merge(&mut object, &serde_json::from_slice(&patch).unwrap());
                Ok(Reply::object(self.change(key(resource, &namespace, &name), Some(object))))
            }
            Call::Delete(_) => {
                self.change(key(resource, &namespace, &name), None);
                Ok(Reply::Status(Status::success(None)))
            }
            Call::Update { .. } | Call::DeleteCollection(..) => Err(ApiError::internal("not needed by a kubelet")),
        }
    }

    async fn watch(&self, path: &ResourcePath, options: WatchOptions) -> Result<WatchStream, ApiError> {
        let Gvr { resource, .. } = path.gvr.clone();
        let since: u64 = options.resource_version.parse().unwrap_or(0);
        let (before, changes) = {
            let history = self.0.history.lock().unwrap();
            (history.clone(), self.0.changes.subscribe())
        };
        let stream = futures::stream::unfold(changes, |mut changes| async {
            let change = changes.recv().await.ok()?;
            Some((change, changes))
        });
        let stream = futures::stream::iter(before).chain(stream).filter_map(move |(of, kind, object)| {
            let wanted = of == resource && object.revision > since;
            async move { wanted.then_some(Ok(WatchEvent { kind, object })) }
        });
        Ok(Box::pin(stream))
    }
}
