//! The group `rbac.authorization.k8s.io`.

use meta::field::{Error, Errors, Path};
use meta::names;
use serde_json::{Value, json};

use crate::age;
use crate::field::{self, items, text};
use crate::plain::{AGE, NAME, column, name, resource, wide};
use crate::resource::{Column, Part, Resource, Rules, Settings};

const GROUP: &str = "rbac.authorization.k8s.io";

/// The group's resources.
pub(crate) fn all() -> Vec<Resource> {
    let role =
        |kind, plural, singular| Resource { columns: ROLE, rules: &Role, ..resource(GROUP, kind, plural, singular) };
    let binding = |kind, plural, singular| Resource {
        columns: BINDING,
        rules: &Binding,
        ..resource(GROUP, kind, plural, singular)
    };
    vec![
        Resource { namespaced: false, ..binding("ClusterRoleBinding", "clusterrolebindings", "clusterrolebinding") },
        Resource { namespaced: false, ..role("ClusterRole", "clusterroles", "clusterrole") },
        binding("RoleBinding", "rolebindings", "rolebinding"),
        role("Role", "roles", "role"),
    ]
}

const CREATED: Column = Column { name: "Created At", kind: "date", format: "", priority: 0 };
const ROLE: &[Column] = &[NAME, CREATED];
const BINDING: &[Column] =
    &[NAME, column("Role", "string"), AGE, wide("Users"), wide("Groups"), wide("ServiceAccounts")];

struct Role;

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
        errors
    }

    fn row(&self, object: &Value, _: i64) -> Vec<Value> {
        vec![name(object), object["metadata"]["creationTimestamp"].clone()]
    }
}

struct Binding;

impl Rules for Binding {
    fn validate_name(&self, name: &str) -> Vec<String> {
        names::path_segment(name)
    }

    fn default(&self, object: &mut Value) {
        field::default(field::child(object, "roleRef"), "apiGroup", GROUP);
        for subject in field::items_mut(object, "subjects") {
            if matches!(text(subject, "/kind"), "User" | "Group") {
                field::default(subject, "apiGroup", GROUP);
            }
        }
    }

    fn validate(&self, object: &Value, _: &Settings) -> Errors {
        let mut errors = Errors::new();
        let reference = Path::new("roleRef");
        let kind = text(object, "/roleRef/kind");
        if !matches!(kind, "Role" | "ClusterRole") {
            errors.push(Error::not_supported(&reference.child("kind"), kind, &["ClusterRole", "Role"]));
        }
        if text(object, "/roleRef/name").is_empty() {
            errors.push(Error::required(&reference.child("name"), ""));
        }
        for (index, subject) in items(object, "/subjects").iter().enumerate() {
            let at = Path::new("subjects").index(index);
            if text(subject, "/name").is_empty() {
                errors.push(Error::required(&at.child("name"), ""));
            }
            let kind = text(subject, "/kind");
            if !matches!(kind, "User" | "Group" | "ServiceAccount") {
                errors.push(Error::not_supported(&at.child("kind"), kind, &["Group", "ServiceAccount", "User"]));
            }
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
