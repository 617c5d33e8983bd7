//! The registry on a store in memory, with kinds made for the purpose.

use std::sync::Arc;
use std::time::SystemTime;

use futures::StreamExt;
use kinds::{Resource, Rules, Settings, Subresource};
use meta::{
    ApiError, Call, DeleteOptions, FieldSelector, Gvr, LabelSelector, ListOptions, Object, ObjectList, PatchType,
    Reply, ResourcePath, ResourceVersionMatch, TestClock, UserInfo, WatchOptions, WriteOptions, parse_time,
};
use serde_json::{Value, json};

use crate::{Converter, Reader, Registry, RegistryConfig, Resources};

mod lists;
mod quotas;
mod services;
mod watches;
mod writes;

/// A kind whose rules do nothing but count generations; pods get 30 seconds.
struct Plain {
    grace: Option<i64>,
}

impl Rules for Plain {
    fn row(&self, _: &Value, _: i64) -> Vec<Value> {
        Vec::new()
    }

    fn grace_period(&self, _: &Value) -> Option<i64> {
        self.grace
    }

    fn selectable(&self) -> &'static [&'static str] {
        &["spec.nodeName"]
    }

    fn fields(&self, object: &Value) -> Vec<(String, String)> {
        let node = object.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or_default();
        vec![("spec.nodeName".to_owned(), node.to_owned())]
    }
}

const SUBRESOURCES: &[Subresource] = &[
    Subresource { name: "status", kind: None, verbs: &["get", "patch", "update"] },
    Subresource { name: "binding", kind: None, verbs: &["create"] },
    Subresource { name: "eviction", kind: None, verbs: &["create"] },
    Subresource { name: "finalize", kind: None, verbs: &["update"] },
];

fn row(kind: &'static str, plural: &'static str, namespaced: bool, rules: &'static dyn Rules) -> Resource {
    Resource {
        group: "",
        version: "v1",
        kind,
        plural,
        singular: "",
        short_names: &[],
        categories: &[],
        namespaced,
        verbs: &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
        subresources: SUBRESOURCES,
        columns: &[],
        storage: ("", plural),
        rules,
        custom: None,
    }
}

/// Nothing here has versions.
struct NoConversion;

#[async_trait::async_trait]
impl Converter for NoConversion {
    async fn convert(&self, _: &Value, _: Vec<Value>, _: &str, _: &dyn Reader) -> Result<Vec<Value>, String> {
        Err("there is no webhook".to_owned())
    }
}

struct Fixture {
    registry: Arc<Registry>,
    clock: Arc<TestClock>,
}

impl Fixture {
    async fn new() -> Self {
        let clock = Arc::new(TestClock::at(parse_time("2026-01-01T00:00:00Z").expect("a time")));
        let rows = [
            row("ConfigMap", "configmaps", true, &Plain { grace: None }),
            row("Pod", "pods", true, &Plain { grace: Some(30) }),
            row("Namespace", "namespaces", false, &Plain { grace: None }),
            row("ResourceQuota", "resourcequotas", true, &Plain { grace: None }),
        ];
        let autoscalers = kinds::all().iter().filter(|row| row.group == "autoscaling").cloned();
        let registry = Registry::open(RegistryConfig {
            store: Arc::new(store::Memory::new(Arc::new(|| SystemTime::UNIX_EPOCH))),
            clock: clock.clone(),
            settings: Settings { allow_privileged: true },
            admission: Vec::new(),
            resources: Resources::new(rows.into_iter().chain(autoscalers)),
            converter: Arc::new(NoConversion),
        })
        .await
        .expect("a registry");
        Self { registry, clock }
    }

    async fn call(&self, path: &ResourcePath, call: Call) -> Result<Reply, ApiError> {
        self.registry.call(&UserInfo::new("tester", &[]), path, call).await
    }

    async fn object(&self, path: &ResourcePath, call: Call) -> Result<Value, ApiError> {
        match self.call(path, call).await? {
            Reply::Object { object, .. } => Ok(object.value()),
            Reply::Status(status) => Ok(status.to_value()),
            Reply::List(_) => Err(ApiError::internal("a list")),
        }
    }

    async fn list(&self, path: &ResourcePath, options: ListOptions) -> Result<ObjectList, ApiError> {
        match self.call(path, Call::List(options)).await? {
            Reply::List(list) => Ok(list),
            Reply::Object { .. } | Reply::Status(_) => Err(ApiError::internal("no list")),
        }
    }

    async fn create(&self, plural: &str, namespace: &str, object: Value) -> Value {
        self.object(&collection(plural, namespace), create(object)).await.expect("it is made")
    }
}

fn gvr(plural: &str) -> Gvr {
    Gvr::new("", "v1", plural)
}

fn collection(plural: &str, namespace: &str) -> ResourcePath {
    ResourcePath::collection(gvr(plural), namespace)
}

fn path(plural: &str, namespace: &str, name: &str) -> ResourcePath {
    ResourcePath::object(gvr(plural), namespace, name)
}

fn get() -> Call {
    Call::Get { resource_version: String::new() }
}

fn create(object: Value) -> Call {
    Call::Create { object, options: WriteOptions::default() }
}

fn update(object: Value) -> Call {
    Call::Update { object, options: WriteOptions::default() }
}

fn merge(patch: Value) -> Call {
    Call::Patch { form: PatchType::Merge, patch: patch.to_string().into(), options: WriteOptions::default() }
}

fn delete() -> Call {
    Call::Delete(DeleteOptions::default())
}

fn named(name: &str) -> Value {
    json!({"metadata": {"name": name}})
}

fn names<'a>(objects: impl IntoIterator<Item = &'a Arc<Object>>) -> Vec<String> {
    objects.into_iter().map(|object| object.metadata.key()).collect()
}

fn labels(text: &str) -> LabelSelector {
    LabelSelector::parse(text).expect("a selector")
}

fn fields(text: &str) -> FieldSelector {
    FieldSelector::parse(text).expect("a selector")
}
