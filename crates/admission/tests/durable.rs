//! The registry on the embedded store: what was acknowledged is there after a restart.

mod nowhere;

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use futures::StreamExt;
use meta::{
    Call, Gvr, ListOptions, ObjectList, Reply, ResourcePath, SystemClock, UserInfo, WatchOptions, WriteOptions,
};
use registry::{Registry, RegistryConfig, Resources};
use serde_json::json;
use store::{Embedded, Store};

async fn open(folder: &Path) -> (Arc<Registry>, Arc<dyn Store>) {
    let clock = Arc::new(|| SystemTime::UNIX_EPOCH);
    let store: Arc<dyn Store> = Arc::new(Embedded::open(folder, clock).expect("a store"));
    let config = RegistryConfig {
        store: store.clone(),
        clock: Arc::new(SystemClock),
        settings: kinds::Settings { allow_privileged: true },
        admission: admission::all(&nowhere::caller(), &nowhere::rights()),
        resources: Resources::builtin(),
        converter: Arc::new(admission::WebhookConverter::new(nowhere::caller())),
    };
    (Registry::open(config).await.expect("a registry"), store)
}

async fn list(registry: &Registry) -> ObjectList {
    let all = ResourcePath::collection(Gvr::new("", "v1", "namespaces"), "");
    let user = UserInfo::default();
    match registry.call(&user, &all, Call::List(ListOptions::default())).await.expect("a list") {
        Reply::List(list) => list,
        Reply::Object { .. } | Reply::Status(_) => panic!("no list"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let (registry, store) = open(folder.path()).await;
    let all = ResourcePath::collection(Gvr::new("", "v1", "namespaces"), "");
    let watch = registry.watch(&all, WatchOptions::default()).expect("a watch");
    let user = UserInfo::default();
    let creations = (0..200).map(|index| {
        let object = json!({"metadata": {"name": format!("n{index}")}});
        registry.call(&user, &all, Call::Create { object, options: WriteOptions::default() })
    });
    for made in futures::future::join_all(creations).await {
        made.expect("it is made");
    }
    let seen: Vec<u64> = watch.take(200).map(|event| event.expect("an event").object.revision).collect().await;
    assert!(seen.is_sorted() && seen.len() == 200, "{seen:?}");
    let before = list(&registry).await;
    registry.shutdown().await;
    store.close().await;
    drop((registry, store));

    let (registry, store) = open(folder.path()).await;
    let after = list(&registry).await;
    assert_eq!(after.items.len(), 200);
    let shown = |list: &ObjectList| list.items.iter().map(|object| object.json().clone()).collect::<Vec<_>>();
    assert_eq!(shown(&after), shown(&before));
    assert!(after.revision >= before.revision);
    registry.shutdown().await;
    store.close().await;
}
