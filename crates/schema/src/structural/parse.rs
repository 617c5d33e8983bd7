//! From a schema's JSON.

use regex::Regex;
use serde_json::Value;

use super::{Checks, Rule, Structural};

pub(super) fn structural(schema: &Value) -> Structural {
    let text = |name: &str| schema.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let flag = |name: &str| schema.get(name).and_then(Value::as_bool).unwrap_or(false);
    let additional = schema.get("additionalProperties");
    Structural {
        kind: text("type"),
        nullable: flag("nullable"),
        int_or_string: flag("x-kubernetes-int-or-string"),
        preserve_unknown: flag("x-kubernetes-preserve-unknown-fields"),
        embedded: flag("x-kubernetes-embedded-resource"),
        default: schema.get("default").filter(|default| !default.is_null()).cloned(),
        properties: fields(schema.get("properties")),
        additional: additional.filter(|schema| schema.is_object()).map(boxed),
        additional_any: additional == Some(&Value::Bool(true)),
        items: schema.get("items").filter(|schema| schema.is_object()).map(boxed),
        list_type: text("x-kubernetes-list-type"),
        list_keys: texts(schema.get("x-kubernetes-list-map-keys")),
        atomic: text("x-kubernetes-map-type") == "atomic",
        rules: list(schema.get("x-kubernetes-validations")).iter().map(rule).collect(),
        checks: checks(schema),
    }
}

fn boxed(schema: &Value) -> Box<Structural> {
    Box::new(structural(schema))
}

fn fields(properties: Option<&Value>) -> std::collections::BTreeMap<String, Structural> {
    let fields = properties.and_then(Value::as_object).into_iter().flatten();
    fields.map(|(name, schema)| (name.clone(), structural(schema))).collect()
}

fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn texts(value: Option<&Value>) -> Vec<String> {
    list(value).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn rule(rule: &Value) -> Rule {
    let text = |name: &str| rule.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    Rule {
        rule: text("rule"),
        message: text("message"),
        message_expression: text("messageExpression"),
        reason: text("reason"),
        field_path: text("fieldPath"),
        optional_old_self: rule.get("optionalOldSelf").and_then(Value::as_bool).unwrap_or(false),
    }
}

fn checks(schema: &Value) -> Checks {
    let flag = |name: &str| schema.get(name).and_then(Value::as_bool).unwrap_or(false);
    let float = |name: &str| schema.get(name).and_then(Value::as_f64);
    let count = |name: &str| schema.get(name).and_then(Value::as_u64);
    let schemas = |name: &str| list(schema.get(name)).iter().map(structural).collect::<Vec<_>>();
    let pattern = schema.get("pattern").and_then(Value::as_str).filter(|text| !text.is_empty());
    Checks {
        format: schema.get("format").and_then(Value::as_str).unwrap_or_default().to_owned(),
        pattern: pattern.map(|text| (text.to_owned(), Regex::new(text).ok())),
        minimum: float("minimum"),
        maximum: float("maximum"),
        exclusive_minimum: flag("exclusiveMinimum"),
        exclusive_maximum: flag("exclusiveMaximum"),
        multiple_of: float("multipleOf").filter(|factor| *factor > 0.0),
        min_length: count("minLength"),
        max_length: count("maxLength"),
        min_items: count("minItems"),
        max_items: count("maxItems"),
        min_properties: count("minProperties"),
        max_properties: count("maxProperties"),
        unique_items: flag("uniqueItems"),
        values: list(schema.get("enum")).to_vec(),
        required: texts(schema.get("required")),
        all_of: schemas("allOf"),
        any_of: schemas("anyOf"),
        one_of: schemas("oneOf"),
        not: schema.get("not").filter(|schema| schema.is_object()).map(boxed),
    }
}
