//! What a kubelet may, and what not.

use meta::Object;
use serde_json::{Value, json};

use super::*;

fn object(kind: &str, name: &str, rest: Value) -> Object {
    let mut value = rest;
    value["kind"] = json!(kind);
    value["apiVersion"] = json!("v1");
    value["metadata"]["name"] = json!(name);
    value["metadata"]["namespace"] = json!("ns");
    Object::from_value(&value).expect("an object")
}

fn pod() -> Object {
    object(
        "Pod",
        "p",
        json!({"spec": {
            "nodeName": "n1",
            "serviceAccountName": "bot",
            "imagePullSecrets": [{"name": "pull"}],
            "containers": [{"envFrom": [{"configMapRef": {"name": "env"}}],
                "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "key", "key": "k"}}}]}],
            "volumes": [{"name": "a", "secret": {"secretName": "vol"}}, {"name": "b", "persistentVolumeClaim": {"claimName": "c"}},
                {"name": "e", "ephemeral": {}},
                {"name": "d", "projected": {"sources": [{"configMap": {"name": "root"}}, {"secret": {"name": "part"}}]}}],
        }}),
    )
}

fn authorizer() -> NodeAuthorizer {
    let graph = Graph::default();
    graph.put(&pod()).expect("a pod");
    graph.put(&object("PersistentVolumeClaim", "c", json!({"spec": {"volumeName": "pv1"}}))).expect("a claim");
    graph.put(&object("Pod", "unbound", json!({"spec": {"imagePullSecrets": [{"name": "loose"}]}}))).expect("a pod");
    let mirror = json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}},
        "spec": {"nodeName": "n1", "imagePullSecrets": [{"name": "mirrored"}]}});
    graph.put(&object("Pod", "mirror", mirror)).expect("a pod");
    NodeAuthorizer::new(Arc::new(graph))
}

/// The reason of a refusal, `yes`, or `no`.
fn decide(authorizer: &NodeAuthorizer, node: &str, attributes: &str) -> String {
    let user = UserInfo::new(format!("system:node:{node}"), &["system:nodes"]);
    // verb group/resource[/subresource] [namespace/name]
    let mut words = attributes.split(' ');
    let (verb, what) = (words.next().expect("a verb"), words.next().expect("a resource"));
    let (group, what) = what.split_once('/').expect("a group");
    let (resource, sub) = what.split_once('/').unwrap_or((what, ""));
    let (namespace, name) = words.next().and_then(|place| place.split_once('/')).unwrap_or_default();
    let decision =
        authorizer.authorize(&Attributes::resource(&user, verb, group, resource).at(namespace, name).subresource(sub));
    match (decision.allowed(), &*decision.reason) {
        (true, _) => "yes".to_owned(),
        (false, "") => "no".to_owned(),
        (false, reason) => reason.to_owned(),
    }
}

#[test]
fn nodes_see_what_their_pods_need() {
    let authorizer = authorizer();
    let check = |attributes: &str, expected: &str| {
        assert_eq!(decide(&authorizer, "n1", attributes), expected, "{attributes}");
        if expected == "yes" && !attributes.starts_with("create") {
            assert_ne!(decide(&authorizer, "n2", attributes), "yes", "{attributes} on another node");
        }
    };
    for secret in ["pull", "key", "vol", "part"] {
        check(&format!("get /secrets ns/{secret}"), "yes");
        check(&format!("watch /secrets ns/{secret}"), "yes");
    }
    let unrelated = "no relationship found between node 'n1' and this object";
    for secret in ["loose", "mirrored", "env"] {
        check(&format!("get /secrets ns/{secret}"), unrelated);
    }
    check("get /secrets other/pull", unrelated);
    check("list /secrets ns/", "No Object name found");
    check("list /secrets", "can only read namespaced object of this type");
    check("update /secrets ns/pull", "can only read resources of this type");
    check("get /configmaps ns/env", "yes");
    check("get /configmaps ns/root", "yes");
    check("get /persistentvolumeclaims ns/c", "yes");
    check("get /persistentvolumeclaims ns/p-e", "yes");
    check("list /persistentvolumeclaims ns/", "can only get individual resources of this type");
    check("patch /persistentvolumeclaims/status ns/c", "yes");
    check("get /persistentvolumes /pv1", "yes");
    check("get /persistentvolumes /pv2", unrelated);
    check("create /serviceaccounts/token ns/bot", "yes");
    check("create /serviceaccounts/token ns/admin", unrelated);
    check("create /serviceaccounts ns/bot", "can only create token subresource of serviceaccount");
    check("get /pods ns/p", "yes");
    check("watch /pods ns/p", "yes");
    check("get /pods ns/unbound", unrelated);
    check("list /pods", "can only list/watch pods with spec.nodeName field selector");
}

#[test]
fn nodes_care_for_themselves() {
    let authorizer = authorizer();
    let check = |attributes: &str, expected: &str| {
        assert_eq!(decide(&authorizer, "n1", attributes), expected, "{attributes}");
    };
    check("get /nodes /n1", "yes");
    check("watch /nodes /n1", "yes");
    check("list /nodes", "node 'n1' cannot read all nodes, only its own Node object");
    check("get /nodes /n2", "node 'n1' cannot read 'n2', only its own Node object");
    check("patch /nodes/status /n1", "yes");
    check("delete /nodes /n1", "no");
    check("update coordination.k8s.io/leases kube-node-lease/n1", "yes");
    check("create coordination.k8s.io/leases kube-node-lease/", "yes");
    check(
        "update coordination.k8s.io/leases kube-node-lease/n2",
        "can only access node lease with the same name as the requesting node",
    );
    check("get coordination.k8s.io/leases ns/n1", "can only access leases in the \"kube-node-lease\" system namespace");
    check("get storage.k8s.io/csinodes /n1", "yes");
    check("patch /pods/status ns/p", "yes");
    check("create /pods/eviction ns/p", "yes");
    check("update /pods ns/p", "no");
    check("list /services", "yes");
    check("create /events ns/", "yes");
    check("list apps/deployments", "no");
    let user = UserInfo::new("system:node:n1", &["system:nodes"]);
    let (own, other) = (FieldSelector::equal("spec.nodeName", "n1"), FieldSelector::equal("spec.nodeName", "n2"));
    for (fields, expected) in [(&own, true), (&other, false)] {
        let mut attributes = Attributes::resource(&user, "list", "", "pods");
        if let Target::Resource { fields: place, .. } = &mut attributes.target {
            *place = Some(fields);
        }
        assert_eq!(authorizer.authorize(&attributes).allowed(), expected, "{fields}");
    }
    for stranger in [UserInfo::new("system:node:n1", &[]), UserInfo::new("n1", &["system:nodes"])] {
        assert!(!authorizer.authorize(&Attributes::resource(&stranger, "list", "", "services")).allowed());
    }
}

#[test]
fn what_is_gone_is_no_reason() {
    let graph = Arc::new(Graph::default());
    graph.put(&pod()).expect("a pod");
    let authorizer = NodeAuthorizer::new(Arc::clone(&graph));
    assert_eq!(decide(&authorizer, "n1", "get /secrets ns/pull"), "yes");
    graph.remove(&pod());
    assert_ne!(decide(&authorizer, "n1", "get /secrets ns/pull"), "yes");
}

#[test]
fn what_the_graph_has_not_heard_of_yet_counts() {
    let graph = Graph::default();
    graph.look_at(|namespace| if namespace == "ns" { vec![Arc::new(pod())] } else { Vec::new() });
    let authorizer = NodeAuthorizer::new(Arc::new(graph));
    let check = |node: &str, attributes: &str, expected: bool| {
        assert_eq!(decide(&authorizer, node, attributes) == "yes", expected, "{node} {attributes}");
    };
    check("n1", "get /secrets ns/pull", true);
    check("n1", "get /secrets ns/other", false);
    check("n2", "get /secrets ns/pull", false);
    check("n1", "get /secrets elsewhere/pull", false);
}
