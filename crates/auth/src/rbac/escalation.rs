//! Nobody grants what they don't hold.

use meta::{ApiError, Gvr, UserInfo};

use super::index::{Rbac, RoleRef};
use super::rule::Rule;
use crate::attributes::Attributes;
use crate::authorizer::{Authorizer, MASTERS};

/// The API group of roles and bindings.
const GROUP: &str = "rbac.authorization.k8s.io";

/// A write of a role or binding, about to happen.
#[derive(Clone, Copy)]
pub struct Escalation<'a> {
    /// Who writes.
    pub user: &'a UserInfo,
    /// Decides who may `escalate` and `bind`.
    pub authorizer: &'a dyn Authorizer,
    /// What the writer holds.
    pub rbac: &'a Rbac,
    /// The object's namespace; empty for cluster roles and their bindings.
    pub namespace: &'a str,
    /// The object's name.
    pub name: &'a str,
}

impl Escalation<'_> {
    /// Whether a Role or ClusterRole may have these rules. `aggregates` says whether it has, or had, an aggregation rule.
    pub fn check_role(&self, rules: &[Rule], aggregates: bool) -> Result<(), ApiError> {
        let resource = if self.namespace.is_empty() { "clusterroles" } else { "roles" };
        if self.user.in_group(MASTERS) || self.allows("escalate", GROUP, resource, self.name) {
            return Ok(());
        }
        let forbidden = |why: &str| ApiError::forbidden(&Gvr::new(GROUP, "v1", resource), self.name, why);
        self.confirm(rules).map_err(|why| forbidden(&why))?;
        if aggregates && self.confirm(&Rule::everything()).is_err() {
            return Err(forbidden("must have cluster-admin privileges to use the aggregationRule"));
        }
        Ok(())
    }

    /// Whether a RoleBinding or ClusterRoleBinding may refer to a role.
    pub fn check_binding(&self, role: &RoleRef) -> Result<(), ApiError> {
        if self.user.in_group(MASTERS) || self.allows("bind", &role.api_group, role.resource(), &role.name) {
            return Ok(());
        }
        let rules = self.rbac.rules_of(role, self.namespace).ok_or_else(|| {
            let singular = role.resource().trim_end_matches('s');
            ApiError::not_found(&Gvr::new(GROUP, "v1", singular), &role.name)
        })?;
        let resource = if self.namespace.is_empty() { "clusterrolebindings" } else { "rolebindings" };
        let gvr = Gvr::new(GROUP, "v1", resource);
        self.confirm(&rules).map_err(|why| ApiError::forbidden(&gvr, self.name, &why))
    }

    fn allows(&self, verb: &str, group: &str, resource: &str, name: &str) -> bool {
        let attributes = Attributes::resource(self.user, verb, group, resource).at(self.namespace, name);
        self.authorizer.authorize(&attributes).allowed()
    }

    fn confirm(&self, rules: &[Rule]) -> Result<(), String> {
        let held = self.rbac.rules_for(self.user, self.namespace);
        let missing = Rule::missing(&held.rules, rules);
        if missing.is_empty() {
            return Ok(());
        }
        let groups: Vec<String> = self.user.groups.iter().map(|group| format!("{group:?}")).collect();
        let missing: Vec<String> = Rule::describe(&missing).into_iter().collect();
        let mut text = format!(
            "user {:?} (groups=[{}]) is attempting to grant RBAC permissions not currently held:\n{}",
            self.user.name,
            groups.join(" "),
            missing.join("\n")
        );
        if !held.errors.is_empty() {
            text += &format!("; resolution errors: [{}]", held.errors.join(", "));
        }
        Err(text)
    }
}
