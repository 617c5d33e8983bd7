//! Pods that waited for a node are all bound to it, each once, and told so.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use client::{Client, Transport, WatchStream};
use futures::StreamExt;
use meta::{
    ApiError, Call, Gvr, Object, ObjectList, Reply, ResourcePath, Status, SystemClock, WatchEvent, WatchKind,
    WatchOptions,
};
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

type Key = (String, String);
type Change = (String, Arc<Object>);

/// Holds objects, tells watchers, and answers a binding with a Status, as the server does.
#[derive(Clone)]
struct Api {
    state: Arc<Mutex<(u64, BTreeMap<Key, Value>)>>,
    changes: broadcast::Sender<Change>,
}

impl Api {
    fn put(&self, resource: &str, mut object: Value) -> Arc<Object> {
        let mut state = self.state.lock().expect("no holder of this lock can panic");
        state.0 += 1;
        object["metadata"]["resourceVersion"] = json!(state.0.to_string());
        let made = Arc::new(as_object(&object));
        state.1.insert((resource.to_owned(), made.metadata.key()), object);
        let _ = self.changes.send((resource.to_owned(), Arc::clone(&made)));
        made
    }

    fn get(&self, resource: &str, key: &str) -> Value {
        self.state
            .lock()
            .expect("no holder of this lock can panic")
            .1
            .get(&(resource.to_owned(), key.to_owned()))
            .cloned()
            .unwrap_or_default()
    }

    fn count(&self, resource: &str, wanted: impl Fn(&Value) -> bool) -> usize {
        self.state
            .lock()
            .expect("no holder of this lock can panic")
            .1
            .iter()
            .filter(|(key, value)| key.0 == resource && wanted(value))
            .count()
    }

    async fn eventually(&self, resource: &str, wanted: impl Fn(&Value) -> bool, count: usize, what: &str) {
        let mut changes = self.changes.subscribe();
        let wait = async {
            while self.count(resource, &wanted) < count {
                let _ = changes.recv().await;
            }
        };
        let done = tokio::time::timeout(Duration::from_secs(60), wait).await.is_ok();
        assert!(done, "{what}: {} of {count}", self.count(resource, &wanted));
    }
}

fn as_object(value: &Value) -> Object {
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let fields = ["spec.nodeName", "spec.schedulerName", "status.phase"];
    let fields = fields.map(|name| (name.to_owned(), text(&format!("/{}", name.replace('.', "/")))));
    Object::from_value(value).expect("the tests make objects").with_fields(fields.to_vec())
}

#[async_trait]
impl Transport for Api {
    async fn call(&self, path: &ResourcePath, call: Call) -> Result<Reply, ApiError> {
        let Gvr { resource, .. } = path.gvr.clone();
        let key = format!("{}/{}", path.namespace.clone().unwrap_or_default(), path.name.clone().unwrap_or_default());
        match call {
            Call::List(_) => {
                let state = self.state.lock().expect("no holder of this lock can panic");
                let items =
                    state.1.iter().filter(|(key, _)| key.0 == resource).map(|(_, value)| Arc::new(as_object(value)));
                Ok(Reply::List(ObjectList { revision: state.0, items: items.collect(), ..ObjectList::default() }))
            }
            Call::Create { object, .. } if path.subresource.as_deref() == Some("binding") => {
                let mut pod = self.get(&resource, &key);
                if pod["spec"]["nodeName"].is_string() {
                    return Err(ApiError::conflict(&path.gvr, &key, "already assigned"));
                }
                pod["spec"]["nodeName"] = object["target"]["name"].clone();
                self.put(&resource, pod);
                // As with a real server, watchers hear of the change before the answer arrives.
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
                Ok(Reply::Status(Status::success(None)))
            }
            Call::Create { mut object, .. } => {
                object["metadata"]["uid"] = json!("u");
                Ok(Reply::object(self.put(&resource, object)))
            }
            Call::Patch { patch, .. } => {
                let mut object = self.get(&resource, &key);
                let patch: Value = serde_json::from_slice(&patch).expect("a patch is JSON");
                object["status"] = patch["status"].clone();
                Ok(Reply::object(self.put(&resource, object)))
            }
            _ => Err(ApiError::internal("not needed by a scheduler")),
        }
    }

    async fn watch(&self, path: &ResourcePath, options: WatchOptions) -> Result<WatchStream, ApiError> {
        let resource = path.gvr.resource.clone();
        let since: u64 = options.resource_version.parse().unwrap_or(0);
        let changes = self.changes.subscribe();
        let missed: Vec<Change> = {
            let state = self.state.lock().expect("no holder of this lock can panic");
            let all = state.1.iter().map(|(key, value)| (key.0.clone(), Arc::new(as_object(value))));
            all.collect()
        };
        let live = futures::stream::unfold(changes, |mut changes| async {
            let change = changes.recv().await.ok()?;
            Some((change, changes))
        });
        let stream = futures::stream::iter(missed).chain(live).filter_map(move |(of, object)| {
            let wanted = of == resource && object.revision > since;
            async move { wanted.then_some(Ok(WatchEvent { kind: WatchKind::Modified, object })) }
        });
        Ok(Box::pin(stream))
    }
}

fn pod(name: &str, cpu: &str) -> Value {
    json!({
        "kind": "Pod", "apiVersion": "v1", "metadata": {"name": name, "namespace": "n", "uid": name},
        "spec": {"schedulerName": "default-scheduler",
            "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]},
    })
}

#[tokio::test]
async fn pods_that_waited_for_a_node_fill_it() {
    let api = Api { state: Arc::default(), changes: broadcast::Sender::new(4096) };
    (0..10).for_each(|index| drop(api.put("pods", pod(&format!("p{index}"), "200m"))));
    let stop = CancellationToken::new();
    let scheduler = scheduler::Scheduler::new(Client::new(api.clone()), Arc::new(SystemClock));
    let running = tokio::spawn(scheduler.run(stop.clone()));
    let refused = |pod: &Value| pod["status"]["conditions"][0]["reason"] == "Unschedulable";
    api.eventually("pods", refused, 10, "pods are told that there is no node").await;
    api.put(
        "nodes",
        json!({
            "kind": "Node", "apiVersion": "v1", "metadata": {"name": "a", "uid": "a"}, "spec": {},
            "status": {"allocatable": {"cpu": "2", "memory": "8Gi", "pods": "110"}},
        }),
    );
    api.eventually("pods", |pod| pod["spec"]["nodeName"] == "a", 10, "pods are bound").await;
    api.eventually("events", |event| event["reason"] == "Scheduled", 10, "Scheduled events are written").await;
    let wrong = |event: &Value| event["message"].as_str().is_some_and(|text| text.contains("Insufficient"));
    assert_eq!(api.count("events", wrong), 0, "pods refused although there is room");
    stop.cancel();
    running.await.expect("the scheduler ends when told to");
}
