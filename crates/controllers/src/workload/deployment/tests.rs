//! Tables of a Deployment's steps.

use super::*;

fn deployment(size: i64, image: &str, strategy: Value) -> Value {
    json!({
        "kind": "Deployment", "apiVersion": "apps/v1",
        "metadata": {"name": "d", "namespace": "n", "uid": "d", "generation": 1},
        "spec": {"replicas": size, "selector": {"matchLabels": {"a": "b"}}, "strategy": strategy,
            "progressDeadlineSeconds": 600, "revisionHistoryLimit": 1, "template": template(image)},
    })
}

fn template(image: &str) -> Value {
    json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": image}]}})
}

fn set(image: &str, size: i64, available: i64) -> Value {
    let mut template = template(image);
    template["metadata"]["labels"]["pod-template-hash"] = json!(image);
    json!({
        "kind": "ReplicaSet", "apiVersion": "apps/v1",
        "metadata": {"name": image, "namespace": "n", "uid": image, "creationTimestamp": image,
            "annotations": {"deployment.kubernetes.io/revision": image, "deployment.kubernetes.io/max-replicas": "13",
                "deployment.kubernetes.io/desired-replicas": "10"}},
        "spec": {"replicas": size, "template": template},
        "status": {"replicas": size, "readyReplicas": available, "availableReplicas": available},
    })
}

/// What happens to the sets, in words.
fn check(deployment: &Value, sets: &[Value], running: usize, expected: &[&str]) {
    let object = |value: &Value| Arc::new(Object::from_value(value).expect("an object"));
    let state = State {
        deployment,
        object: &object(deployment),
        sets: sets.iter().map(|set| (object(set), set.clone())).collect(),
        running: sets.iter().map(|set| (text(set, "/metadata/uid").to_owned(), running)).collect(),
        now: meta::parse_time("2026-01-01T00:00:00Z").expect("a time"),
    };
    let word = |action: &Action| match action {
        Action::Create(set) => Some(format!("create {}", set["spec"]["replicas"])),
        Action::Update { event: Some(event), .. } => Some(event.clone()),
        Action::Delete(set) => Some(format!("delete {}", set.metadata.name)),
        Action::Update { event: None, .. } | Action::Annotate(_) | Action::Status(_) | Action::Warn(..) => None,
    };
    let found: Vec<String> = plan(&state).0.iter().filter_map(word).collect();
    assert_eq!(found, expected);
}

fn rolling() -> Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}})
}

#[test]
fn a_rolling_update_goes_step_by_step() {
    let new = deployment(10, "2", rolling());
    check(&new, &[], 0, &["create 10"]);
    check(&new, &[set("1", 10, 10)], 0, &["create 3"]);
    check(&new, &[set("1", 10, 10), set("2", 3, 0)], 0, &["Scaled down replica set 1 from 10 to 8"]);
    check(&new, &[set("1", 8, 8), set("2", 3, 0)], 0, &["Scaled up replica set 2 from 3 to 5"]);
    check(&new, &[set("1", 8, 8), set("2", 5, 3)], 0, &["Scaled down replica set 1 from 8 to 5"]);
    check(&new, &[set("1", 10, 4), set("2", 3, 3)], 0, &["Scaled down replica set 1 from 10 to 5"]);
}

#[test]
fn recreating_waits_for_the_old_pods() {
    let new = deployment(10, "2", json!({"type": "Recreate"}));
    check(&new, &[set("1", 10, 10)], 10, &["Scaled down replica set 1 from 10 to 0"]);
    check(&new, &[set("1", 0, 0)], 1, &[]);
    check(&new, &[set("1", 0, 0)], 0, &["create 10"]);
}

#[test]
fn a_new_size_is_shared_by_proportion() {
    let mut larger = deployment(30, "2", rolling());
    larger["spec"]["strategy"]["rollingUpdate"] = json!({"maxSurge": 3, "maxUnavailable": 2});
    let expected = ["Scaled up replica set 1 from 8 to 20", "Scaled up replica set 2 from 5 to 13"];
    check(&larger, &[set("1", 8, 8), set("2", 5, 0)], 0, &expected);
    check(&deployment(4, "1", rolling()), &[set("1", 10, 10)], 0, &["Scaled down replica set 1 from 10 to 4"]);
}

#[test]
fn old_sets_go_after_the_rollout() {
    let done = deployment(10, "4", rolling());
    let sets = [set("1", 0, 0), set("2", 0, 0), set("3", 0, 0), set("4", 10, 10)];
    check(&done, &sets, 0, &["delete 1", "delete 2"]);
    check(&deployment(10, "5", rolling()), &sets, 0, &["create 3"]);
}
