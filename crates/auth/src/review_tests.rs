//! Reviews, posted and answered.

use meta::{Object, TestClock};

use super::*;
use crate::authorizer::{Chain, Masters};
use crate::bootstrap_token::BootstrapTokens;
use crate::node::{Graph, NodeAuthorizer};
use crate::objects::Objects;
use crate::rbac::Rbac;
use crate::token::{Bound, Reference, Signer, Tokens};

struct OneAccount;

impl Objects for OneAccount {
    fn get(&self, resource: &str, _namespace: &str, name: &str) -> Option<Arc<Object>> {
        let account = json!({"kind": "ServiceAccount", "metadata": {"name": name, "uid": "u"}});
        (resource == "serviceaccounts").then(|| Arc::new(Object::from_value(&account).expect("an object")))
    }
}

fn reviews() -> Reviews {
    let signer = Signer::new(&rcgen::KeyPair::generate().expect("a key")).expect("it signs");
    let clock = Arc::new(TestClock::at(Timestamp::UNIX_EPOCH));
    let bootstrap = BootstrapTokens::new(Arc::new(OneAccount), Arc::clone(&clock) as _);
    let tokens = Arc::new(Tokens::new(signer, "https://x", Arc::new(OneAccount), clock));
    let rbac = Rbac::default();
    let role = json!({"kind": "Role", "metadata": {"name": "r", "namespace": "ns"}, "rules": [
        {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]},
        {"verbs": ["get"], "nonResourceURLs": ["/x"]}]});
    let binding = |name: &str, role: &str| {
        json!({"kind": "RoleBinding", "metadata": {"name": name, "namespace": "ns"},
        "subjects": [{"kind": "User", "name": "ann"}, {"kind": "Group", "name": "crew"}],
        "roleRef": {"kind": "Role", "name": role}})
    };
    for value in [role, binding("b", "r"), binding("lost", "gone")] {
        rbac.put(&Object::from_value(&value).expect("an object")).expect("a role or binding");
    }
    let node = NodeAuthorizer::new(Arc::new(Graph::default()));
    let authorizer = Arc::new(Chain::new(vec![Arc::new(Masters), Arc::new(node), Arc::new(rbac)]));
    Reviews { authenticator: Arc::new(Authenticator::new(tokens, bootstrap)), authorizer }
}

fn post(resource: &str, namespace: &str, user: &UserInfo, body: Value) -> Result<Value, ApiError> {
    let review = Review { resource, namespace, user, now: Timestamp::UNIX_EPOCH, body };
    reviews().answer(review).expect("a review")
}

fn ann() -> UserInfo {
    UserInfo::new("ann", &["crew"])
}

#[test]
fn access_is_reviewed() {
    let root = UserInfo::new("root", &["system:masters"]);
    let check = |resource: &str, spec: Value, status: Value| {
        let answer = post(resource, "ns", &ann(), json!({"metadata": {}, "spec": spec})).expect("a good question");
        assert_eq!((&answer["spec"], &answer["status"]), (&spec, &status));
        assert_eq!(answer["apiVersion"], json!("authorization.k8s.io/v1"));
    };
    let pods = |verb: &str| json!({"verb": verb, "resource": "pods", "namespace": "ns"});
    let allowed =
        json!({"allowed": true, "reason": "RBAC: allowed by RoleBinding \"b/ns\" of Role \"r\" to User \"ann\""});
    let lost = "RBAC: role.rbac.authorization.k8s.io \"gone\" not found";
    check("selfsubjectaccessreviews", json!({"resourceAttributes": pods("get")}), allowed.clone());
    check(
        "selfsubjectaccessreviews",
        json!({"resourceAttributes": pods("list")}),
        json!({"allowed": false, "reason": lost}),
    );
    check("subjectaccessreviews", json!({"user": "ann", "resourceAttributes": pods("get")}), allowed.clone());
    check("localsubjectaccessreviews", json!({"user": "ann", "resourceAttributes": pods("get")}), allowed);
    check(
        "subjectaccessreviews",
        json!({"user": "bob", "nonResourceAttributes": {"path": "/x", "verb": "get"}}),
        json!({"allowed": false}),
    );
    check(
        "subjectaccessreviews",
        json!({"groups": root.groups, "nonResourceAttributes": {"path": "/x", "verb": "get"}}),
        json!({"allowed": true}),
    );
    let selector = |selector: Value| {
        json!({"user": "system:node:n1", "groups": ["system:nodes"],
            "resourceAttributes": {"verb": "list", "resource": "pods", "fieldSelector": selector}})
    };
    check("subjectaccessreviews", selector(json!({"rawSelector": "spec.nodeName=n1"})), json!({"allowed": true}));
    let listed = json!({"requirements": [{"key": "spec.nodeName", "operator": "In", "values": ["n1"]}]});
    check("subjectaccessreviews", selector(listed), json!({"allowed": true}));
    check(
        "subjectaccessreviews",
        selector(json!({"requirements": [{"key": "spec.nodeName", "operator": "Near", "values": ["n1"]}]})),
        json!({"allowed": false, "reason": "can only list/watch pods with spec.nodeName field selector",
            "evaluationError": "spec.resourceAttributes.fieldSelector ignored due to parse error"}),
    );
}

#[test]
fn bad_questions_are_refused() {
    let check = |resource: &str, body: Value, expected: &str| {
        let error = post(resource, "ns", &ann(), body).expect_err(expected);
        assert_eq!(error.message, expected);
    };
    check(
        "subjectaccessreviews",
        json!({"spec": {}}),
        "SubjectAccessReview.authorization.k8s.io \"\" is invalid: [spec.resourceAttributes: Invalid value: null: exactly one \
         of nonResourceAttributes or resourceAttributes must be specified, spec.user: Invalid value: \"\": at least one of user \
         or group must be specified]",
    );
    check(
        "localsubjectaccessreviews",
        json!({"spec": {"user": "x", "resourceAttributes": {"namespace": "other"}}}),
        "LocalSubjectAccessReview.authorization.k8s.io \"\" is invalid: spec.resourceAttributes.namespace: Invalid value: \
         \"other\": must match metadata.namespace",
    );
    check(
        "selfsubjectaccessreviews",
        json!({"metadata": {"name": "x"}, "spec": {"nonResourceAttributes": {}}}),
        "SelfSubjectAccessReview.authorization.k8s.io \"\" is invalid: metadata: Invalid value: {\"name\":\"x\"}: must be empty",
    );
    check(
        "selfsubjectaccessreviews",
        json!({"spec": {"resourceAttributes": {"labelSelector": {}}}}),
        "SelfSubjectAccessReview.authorization.k8s.io \"\" is invalid: spec.resourceAttributes.labelSelector.requirements: \
         Required value: when spec.resourceAttributes.labelSelector is specified, requirements or rawSelector is required",
    );
    check("tokenreviews", json!({"spec": {}}), "token is required for TokenReview in authentication");
    check("selfsubjectrulesreviews", json!({"spec": {}}), "no namespace on request");
}

#[test]
fn rules_are_listed() {
    let answer = post("selfsubjectrulesreviews", "", &ann(), json!({"spec": {"namespace": "ns"}})).expect("rules");
    let expected = json!({
        "resourceRules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}],
        "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/x"]}],
        "incomplete": false,
        "evaluationError": "role.rbac.authorization.k8s.io \"gone\" not found",
    });
    assert_eq!((&answer["spec"], &answer["status"]), (&json!({}), &expected));
    let node = UserInfo::new("system:node:n1", &["system:nodes"]);
    let answer = post("selfsubjectrulesreviews", "", &node, json!({"spec": {"namespace": "ns"}})).expect("rules");
    assert_eq!(answer["status"]["incomplete"], json!(true));
}

#[test]
fn users_and_tokens_are_told() {
    let answer = post("selfsubjectreviews", "", &ann(), json!({})).expect("an answer");
    let expected = json!({"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"creationTimestamp": "1970-01-01T00:00:00Z"},
        "status": {"userInfo": {"username": "ann", "groups": ["crew", "system:authenticated"]}}});
    assert_eq!(answer, expected);

    let reviews = reviews();
    let serviceaccount = Reference { name: "bot".into(), uid: "u".into() };
    let bound = Bound { namespace: "ns".into(), serviceaccount, ..Bound::default() };
    let tokens = reviews.authenticator.tokens();
    let token = tokens.mint(bound, &["a".to_owned(), "b".to_owned()], 600).expect("a token");
    let ask = |spec: Value| {
        let (user, now) = (&ann(), Timestamp::UNIX_EPOCH);
        let review = Review { resource: "tokenreviews", namespace: "", user, now, body: json!({"spec": spec}) };
        reviews.answer(review).expect("a review").expect("an answer")["status"].clone()
    };
    let status = ask(json!({"token": token, "audiences": ["b", "c"]}));
    assert_eq!((&status["authenticated"], &status["audiences"]), (&json!(true), &json!(["b"])));
    assert_eq!(status["user"]["username"], json!("system:serviceaccount:ns:bot"));
    assert_eq!(ask(json!({"token": "x"})), json!({"user": {}, "error": "invalid bearer token"}));
    assert!(ask(json!({"token": token}))["error"].as_str().is_some_and(|error| error.contains("audiences")));
}
