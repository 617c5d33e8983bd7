//! What expressions in CEL see of a write.

use std::sync::Arc;

use meta::Object;
use registry::{Attributes, Reader, Request};
use schema::cel::{Budget, Declared, Program, Value};
use serde_json::{Value as Json, json};

use crate::matching::operation;
use crate::rights::{Authorizer, Rights};

/// The names that expressions may use.
pub(crate) const DECLARED: [(&str, Declared<'static>); 7] = [
    ("object", Declared::Any),
    ("oldObject", Declared::Any),
    ("request", Declared::Any),
    ("authorizer", Declared::Any),
    ("namespaceObject", Declared::Any),
    ("params", Declared::Any),
    ("variables", Declared::Any),
];

/// The documents that expressions look into.
#[derive(Debug)]
pub(crate) struct Documents {
    object: Json,
    old: Json,
    request: Json,
    namespace: Json,
    authorizer: Arc<Authorizer>,
}

impl Documents {
    /// Those of a write; its user's rights are asked for where an expression wants to know.
    pub(crate) fn of(request: &Request<'_>, reader: &dyn Reader, rights: &Arc<dyn Rights>) -> Self {
        let namespace = match request.attributes.namespace.as_str() {
            "" => None,
            name => reader.get("", "namespaces", "", name),
        };
        Self {
            object: request.object.clone(),
            old: request.old.cloned().unwrap_or_default(),
            request: described(&request.attributes, request.delete.is_some()),
            namespace: namespace.map(|namespace: Arc<Object>| namespace.value()).unwrap_or_default(),
            authorizer: Arc::new(Authorizer::of(&request.attributes, rights)),
        }
    }

    /// The names with what they stand for; `params` where a policy has them.
    pub(crate) fn variables<'a>(&'a self, params: Option<&'a Json>) -> Vec<(&'static str, Value<'a>)> {
        vec![
            ("object", Value::of(&self.object, None)),
            ("oldObject", Value::of(&self.old, None)),
            ("request", Value::of(&self.request, None)),
            ("namespaceObject", Value::of(&self.namespace, None)),
            ("params", params.map_or(Value::Null, |params| Value::of(params, None))),
            ("authorizer", Value::Fields(Arc::clone(&self.authorizer) as _)),
        ]
    }
}

/// What is known of a write, as reviews and expressions have it.
pub(crate) fn described(attributes: &Attributes, deletes: bool) -> Json {
    let Attributes { user, resource, kind, namespace, name, subresource, .. } = attributes;
    let kind = json!({"group": kind.group, "version": kind.version, "kind": kind.kind});
    let resource = json!({"group": resource.group, "version": resource.version, "resource": resource.resource});
    let mut request = json!({
        "kind": kind, "resource": resource, "requestKind": kind, "requestResource": resource,
        "operation": operation(attributes.operation), "userInfo": user, "dryRun": attributes.dry_run,
    });
    let texts =
        [("name", name), ("namespace", namespace), ("subResource", subresource), ("requestSubResource", subresource)];
    for (field, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        request[field] = json!(text);
    }
    let options = match attributes.operation {
        registry::Operation::Create => Some("CreateOptions"),
        registry::Operation::Update => Some("UpdateOptions"),
        registry::Operation::Delete if deletes => Some("DeleteOptions"),
        registry::Operation::Delete | registry::Operation::Connect => None,
    };
    if let Some(kind) = options {
        request["options"] = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
    }
    request
}

/// Match conditions that were read.
#[derive(Debug, Default)]
pub(crate) struct Conditions(Vec<(String, Result<Program, String>)>);

/// Whether conditions let a write through.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Matching {
    Yes,
    No,
    /// A condition has no value, and no other one decides.
    Failed(String),
}

impl Conditions {
    /// Reads `matchConditions`.
    pub(crate) fn compile(conditions: &Json) -> Self {
        let list = conditions.as_array().into_iter().flatten();
        let text = |condition: &Json, name: &str| condition[name].as_str().unwrap_or_default().trim().to_owned();
        Self(
            list.map(|condition| {
                (text(condition, "name"), Program::compile_to(&text(condition, "expression"), &DECLARED, "bool"))
            })
            .collect(),
        )
    }

    /// Compat: one that is false decides, whatever becomes of the others.
    pub(crate) fn check(&self, variables: &[(&str, Value<'_>)], budget: &mut Budget) -> Matching {
        let mut failed = Vec::new();
        for (name, program) in &self.0 {
            let result = match program {
                Ok(program) => program.run(variables, budget).map_err(|halt| halt.to_string()),
                Err(why) => Err(why.clone()),
            };
            match result {
                Ok(Value::Bool(true)) => {}
                Ok(_) => return Matching::No,
                Err(why) => {
                    let source = program.as_ref().map_or(name.as_str(), Program::source);
                    failed.push(format!("expression '{source}' resulted in error: {why}"));
                }
            }
        }
        match failed.as_slice() {
            [] => Matching::Yes,
            [one] => Matching::Failed(one.clone()),
            many => Matching::Failed(format!("[{}]", many.join(", "))),
        }
    }
}
