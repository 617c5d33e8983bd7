//! The roles and bindings that every cluster starts with, and how a start brings those that are there up to date.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::rule::Rule;

/// Upstream's bootstrap policy in our own short form, described at its head.
const POLICY: &str = include_str!("bootstrap.txt");

const GROUP: &str = "rbac.authorization.k8s.io";
const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
const AGGREGATE_TO: &str = "rbac.authorization.k8s.io/aggregate-to-";

/// A role or binding of the policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Expected {
    /// `clusterroles`, `clusterrolebindings`, `roles` or `rolebindings`, of `rbac.authorization.k8s.io/v1`.
    pub resource: &'static str,
    /// Empty for the cluster's.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The object to create.
    pub object: Value,
}

/// What to do about an [`Expected`].
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// It is as it should be, or protected from updates by its annotation.
    Nothing,
    /// It is not there.
    Create(Value),
    /// It lacks something.
    Update(Value),
    /// It binds to another role, which cannot be changed: delete it first.
    Recreate(Value),
}

/// The policy, roles before what binds to them.
pub fn all() -> Vec<Expected> {
    let mut all: Vec<Expected> = Vec::new();
    for line in POLICY.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(rule) = line.strip_prefix("  ") {
            let role = all.last_mut().expect("rules stand beneath their role");
            let rules = role.object["rules"].as_array_mut().expect("roles with rules don't aggregate");
            rules.push(json!(read_rule(rule)));
        } else {
            all.push(read_head(line));
        }
    }
    all
}

/// The rules of a cluster role of the policy.
pub fn rules_of(cluster_role: &str) -> Vec<Rule> {
    let role = all().into_iter().find(|role| role.resource == "clusterroles" && role.name == cluster_role);
    role.and_then(|role| serde_json::from_value(role.object["rules"].clone()).ok()).unwrap_or_default()
}

fn read_rule(line: &str) -> Rule {
    let list = |words: &str| words.split(',').map(str::to_owned).collect::<Vec<_>>();
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        [verbs, "url", urls] => Rule { verbs: list(verbs), non_resource_urls: list(urls), ..Rule::default() },
        [verbs, groups, resources, ref names @ ..] => Rule {
            verbs: list(verbs),
            api_groups: groups.split(',').map(|group| if group == "core" { "" } else { group }.to_owned()).collect(),
            resources: list(resources),
            resource_names: names.get(1).map(|names| list(names)).unwrap_or_default(),
            ..Rule::default()
        },
        _ => panic!("a rule has at least three words: {line}"),
    }
}

fn read_head(line: &str) -> Expected {
    let (kind, rest) = line.split_once(' ').expect("a head begins with a kind");
    let (head, tail) = rest.split_once(' ').unwrap_or((rest, ""));
    let (namespace, name) = head.split_once('/').unwrap_or(("", head));
    let mut object = json!({
        "kind": kind,
        "apiVersion": format!("{GROUP}/v1"),
        "metadata": {
            "name": name,
            "annotations": {AUTOUPDATE: "true"},
            "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
        },
    });
    if !namespace.is_empty() {
        object["metadata"]["namespace"] = json!(namespace);
    }
    let resource = match kind {
        "ClusterRole" => "clusterroles",
        "Role" => "roles",
        "ClusterRoleBinding" => "clusterrolebindings",
        "RoleBinding" => "rolebindings",
        other => panic!("{other} is no kind of this policy"),
    };
    if let Some(binding) = tail.strip_prefix("-> ") {
        read_binding(&mut object, binding);
    } else {
        read_aggregation(&mut object, tail);
    }
    Expected { resource, namespace: namespace.to_owned(), name: name.to_owned(), object }
}

fn read_aggregation(role: &mut Value, marks: &str) {
    role["rules"] = json!([]);
    for mark in marks.split(' ').filter(|mark| !mark.is_empty()) {
        let (sign, group) = mark.split_at(1);
        let label = format!("{AGGREGATE_TO}{group}");
        if sign == "+" {
            role["metadata"]["labels"][label] = json!("true");
        } else {
            role["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]});
            role.as_object_mut().map(|role| role.remove("rules"));
        }
    }
}

fn read_binding(binding: &mut Value, text: &str) {
    let (role, subjects) = text.split_once(" : ").unwrap_or((text, ""));
    let (kind, name) = role.split_once('/').expect("a role has a kind and a name");
    binding["roleRef"] = json!({"apiGroup": GROUP, "kind": kind, "name": name});
    let subject = |text: &str| match text.split('/').collect::<Vec<_>>()[..] {
        [kind, namespace, name] => json!({"kind": kind, "namespace": namespace, "name": name}),
        [kind, name] => json!({"apiGroup": GROUP, "kind": kind, "name": name}),
        _ => panic!("no subject: {text}"),
    };
    if !subjects.is_empty() {
        binding["subjects"] = subjects.split(", ").map(subject).collect();
    }
}

/// What to do about an expected object, given the one that is there.
pub fn plan(existing: Option<&Value>, expected: &Value) -> Action {
    let Some(existing) = existing else { return Action::Create(expected.clone()) };
    if existing["metadata"]["annotations"][AUTOUPDATE] == json!("false") {
        return Action::Nothing;
    }
    let mut updated = existing.clone();
    for map in ["annotations", "labels"] {
        // What is there wins.
        let mut merged: BTreeMap<String, Value> = read(&expected["metadata"][map]);
        merged.extend(read::<BTreeMap<String, Value>>(&existing["metadata"][map]));
        updated["metadata"][map] = json!(merged);
    }
    if expected.get("roleRef").is_some() {
        if existing["roleRef"] != expected["roleRef"] {
            return Action::Recreate(expected.clone());
        }
        append_missing(&mut updated, expected, "/subjects");
    } else {
        let missing = Rule::missing(&read::<Vec<Rule>>(&existing["rules"]), &read::<Vec<Rule>>(&expected["rules"]));
        if !missing.is_empty() {
            let mut rules: Vec<Value> = read(&existing["rules"]);
            rules.extend(missing.iter().map(|rule| json!(rule)));
            updated["rules"] = json!(rules);
        }
        if expected.get("aggregationRule").is_some() {
            if !updated["aggregationRule"].is_object() {
                updated["aggregationRule"] = json!({});
            }
            append_missing(&mut updated, expected, "/aggregationRule/clusterRoleSelectors");
        } else if let Some(updated) = updated.as_object_mut() {
            updated.remove("aggregationRule");
        }
    }
    if updated == *existing { Action::Nothing } else { Action::Update(updated) }
}

fn append_missing(updated: &mut Value, expected: &Value, list: &str) {
    let mut items: Vec<Value> = updated.pointer(list).map(read).unwrap_or_default();
    let before = items.len();
    for item in expected.pointer(list).map(read::<Vec<Value>>).unwrap_or_default() {
        if !items.contains(&item) {
            items.push(item);
        }
    }
    if items.len() == before {
        return;
    }
    let (parent, name) = list.rsplit_once('/').expect("a pointer begins with a slash");
    if let Some(parent) = updated.pointer_mut(parent) {
        parent[name] = json!(items);
    }
}

/// What cannot be read counts as absent.
fn read<T: DeserializeOwned + Default>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use ring::digest::{SHA256, digest};

    use super::*;

    /// Name and digest of each object of upstream's own list (bootstrappolicy/testdata in v1.36.3): the first eight bytes
    /// of SHA-256 of its JSON, keys sorted, without nulls and empty lists.
    const UPSTREAM: &str = include_str!("bootstrap.sums");

    fn canonical(value: &Value) -> String {
        match value {
            Value::Object(map) => {
                let sorted: BTreeMap<_, _> = map.iter().filter(|(_, value)| **value != json!([])).collect();
                let fields: Vec<String> =
                    sorted.iter().map(|(key, value)| format!("{}:{}", json!(key), canonical(value))).collect();
                format!("{{{}}}", fields.join(","))
            }
            Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
            other => other.to_string(),
        }
    }

    #[test]
    fn the_policy_is_upstreams() {
        let ours: Vec<String> = all()
            .iter()
            .map(|expected| {
                let sum = digest(&SHA256, canonical(&expected.object).as_bytes());
                let slash = if expected.namespace.is_empty() { "" } else { "/" };
                let kind = expected.object["kind"].as_str().unwrap_or_default();
                let sum = hex::encode(&sum.as_ref()[..8]);
                format!("{sum} {kind} {}{slash}{}", expected.namespace, expected.name)
            })
            .collect();
        assert_eq!(ours, UPSTREAM.lines().collect::<Vec<_>>());
    }

    #[test]
    fn a_start_mends_what_lacks_something() {
        let find = |name: &str, resource: &str| {
            let found = all().into_iter().find(|expected| expected.name == name && expected.resource == resource);
            found.expect(name).object
        };
        let check = |expected: &Value, change: &dyn Fn(&mut Value), action: &str| {
            let mut existing = expected.clone();
            existing["metadata"]["resourceVersion"] = json!("7");
            let right = existing.clone();
            change(&mut existing);
            match (plan(Some(&existing), expected), action) {
                (Action::Nothing, "nothing") => {}
                (Action::Recreate(value), "recreate") => assert_eq!(&value, expected),
                (Action::Update(value), "update") => {
                    assert_eq!(plan(Some(&value), expected), Action::Nothing, "{value}");
                    assert_eq!(value["metadata"], right["metadata"]);
                }
                (action, wanted) => panic!("{wanted}, not {action:?}"),
            }
        };
        let role = find("system:basic-user", "clusterroles");
        check(&role, &|_| {}, "nothing");
        check(&role, &|role| role["rules"] = json!([]), "update");
        check(&role, &|role| role["rules"] = json!(Rule::everything()), "nothing");
        check(&role, &|role| role["metadata"]["labels"] = json!({}), "update");
        let protect = |role: &mut Value| {
            role["rules"] = json!([]);
            role["metadata"]["annotations"][AUTOUPDATE] = json!("false");
        };
        check(&role, &protect, "nothing");
        let admin = find("admin", "clusterroles");
        check(&admin, &|role| role["rules"] = json!(Rule::everything()), "nothing");
        check(&admin, &|role| role["aggregationRule"] = json!(null), "update");
        let binding = find("system:discovery", "clusterrolebindings");
        check(&binding, &|_| {}, "nothing");
        check(&binding, &|binding| binding["subjects"] = json!([]), "update");
        check(&binding, &|binding| binding["roleRef"]["name"] = json!("other"), "recreate");
        assert_eq!(plan(None, &role), Action::Create(role));
    }
}
