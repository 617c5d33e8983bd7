//! Admission policies and their bindings.

use meta::field::{Error, Errors, Path};
use schema::cel::Declared;
use serde_json::Value;

use super::expressions::{check, conditions, declared};
use super::rules::{matching, needs_rules, one_of, required};
use crate::field::{items, text};

/// What is wrong with a policy whose work stands under `work`: `validations` or `mutations`.
pub(super) fn validate(object: &Value, work: &str) -> Errors {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let mut errors = Errors::new();
    errors.extend(one_of(&spec["failurePolicy"], &["Fail", "Ignore"], &path.child("failurePolicy")));
    let params = spec["paramKind"].is_object();
    if params {
        for name in ["apiVersion", "kind"] {
            errors.extend(required(&spec["paramKind"], name, &path.child("paramKind")));
        }
    }
    let constraints = path.child("matchConstraints");
    if spec["matchConstraints"].is_object() {
        errors.extend(matching(&spec["matchConstraints"], &constraints));
        errors.extend(needs_rules(&spec["matchConstraints"], &constraints));
    } else {
        errors.push(Error::required(&constraints, ""));
    }
    let names = declared(params, true);
    errors.extend(conditions(spec, &names, &path.child("matchConditions")));
    errors.extend(variables(spec, &names, &path.child("variables")));
    let audits = items(spec, "/auditAnnotations");
    let list = items(spec, &format!("/{work}"));
    if list.is_empty() && audits.is_empty() {
        let why = "validations or auditAnnotations must contain at least one item";
        errors.push(Error::required(&path.child(work), if work == "validations" { why } else { "" }));
    }
    for (index, one) in list.iter().enumerate() {
        let at = path.child(work).index(index);
        errors.extend(if work == "validations" { validation(one, &names, &at) } else { mutation(one, &names, &at) });
    }
    for (index, audit) in audits.iter().enumerate() {
        let at = path.child("auditAnnotations").index(index);
        errors.extend(required(audit, "key", &at));
        errors.extend(check(text(audit, "/valueExpression"), &names, "", &at.child("valueExpression")));
    }
    errors
}

fn variables(spec: &Value, names: &[(&str, Declared<'_>)], path: &Path) -> Errors {
    let mut errors = Errors::new();
    let variables = items(spec, "/variables");
    for (index, variable) in variables.iter().enumerate() {
        let at = path.index(index);
        let name = text(variable, "/name");
        let plain = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if name.is_empty() {
            errors.push(Error::required(&at.child("name"), "name is not specified"));
        } else if !plain {
            errors.push(Error::invalid(&at.child("name"), name, "name is not a valid CEL identifier"));
        }
        if variables[..index].iter().any(|other| text(other, "/name") == name) {
            errors.push(Error::duplicate(&at.child("name"), name));
        }
        expression(variable, "expression", names, "", &at, &mut errors);
    }
    errors
}

fn expression(
    object: &Value,
    field: &str,
    names: &[(&str, Declared<'_>)],
    wanted: &str,
    path: &Path,
    errors: &mut Errors,
) {
    let (text, at) = (text(object, &format!("/{field}")).trim(), path.child(field));
    if text.is_empty() {
        errors.push(Error::required(&at, &format!("{field} is not specified")));
    } else {
        errors.extend(check(text, names, wanted, &at));
    }
}

fn validation(validation: &Value, names: &[(&str, Declared<'_>)], path: &Path) -> Errors {
    const REASONS: [&str; 4] = ["Unauthorized", "Forbidden", "Invalid", "RequestEntityTooLarge"];
    let mut errors = Errors::new();
    expression(validation, "expression", names, "bool", path, &mut errors);
    let message = text(validation, "/message");
    let lines = |text: &str| text.contains(['\n', '\r']);
    if !message.is_empty() && message.trim().is_empty() {
        errors.push(Error::invalid(&path.child("message"), message, "message must be non-empty if specified"));
    } else if lines(message.trim()) {
        errors.push(Error::invalid(&path.child("message"), message, "message must not contain line breaks"));
    } else if lines(text(validation, "/expression").trim()) && message.trim().is_empty() {
        let why = "message must be specified if expression contains line breaks";
        errors.push(Error::required(&path.child("message"), why));
    }
    if !text(validation, "/messageExpression").trim().is_empty() {
        expression(validation, "messageExpression", names, "string", path, &mut errors);
    }
    errors.extend(one_of(&validation["reason"], &REASONS, &path.child("reason")));
    errors
}

fn mutation(mutation: &Value, names: &[(&str, Declared<'_>)], path: &Path) -> Errors {
    let mut errors = Errors::new();
    let kind = text(mutation, "/patchType");
    if kind.is_empty() {
        errors.push(Error::required(&path.child("patchType"), ""));
    }
    errors.extend(one_of(&mutation["patchType"], &["ApplyConfiguration", "JSONPatch"], &path.child("patchType")));
    for (own, field) in [("ApplyConfiguration", "applyConfiguration"), ("JSONPatch", "jsonPatch")] {
        if own == kind {
            expression(&mutation[field], "expression", names, "", &path.child(field), &mut errors);
        }
    }
    errors
}

/// What is wrong with a binding.
pub(super) fn validate_binding(object: &Value, validating: bool) -> Errors {
    const ACTIONS: [&str; 3] = ["Audit", "Deny", "Warn"];
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let mut errors: Errors = required(spec, "policyName", &path).into_iter().collect();
    let (param, at) = (&spec["paramRef"], path.child("paramRef"));
    if param.is_object() {
        let (named, selected) = (!text(param, "/name").is_empty(), param["selector"].is_object());
        if named == selected {
            let why = "one of name or selector must be specified";
            errors.push(Error::required(&at, why));
        }
        if text(param, "/parameterNotFoundAction").is_empty() {
            errors.push(Error::required(&at.child("parameterNotFoundAction"), ""));
        }
        errors.extend(one_of(
            &param["parameterNotFoundAction"],
            &["Allow", "Deny"],
            &at.child("parameterNotFoundAction"),
        ));
    }
    if spec["matchResources"].is_object() {
        errors.extend(matching(&spec["matchResources"], &path.child("matchResources")));
    }
    if validating {
        let (actions, at) = (items(spec, "/validationActions"), path.child("validationActions"));
        if actions.is_empty() {
            errors.push(Error::required(&at, ""));
        }
        for (index, action) in actions.iter().enumerate() {
            errors.extend(one_of(action, &ACTIONS, &at.index(index)));
            if actions[..index].contains(action) {
                errors.push(Error::duplicate(&at.index(index), action.clone()));
            }
        }
        if actions.iter().any(|action| action == "Deny") && actions.iter().any(|action| action == "Warn") {
            let why = "must not contain both Deny and Warn (repeating the same validation failure information in the API response \
                       and headers serves no purpose)";
            errors.push(Error::invalid(&at, Value::from(actions.to_vec()), why));
        }
    }
    errors
}
