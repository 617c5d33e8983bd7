//! What watches tell.

use super::*;
use crate::WatchStream;

async fn next(watch: &mut WatchStream) -> (String, String, u64) {
    let event = watch.next().await.expect("the watch goes on").expect("an event");
    (event.kind.as_str().to_owned(), event.object.metadata.name.clone(), event.object.revision)
}

async fn check(watch: &mut WatchStream, expected: &[(&str, &str, u64)]) {
    for (kind, name, revision) in expected {
        assert_eq!(next(watch).await, ((*kind).to_owned(), (*name).to_owned(), *revision));
    }
}

#[tokio::test]
async fn a_watch_tells_what_is_there_and_what_changes() {
    let cluster = Fixture::new().await;
    let all = collection("configmaps", "default");
    cluster.create("configmaps", "default", named("a")).await;
    let mut newest = cluster.registry.watch(&all, WatchOptions::default()).expect("a watch");
    let from_one = WatchOptions { resource_version: "1".to_owned(), ..WatchOptions::default() };
    let mut later = cluster.registry.watch(&all, from_one).expect("a watch");
    let one = WatchOptions { name: Some("b".to_owned()), ..WatchOptions::default() };
    let mut one = cluster.registry.watch(&all, one).expect("a watch");
    cluster.create("configmaps", "other", named("b")).await;
    cluster.create("configmaps", "default", named("b")).await;
    cluster.object(&path("configmaps", "default", "a"), merge(json!({"data": {"k": "v"}}))).await.expect("it changes");
    cluster.object(&path("configmaps", "default", "a"), delete()).await.expect("it goes");
    let changes = [("ADDED", "b", 3), ("MODIFIED", "a", 4), ("DELETED", "a", 5)];
    check(&mut newest, &[("ADDED", "a", 1)]).await;
    check(&mut newest, &changes).await;
    check(&mut later, &changes).await;
    check(&mut one, &changes[..1]).await;
    cluster.registry.shutdown().await;
    assert!(newest.next().await.is_none());
}

#[tokio::test]
async fn who_watches_a_selection_sees_objects_come_and_go() {
    let cluster = Fixture::new().await;
    let options = WatchOptions { labels: labels("app=web"), ..WatchOptions::default() };
    let mut watch = cluster.registry.watch(&collection("configmaps", ""), options).expect("a watch");
    let one = path("configmaps", "default", "a");
    let label = |app: &str| merge(json!({"metadata": {"labels": {"app": app}}}));
    cluster.create("configmaps", "default", named("a")).await;
    for app in ["web", "web2", "web"] {
        cluster.object(&one, label(app)).await.expect("it changes");
    }
    cluster.object(&one, merge(json!({"data": {"k": "v"}}))).await.expect("it changes");
    cluster.object(&one, delete()).await.expect("it goes");
    let expected =
        [("ADDED", "a", 2), ("DELETED", "a", 3), ("ADDED", "a", 4), ("MODIFIED", "a", 5), ("DELETED", "a", 6)];
    check(&mut watch, &expected).await;
}

#[tokio::test(start_paused = true)]
async fn bookmarks_end_the_beginning_and_come_each_minute() {
    let cluster = Fixture::new().await;
    cluster.create("configmaps", "default", named("a")).await;
    let options = WatchOptions {
        bookmarks: true,
        send_initial_events: Some(true),
        resource_version_match: Some(ResourceVersionMatch::NotOlderThan),
        ..WatchOptions::default()
    };
    let mut watch = cluster.registry.watch(&collection("configmaps", ""), options).expect("a watch");
    check(&mut watch, &[("ADDED", "a", 1)]).await;
    let event = watch.next().await.expect("an event").expect("a bookmark");
    let value = event.object.value();
    assert_eq!((event.kind.as_str(), &value["kind"]), ("BOOKMARK", &json!("ConfigMap")));
    assert_eq!(value["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    cluster.create("pods", "default", named("p")).await;
    check(&mut watch, &[("BOOKMARK", "", 2)]).await;
}
