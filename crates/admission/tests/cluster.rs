//! All plugins and all built-in kinds on one registry.

mod nowhere;

use std::sync::Arc;
use std::time::SystemTime;

use meta::{
    ApiError, Call, DeleteOptions, Gvr, ListOptions, PatchType, Reply, ResourcePath, SystemClock, UserInfo,
    WriteOptions,
};
use registry::{Registry, RegistryConfig, Resources};
use serde_json::{Value, json};

struct Cluster(Arc<Registry>);

impl Cluster {
    async fn new() -> Self {
        let config = RegistryConfig {
            store: Arc::new(store::Memory::new(Arc::new(|| SystemTime::UNIX_EPOCH))),
            clock: Arc::new(SystemClock),
            settings: kinds::Settings { allow_privileged: true },
            admission: admission::all(&nowhere::caller(), &nowhere::rights()),
            resources: Resources::builtin(),
            converter: Arc::new(admission::WebhookConverter::new(nowhere::caller())),
        };
        let cluster = Self(Registry::open(config).await.expect("a registry"));
        cluster.create("", "namespaces", "", json!({"metadata": {"name": "default"}})).await.expect("a namespace");
        let account = json!({"metadata": {"name": "default"}});
        cluster.create("", "serviceaccounts", "default", account).await.expect("an account");
        cluster
    }

    async fn call(&self, path: ResourcePath, call: Call) -> Result<Reply, ApiError> {
        self.0.call(&UserInfo::new("tester", &["system:masters"]), &path, call).await
    }

    async fn create(&self, group: &str, plural: &str, namespace: &str, object: Value) -> Result<Value, ApiError> {
        let call = Call::Create { object, options: WriteOptions::default() };
        match self.call(ResourcePath::collection(Gvr::new(group, "v1", plural), namespace), call).await? {
            Reply::Object { object, .. } => Ok(object.value()),
            Reply::List(_) | Reply::Status(_) => Err(ApiError::internal("no object")),
        }
    }
}

#[tokio::test]
async fn a_pod_has_all_that_upstream_gives_it() {
    let cluster = Cluster::new().await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let made = cluster.create("", "pods", "default", pod.clone()).await.expect("a pod");
    let spec = &made["spec"];
    assert_eq!((&spec["serviceAccountName"], &spec["priority"]), (&json!("default"), &json!(0)));
    assert_eq!((&spec["restartPolicy"], &spec["terminationGracePeriodSeconds"]), (&json!("Always"), &json!(30)));
    assert_eq!(spec["tolerations"].as_array().map(Vec::len), Some(2));
    assert_eq!((&made["status"]["phase"], &made["status"]["qosClass"]), (&json!("Pending"), &json!("BestEffort")));
    let error = cluster.create("", "pods", "nowhere", pod).await.expect_err("no namespace");
    assert_eq!((error.code(), error.message.as_str()), (404, "namespaces \"nowhere\" not found"));
    let error = cluster.create("", "pods", "default", json!({"metadata": {"name": "A b"}})).await.expect_err("wrong");
    assert!(error.message.starts_with("Pod \"A b\" is invalid: ["), "{error}");
}

#[tokio::test]
async fn events_have_two_faces() {
    let cluster = Cluster::new().await;
    let about = json!({"kind": "Pod", "name": "p", "namespace": "default"});
    let event = json!({"metadata": {"name": "e"}, "involvedObject": about, "reason": "Started", "message": "hello", "type": "Normal"});
    cluster.create("", "events", "default", event).await.expect("an event");
    let all = ResourcePath::collection(Gvr::new("events.k8s.io", "v1", "events"), "default");
    let Ok(Reply::List(list)) = cluster.call(all, Call::List(ListOptions::default())).await else { panic!("a list") };
    let event = list.items[0].value();
    assert_eq!((&event["note"], &event["regarding"]["name"]), (&json!("hello"), &json!("p")));
    assert_eq!(event["apiVersion"], "events.k8s.io/v1");
}

#[tokio::test]
async fn a_namespace_ends_when_its_finalizer_does() {
    let cluster = Cluster::new().await;
    let made = cluster.create("", "namespaces", "", json!({"metadata": {"name": "a"}})).await.expect("a namespace");
    assert_eq!((&made["spec"]["finalizers"], &made["status"]["phase"]), (&json!(["kubernetes"]), &json!("Active")));
    let path = ResourcePath::object(Gvr::new("", "v1", "namespaces"), "", "a");
    let deleted = cluster.call(path.clone(), Call::Delete(DeleteOptions::default())).await.expect("it is going");
    let Reply::Object { object, .. } = deleted else { panic!("it is still there") };
    let mut going = object.value();
    assert_eq!(going["status"]["phase"], "Terminating");
    let error = cluster.create("", "configmaps", "a", json!({"metadata": {"name": "c"}})).await.expect_err("too late");
    let text =
        "configmaps \"c\" is forbidden: unable to create new content in namespace a because it is being terminated";
    assert_eq!((error.code(), error.message.as_str()), (403, text));
    going["spec"]["finalizers"] = json!([]);
    let finalize = Call::Update { object: going, options: WriteOptions::default() };
    cluster.call(path.clone().subresource("finalize"), finalize).await.expect("it is finalized");
    let error = cluster.call(path, Call::Get { resource_version: String::new() }).await.expect_err("it is gone");
    assert_eq!(error.code(), 404);
    let path = ResourcePath::object(Gvr::new("", "v1", "namespaces"), "", "default");
    let error = cluster.call(path, Call::Delete(DeleteOptions::default())).await.expect_err("it stays");
    assert_eq!(error.message, "namespaces \"default\" is forbidden: this namespace may not be deleted");
}

#[tokio::test]
async fn replicas_are_scaled_without_knowing_of_what() {
    let cluster = Cluster::new().await;
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let spec = json!({"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": template});
    let object = json!({"metadata": {"name": "d"}, "spec": spec});
    cluster.create("apps", "deployments", "default", object).await.expect("a deployment");
    let path = ResourcePath::object(Gvr::new("apps", "v1", "deployments"), "default", "d");
    let patch = json!({"spec": {"replicas": 3}}).to_string().into();
    let call = Call::Patch { form: PatchType::Merge, patch, options: WriteOptions::default() };
    let scaled = cluster.call(path.clone().subresource("scale"), call).await.expect("it is scaled");
    let Reply::Object { object, .. } = scaled else { panic!("a scale") };
    let scale = object.value();
    assert_eq!((&scale["kind"], &scale["spec"]["replicas"]), (&json!("Scale"), &json!(3)));
    assert_eq!(scale["status"]["selector"], "a=b");
    let Ok(Reply::Object { object, .. }) = cluster.call(path, Call::Get { resource_version: String::new() }).await
    else {
        panic!("a deployment")
    };
    let value = object.value();
    assert_eq!((&value["spec"]["replicas"], &value["metadata"]["generation"]), (&json!(3), &json!(2)));
}
