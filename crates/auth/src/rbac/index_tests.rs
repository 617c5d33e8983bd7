//! Who may what, through roles, bindings and aggregation.

use serde_json::json;

use super::*;
use crate::authorizer::MASTERS;
use crate::rbac::Escalation;

fn object(value: Value) -> Object {
    Object::from_value(&value).expect("an object")
}

fn cluster_role(name: &str, label: &str, aggregates: &str, rules: Value) -> Object {
    let mut value = json!({"kind": "ClusterRole", "apiVersion": "rbac.authorization.k8s.io/v1",
        "metadata": {"name": name, "labels": {label: "true"}}, "rules": rules});
    if !aggregates.is_empty() {
        value["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {aggregates: "true"}}]});
    }
    object(value)
}

fn role(namespace: &str, name: &str, rules: Value) -> Object {
    object(json!({"kind": "Role", "apiVersion": "rbac.authorization.k8s.io/v1",
        "metadata": {"name": name, "namespace": namespace}, "rules": rules}))
}

fn binding(namespace: &str, name: &str, to: (&str, &str), subjects: Value) -> Object {
    let kind = if namespace.is_empty() { "ClusterRoleBinding" } else { "RoleBinding" };
    let role_ref = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": to.0, "name": to.1});
    object(json!({"kind": kind, "apiVersion": "rbac.authorization.k8s.io/v1",
        "metadata": {"name": name, "namespace": namespace}, "subjects": subjects, "roleRef": role_ref}))
}

fn rule(verb: &str, resource: &str) -> Value {
    json!([{"verbs": [verb], "apiGroups": [""], "resources": [resource]}])
}

fn rbac(objects: &[Object]) -> Rbac {
    let rbac = Rbac::default();
    objects.iter().for_each(|object| rbac.put(object).expect("a role or binding"));
    rbac
}

/// The reason in short, or `no: reason`.
fn decide(rbac: &Rbac, user: &UserInfo, verb: &str, resource: &str, namespace: &str) -> String {
    let decision = rbac.authorize(&Attributes::resource(user, verb, "", resource).at(namespace, ""));
    if decision.allowed() { decision.reason.to_string() } else { format!("no: {}", decision.reason) }
}

#[test]
fn bindings_reach_their_subjects() {
    let rbac = rbac(&[
        cluster_role("reader", "", "", rule("get", "pods")),
        role("a", "writer", rule("create", "pods")),
        binding("", "everywhere", ("ClusterRole", "reader"), json!([{"kind": "User", "name": "ann"}])),
        binding(
            "a",
            "here",
            ("Role", "writer"),
            json!([
            {"kind": "Group", "name": "crew"}, {"kind": "ServiceAccount", "name": "bot"},
            {"kind": "ServiceAccount", "name": "bot", "namespace": "b"}]),
        ),
        binding("b", "there", ("ClusterRole", "reader"), json!([{"kind": "Group", "name": "crew"}])),
        binding("c", "lost", ("Role", "gone"), json!([{"kind": "User", "name": "ann"}])),
    ]);
    let (ann, crew) = (UserInfo::new("ann", &[]), UserInfo::new("bob", &["crew"]));
    let (own, other) = (UserInfo::service_account("a", "bot"), UserInfo::service_account("b", "bot"));
    let check = |user: &UserInfo, verb: &str, namespace: &str, expected: &str| {
        assert_eq!(decide(&rbac, user, verb, "pods", namespace), expected, "{} {verb} {namespace}", user.name);
    };
    let everywhere = r#"RBAC: allowed by ClusterRoleBinding "everywhere" of ClusterRole "reader" to User "ann""#;
    check(&ann, "get", "", everywhere);
    check(&ann, "get", "a", everywhere);
    check(&ann, "create", "a", "no: ");
    check(&ann, "create", "c", r#"no: RBAC: role.rbac.authorization.k8s.io "gone" not found"#);
    check(&crew, "create", "a", r#"RBAC: allowed by RoleBinding "here/a" of Role "writer" to Group "crew""#);
    check(&crew, "create", "b", "no: ");
    check(&crew, "get", "", "no: ");
    check(&crew, "get", "b", r#"RBAC: allowed by RoleBinding "there/b" of ClusterRole "reader" to Group "crew""#);
    check(&own, "create", "a", r#"RBAC: allowed by RoleBinding "here/a" of Role "writer" to ServiceAccount "bot/a""#);
    check(&other, "create", "a", r#"RBAC: allowed by RoleBinding "here/a" of Role "writer" to ServiceAccount "bot/b""#);
}

#[test]
fn changes_count_at_once() {
    let ann = UserInfo::new("ann", &[]);
    let bound = || binding("", "b", ("ClusterRole", "r"), json!([{"kind": "User", "name": "ann"}]));
    let pods = || cluster_role("r", "", "", rule("get", "pods"));
    let rbac = rbac(&[bound(), pods()]);
    assert!(decide(&rbac, &ann, "get", "pods", "").starts_with("RBAC"));
    rbac.put(&cluster_role("r", "", "", rule("get", "secrets"))).expect("a role");
    assert_eq!(decide(&rbac, &ann, "get", "pods", ""), "no: ");
    rbac.put(&pods()).expect("a role");
    rbac.put(&binding("", "b", ("ClusterRole", "r"), json!(null))).expect("a binding");
    assert_eq!(decide(&rbac, &ann, "get", "pods", ""), "no: ");
    rbac.put(&bound()).expect("a binding");
    rbac.remove(&pods());
    assert!(decide(&rbac, &ann, "get", "pods", "").ends_with("not found"));
    rbac.remove(&bound());
    assert_eq!(decide(&rbac, &ann, "get", "pods", ""), "no: ");
}

#[test]
fn aggregation_goes_through_and_follows() {
    let ann = UserInfo::new("ann", &[]);
    let part = || cluster_role("part", "to-view", "", rule("get", "pods"));
    let rbac = rbac(&[
        binding("", "b", ("ClusterRole", "admin"), json!([{"kind": "User", "name": "ann"}])),
        cluster_role("admin", "", "to-admin", json!(null)),
        cluster_role("edit", "to-admin", "to-edit", json!(null)),
        cluster_role("view", "to-edit", "to-view", rule("get", "stale")),
        part(),
    ]);
    assert!(decide(&rbac, &ann, "get", "pods", "").starts_with("RBAC"));
    assert_eq!(decide(&rbac, &ann, "get", "stale", ""), "no: ");
    rbac.put(&cluster_role("more", "to-view", "", rule("get", "widgets"))).expect("a role");
    assert!(decide(&rbac, &ann, "get", "widgets", "").starts_with("RBAC"));
    rbac.remove(&part());
    assert_eq!(decide(&rbac, &ann, "get", "pods", ""), "no: ");
    assert_eq!(rbac.rules_for(&ann, "").rules.len(), 1);
}

#[test]
fn nobody_grants_more_than_they_hold() {
    let rbac = rbac(&[
        role("a", "own", rule("get", "pods")),
        role(
            "a",
            "bind",
            json!([{"verbs": ["bind"], "apiGroups": ["rbac.authorization.k8s.io"],
            "resources": ["clusterroles"], "resourceNames": ["big"]}]),
        ),
        cluster_role("big", "", "", rule("get", "secrets")),
        cluster_role("other", "", "", rule("get", "secrets")),
        binding("a", "b1", ("Role", "own"), json!([{"kind": "User", "name": "ann"}])),
        binding("a", "b2", ("Role", "bind"), json!([{"kind": "User", "name": "ann"}])),
    ]);
    let ann = UserInfo::new("ann", &[]);
    let write = Escalation { user: &ann, authorizer: &rbac, rbac: &rbac, namespace: "a", name: "new" };
    let rules = |value: Value| serde_json::from_value::<Vec<Rule>>(value).expect("rules");
    assert_eq!(write.check_role(&rules(rule("get", "pods")), false), Ok(()));
    let error = write.check_role(&rules(rule("get", "secrets")), false).expect_err("ann holds no secrets");
    assert_eq!(
        error.message,
        "roles.rbac.authorization.k8s.io \"new\" is forbidden: user \"ann\" (groups=[\"system:authenticated\"]) is attempting \
         to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\"]}"
    );
    assert!(write.check_role(&[], true).is_err_and(|error| error.message.contains("cluster-admin privileges")));
    let to = |name: &str| RoleRef {
        api_group: "rbac.authorization.k8s.io".into(),
        kind: "ClusterRole".into(),
        name: name.into(),
    };
    assert_eq!(write.check_binding(&to("big")), Ok(()));
    assert!(write.check_binding(&to("other")).is_err_and(|error| error.code() == 403));
    assert!(write.check_binding(&to("none")).is_err_and(|error| error.code() == 404));
    let root = UserInfo::new("root", &[MASTERS]);
    assert_eq!(Escalation { user: &root, ..write }.check_role(&Rule::everything(), true), Ok(()));
}
