//! The rules of a schema (`x-kubernetes-validations`), compiled once.

use std::collections::BTreeMap;

use meta::field::{Error, ErrorType, Errors, Path};
use serde_json::Value as Json;

use super::check::Declared;
use super::{Budget, Halt, Program, Value};
use crate::structural::{Rule, Structural};

/// The rules of a schema and its parts.
#[derive(Debug, Default)]
pub struct Rules {
    own: Vec<Compiled>,
    properties: BTreeMap<String, Rules>,
    additional: Option<Box<Rules>>,
    items: Option<Box<Rules>>,
}

#[derive(Debug)]
struct Compiled {
    /// `None` for one that didn't compile; then it always fails.
    program: Result<Program, String>,
    message: Option<Program>,
    transition: bool,
}

impl Rules {
    /// Compiles the rules of a schema of custom resources; `None` where it has none.
    pub fn compile(schema: &Structural) -> Option<Self> {
        Self::within(schema, true)
    }

    fn within(schema: &Structural, root: bool) -> Option<Self> {
        if !schema.has_rules() {
            return None;
        }
        let part = |schema: &Structural| Self::within(schema, false);
        let properties = schema.properties.iter().filter_map(|(name, schema)| Some((name.clone(), part(schema)?)));
        Some(Self {
            own: schema.rules.iter().map(|rule| compiled(rule, schema, root)).collect(),
            properties: properties.collect(),
            additional: schema.additional.as_deref().and_then(part).map(Box::new),
            items: schema.items.as_deref().and_then(part).map(Box::new),
        })
    }

    /// What the rules find in an object. What didn't change since the old one isn't judged anew.
    pub fn validate(&self, schema: &Structural, object: &Json, old: Option<&Json>) -> Errors {
        let mut run = Run { budget: Budget::default(), spent: false, errors: Errors::new() };
        run.node(self, schema, object, old, &Path::default());
        run.errors
    }

    /// What is wrong with the rules of a schema.
    pub fn check(schema: &Structural, path: &Path) -> Errors {
        let mut errors = Errors::new();
        check(schema, path, true, None, &mut errors);
        errors
    }
}

fn declared(schema: &Structural, root: bool) -> Declared<'_> {
    if root || schema.embedded { Declared::Resource(schema) } else { Declared::Schema(schema) }
}

fn programs(
    rule: &Rule,
    schema: &Structural,
    root: bool,
) -> (Result<Program, String>, Option<Result<Program, String>>) {
    let this = declared(schema, root);
    let old = if rule.optional_old_self { Declared::Any } else { this };
    let names = [("self", this), ("oldSelf", old)];
    let message = Some(rule.message_expression.trim()).filter(|text| !text.is_empty());
    (
        Program::compile_to(rule.rule.trim(), &names, "bool"),
        message.map(|text| Program::compile_to(text, &names, "string")),
    )
}

fn compiled(rule: &Rule, schema: &Structural, root: bool) -> Compiled {
    let (program, message) = programs(rule, schema, root);
    let transition = program.as_ref().is_ok_and(|program| program.uses("oldSelf"));
    Compiled { program, message: message.and_then(Result::ok), transition }
}

fn check(schema: &Structural, path: &Path, root: bool, uncorrelated: Option<&Path>, errors: &mut Errors) {
    for (index, rule) in schema.rules.iter().enumerate().filter(|(_, rule)| !rule.rule.trim().is_empty()) {
        let at = path.child("x-kubernetes-validations").index(index);
        let shown = shown(rule);
        let (program, message) = programs(rule, schema, root);
        match &program {
            Err(why) if why.starts_with("must evaluate") => {
                let why = "cel expression must evaluate to a bool";
                errors.push(Error::invalid(&at.child("rule"), shown.clone(), why));
            }
            Err(why) => {
                errors.push(Error::invalid(&at.child("rule"), shown.clone(), &format!("compilation failed: {why}")));
            }
            Ok(program) if program.uses("oldSelf") => {
                if let Some(place) = uncorrelated {
                    let why =
                        format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {place}");
                    errors.push(Error::invalid(&at.child("rule"), rule.rule.as_str(), &why));
                }
            }
            Ok(_) if rule.optional_old_self => {
                let why = "may not be set if oldSelf is not used in rule";
                errors.push(Error::invalid(&at.child("optionalOldSelf"), true, why));
            }
            Ok(_) => {}
        }
        match message {
            Some(Err(why)) if why.starts_with("must evaluate") => {
                let why = "messageExpression must evaluate to a string";
                errors.push(Error::invalid(&at.child("messageExpression"), shown, why));
            }
            Some(Err(why)) => {
                let why = format!("messageExpression compilation failed: {why}");
                errors.push(Error::invalid(&at.child("messageExpression"), shown, &why));
            }
            Some(Ok(_)) | None => {}
        }
    }
    let within = uncorrelated.or(schema.atomic.then_some(path));
    for (name, field) in &schema.properties {
        check(field, &path.child("properties").key(name), false, within, errors);
    }
    if let Some(additional) = &schema.additional {
        check(additional, &path.child("additionalProperties"), false, within, errors);
    }
    if let Some(items) = &schema.items {
        let within = uncorrelated.or((schema.list_type != "map").then_some(path));
        check(items, &path.child("items"), false, within, errors);
    }
}

fn shown(rule: &Rule) -> Json {
    let mut shown = serde_json::json!({"rule": rule.rule});
    for (name, text) in [("message", &rule.message), ("messageExpression", &rule.message_expression)] {
        if !text.is_empty() {
            shown[name] = text.as_str().into();
        }
    }
    shown
}

struct Run {
    budget: Budget,
    /// Nothing further runs.
    spent: bool,
    errors: Errors,
}

impl Run {
    fn node(&mut self, rules: &Rules, schema: &Structural, value: &Json, old: Option<&Json>, path: &Path) {
        if value.is_null() || self.spent {
            return;
        }
        for (compiled, rule) in rules.own.iter().zip(&schema.rules) {
            if !self.spent {
                self.rule(compiled, rule, schema, (value, old), path);
            }
        }
        match value {
            Json::Object(fields) => {
                for (name, value) in fields {
                    let old = old.and_then(|old| old.get(name));
                    if let (Some(rules), Some(schema)) = (rules.properties.get(name), schema.properties.get(name)) {
                        self.node(rules, schema, value, old, &path.child(name));
                    } else if let (Some(rules), Some(entry)) = (&rules.additional, &schema.additional)
                        && !schema.properties.contains_key(name)
                    {
                        self.node(rules, entry, value, old, &path.key(name));
                    }
                }
            }
            Json::Array(items) => {
                if let (Some(rules), Some(each)) = (&rules.items, &schema.items) {
                    for (index, item) in items.iter().enumerate() {
                        self.node(rules, each, item, schema.old_item(item, old), &path.index(index));
                    }
                }
            }
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
        }
    }

    fn rule(
        &mut self,
        compiled: &Compiled,
        rule: &Rule,
        schema: &Structural,
        (value, old): (&Json, Option<&Json>),
        path: &Path,
    ) {
        if compiled.transition && old.is_none() && !rule.optional_old_self {
            return;
        }
        let kind = schema.kind.as_str();
        let text = if rule.message.is_empty() {
            format!("rule: {}", rule.rule.trim())
        } else {
            rule.message.trim().to_owned()
        };
        let program = match &compiled.program {
            Ok(program) => program,
            Err(why) => {
                self.errors.push(Error::invalid(path, kind, &format!("rule compile error: {why}")));
                return;
            }
        };
        let variables = variables(schema, value, old, rule.optional_old_self);
        match program.run(&variables, &mut self.budget) {
            Ok(Value::Bool(true)) => return,
            Ok(_) => {}
            Err(Halt::Total) => {
                let why =
                    "validation failed due to running out of cost budget, no further validation rules will be run";
                return self.stop(Error::invalid(path, kind, why));
            }
            Err(halt @ Halt::Call) => {
                let why = format!(
                    "'{halt}': no further validation rules will be run due to call cost exceeds limit for rule: {text}"
                );
                return self.stop(Error::invalid(path, kind, &why));
            }
            Err(Halt::Error(why)) if why.starts_with("no such overload") => {
                let why = format!(
                    "'{why}': call arguments did not match a supported operator, function or macro signature for rule: {text}"
                );
                self.errors.push(Error::invalid(path, kind, &why));
                return;
            }
            Err(Halt::Error(why)) => {
                self.errors.push(Error::invalid(path, kind, &format!("{why} evaluating rule: {text}")));
                return;
            }
        }
        // What stays as it was keeps being valid.
        if !compiled.transition && old == Some(value) {
            return;
        }
        let message = compiled.message.as_ref().and_then(|program| self.message(program, &variables));
        let detail = message.unwrap_or_else(|| {
            if rule.message.is_empty() {
                format!("failed rule: {}", rule.rule.trim())
            } else {
                rule.message.trim().to_owned()
            }
        });
        self.errors.push(failure(rule, value, path, &detail));
    }

    fn message(&mut self, program: &Program, variables: &super::Variables<'_, '_>) -> Option<String> {
        match program.run(variables, &mut self.budget) {
            Ok(Value::Text(text)) => {
                let text = text.trim();
                (!text.is_empty() && !text.contains('\n') && text.len() <= 5 << 10).then(|| text.to_owned())
            }
            _ => None,
        }
    }

    fn stop(&mut self, error: Error) {
        self.errors.push(error);
        self.spent = true;
    }
}

fn variables<'a>(
    schema: &'a Structural,
    value: &'a Json,
    old: Option<&'a Json>,
    optional: bool,
) -> Vec<(&'static str, Value<'a>)> {
    let mut variables = vec![("self", Value::of(value, Some(schema)))];
    let old = old.map(|old| Value::of(old, Some(schema)));
    match (old, optional) {
        (old, true) => variables.push(("oldSelf", Value::Optional(old.map(std::sync::Arc::new)))),
        (Some(old), false) => variables.push(("oldSelf", old)),
        (None, false) => {}
    }
    variables
}

fn failure(rule: &Rule, value: &Json, path: &Path, detail: &str) -> Error {
    let field = rule.field_path.trim().trim_start_matches('.');
    let path = match field {
        "" => path.clone(),
        field if field.starts_with('[') => Path::new(&format!("{path}{field}")),
        field => path.child(field),
    };
    match rule.reason.as_str() {
        "FieldValueRequired" => Error::required(&path, detail),
        "FieldValueForbidden" => Error::forbidden(&path, detail),
        "FieldValueDuplicate" => Error::duplicate(&path, value.clone()),
        // Compat: structures aren't shown.
        _ if value.is_object() || value.is_array() => {
            Error { kind: ErrorType::Invalid, path, message: format!("Invalid value: {detail}") }
        }
        _ => Error::invalid(&path, value.clone(), detail),
    }
}
