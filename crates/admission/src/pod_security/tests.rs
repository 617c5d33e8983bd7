//! Pods and namespaces against the standards.

use serde_json::json;

use super::*;
use crate::testing::{Cluster, outcome};

fn cluster(labels: Value) -> Cluster {
    Cluster::new([("namespaces", json!({"kind": "Namespace", "metadata": {"name": "a", "labels": labels}}))])
}

fn pod(spec: Value) -> Value {
    json!({"metadata": {"name": "p", "namespace": "a"}, "spec": spec})
}

fn restricted() -> Value {
    let context = json!({
        "allowPrivilegeEscalation": false, "runAsNonRoot": true, "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    });
    json!({"containers": [{"name": "c", "image": "i", "securityContext": context}]})
}

#[tokio::test]
async fn pods_keep_to_the_level_of_their_namespace() {
    let check = async |labels: Value, spec: Value, refused: &str| {
        let cluster = cluster(labels);
        let found = outcome(&PodSecurity, &cluster, cluster.create("pods", "a", pod(spec))).await;
        let expected = if refused.is_empty() { String::new() } else { format!("pods \"p\" is forbidden: {refused}") };
        assert_eq!(found.err().unwrap_or_default(), expected);
    };
    let level = |level: &str| json!({"pod-security.kubernetes.io/enforce": level});
    let plain = json!({"containers": [{"name": "c", "image": "i"}]});
    let mighty = json!({"hostNetwork": true, "volumes": [{"name": "v", "hostPath": {"path": "/"}}], "containers": [
        {"name": "c", "securityContext": {"privileged": true}, "ports": [{"hostPort": 80}]},
        {"name": "d", "securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}},
    ]});
    check(json!({}), mighty.clone(), "").await;
    check(level("privileged"), mighty.clone(), "").await;
    check(level("baseline"), plain.clone(), "").await;
    check(level("restricted"), restricted(), "").await;
    let text = "violates PodSecurity \"baseline:latest\": non-default capabilities (container \"d\" must not include \
                \"SYS_ADMIN\" in securityContext.capabilities.add), host namespaces (hostNetwork=true), hostPath volumes \
                (volume \"v\"), hostPort (container \"c\" uses hostPort 80), privileged (container \"c\" must not set \
                securityContext.privileged=true)";
    check(level("baseline"), mighty, text).await;
    let text = "violates PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false (container \"c\" must set \
                securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container \"c\" must set \
                securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot != true (pod or container \"c\" must set \
                securityContext.runAsNonRoot=true), seccompProfile (pod or container \"c\" must set \
                securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")";
    check(level("restricted"), plain.clone(), text).await;
    check(level("nonsense"), plain, text).await;
}

#[tokio::test]
async fn workloads_are_only_warned_of() {
    let cluster = cluster(json!({"pod-security.kubernetes.io/enforce": "baseline"}));
    let template = json!({"spec": {"hostPID": true, "containers": [{"name": "c"}]}});
    let object = json!({"metadata": {"name": "t", "namespace": "a"}, "template": template});
    let request = cluster.create("podtemplates", "a", object);
    PodSecurity.validate(&request, &cluster).await.expect("it may be made");
    let told = request.told.into_inner().expect("nobody panicked");
    assert_eq!(told, ["would violate PodSecurity \"baseline:latest\": host namespaces (hostPID=true)"]);
}

#[tokio::test]
async fn labels_of_namespaces_are_checked() {
    let cluster = Cluster::new([(
        "pods",
        json!({"kind": "Pod", "metadata": {"name": "p", "namespace": "a"}, "spec": {"hostIPC": true}}),
    )]);
    let namespace =
        |level: &str| json!({"metadata": {"name": "a", "labels": {"pod-security.kubernetes.io/enforce": level}}});
    let request = cluster.create("namespaces", "", namespace("high"));
    let error = PodSecurity.validate(&request, &cluster).await.expect_err("no such level");
    assert!(error.message.contains("must be one of privileged, baseline, restricted"), "{}", error.message);
    let old = namespace("privileged");
    let mut request = cluster.create("namespaces", "", namespace("baseline"));
    request.old = Some(&old);
    PodSecurity.validate(&request, &cluster).await.expect("it is only told");
    let told = request.told.into_inner().expect("nobody panicked");
    let first = "existing pods in namespace \"a\" violate the new PodSecurity enforce level \"baseline:latest\"";
    assert_eq!(told, [first, "p: host namespaces"]);
}

#[test]
fn older_versions_forbid_less() {
    let check = |version: &str, spec: Value, expected: &[&str]| {
        let labels = json!({
            "pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/enforce-version": version,
        });
        let (policy, errors) = Policy::of(&labels);
        assert!(errors.is_empty());
        let reasons = found(policy.enforce, &Value::Null, &spec);
        let reasons: Vec<&str> = reasons.iter().map(|breach| breach.reason.as_str()).collect();
        assert_eq!(reasons, expected, "{version}");
    };
    let mut spec = restricted();
    spec["securityContext"] = json!({"runAsUser": 0, "sysctls": [{"name": "net.ipv4.tcp_rmem"}]});
    check("v1.22", spec.clone(), &["forbidden sysctls"]);
    check("v1.31", spec.clone(), &["forbidden sysctls", "runAsUser=0"]);
    check("latest", spec.clone(), &["runAsUser=0"]);
    spec["hostUsers"] = json!(false);
    check("latest", spec, &[]);
}
