//! Policies and their bindings, read once for each revision.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use meta::{ApiError, Object};
use registry::{Reader, Request};
use schema::cel::{Budget, Program};
use serde_json::Value;

use super::variables::Variables;
use crate::expressions::{Conditions, DECLARED, Documents, Matching};
use crate::fields::{items, text};
use crate::matching::{is_exempt, rules_match, selectors_match};
use crate::rights::Rights;

const GROUP: &str = "admissionregistration.k8s.io";

/// A program, or why there is none.
pub(super) type Compiled = Result<Program, String>;

/// A policy.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) name: String,
    pub(super) spec: Value,
    pub(super) fails_open: bool,
    pub(super) variables: Vec<(String, Compiled)>,
    /// The validations or mutations.
    pub(super) work: Vec<Work>,
    conditions: Conditions,
}

/// A validation or a mutation.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) value: Value,
    pub(super) program: Compiled,
    pub(super) message: Option<Compiled>,
}

impl Policy {
    fn read(object: &Object) -> Self {
        let spec = object.value()["spec"].clone();
        let compile = |text: &str| Program::compile(text.trim(), &DECLARED);
        let variable = |one: &Value| (text(one, "/name").to_owned(), compile(text(one, "/expression")));
        let work = |one: &Value| Work {
            program: compile(expression(one)),
            message: Some(text(one, "/messageExpression")).filter(|text| !text.trim().is_empty()).map(compile),
            value: one.clone(),
        };
        Self {
            name: object.metadata.name.clone(),
            fails_open: spec["failurePolicy"] == "Ignore",
            variables: items(&spec, "/variables").map(variable).collect(),
            work: items(&spec, "/validations").chain(items(&spec, "/mutations")).map(work).collect(),
            conditions: Conditions::compile(&spec["matchConditions"]),
            spec,
        }
    }

    /// Whether its match conditions let a write through; an error where one fails and the policy may not.
    pub(super) fn applies(
        &self,
        documents: &Documents,
        params: Option<&Value>,
        budget: &mut Budget,
    ) -> Result<bool, String> {
        let variables = Variables::of(&self.variables, documents.variables(params));
        match self.conditions.check(&variables.all(), budget) {
            Matching::Yes => Ok(true),
            Matching::No => Ok(false),
            Matching::Failed(_) if self.fails_open => Ok(false),
            Matching::Failed(why) => Err(why),
        }
    }
}

/// The expression of a validation or a mutation.
fn expression(work: &Value) -> &str {
    let places = ["/expression", "/applyConfiguration/expression", "/jsonPatch/expression"];
    places.into_iter().map(|place| text(work, place)).find(|text| !text.is_empty()).unwrap_or_default()
}

/// A policy that a binding makes look at a write.
pub(super) struct Bound {
    pub(super) policy: Arc<Policy>,
    pub(super) binding: Arc<Object>,
    pub(super) binding_spec: Value,
    /// What expressions may ask for.
    pub(super) rights: Arc<dyn Rights>,
}

/// The policies of a kind.
#[derive(Debug)]
pub(super) struct Policies {
    rights: Arc<dyn Rights>,
    read: Mutex<HashMap<String, (u64, Arc<Policy>)>>,
}

impl Policies {
    pub(super) fn new(rights: &Arc<dyn Rights>) -> Self {
        Self { rights: Arc::clone(rights), read: Mutex::default() }
    }

    /// Those that look at a write, with each of their bindings.
    pub(super) fn bound(
        &self,
        (policies, bindings): (&str, &str),
        request: &Request<'_>,
        reader: &dyn Reader,
    ) -> Result<Vec<Bound>, ApiError> {
        if is_exempt(&request.attributes) {
            return Ok(Vec::new());
        }
        let bindings = reader.list(GROUP, bindings, "");
        if bindings.is_empty() {
            return Ok(Vec::new());
        }
        let mut bound = Vec::new();
        for policy in self.now(policies, reader) {
            if !is_matched(&policy.spec["matchConstraints"], request, reader)? {
                continue;
            }
            for binding in &bindings {
                let spec = binding.value()["spec"].clone();
                let own = spec["policyName"] == policy.name.as_str() && !binding.metadata.is_terminating();
                let matched =
                    !spec["matchResources"].is_object() || is_matched(&spec["matchResources"], request, reader)?;
                if own && matched {
                    bound.push(Bound {
                        policy: policy.clone(),
                        binding: binding.clone(),
                        binding_spec: spec,
                        rights: Arc::clone(&self.rights),
                    });
                }
            }
        }
        Ok(bound)
    }

    fn now(&self, resource: &str, reader: &dyn Reader) -> Vec<Arc<Policy>> {
        let objects = reader.list(GROUP, resource, "");
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.retain(|name, _| objects.iter().any(|own| own.metadata.name == *name));
        let mut policies = Vec::new();
        for object in &objects {
            let name = &object.metadata.name;
            let known = read.get(name).filter(|(revision, _)| *revision == object.revision);
            let policy = match known {
                Some((_, policy)) => policy.clone(),
                None => {
                    let policy = Arc::new(Policy::read(object));
                    read.insert(name.clone(), (object.revision, policy.clone()));
                    policy
                }
            };
            policies.push(policy);
        }
        policies
    }
}

/// Whether a `matchConstraints` or `matchResources` is about a write; without rules it is about every one.
fn is_matched(matching: &Value, request: &Request<'_>, reader: &dyn Reader) -> Result<bool, ApiError> {
    let equivalent = matching["matchPolicy"] != "Exact" && request.attributes.kind.group.contains('.');
    let attributes = &request.attributes;
    let rules = &matching["resourceRules"];
    let any = rules.as_array().is_none_or(Vec::is_empty);
    if rules_match(&matching["excludeResourceRules"], attributes, equivalent) {
        return Ok(false);
    }
    Ok((any || rules_match(rules, attributes, equivalent)) && selectors_match(matching, request, reader)?)
}
