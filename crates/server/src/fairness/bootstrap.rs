//! The levels and schemas that every cluster has. Compat: upstream's, to the letter.

use serde_json::{Value, json};

use super::{LEVELS, SCHEMAS};

/// Says that we bring an object's spec up to date.
pub(super) const AUTOUPDATE: &str = "apf.kubernetes.io/autoupdate-spec";

/// How firmly an object stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Firmness {
    /// Whatever users do.
    Mandatory,
    /// While users leave it to us.
    Suggested,
}

/// All of them: plural, how firm, object. Levels come before the schemas that refer to them.
pub(super) fn all() -> Vec<(&'static str, Firmness, Value)> {
    let mut all = levels();
    all.extend(schemas());
    all
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({
        "kind": kind, "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "metadata": {"name": name, "annotations": {AUTOUPDATE: "true"}}, "spec": spec,
    })
}

fn levels() -> Vec<(&'static str, Firmness, Value)> {
    let level = |firmness, name: &str, spec| (LEVELS, firmness, object("PriorityLevelConfiguration", name, spec));
    let exempt = json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}});
    let rest = json!({"type": "Limited", "limited": {
        "nominalConcurrencyShares": 5, "lendablePercent": 0, "limitResponse": {"type": "Reject"}}});
    let mut levels = vec![level(Firmness::Mandatory, "exempt", exempt), level(Firmness::Mandatory, "catch-all", rest)];
    // Shares, what others may borrow of them in percent, queues and how many of them a flow is dealt.
    for (name, shares, lendable, queues, hand) in [
        ("system", 30, 33, 64, 6),
        ("node-high", 40, 25, 64, 6),
        ("leader-election", 10, 0, 16, 4),
        ("workload-high", 40, 50, 128, 6),
        ("workload-low", 100, 90, 128, 6),
        ("global-default", 20, 50, 128, 6),
    ] {
        let queuing = json!({"queues": queues, "handSize": hand, "queueLengthLimit": 50});
        let limited = json!({
            "nominalConcurrencyShares": shares, "lendablePercent": lendable,
            "limitResponse": {"type": "Queue", "queuing": queuing},
        });
        levels.push(level(Firmness::Suggested, name, json!({"type": "Limited", "limited": limited})));
    }
    levels
}

fn user(name: &str) -> Value {
    json!({"kind": "User", "user": {"name": name}})
}

fn group(name: &str) -> Value {
    json!({"kind": "Group", "group": {"name": name}})
}

/// Every account of the system's namespace.
fn system_accounts() -> Value {
    json!({"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube-system", "name": "*"}})
}

fn everybody() -> Value {
    json!([group("system:unauthenticated"), group("system:authenticated")])
}

/// Everything that these ask for.
fn everything(subjects: &Value) -> Value {
    json!([{
        "subjects": subjects,
        "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true, "namespaces": ["*"]}],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
    }])
}

fn schemas() -> Vec<(&'static str, Firmness, Value)> {
    use Firmness::{Mandatory, Suggested};
    let leaders = json!([{
        "subjects": [user("system:kube-controller-manager"), user("system:kube-scheduler"), system_accounts()],
        "resourceRules": [{
            "verbs": ["get", "create", "update"], "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "namespaces": ["*"],
        }],
    }]);
    let nodes = json!([{
        "subjects": [group("system:nodes")],
        "resourceRules": [
            {"verbs": ["*"], "apiGroups": [""], "resources": ["nodes", "nodes/status"], "clusterScope": true, "namespaces": ["*"]},
            {"verbs": ["*"], "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "namespaces": ["*"]},
        ],
    }]);
    let probes = json!([{
        "subjects": everybody(),
        "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}],
    }]);
    let of = |subject: Value| everything(&json!([subject]));
    let table = [
        (Mandatory, "exempt", "exempt", 1, "", of(group("system:masters"))),
        (Mandatory, "catch-all", "catch-all", 10_000, "ByUser", everything(&everybody())),
        (Suggested, "probes", "exempt", 2, "", probes),
        (Suggested, "system-leader-election", "leader-election", 100, "ByUser", leaders),
        (Suggested, "system-node-high", "node-high", 400, "ByUser", nodes),
        (Suggested, "system-nodes", "system", 500, "ByUser", of(group("system:nodes"))),
        (
            Suggested,
            "kube-controller-manager",
            "workload-high",
            800,
            "ByNamespace",
            of(user("system:kube-controller-manager")),
        ),
        (Suggested, "kube-scheduler", "workload-high", 800, "ByNamespace", of(user("system:kube-scheduler"))),
        (Suggested, "kube-system-service-accounts", "workload-high", 900, "ByNamespace", of(system_accounts())),
        (Suggested, "service-accounts", "workload-low", 9000, "ByUser", of(group("system:serviceaccounts"))),
        (Suggested, "global-default", "global-default", 9900, "ByUser", everything(&everybody())),
    ];
    let schema = |(firmness, name, level, precedence, distinguisher, rules): (_, &str, &str, i64, &str, Value)| {
        let mut spec = json!({
            "matchingPrecedence": precedence, "priorityLevelConfiguration": {"name": level}, "rules": rules,
        });
        if !distinguisher.is_empty() {
            spec["distinguisherMethod"] = json!({"type": distinguisher});
        }
        (SCHEMAS, firmness, object("FlowSchema", name, spec))
    };
    table.into_iter().map(schema).collect()
}
