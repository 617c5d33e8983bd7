//! What writes do, and what they refuse.

use super::*;

#[tokio::test]
async fn an_object_lives_and_dies() {
    let cluster = Fixture::new().await;
    let path = path("configmaps", "default", "a");
    let made = cluster.create("configmaps", "default", json!({"metadata": {"name": "a"}, "data": {"k": "v"}})).await;
    assert_eq!((&made["kind"], &made["apiVersion"]), (&json!("ConfigMap"), &json!("v1")));
    let metadata = &made["metadata"];
    assert_eq!(metadata["creationTimestamp"], "2026-01-01T00:00:00Z");
    assert_eq!((&metadata["namespace"], &metadata["resourceVersion"]), (&json!("default"), &json!("1")));
    assert_eq!(cluster.object(&path, get()).await, Ok(made.clone()));

    let mut same = made.clone();
    same["metadata"]["uid"] = json!("");
    assert_eq!(cluster.object(&path, update(same)).await, Ok(made.clone()), "nothing changed, nothing is written");

    let changed = cluster.object(&path, merge(json!({"data": {"k": "w"}}))).await.expect("it changes");
    assert_eq!((&changed["data"]["k"], &changed["metadata"]["resourceVersion"]), (&json!("w"), &json!("2")));
    assert_eq!(changed["metadata"]["uid"], metadata["uid"]);

    let gone = cluster.object(&path, delete()).await.expect("it goes");
    assert_eq!((&gone["status"], &gone["details"]["uid"]), (&json!("Success"), &metadata["uid"]));
    let error = cluster.object(&path, get()).await.expect_err("it is gone");
    assert_eq!((error.code(), error.message.as_str()), (404, "configmaps \"a\" not found"));
}

#[tokio::test]
async fn what_is_wrong_is_refused_in_upstreams_words() {
    let cluster = Fixture::new().await;
    let one = path("configmaps", "default", "a");
    let all = collection("configmaps", "default");
    let made = cluster.create("configmaps", "default", named("a")).await;
    cluster.object(&one, merge(json!({"data": {"k": "v"}}))).await.expect("it changes");
    let with = |field: &str, value: &str| json!({"metadata": {"name": "a", field: value}});
    let elsewhere = json!({"metadata": {"name": "a", "namespace": "b"}});
    let revision = DeleteOptions {
        preconditions: meta::Preconditions { uid: Some("u".into()), ..Default::default() },
        ..Default::default()
    };
    let cases = [
        (&all, create(named("a")), 409, "configmaps \"a\" already exists"),
        (
            &all,
            create(json!({})),
            422,
            "ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required",
        ),
        (&all, create(with("resourceVersion", "7")), 500, "resourceVersion should not be set on objects to be created"),
        (
            &all,
            create(elsewhere),
            400,
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        (
            &one,
            update(made),
            409,
            "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please \
            apply your changes to the latest version and try again",
        ),
        (&one, update(named("b")), 400, "the name of the object (b) does not match the name on the URL (a)"),
        (
            &one,
            Call::Delete(revision),
            409,
            "Operation cannot be fulfilled on ConfigMap \"a\": the UID in the precondition (u) \
            does not match the UID in record",
        ),
    ];
    for (path, call, code, text) in cases {
        let error = cluster.object(path, call).await.expect_err(text);
        assert_eq!((error.code(), error.message.starts_with(text)), (code, true), "{error}");
    }
}

#[tokio::test]
async fn names_are_generated_and_dry_runs_leave_nothing() {
    let cluster = Fixture::new().await;
    let made = cluster.create("configmaps", "default", json!({"metadata": {"generateName": "web-"}})).await;
    let name = made["metadata"]["name"].as_str().expect("a name").to_owned();
    assert!(name.starts_with("web-") && name.len() == 9, "{name}");
    let options = WriteOptions { dry_run: true, ..WriteOptions::default() };
    let call = Call::Create { object: named("dry"), options };
    let dry = cluster.object(&collection("configmaps", "default"), call).await.expect("it would be made");
    assert!(dry["metadata"]["uid"].is_string());
    let list = cluster.list(&collection("configmaps", ""), ListOptions::default()).await.expect("a list");
    assert_eq!(names(&list.items), [format!("default/{name}")]);
}

#[tokio::test]
async fn finalizers_keep_an_object_until_the_last_one_goes() {
    let cluster = Fixture::new().await;
    let path = path("configmaps", "default", "a");
    cluster.create("configmaps", "default", json!({"metadata": {"name": "a", "finalizers": ["x/y"]}})).await;
    let marked = cluster.object(&path, delete()).await.expect("it is marked");
    assert_eq!(marked["metadata"]["deletionTimestamp"], "2026-01-01T00:00:00Z");
    assert_eq!(cluster.object(&path, get()).await, Ok(marked));
    let last = cluster.object(&path, merge(json!({"metadata": {"finalizers": null}}))).await.expect("it goes");
    assert_eq!(last["metadata"]["resourceVersion"], "3");
    assert_eq!(cluster.object(&path, get()).await.expect_err("it is gone").code(), 404);
}

#[tokio::test]
async fn a_pod_is_bound_once_and_ends_gracefully() {
    let cluster = Fixture::new().await;
    let path = path("pods", "default", "a");
    let made = cluster.create("pods", "default", json!({"metadata": {"name": "a"}, "spec": {}})).await;
    let binding = |node: &str| create(json!({"metadata": {"name": "a"}, "target": {"kind": "Node", "name": node}}));
    let bind = path.clone().subresource("binding");
    cluster.object(&bind, binding("n")).await.expect("it is bound");
    let bound = cluster.object(&path, get()).await.expect("a pod");
    assert_eq!(
        (&bound["spec"]["nodeName"], &bound["status"]["conditions"][0]["type"]),
        (&json!("n"), &json!("PodScheduled"))
    );
    let error = cluster.object(&bind, binding("m")).await.expect_err("it is bound");
    let text = "Operation cannot be fulfilled on pods/binding \"a\": pod a is already assigned to node \"n\"";
    assert_eq!((error.code(), error.message.as_str()), (409, text));

    let status = path.clone().subresource("status");
    let ready = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"nodeName": "m"}, "status": {"phase": "Running"}});
    let running = cluster.object(&status, merge(ready)).await.expect("a status");
    assert_eq!((&running["status"]["phase"], &running["metadata"]["labels"]), (&json!("Running"), &json!({"a": "b"})));
    assert_eq!(running["spec"]["nodeName"], "n");

    let going = cluster.object(&path, delete()).await.expect("it is marked");
    assert_eq!(going["metadata"]["deletionGracePeriodSeconds"], 30);
    let now = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
    let gone = cluster.object(&path, Call::Delete(now)).await.expect("it goes");
    assert_eq!(gone["metadata"]["uid"], made["metadata"]["uid"]);
    assert_eq!(cluster.object(&path, get()).await.expect_err("it is gone").code(), 404);
}

#[tokio::test]
async fn a_namespace_goes_when_it_is_finalized() {
    let cluster = Fixture::new().await;
    let path = path("namespaces", "", "a");
    let object = json!({"metadata": {"name": "a"}, "spec": {"finalizers": ["kubernetes"]}});
    cluster.create("namespaces", "", object).await;
    let going = cluster.object(&path, delete()).await.expect("it is marked");
    assert_eq!(going["status"]["phase"], "Terminating");
    let mut done = going;
    done["spec"]["finalizers"] = json!([]);
    cluster.object(&path.clone().subresource("finalize"), update(done)).await.expect("it goes");
    assert_eq!(cluster.object(&path, get()).await.expect_err("it is gone").code(), 404);
}

#[tokio::test]
async fn a_collection_goes_and_patches_at_once_all_count() {
    let cluster = Fixture::new().await;
    for index in 0..20 {
        cluster.create("configmaps", "default", named(&format!("a{index}"))).await;
    }
    let one = path("configmaps", "default", "a0");
    let patches = (0..16).map(|index| cluster.object(&one, merge(json!({"data": {format!("k{index}"): "v"}}))));
    for result in futures::future::join_all(patches).await {
        result.expect("it changes");
    }
    let object = cluster.object(&one, get()).await.expect("an object");
    assert_eq!(object["data"].as_object().map(serde_json::Map::len), Some(16));
    let all = collection("configmaps", "default");
    let call = Call::DeleteCollection(ListOptions::default(), DeleteOptions::default());
    let Ok(Reply::List(gone)) = cluster.call(&all, call).await else { panic!("a list") };
    assert_eq!(gone.items.len(), 20);
    assert!(cluster.list(&all, ListOptions::default()).await.expect("a list").items.is_empty());
}

#[tokio::test]
async fn patches_of_all_forms_change_an_object() {
    let cluster = Fixture::new().await;
    let path = path("configmaps", "default", "a");
    let patch = |form: PatchType, manager: &str, patch: Value| {
        let options = WriteOptions { field_manager: manager.to_owned(), ..WriteOptions::default() };
        cluster.object(&path, Call::Patch { form, patch: patch.to_string().into(), options })
    };
    let apply = |data: Value| {
        let object = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a"}, "data": data});
        patch(PatchType::Apply, "me", object)
    };
    let made = apply(json!({"a": "1", "b": "2"})).await.expect("it is made");
    assert_eq!(made["metadata"]["managedFields"][0]["fieldsV1"], json!({"f:data": {"f:a": {}, "f:b": {}}}));
    assert_eq!(apply(json!({"a": "1", "b": "2"})).await, Ok(made), "nothing changed, nothing is written");
    let steps = [
        (
            PatchType::Json,
            json!([{"op": "add", "path": "/data/c", "value": "3"}]),
            json!({"a": "1", "b": "2", "c": "3"}),
        ),
        (PatchType::Merge, json!({"data": {"b": null}}), json!({"a": "1", "c": "3"})),
        (PatchType::StrategicMerge, json!({"data": {"$patch": "replace", "d": "4"}}), json!({"d": "4"})),
    ];
    for (form, change, expected) in steps {
        let changed = patch(form, "you", change).await.expect("it changes");
        assert_eq!(changed["data"], expected, "{form:?}");
    }
    let error = apply(json!({"d": "5"})).await.expect_err("it is another's");
    assert_eq!((error.code(), error.details.map(|details| details.causes.len())), (409, Some(1)));
    let wrong = json!([{"op": "remove", "path": "/data/x"}]);
    assert_eq!(patch(PatchType::Json, "you", wrong).await.expect_err("no such field").code(), 422);
}

#[tokio::test]
async fn a_kind_in_two_versions_is_shown_in_each() {
    let cluster = Fixture::new().await;
    let gvr = |version: &str| Gvr::new("autoscaling", version, "horizontalpodautoscalers");
    let target = json!({"kind": "Deployment", "name": "a", "apiVersion": "apps/v1"});
    let object = json!({"kind": "HorizontalPodAutoscaler", "apiVersion": "autoscaling/v1", "metadata": {"name": "a"},
        "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 50, "scaleTargetRef": target}});
    let create = Call::Create { object, options: WriteOptions::default() };
    let made = cluster.object(&ResourcePath::collection(gvr("v1"), "default"), create).await.expect("it is made");
    assert_eq!(made["apiVersion"], "autoscaling/v1");
    for (version, pointer) in
        [("v1", "/spec/targetCPUUtilizationPercentage"), ("v2", "/spec/metrics/0/resource/target/averageUtilization")]
    {
        let path = ResourcePath::object(gvr(version), "default", "a");
        let read = cluster.object(&path, Call::Get { resource_version: String::new() }).await.expect("it is read");
        assert_eq!(
            (&read["apiVersion"], read.pointer(pointer)),
            (&json!(format!("autoscaling/{version}")), Some(&json!(50)))
        );
    }
}
