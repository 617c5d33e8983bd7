//! What writes cost, by tables.

use super::*;

const PODS: Counted<'static> = ("", "pods");

fn quota(hard: Value, used: Value) -> Value {
    json!({"metadata": {"name": "q"}, "spec": {"hard": hard}, "status": {"hard": hard, "used": used}})
}

fn pod(requests: Value) -> Value {
    json!({"spec": {"containers": [{"name": "c", "resources": {"requests": requests}}]}})
}

#[test]
fn a_write_is_charged_or_refused() {
    let check = |quota: Value, resource: Counted<'_>, new: Value, old: Option<Value>, expected: Result<Value, &str>| {
        let found = charge(&quota, resource, &new, old.as_ref(), 0);
        let found = found.map(|status| status.map_or(Value::Null, |status| status["used"].clone()));
        assert_eq!(found, expected.map_err(str::to_owned), "{quota} {new}");
    };
    let cpu = quota(json!({"cpu": "1", "pods": "2"}), json!({"cpu": "500m", "pods": "1"}));
    check(cpu.clone(), PODS, pod(json!({"cpu": "250m"})), None, Ok(json!({"cpu": "750m", "pods": "2"})));
    let exceeded = "exceeded quota: q, requested: cpu=2, used: cpu=500m, limited: cpu=1";
    check(cpu.clone(), PODS, pod(json!({"cpu": "2"})), None, Err(exceeded));
    check(cpu.clone(), PODS, pod(json!({})), None, Err("failed quota: q: must specify cpu for: c"));
    check(cpu, ("", "secrets"), json!({}), None, Ok(Value::Null));
    let unknown = quota(json!({"pods": "1"}), Value::Null);
    check(unknown, PODS, pod(json!({})), None, Err("status unknown for quota: q, resources: pods"));
    let custom = quota(json!({"count/things.example.com": "1"}), json!({"count/things.example.com": "1"}));
    let exceeded = "exceeded quota: q, requested: count/things.example.com=1, used: count/things.example.com=1, limited: \
                    count/things.example.com=1";
    check(custom, ("example.com", "things"), json!({}), None, Err(exceeded));
    // A change costs what it adds.
    let ports =
        quota(json!({"services": "1", "services.nodeports": "1"}), json!({"services": "1", "services.nodeports": "0"}));
    let service = |kind: &str| json!({"spec": {"type": kind, "ports": [{"port": 80}]}});
    let used = json!({"services": "1", "services.nodeports": "1"});
    check(ports.clone(), ("", "services"), service("NodePort"), Some(service("ClusterIP")), Ok(used));
    check(ports, ("", "services"), service("ClusterIP"), Some(service("NodePort")), Ok(Value::Null));
}

#[test]
fn scopes_choose_the_objects() {
    let check = |spec: Value, pod: Value, expected: bool| {
        let mut quota = quota(json!({"pods": "9"}), json!({"pods": "0"}));
        for (name, value) in fields(&spec) {
            quota["spec"][name] = value.clone();
        }
        assert_eq!(charge(&quota, PODS, &pod, None, 0).expect("it fits").is_some(), expected, "{spec} {pod}");
    };
    let deadline = json!({"spec": {"activeDeadlineSeconds": 5, "containers": []}});
    check(json!({"scopes": ["Terminating"]}), deadline.clone(), true);
    check(json!({"scopes": ["NotTerminating"]}), deadline, false);
    check(json!({"scopes": ["BestEffort"]}), pod(json!({})), true);
    check(json!({"scopes": ["BestEffort", "Terminating"]}), pod(json!({})), false);
    check(json!({"scopes": ["NotBestEffort"]}), pod(json!({"cpu": "1"})), true);
    let class = |operator: &str, values: &[&str]| {
        let expression = json!({"scopeName": "PriorityClass", "operator": operator, "values": values});
        json!({"scopeSelector": {"matchExpressions": [expression]}})
    };
    let high = json!({"spec": {"priorityClassName": "high", "containers": []}});
    check(class("In", &["high"]), high.clone(), true);
    check(class("In", &["low"]), high.clone(), false);
    check(class("NotIn", &["low"]), high.clone(), true);
    check(class("Exists", &[]), high.clone(), true);
    check(class("DoesNotExist", &[]), high, false);
    let term = json!({"namespaces": ["other"], "topologyKey": "k"});
    let affinity = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}});
    let elsewhere = json!({"spec": {"affinity": affinity, "containers": []}});
    check(json!({"scopes": ["CrossNamespacePodAffinity"]}), elsewhere, true);
    check(json!({"scopes": ["CrossNamespacePodAffinity"]}), pod(json!({})), false);
}

#[test]
fn what_is_there_is_counted() {
    let check = |hard: Value, objects: &[(Counted<'_>, Value)], expected: Value| {
        let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": hard}});
        let status = recount(&quota, objects, 0).expect("a first status");
        assert_eq!(status, json!({"hard": hard, "used": expected}));
        let mut known = quota;
        known["status"] = status;
        assert_eq!(recount(&known, objects, 0), None);
    };
    let mut ended = pod(json!({"cpu": "1"}));
    ended["status"] = json!({"phase": "Succeeded"});
    let pods = [(PODS, pod(json!({"cpu": "100m", "memory": "1Gi"}))), (PODS, ended)];
    let hard = json!({"pods": "5", "count/pods": "5", "requests.cpu": "1", "memory": "2Gi", "secrets": "3"});
    let used = json!({"pods": "1", "count/pods": "2", "requests.cpu": "100m", "memory": "1Gi", "secrets": "0"});
    check(hard, &pods, used);
    let claim = json!({"spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "1Gi"}}}});
    let claims = [(("", "persistentvolumeclaims"), claim)];
    let hard = json!({
        "persistentvolumeclaims": "2", "requests.storage": "3Gi",
        "gold.storageclass.storage.k8s.io/requests.storage": "2Gi", "silver.storageclass.storage.k8s.io/persistentvolumeclaims": "1",
    });
    let used = json!({
        "persistentvolumeclaims": "1", "requests.storage": "1Gi",
        "gold.storageclass.storage.k8s.io/requests.storage": "1Gi", "silver.storageclass.storage.k8s.io/persistentvolumeclaims": "0",
    });
    check(hard, &claims, used);
    let init = json!({"name": "i", "resources": {"requests": {"cpu": "3", "example.com/gpu": "1"}}});
    let mut hungry = pod(json!({"cpu": "1"}));
    hungry["spec"]["initContainers"] = json!([init]);
    let hard = json!({"cpu": "9", "requests.example.com/gpu": "2"});
    check(hard, &[(PODS, hungry)], json!({"cpu": "3", "requests.example.com/gpu": "1"}));
}

#[test]
fn a_pod_that_should_be_gone_costs_nothing() {
    let mut pod = pod(json!({"cpu": "1"}));
    pod["metadata"] = json!({"deletionTimestamp": "1970-01-01T00:01:00Z", "deletionGracePeriodSeconds": 30});
    assert!(usage::of(PODS, &pod, 80).contains_key("pods"));
    assert!(!usage::of(PODS, &pod, 91).contains_key("pods"));
}
