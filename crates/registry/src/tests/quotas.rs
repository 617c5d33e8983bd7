//! Quotas are charged in the commit of the object.

use super::*;

async fn limited(hard: &str) -> Fixture {
    let cluster = Fixture::new().await;
    let hard = json!({"configmaps": hard});
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": hard}, "status": {"hard": hard, "used": {"configmaps": "0"}}});
    let create = Call::Create { object: quota, options: WriteOptions::default() };
    cluster.call(&path("resourcequotas", "default", ""), create).await.expect("a quota");
    cluster
}

fn create(name: &str) -> Call {
    Call::Create { object: json!({"metadata": {"name": name}}), options: WriteOptions::default() }
}

async fn used(cluster: &Fixture) -> Value {
    let get = Call::Get { resource_version: String::new() };
    cluster.object(&path("resourcequotas", "default", "q"), get).await.expect("the quota")["status"]["used"].clone()
}

#[tokio::test]
async fn no_two_writes_spend_the_same() {
    let cluster = limited("5").await;
    let path = path("configmaps", "default", "");
    let names: Vec<String> = (0..20).map(|index| format!("c{index}")).collect();
    let writes = names.iter().map(|name| cluster.call(&path, create(name)));
    let results = futures::future::join_all(writes).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 5);
    assert_eq!(used(&cluster).await, json!({"configmaps": "5"}));
    let refused = results.into_iter().find_map(Result::err).expect("a refusal");
    let text = "exceeded quota: q, requested: configmaps=1, used: configmaps=5, limited: configmaps=5";
    assert!(refused.code() == 403 && refused.message.ends_with(text), "{}", refused.message);
}

#[tokio::test]
async fn what_is_not_kept_costs_nothing() {
    let cluster = limited("1").await;
    let path = path("configmaps", "default", "");
    let dry = WriteOptions { dry_run: true, ..WriteOptions::default() };
    let object = json!({"metadata": {"name": "a"}});
    cluster.call(&path, Call::Create { object, options: dry }).await.expect("it would do");
    assert_eq!(used(&cluster).await, json!({"configmaps": "0"}));
    cluster.call(&path, create("a")).await.expect("it fits");
    cluster.call(&path, create("a")).await.expect_err("it is there already");
    assert_eq!(used(&cluster).await, json!({"configmaps": "1"}));
}
