//! MutatingAdmissionPolicy: changes writes by configurations that are applied to them, or by patches.

use std::sync::Arc;

use async_trait::async_trait;
use meta::ApiError;
use registry::{Admission, Attributes, Operation, Reader, Request};
use schema::cel::Budget;
use serde_json::{Value as Json, json};

use super::merge::merge;
use super::params::params;
use super::read::{Bound, Policies, Work};
use super::variables::Variables;
use crate::expressions::Documents;
use crate::fields::{forbidden, text};
use crate::rights::Rights;

const RESOURCES: (&str, &str) = ("mutatingadmissionpolicies", "mutatingadmissionpolicybindings");

/// The plugin.
#[derive(Debug)]
pub(crate) struct MutatingPolicies(Policies);

impl MutatingPolicies {
    pub(crate) fn new(rights: &Arc<dyn Rights>) -> Self {
        Self(Policies::new(rights))
    }
}

#[async_trait]
impl Admission for MutatingPolicies {
    fn name(&self) -> &'static str {
        "MutatingAdmissionPolicy"
    }

    fn handles(&self, attributes: &Attributes) -> bool {
        matches!(attributes.operation, Operation::Create | Operation::Update | Operation::Connect)
    }

    fn is_for_all(&self) -> bool {
        true
    }

    async fn mutate(&self, request: &mut Request<'_>, reader: &dyn Reader) -> Result<(), ApiError> {
        let bound = self.0.bound(RESOURCES, request, reader)?;
        let mut changed_by = None;
        for (index, bound) in bound.iter().enumerate() {
            if run(bound, request, reader)? {
                changed_by = Some(index);
            }
        }
        // Those that asked for it see once more what others made after them.
        let Some(last) = changed_by else { return Ok(()) };
        for bound in bound[..last].iter().filter(|bound| bound.policy.spec["reinvocationPolicy"] == "IfNeeded") {
            run(bound, request, reader)?;
        }
        Ok(())
    }
}

/// Whether a policy changed the object.
fn run(bound: &Bound, request: &mut Request<'_>, reader: &dyn Reader) -> Result<bool, ApiError> {
    let mut changed = false;
    let params = match params(bound, request, reader) {
        Ok(params) => params,
        Err(why) => return fail(bound, request, &why).map(|()| false),
    };
    for params in &params {
        let documents = Documents::of(request, reader, &bound.rights);
        match bound.policy.applies(&documents, params.as_ref(), &mut Budget::default()) {
            Ok(true) => {}
            Ok(false) => continue,
            Err(why) => {
                fail(bound, request, &why)?;
                continue;
            }
        }
        for work in &bound.policy.work {
            match mutated(bound, work, params.as_ref(), request, reader) {
                Ok(object) if object != request.object => {
                    request.object = object;
                    request.patched = true;
                    changed = true;
                }
                Ok(_) => {}
                Err(why) => fail(bound, request, &why)?,
            }
        }
    }
    Ok(changed)
}

fn fail(bound: &Bound, request: &Request<'_>, why: &str) -> Result<(), ApiError> {
    if bound.policy.fails_open {
        return Ok(());
    }
    let (policy, binding) = (&bound.policy.name, &bound.binding.metadata.name);
    Err(forbidden(request, &format!("policy '{policy}' with binding '{binding}' denied request: {why}")))
}

/// The object after one mutation; the error is for people.
fn mutated(
    bound: &Bound,
    work: &Work,
    params: Option<&Json>,
    request: &Request<'_>,
    reader: &dyn Reader,
) -> Result<Json, String> {
    let documents = Documents::of(request, reader, &bound.rights);
    let variables = Variables::of(&bound.policy.variables, documents.variables(params)).all();
    let program = work.program.as_ref().map_err(|why| format!("compilation failed: {why}"))?;
    let source = program.source();
    let result = program.run(&variables, &mut Budget::default());
    let result = result.map_err(|halt| format!("expression '{source}' resulted in error: {halt}"))?;
    let result = result.to_json().ok_or_else(|| format!("expression '{source}' comes to no document"))?;
    if text(&work.value, "/patchType") == "JSONPatch" {
        let patch: json_patch::Patch =
            serde_json::from_value(result).map_err(|error| format!("invalid patch: {error}"))?;
        let mut object = request.object.clone();
        json_patch::patch(&mut object, &patch).map_err(|error| format!("JSON Patch: {error}"))?;
        return Ok(object);
    }
    for field in ["apiVersion", "kind"] {
        if result.get(field).is_some_and(|own| *own != request.object[field]) {
            return Err(format!("error applying patch: {field} may not be changed"));
        }
    }
    let identity = ["name", "namespace", "uid", "managedFields"];
    if let Some(field) = identity.iter().find(|field| result.pointer(&format!("/metadata/{field}")).is_some()) {
        return Err(format!("error applying patch: metadata.{field} may not be set"));
    }
    let mut object = if request.object.is_object() { request.object.clone() } else { json!({}) };
    merge(reader, &request.attributes.kind, &mut object, &result);
    Ok(object)
}
