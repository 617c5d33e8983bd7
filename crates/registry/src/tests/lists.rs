//! What lists show.

use super::*;

async fn five() -> Fixture {
    let cluster = Fixture::new().await;
    for (namespace, name, app, node) in [
        ("x", "a", "web", "n"),
        ("x", "b", "db", ""),
        ("x-y", "a", "web", "n"),
        ("y", "a", "web", ""),
        ("y", "c", "db", "m"),
    ] {
        let object = json!({"metadata": {"name": name, "labels": {"app": app}}, "spec": {"nodeName": node}});
        cluster.create("pods", namespace, object).await;
    }
    cluster
}

#[tokio::test]
async fn selectors_and_namespaces_narrow_a_list() {
    let cluster = five().await;
    let all: &[&str] = &["x-y/a", "x/a", "x/b", "y/a", "y/c"];
    let cases: [(&str, &str, &str, &[&str]); 8] = [
        ("", "", "", all),
        ("x", "", "", &["x/a", "x/b"]),
        ("", "app=db", "", &["x/b", "y/c"]),
        ("", "", "spec.nodeName=n", &["x-y/a", "x/a"]),
        ("y", "", "metadata.name=a", &["y/a"]),
        ("", "", "metadata.name=a,metadata.namespace=x", &["x/a"]),
        ("y", "app=db", "metadata.name=a", &[]),
        ("z", "", "", &[]),
    ];
    for (namespace, label, field, expected) in cases {
        let options = ListOptions { labels: labels(label), fields: fields(field), ..ListOptions::default() };
        let list = cluster.list(&collection("pods", namespace), options).await.expect("a list");
        assert_eq!(names(&list.items), expected, "{namespace} {label} {field}");
        assert_eq!(list.revision, 5);
    }
    let options = ListOptions { fields: fields("spec.no=x"), ..ListOptions::default() };
    let error = cluster.list(&collection("pods", ""), options).await.expect_err("unknown");
    assert_eq!(error.message, "field label not supported: spec.no");
}

#[tokio::test]
async fn pages_show_one_moment() {
    let cluster = five().await;
    let page = |token: &str| ListOptions { limit: 2, continue_token: token.to_owned(), ..ListOptions::default() };
    let all = collection("pods", "");
    let first = cluster.list(&all, page("")).await.expect("a page");
    assert_eq!((names(&first.items), first.remaining), (vec!["x-y/a".to_owned(), "x/a".to_owned()], Some(3)));
    cluster.object(&path("pods", "x", "b"), delete()).await.expect("it goes");
    cluster.create("pods", "x", named("bb")).await;
    let second = cluster.list(&all, page(&first.continue_token)).await.expect("a page");
    assert_eq!((names(&second.items), second.revision), (vec!["x/b".to_owned(), "y/a".to_owned()], 5));
    let third = cluster.list(&all, page(&second.continue_token)).await.expect("a page");
    assert_eq!((names(&third.items), third.continue_token.as_str()), (vec!["y/c".to_owned()], ""));
}

#[tokio::test(start_paused = true)]
async fn revisions_are_taken_as_asked() {
    let cluster = five().await;
    let all = collection("pods", "");
    let at = |revision: &str, matching| ListOptions {
        resource_version: revision.to_owned(),
        resource_version_match: matching,
        ..ListOptions::default()
    };
    let exact = Some(ResourceVersionMatch::Exact);
    for (revision, matching, expected) in [
        ("0", None, 5),
        ("2", None, 5),
        ("2", exact, 2),
        ("5", exact, 5),
        ("3", Some(ResourceVersionMatch::NotOlderThan), 5),
    ] {
        let list = cluster.list(&all, at(revision, matching)).await.expect("a list");
        assert_eq!((list.items.len(), list.revision), (expected, expected as u64), "{revision} {matching:?}");
    }
    let error = cluster.list(&all, at("99", None)).await.expect_err("not there yet");
    assert_eq!((error.code(), error.message.as_str()), (504, "Timeout: Too large resource version: 99, current: 5"));
    let error = cluster.list(&all, at("x", None)).await.expect_err("no number");
    assert_eq!(error.code(), 400);
}

#[tokio::test]
async fn what_is_forgotten_is_gone_and_the_list_can_go_on() {
    let cluster = five().await;
    let all = collection("pods", "");
    let first = cluster.list(&all, ListOptions { limit: 2, ..ListOptions::default() }).await.expect("a page");
    cluster.create("pods", "z", named("early")).await;
    cluster.clock.advance(std::time::Duration::from_secs(600));
    for index in 0..120 {
        cluster.create("pods", "z", named(&format!("a{index}"))).await;
    }
    let next = |token: String| ListOptions { continue_token: token, ..ListOptions::default() };
    let error = cluster.list(&all, next(first.continue_token)).await.expect_err("forgotten");
    assert_eq!(error.code(), 410);
    assert!(error.message.starts_with("The provided continue parameter is too old to display"), "{error}");
    let rest = cluster.list(&all, next(error.continue_token.expect("a token"))).await.expect("the rest");
    assert_eq!((rest.items.len(), rest.items[0].metadata.key().as_str()), (124, "x/b"));
    let mut watch = cluster
        .registry
        .watch(&all, WatchOptions { resource_version: "1".to_owned(), ..WatchOptions::default() })
        .expect("a watch");
    let error = watch.next().await.expect("an event").expect_err("forgotten");
    assert_eq!((error.code(), error.message.starts_with("too old resource version: 1 (")), (410, true), "{error}");
    assert!(watch.next().await.is_none());
}
