//! May they? One question, several authorizers that answer it in turn.

use std::sync::Arc;

use meta::UserInfo;

use crate::attributes::Attributes;
use crate::rbac::Rule;

/// Whoever is in this group may do everything.
pub const MASTERS: &str = "system:masters";

/// What an authorizer thinks of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may happen.
    Allow,
    /// It must not happen, whatever others think.
    Deny,
    /// That is for others to say; if nobody allows it, it is refused.
    NoOpinion,
}

/// A verdict with its reason, which may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The verdict.
    pub verdict: Verdict,
    /// Why, as reviews and refusals tell it.
    pub reason: Arc<str>,
}

impl Decision {
    /// It may happen.
    pub fn allow(reason: impl Into<Arc<str>>) -> Self {
        Self { verdict: Verdict::Allow, reason: reason.into() }
    }

    /// That is for others to say.
    pub fn no_opinion(reason: impl Into<Arc<str>>) -> Self {
        Self { verdict: Verdict::NoOpinion, reason: reason.into() }
    }

    /// Whether it may happen.
    pub fn allowed(&self) -> bool {
        self.verdict == Verdict::Allow
    }
}

/// The rules that apply to a user in a namespace, as far as an authorizer can list them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleSet {
    /// The rules.
    pub rules: Vec<Rule>,
    /// Why the list is not complete; empty if it is.
    pub errors: Vec<String>,
    /// Whether more is allowed than rules can say.
    pub incomplete: bool,
}

/// Decides on requests from what is in memory; never waits.
pub trait Authorizer: Send + Sync + 'static {
    /// The verdict on a request.
    fn authorize(&self, attributes: &Attributes<'_>) -> Decision;

    /// What a user may do in a namespace.
    fn rules_for(&self, user: &UserInfo, namespace: &str) -> RuleSet;

    /// The request's refusal, if it is refused.
    fn check(&self, attributes: &Attributes<'_>) -> Result<(), meta::ApiError> {
        let decision = self.authorize(attributes);
        if decision.allowed() { Ok(()) } else { Err(attributes.forbidden(&decision.reason)) }
    }
}

/// Allows everything to `system:masters`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Masters;

impl Authorizer for Masters {
    fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        if attributes.user.in_group(MASTERS) { Decision::allow("") } else { Decision::no_opinion("") }
    }

    // Compat: upstream lists what masters may do by the binding to cluster-admin only.
    fn rules_for(&self, _user: &UserInfo, _namespace: &str) -> RuleSet {
        RuleSet::default()
    }
}

/// Asks one authorizer after the other until one has an opinion.
#[derive(Clone)]
pub struct Chain(Vec<Arc<dyn Authorizer>>);

impl Chain {
    /// In this order.
    pub fn new(authorizers: Vec<Arc<dyn Authorizer>>) -> Self {
        Self(authorizers)
    }
}

impl Authorizer for Chain {
    fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        let mut reasons: Vec<Arc<str>> = Vec::new();
        for authorizer in &self.0 {
            let decision = authorizer.authorize(attributes);
            match decision.verdict {
                Verdict::Allow | Verdict::Deny => return decision,
                Verdict::NoOpinion if decision.reason.is_empty() => {}
                Verdict::NoOpinion => reasons.push(decision.reason),
            }
        }
        Decision::no_opinion(reasons.join("\n"))
    }

    fn rules_for(&self, user: &UserInfo, namespace: &str) -> RuleSet {
        let mut all = RuleSet::default();
        for authorizer in &self.0 {
            let own = authorizer.rules_for(user, namespace);
            all.rules.extend(own.rules);
            all.errors.extend(own.errors);
            all.incomplete |= own.incomplete;
        }
        all
    }
}
