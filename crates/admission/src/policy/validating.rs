//! ValidatingAdmissionPolicy: refuses, or warns of, writes for which an expression doesn't hold.

use std::sync::Arc;

use async_trait::async_trait;
use meta::{ApiError, Cause, Reason};
use registry::{Admission, Attributes, Reader, Request};
use schema::cel::{Budget, Program, Value};

use super::params::params;
use super::read::{Bound, Policies, Policy, Work};
use super::variables::Variables;
use crate::expressions::Documents;
use crate::fields::{forbidden, items, text};
use crate::rights::Rights;

const RESOURCES: (&str, &str) = ("validatingadmissionpolicies", "validatingadmissionpolicybindings");

/// Compat: longer messages are not shown.
const MESSAGE: usize = 5 << 10;

/// The plugin.
#[derive(Debug)]
pub(crate) struct ValidatingPolicies(Policies);

impl ValidatingPolicies {
    pub(crate) fn new(rights: &Arc<dyn Rights>) -> Self {
        Self(Policies::new(rights))
    }
}

/// Why a write shall not be.
struct Denial {
    message: String,
    reason: Reason,
}

impl Denial {
    fn invalid(message: String) -> Self {
        Self { message, reason: Reason::Invalid }
    }
}

#[async_trait]
impl Admission for ValidatingPolicies {
    fn name(&self) -> &'static str {
        "ValidatingAdmissionPolicy"
    }

    fn handles(&self, _attributes: &Attributes) -> bool {
        true
    }

    fn is_for_all(&self) -> bool {
        true
    }

    async fn validate(&self, request: &Request<'_>, reader: &dyn Reader) -> Result<(), ApiError> {
        let bound = self.0.bound(RESOURCES, request, reader)?;
        if bound.is_empty() {
            return Ok(());
        }
        let documents = Documents::of(request, reader, &bound[0].rights);
        let mut refusal = None;
        for bound in &bound {
            for denial in denials(bound, &documents, request, reader) {
                let actions: Vec<&str> =
                    items(&bound.binding_spec, "/validationActions").filter_map(|one| one.as_str()).collect();
                let (policy, binding) = (&bound.policy.name, &bound.binding.metadata.name);
                if actions.contains(&"Warn") {
                    let text = &denial.message;
                    request.tell(format!(
                        "Validation failed for ValidatingAdmissionPolicy '{policy}' with binding '{binding}': {text}"
                    ));
                }
                if actions.contains(&"Deny") && refusal.is_none() {
                    refusal = Some(refused(request, policy, binding, &denial));
                }
            }
        }
        refusal.map_or(Ok(()), Err)
    }
}

fn refused(request: &Request<'_>, policy: &str, binding: &str, denial: &Denial) -> ApiError {
    let text = &denial.message;
    let why = format!("ValidatingAdmissionPolicy '{policy}' with binding '{binding}' denied request: {text}");
    let mut error = forbidden(request, &why);
    error.reason = denial.reason;
    let cause = Cause { message: why, ..Cause::default() };
    error.details.get_or_insert_default().causes.push(cause);
    error
}

fn denials(bound: &Bound, documents: &Documents, request: &Request<'_>, reader: &dyn Reader) -> Vec<Denial> {
    let policy = &bound.policy;
    let failed = |why: String| if policy.fails_open { Vec::new() } else { vec![Denial::invalid(why)] };
    let params = match params(bound, request, reader) {
        Ok(params) => params,
        Err(why) => return failed(format!("failed to configure binding: {why}")),
    };
    let mut denials = Vec::new();
    for params in &params {
        let mut budget = Budget::default();
        match policy.applies(documents, params.as_ref(), &mut budget) {
            Ok(true) => {}
            Ok(false) => continue,
            Err(why) => {
                denials.extend(failed(why));
                continue;
            }
        }
        let variables = Variables::of(&policy.variables, documents.variables(params.as_ref())).all();
        denials.extend(policy.work.iter().filter_map(|work| judge(policy, work, &variables, &mut budget)));
    }
    denials
}

fn judge(policy: &Policy, work: &Work, variables: &[(&str, Value<'_>)], budget: &mut Budget) -> Option<Denial> {
    let expression = text(&work.value, "/expression").trim();
    let result = match &work.program {
        Ok(program) => program.run(variables, budget).map_err(|halt| halt.to_string()),
        Err(why) => Err(format!("compilation failed: {why}")),
    };
    match result {
        Ok(Value::Bool(true)) => None,
        Ok(_) => {
            let own = Some(text(&work.value, "/message").trim()).filter(|text| !text.is_empty());
            let computed = match &work.message {
                Some(Ok(program)) => message(program, variables, budget),
                Some(Err(_)) | None => None,
            };
            let message = computed.or(own.map(str::to_owned));
            let message = message.unwrap_or_else(|| format!("failed expression: {expression}"));
            let reason = match text(&work.value, "/reason") {
                "Unauthorized" => Reason::Unauthorized,
                "Forbidden" => Reason::Forbidden,
                "RequestEntityTooLarge" => Reason::RequestEntityTooLarge,
                _ => Reason::Invalid,
            };
            Some(Denial { message, reason })
        }
        Err(_) if policy.fails_open => None,
        Err(why) => Some(Denial::invalid(format!("expression '{expression}' resulted in error: {why}"))),
    }
}

fn message(program: &Program, variables: &[(&str, Value<'_>)], budget: &mut Budget) -> Option<String> {
    let Ok(Value::Text(text)) = program.run(variables, budget) else { return None };
    let text = text.trim();
    (!text.is_empty() && text.len() <= MESSAGE && !text.contains('\n')).then(|| text.to_owned())
}
