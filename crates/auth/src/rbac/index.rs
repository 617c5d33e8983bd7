//! Who is bound to which rules: the RBAC authorizer.
//!
//! Fed with single objects as they change, so a change costs as much as the object is large. Reading takes a shared lock
//! for the length of one decision.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use meta::{LabelSelector, Object, ObjectError, UserInfo, WatchEvent, WatchKind};
use serde::Deserialize;
use serde_json::Value;

use super::rule::Rule;
use crate::attributes::Attributes;
use crate::authorizer::{Authorizer, Decision, RuleSet};

/// What a binding binds to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RoleRef {
    /// `rbac.authorization.k8s.io`.
    pub api_group: String,
    /// `Role` or `ClusterRole`.
    pub kind: String,
    /// The role's name.
    pub name: String,
}

impl RoleRef {
    /// `roles` or `clusterroles`.
    pub fn resource(&self) -> &'static str {
        if self.kind == "Role" { "roles" } else { "clusterroles" }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Subject {
    kind: String,
    name: String,
    namespace: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BindingView {
    #[serde(default)]
    subjects: Option<Vec<Subject>>,
    #[serde(default)]
    role_ref: RoleRef,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RoleView {
    #[serde(default)]
    rules: Option<Vec<Rule>>,
    #[serde(default)]
    aggregation_rule: Option<Value>,
}

/// A role as it counts: with aggregation carried out.
struct Role {
    labels: BTreeMap<String, String>,
    selectors: Vec<LabelSelector>,
    rules: Arc<[Rule]>,
}

/// One subject's share of one binding.
struct Grant {
    binding: Arc<str>,
    role: RoleRef,
    /// The reason of a decision that it allows.
    reason: Arc<str>,
}

/// The bindings of one namespace, or those of the whole cluster.
#[derive(Default)]
struct Scope {
    users: HashMap<String, Vec<Grant>>,
    groups: HashMap<String, Vec<Grant>>,
}

#[derive(Default)]
struct State {
    /// By namespace, then name; cluster roles have no namespace.
    roles: HashMap<String, HashMap<String, Role>>,
    /// By namespace; cluster role bindings have none.
    scopes: HashMap<String, Scope>,
}

/// The authorizer.
#[derive(Default)]
pub struct Rbac(RwLock<State>);

impl Rbac {
    /// Takes in a Role, ClusterRole, RoleBinding or ClusterRoleBinding as it is now. Other kinds are ignored.
    pub fn put(&self, object: &Object) -> Result<(), ObjectError> {
        match object.kind() {
            "Role" | "ClusterRole" => {
                let role = Role::of(object)?;
                self.change(|state| state.put_role(object, Some(role)));
            }
            "RoleBinding" | "ClusterRoleBinding" => {
                let view: BindingView = object.view()?;
                self.change(|state| {
                    state.unbind(object);
                    state.bind(object, view);
                });
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes in what a watch tells. An object that cannot be read counts as absent.
    pub fn apply(&self, event: &WatchEvent) {
        match event.kind {
            WatchKind::Added | WatchKind::Modified => {
                if let Err(error) = self.put(&event.object) {
                    tracing::warn!(%error, object = event.object.metadata.key(), "reading a role or binding");
                    self.remove(&event.object);
                }
            }
            WatchKind::Deleted => self.remove(&event.object),
            WatchKind::Bookmark => {}
        }
    }

    /// Forgets an object that is gone.
    pub fn remove(&self, object: &Object) {
        match object.kind() {
            "Role" | "ClusterRole" => self.change(|state| state.put_role(object, None)),
            "RoleBinding" | "ClusterRoleBinding" => self.change(|state| state.unbind(object)),
            _ => {}
        }
    }

    /// The rules that a reference from a binding in `namespace` leads to.
    pub fn rules_of(&self, role: &RoleRef, namespace: &str) -> Option<Arc<[Rule]>> {
        let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
        state.role(role, namespace).map(|role| Arc::clone(&role.rules))
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        // A change that panicked left at worst one object out, which its next event mends.
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Role {
    fn of(object: &Object) -> Result<Self, ObjectError> {
        let view: RoleView = object.view()?;
        let selectors = view.aggregation_rule.as_ref().and_then(|rule| rule.get("clusterRoleSelectors"));
        let selectors = selectors.and_then(Value::as_array).into_iter().flatten();
        Ok(Self {
            labels: object.metadata.labels.clone(),
            // A selector that cannot be read selects nothing.
            selectors: selectors.filter_map(|selector| LabelSelector::from_value(selector).ok()).collect(),
            rules: view.rules.unwrap_or_default().into(),
        })
    }
}

impl State {
    fn put_role(&mut self, object: &Object, role: Option<Role>) {
        let (namespace, name) = (&object.metadata.namespace, &object.metadata.name);
        let roles = self.roles.entry(namespace.clone()).or_default();
        match role {
            Some(role) => roles.insert(name.clone(), role),
            None => roles.remove(name),
        };
        if namespace.is_empty() {
            aggregate(roles);
        } else if roles.is_empty() {
            self.roles.remove(namespace);
        }
    }

    fn role(&self, role: &RoleRef, namespace: &str) -> Option<&Role> {
        let namespace = match role.kind.as_str() {
            "Role" => namespace,
            "ClusterRole" => "",
            _ => return None,
        };
        self.roles.get(namespace)?.get(&role.name)
    }

    fn bind(&mut self, object: &Object, view: BindingView) {
        let (namespace, name) = (&object.metadata.namespace, &object.metadata.name);
        let binding: Arc<str> = name.as_str().into();
        let scope = self.scopes.entry(namespace.clone()).or_default();
        for subject in view.subjects.unwrap_or_default() {
            let home = if subject.namespace.is_empty() { namespace } else { &subject.namespace };
            let (grants, subject_key, described) = match subject.kind.as_str() {
                "User" => (&mut scope.users, subject.name.clone(), subject.name.clone()),
                "Group" => (&mut scope.groups, subject.name.clone(), subject.name.clone()),
                "ServiceAccount" if !home.is_empty() => {
                    let user = format!("system:serviceaccount:{home}:{}", subject.name);
                    (&mut scope.users, user, format!("{}/{home}", subject.name))
                }
                _ => continue,
            };
            let (kind, slash) = if namespace.is_empty() { ("ClusterRoleBinding", "") } else { ("RoleBinding", "/") };
            let reason = format!(
                "RBAC: allowed by {kind} \"{name}{slash}{namespace}\" of {} {:?} to {} {described:?}",
                view.role_ref.kind, view.role_ref.name, subject.kind
            );
            let grant = Grant { binding: Arc::clone(&binding), role: view.role_ref.clone(), reason: reason.into() };
            grants.entry(subject_key).or_default().push(grant);
        }
    }

    fn unbind(&mut self, object: &Object) {
        let (namespace, name) = (&object.metadata.namespace, object.metadata.name.as_str());
        let Some(scope) = self.scopes.get_mut(namespace) else { return };
        for subjects in [&mut scope.users, &mut scope.groups] {
            subjects.retain(|_, grants| {
                grants.retain(|grant| &*grant.binding != name);
                !grants.is_empty()
            });
        }
        if scope.users.is_empty() && scope.groups.is_empty() {
            self.scopes.remove(namespace);
        }
    }

    /// The grants that a user has: the cluster's first, then the namespace's.
    fn grants<'a>(&'a self, user: &'a UserInfo, namespace: &'a str) -> impl Iterator<Item = (&'a str, &'a Grant)> {
        let inner = (!namespace.is_empty()).then_some(namespace);
        let scopes = [Some(""), inner].into_iter().flatten();
        let scopes = scopes.filter_map(|namespace| Some((namespace, self.scopes.get(namespace)?)));
        scopes.flat_map(move |(namespace, scope)| {
            let own = scope.users.get(&user.name).into_iter();
            let by_group = user.groups.iter().filter_map(|group| scope.groups.get(group));
            own.chain(by_group).flatten().map(move |grant| (namespace, grant))
        })
    }

    fn missing_role(role: &RoleRef) -> String {
        match role.kind.as_str() {
            "Role" | "ClusterRole" => {
                format!("{}.rbac.authorization.k8s.io {:?} not found", role.kind.to_lowercase(), role.name)
            }
            other => format!("unsupported role reference kind: {other:?}"),
        }
    }
}

/// Gives every aggregating role the union of the roles it selects, until nothing changes.
fn aggregate(roles: &mut HashMap<String, Role>) {
    let aggregating = roles.iter().filter(|(_, role)| !role.selectors.is_empty());
    let names: Vec<String> = aggregating.map(|(name, _)| name.clone()).collect();
    // Each round settles at least one more of them, unless they select each other in a circle, which is settled too.
    for _ in 0..=names.len() {
        let mut changed = false;
        for name in &names {
            let rules = selected_rules(roles, name);
            if let Some(role) = roles.get_mut(name).filter(|role| role.rules[..] != rules[..]) {
                changed = true;
                role.rules = rules.into();
            }
        }
        if !changed {
            return;
        }
    }
}

/// The rules of all roles that `name` selects, by the order of their names.
fn selected_rules(roles: &HashMap<String, Role>, name: &str) -> Vec<Rule> {
    let selectors = roles.get(name).map_or(&[][..], |role| &role.selectors);
    let selects = |other: &Role| selectors.iter().any(|selector| selector.matches(&other.labels));
    let mut selected: Vec<_> = roles.iter().filter(|(own, role)| *own != name && selects(role)).collect();
    selected.sort_unstable_by_key(|(name, _)| *name);
    let mut rules: Vec<Rule> = Vec::new();
    for rule in selected.into_iter().flat_map(|(_, role)| role.rules.iter()) {
        if !rules.contains(rule) {
            rules.push(rule.clone());
        }
    }
    rules
}

impl Authorizer for Rbac {
    fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut missing: Vec<String> = Vec::new();
        for (namespace, grant) in state.grants(attributes.user, attributes.namespace()) {
            match state.role(&grant.role, namespace) {
                Some(role) if role.rules.iter().any(|rule| rule.allows(attributes)) => {
                    return Decision::allow(Arc::clone(&grant.reason));
                }
                Some(_) => {}
                None => missing.push(State::missing_role(&grant.role)),
            }
        }
        missing.dedup();
        match missing.as_slice() {
            [] => Decision::no_opinion(""),
            [one] => Decision::no_opinion(format!("RBAC: {one}")),
            many => Decision::no_opinion(format!("RBAC: [{}]", many.join(", "))),
        }
    }

    fn rules_for(&self, user: &UserInfo, namespace: &str) -> RuleSet {
        let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut grants: Vec<(&str, &Grant)> = state.grants(user, namespace).collect();
        // A binding counts once, however many of its subjects the user is.
        grants.sort_by_key(|(namespace, grant)| (*namespace, Arc::clone(&grant.binding)));
        grants.dedup_by_key(|(namespace, grant)| (*namespace, Arc::clone(&grant.binding)));
        let mut set = RuleSet::default();
        for (namespace, grant) in grants {
            match state.role(&grant.role, namespace) {
                Some(role) => set.rules.extend(role.rules.iter().cloned()),
                None => set.errors.push(State::missing_role(&grant.role)),
            }
        }
        set
    }
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
