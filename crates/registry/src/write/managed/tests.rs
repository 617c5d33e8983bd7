//! Who owns what after writes and applies.

use meta::Gvk;

use super::*;

fn writing(manager: &str) -> Writing<'_> {
    let schemas = Schemas::builtin();
    let ty = schemas.of(&Gvk::new("", "v1", "Pod"));
    Writing { schemas, ty, manager, api_version: "v1", subresource: "", has_status: true, now: "2026-01-01T00:00:00Z" }
}

fn pod(labels: Value, containers: Value) -> Value {
    json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p", "labels": labels}, "spec": {"containers": containers}})
}

fn fields_of(object: &Value, manager: &str) -> Value {
    let entries = Entries::read(object);
    entries.all().iter().find(|entry| entry.manager == manager).map_or(Value::Null, |entry| entry.set.write())
}

#[test]
fn a_write_owns_what_it_sets() {
    let mut made = pod(json!({"a": "b"}), json!([{"name": "c", "image": "i"}]));
    writing("kubectl").update(&Value::Null, &mut made);
    let entry = &made["metadata"]["managedFields"][0];
    assert_eq!((&entry["manager"], &entry["operation"]), (&json!("kubectl"), &json!("Update")));
    let container = json!({".": {}, "f:image": {}, "f:name": {}});
    let expected = json!({"f:metadata": {"f:labels": {".": {}, "f:a": {}}},
        "f:spec": {"f:containers": {"k:{\"name\":\"c\"}": container}}});
    assert_eq!(entry["fieldsV1"], expected);
    let mut changed = made.clone();
    changed["metadata"]["labels"]["a"] = json!("x");
    writing("other").update(&made, &mut changed);
    assert_eq!(fields_of(&changed, "other"), json!({"f:metadata": {"f:labels": {"f:a": {}}}}));
    assert_eq!(fields_of(&changed, "kubectl")["f:metadata"], json!({"f:labels": {}}));
}

#[test]
fn applying_again_takes_back_what_is_no_longer_wanted() {
    let first = pod(json!({"a": "b", "c": "d"}), json!([{"name": "c", "image": "i"}]));
    let made = writing("me").apply(&Value::Null, &first, false).expect("it applies");
    assert_eq!(made["metadata"]["labels"], json!({"a": "b", "c": "d"}));
    let mut touched = made.clone();
    touched["metadata"]["labels"]["c"] = json!("e");
    writing("you").update(&made, &mut touched);
    let second = pod(json!({}), json!([{"name": "c", "image": "j"}]));
    let applied = writing("me").apply(&touched, &second, false).expect("it applies");
    assert_eq!(applied["metadata"]["labels"], json!({"c": "e"}));
    assert_eq!(applied["spec"]["containers"], json!([{"name": "c", "image": "j"}]));
    let error = writing("me").apply(&touched, &first, false).expect_err("a conflict");
    let text = "Apply failed with 1 conflict: conflict with \"you\" using v1: .metadata.labels.c";
    assert_eq!((error.code(), error.message.as_str()), (409, text));
    let forced = writing("me").apply(&touched, &first, true).expect("it applies");
    assert_eq!(forced["metadata"]["labels"]["c"], "d");
}

#[test]
fn an_item_that_is_wanted_no_more_goes_whole() {
    let with = |ports: Value| pod(json!({}), json!([{"name": "c", "image": "i", "ports": ports}]));
    let made = writing("me").apply(&Value::Null, &with(json!([{"containerPort": 80, "protocol": "TCP"}])), false);
    let made = made.expect("it applies");
    let without = pod(json!({}), json!([{"name": "c", "image": "i"}]));
    let applied = writing("me").apply(&made, &without, false).expect("it applies");
    assert_eq!(applied["spec"]["containers"][0]["ports"], Value::Null);
    // Somebody else's item stays.
    let other = with(json!([{"containerPort": 81, "protocol": "TCP"}]));
    let shared = writing("you").apply(&made, &other, false).expect("it applies");
    let applied = writing("me").apply(&shared, &without, false).expect("it applies");
    assert_eq!(applied["spec"]["containers"][0]["ports"], json!([{"containerPort": 81, "protocol": "TCP"}]));
}

#[test]
fn nothing_new_keeps_the_time() {
    let first = pod(json!({"a": "b"}), json!([{"name": "c"}]));
    let made = writing("me").apply(&Value::Null, &first, false).expect("it applies");
    let later = Writing { now: "2026-01-02T00:00:00Z", ..writing("me") };
    assert_eq!(later.apply(&made, &first, false).expect("it applies"), made);
}

#[test]
fn kubectl_takes_over_what_it_applied_by_itself() {
    let wanted = pod(json!({"a": "b"}), json!([{"name": "c", "image": "i"}]));
    let mut made = wanted.clone();
    let annotation = "kubectl.kubernetes.io/last-applied-configuration";
    made["metadata"]["annotations"] = json!({annotation: wanted.to_string()});
    writing("kubectl-client-side-apply").update(&Value::Null, &mut made);
    let second = pod(json!({"a": "x"}), json!([{"name": "c", "image": "i"}]));
    assert_eq!(writing("other").apply(&made, &second, false).expect_err("a conflict").code(), 409);
    let applied = writing("kubectl").apply(&made, &second, false).expect("it applies");
    assert_eq!(applied["metadata"]["labels"], json!({"a": "x"}));
    assert_eq!(applied["metadata"]["annotations"][annotation], json!(format!("{second}\n")));
}

#[test]
fn what_nobody_noted_belongs_to_who_came_before() {
    let before = pod(json!({"a": "b"}), json!([{"name": "c", "image": "i"}]));
    let error =
        writing("me").apply(&before, &pod(json!({"a": "x"}), json!([{"name": "c"}])), false).expect_err("a conflict");
    assert!(
        error.message.contains("conflict with \"before-first-apply\" using v1: .metadata.labels.a"),
        "{}",
        error.message
    );
}
