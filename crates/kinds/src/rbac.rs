//! The group `rbac.authorization.k8s.io`.

use meta::field::{Error, Errors, Path};
use meta::names;
use serde_json::{Value, json};

use crate::age;
use crate::core::pod::label_selector;
use crate::field::{self, items, text};
use crate::plain::{AGE, NAME, column, name, resource, wide};
use crate::resource::{Column, Part, Resource, Rules, Settings};

const GROUP: &str = "rbac.authorization.k8s.io";

/// The group's resources.
pub(crate) fn all() -> Vec<Resource> {
    let role =
        |rules, kind, plural, singular| Resource { columns: ROLE, rules, ..resource(GROUP, kind, plural, singular) };
    let binding =
        |rules, kind, plural, singular| Resource { columns: BINDING, rules, ..resource(GROUP, kind, plural, singular) };
    vec![
        Resource {
            namespaced: false,
            ..binding(&Binding::OF_CLUSTER, "ClusterRoleBinding", "clusterrolebindings", "clusterrolebinding")
        },
        Resource { namespaced: false, ..role(&Role::OF_CLUSTER, "ClusterRole", "clusterroles", "clusterrole") },
        binding(&Binding::OF_NAMESPACE, "RoleBinding", "rolebindings", "rolebinding"),
        role(&Role::OF_NAMESPACE, "Role", "roles", "role"),
    ]
}

const CREATED: Column = Column { name: "Created At", kind: "date", format: "", priority: 0 };
const ROLE: &[Column] = &[NAME, CREATED];
const BINDING: &[Column] =
    &[NAME, column("Role", "string"), AGE, wide("Users"), wide("Groups"), wide("ServiceAccounts")];

/// The rules of roles, in namespaces or for the whole cluster.
struct Role {
    namespaced: bool,
}

impl Role {
    const OF_CLUSTER: Self = Self { namespaced: false };
    const OF_NAMESPACE: Self = Self { namespaced: true };
}

impl Rules for Role {
    fn validate_name(&self, name: &str) -> Vec<String> {
        names::path_segment(name)
    }

    fn validate(&self, object: &Value, _: &Settings) -> Errors {
        let mut errors = Errors::new();
        for (index, rule) in items(object, "/rules").iter().enumerate() {
            let at = Path::new("rules").index(index);
            if items(rule, "/verbs").is_empty() {
                errors.push(Error::required(&at.child("verbs"), "verbs must contain at least one value"));
            }
            if !items(rule, "/nonResourceURLs").is_empty() {
                let (at, paths) = (at.child("nonResourceURLs"), &rule["nonResourceURLs"]);
                if self.namespaced {
                    let why = "namespaced rules cannot apply to non-resource URLs";
                    errors.push(Error::invalid(&at, paths.clone(), why));
                }
                let lists = ["/apiGroups", "/resources", "/resourceNames"];
                if lists.iter().any(|list| !items(rule, list).is_empty()) {
                    let why = "rules cannot apply to both regular resources and non-resource URLs";
                    errors.push(Error::invalid(&at, paths.clone(), why));
                }
                continue;
            }
            for list in ["apiGroups", "resources"] {
                if items(rule, &format!("/{list}")).is_empty() {
                    let detail = format!(
                        "resource rules must supply at least one {}",
                        if list == "apiGroups" { "api group" } else { "resource" }
                    );
                    errors.push(Error::required(&at.child(list), &detail));
                }
            }
        }
        errors.extend(aggregation(object));
        errors
    }

    fn row(&self, object: &Value, _: i64) -> Vec<Value> {
        vec![name(object), object["metadata"]["creationTimestamp"].clone()]
    }
}

/// Whose rules a role gathers.
fn aggregation(object: &Value) -> Errors {
    let (rule, path) = (&object["aggregationRule"], Path::new("aggregationRule").child("clusterRoleSelectors"));
    let selectors = items(rule, "/clusterRoleSelectors");
    let mut errors = Errors::new();
    if !rule.is_null() && selectors.is_empty() {
        let why = "at least one clusterRoleSelector required if aggregationRule is non-nil";
        errors.push(Error::required(&path, why));
    }
    for (index, selector) in selectors.iter().enumerate() {
        let found = label_selector(selector, &path.index(index));
        let broken =
            (!found.is_empty()).then(|| Error::invalid(&path.index(index), Value::Null, "invalid label selector."));
        errors.extend(found.into_iter().chain(broken));
    }
    errors
}

/// The rules of bindings, in namespaces or for the whole cluster.
struct Binding {
    namespaced: bool,
}

impl Binding {
    const OF_CLUSTER: Self = Self { namespaced: false };
    const OF_NAMESPACE: Self = Self { namespaced: true };

    fn subject(&self, subject: &Value, path: &Path) -> Errors {
        let mut errors = Errors::new();
        let (own, group) = (text(subject, "/name"), text(subject, "/apiGroup"));
        if own.is_empty() {
            errors.push(Error::required(&path.child("name"), ""));
        }
        let expected = match text(subject, "/kind") {
            "ServiceAccount" => {
                if !own.is_empty() {
                    errors.extend(
                        names::subdomain(own).iter().map(|rule| Error::invalid(&path.child("name"), own, rule)),
                    );
                }
                ""
            }
            "User" | "Group" => GROUP,
            kind => {
                let known = ["ServiceAccount", "User", "Group"];
                errors.push(Error::not_supported_as_listed(&path.child("kind"), kind, &known));
                return errors;
            }
        };
        if group != expected {
            errors.push(Error::not_supported(&path.child("apiGroup"), group, &[expected]));
        }
        if expected.is_empty() && !self.namespaced && text(subject, "/namespace").is_empty() {
            errors.push(Error::required(&path.child("namespace"), ""));
        }
        errors
    }
}

impl Rules for Binding {
    fn validate_name(&self, name: &str) -> Vec<String> {
        names::path_segment(name)
    }

    fn default(&self, object: &mut Value) {
        // Compat: an empty group is none.
        let fill = |reference: &mut Value| {
            if text(reference, "/apiGroup").is_empty() {
                reference["apiGroup"] = json!(GROUP);
            }
        };
        fill(field::child(object, "roleRef"));
        let named = |subject: &&mut Value| matches!(text(subject, "/kind"), "User" | "Group");
        field::items_mut(object, "subjects").filter(named).for_each(fill);
    }

    fn validate(&self, object: &Value, _: &Settings) -> Errors {
        let mut errors = Errors::new();
        let reference = Path::new("roleRef");
        let group = text(object, "/roleRef/apiGroup");
        if group != GROUP {
            errors.push(Error::not_supported(&reference.child("apiGroup"), group, &[GROUP]));
        }
        let kind = text(object, "/roleRef/kind");
        let known: &[&str] = if self.namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
        if !known.contains(&kind) {
            errors.push(Error::not_supported_as_listed(&reference.child("kind"), kind, known));
        }
        let (own, at) = (text(object, "/roleRef/name"), reference.child("name"));
        if own.is_empty() {
            errors.push(Error::required(&at, ""));
        }
        errors.extend(names::path_segment(own).iter().map(|rule| Error::invalid(&at, own, rule)));
        for (index, subject) in items(object, "/subjects").iter().enumerate() {
            errors.extend(self.subject(subject, &Path::new("subjects").index(index)));
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, _: Part<'_>, settings: &Settings) -> Errors {
        let mut errors = self.validate(new, settings);
        if new["roleRef"] != old["roleRef"] {
            errors.push(Error::invalid(&Path::new("roleRef"), new["roleRef"].clone(), "cannot change roleRef"));
        }
        errors
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        let role = format!("{}/{}", text(object, "/roleRef/kind"), text(object, "/roleRef/name"));
        let subjects = |kind: &str| {
            let of_kind = items(object, "/subjects").iter().filter(|subject| text(subject, "/kind") == kind);
            let named = |subject: &Value| match text(subject, "/namespace") {
                "" => text(subject, "/name").to_owned(),
                namespace => format!("{namespace}/{}", text(subject, "/name")),
            };
            json!(of_kind.map(named).collect::<Vec<_>>().join(", "))
        };
        vec![
            name(object),
            role.into(),
            age::of(object, now),
            subjects("User"),
            subjects("Group"),
            subjects("ServiceAccount"),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_without_a_group_are_to_roles_and_users() {
        let subjects = json!([{"kind": "User", "apiGroup": ""}, {"kind": "Group"}, {"kind": "ServiceAccount"}]);
        let mut binding = json!({"roleRef": {"apiGroup": ""}, "subjects": subjects});
        Binding::OF_CLUSTER.default(&mut binding);
        assert_eq!(binding["roleRef"]["apiGroup"], GROUP);
        let groups: Vec<&str> = items(&binding, "/subjects").iter().map(|subject| text(subject, "/apiGroup")).collect();
        assert_eq!(groups, [GROUP, GROUP, ""]);
    }
}
