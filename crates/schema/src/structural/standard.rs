//! What is wrong with the schema of a definition beyond its structure: OpenAPI's own rules, list types, the form of CEL's rules.

use meta::field::{Error, Errors, Path};
use serde_json::{Value, json};

use super::check::{entries, list};

/// What upstream takes from OpenAPI, and what its own extensions need.
pub(super) fn standard(schema: &Value, path: &Path, root: bool, errors: &mut Errors) {
    const TYPES: [&str; 6] = ["string", "number", "integer", "boolean", "array", "object"];
    const FOREIGN: [&str; 7] =
        ["definitions", "dependencies", "$ref", "id", "patternProperties", "additionalItems", "$schema"];
    let kind = schema["type"].as_str().unwrap_or_default();
    if !kind.is_empty() && !TYPES.contains(&kind) {
        errors.push(Error::not_supported(&path.child("type"), kind, &TYPES));
    }
    if root && !schema["default"].is_null() {
        errors.push(Error::forbidden(&path.child("default"), "must not be set at the root"));
    }
    for name in FOREIGN.iter().filter(|name| !schema[**name].is_null() && schema[**name] != "") {
        errors.push(Error::forbidden(&path.child(name), &format!("{name} is not supported")));
    }
    if schema["items"].is_array() {
        errors.push(Error::forbidden(&path.child("items"), "items must be a schema object and not an array"));
    }
    if schema["uniqueItems"] == true {
        let why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.push(Error::forbidden(&path.child("uniqueItems"), why));
    }
    let additional = &schema["additionalProperties"];
    if !additional.is_null() && *additional != true && entries(&schema["properties"]).next().is_some() {
        let why = "additionalProperties and properties are mutual exclusive";
        errors.push(Error::forbidden(&path.child("additionalProperties"), why));
    }
    if schema["x-kubernetes-preserve-unknown-fields"] == false {
        let at = path.child("x-kubernetes-preserve-unknown-fields");
        errors.push(Error::invalid(&at, false, "must be true or undefined"));
    }
    map_type(schema, kind, path, errors);
    list_type(schema, kind, path, errors);
    rules(schema, path, errors);
    for (name, field) in entries(&schema["properties"]) {
        standard(field, &path.child("properties").key(name), false, errors);
    }
    for name in ["additionalProperties", "items", "not"] {
        if schema[name].is_object() {
            standard(&schema[name], &path.child(name), false, errors);
        }
    }
    for junction in ["allOf", "anyOf", "oneOf"] {
        for (index, one) in list(schema, junction).iter().enumerate() {
            standard(one, &path.child(junction).index(index), false, errors);
        }
    }
}

fn map_type(schema: &Value, kind: &str, path: &Path, errors: &mut Errors) {
    let Some(map) = schema["x-kubernetes-map-type"].as_str() else { return };
    let (at, why) = (path.child("type"), "must be object if x-kubernetes-map-type is specified");
    match kind {
        "object" => {}
        "" => errors.push(Error::required(&at, why)),
        other => errors.push(Error::invalid(&at, other, why)),
    }
    if !matches!(map, "atomic" | "granular") {
        errors.push(Error::not_supported(&path.child("x-kubernetes-map-type"), map, &["atomic", "granular"]));
    }
}

fn list_type(schema: &Value, kind: &str, path: &Path, errors: &mut Errors) {
    let at = path.child("x-kubernetes-list-type");
    let keys = list(schema, "x-kubernetes-list-map-keys");
    let Some(list_type) = schema["x-kubernetes-list-type"].as_str() else {
        if !keys.is_empty() {
            errors.push(Error::required(&at, "must be map if x-kubernetes-list-map-keys is non-empty"));
        }
        return;
    };
    let why = "must be array if x-kubernetes-list-type is specified";
    match kind {
        "array" => {}
        "" => errors.push(Error::required(&path.child("type"), why)),
        other => errors.push(Error::invalid(&path.child("type"), other, why)),
    }
    if !matches!(list_type, "atomic" | "set" | "map") {
        errors.push(Error::not_supported(&at, list_type, &["atomic", "set", "map"]));
    }
    if !keys.is_empty() && list_type != "map" {
        errors.push(Error::invalid(&at, list_type, "must be map if x-kubernetes-list-map-keys is non-empty"));
    }
    let items = &schema["items"];
    if matches!(list_type, "set" | "map") && items["nullable"] == true {
        let why = format!("cannot be nullable when x-kubernetes-list-type is {list_type}");
        errors.push(Error::forbidden(&path.child("items").child("nullable"), &why));
    }
    match list_type {
        "set" => set_items(items, &path.child("items"), errors),
        "map" => map_items(schema, keys, path, errors),
        _ => {}
    }
}

fn set_items(items: &Value, path: &Path, errors: &mut Errors) {
    let why = "must be atomic as item of a list with x-kubernetes-list-type=set";
    let of = |name: &str| items[name].as_str().unwrap_or_default().to_owned();
    match of("type").as_str() {
        "array" if !matches!(of("x-kubernetes-list-type").as_str(), "" | "atomic") => {
            errors.push(Error::invalid(&path.child("x-kubernetes-list-type"), of("x-kubernetes-list-type"), why));
        }
        "object" if of("x-kubernetes-map-type") != "atomic" => {
            errors.push(Error::invalid(
                &path.child("x-kubernetes-map-type"),
                items["x-kubernetes-list-type"].clone(),
                why,
            ));
        }
        _ => {}
    }
}

fn map_items(schema: &Value, keys: &[Value], path: &Path, errors: &mut Errors) {
    let (items, at) = (&schema["items"], path.child("items"));
    let keys_path = path.child("x-kubernetes-list-map-keys");
    if keys.is_empty() {
        errors.push(Error::required(&keys_path, "must not be empty if x-kubernetes-list-type is map"));
    }
    if items.is_null() {
        errors.push(Error::required(&at, "must have a schema if x-kubernetes-list-type is map"));
        return;
    }
    if items["type"] != "object" {
        let why = "must be object if parent array's x-kubernetes-list-type is map";
        errors.push(Error::invalid(&at.child("type"), items["type"].as_str().unwrap_or_default(), why));
        return;
    }
    for (index, key) in keys.iter().enumerate() {
        let name = key.as_str().unwrap_or_default();
        if keys[..index].contains(key) {
            errors.push(Error::invalid(&keys_path, json!(keys), "must not contain duplicate entries"));
        }
        let Some(field) = items["properties"].get(name) else {
            errors.push(Error::invalid(&keys_path, json!(keys), "entries must all be names of item properties"));
            continue;
        };
        let field_path = at.child("properties").key(name);
        if matches!(field["type"].as_str(), Some("array" | "object")) {
            let why = "must be a scalar type if parent array's x-kubernetes-list-type is map";
            errors.push(Error::invalid(&field_path.child("type"), "object", why));
        }
        if !list(items, "required").contains(key) && field["default"].is_null() {
            let why =
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            errors.push(Error::required(&field_path.child("default"), why));
        }
        if field["nullable"] == true {
            let why = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            errors.push(Error::forbidden(&field_path.child("nullable"), why));
        }
    }
}

fn rules(schema: &Value, path: &Path, errors: &mut Errors) {
    const REASONS: [&str; 4] =
        ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
    for (index, rule) in list(schema, "x-kubernetes-validations").iter().enumerate() {
        let at = path.child("x-kubernetes-validations").index(index);
        let text = |name: &str| rule[name].as_str().unwrap_or_default();
        let (expression, message) = (text("rule").trim(), text("message").trim());
        let lines = |text: &str| text.contains(['\n', '\r']);
        if expression.is_empty() {
            errors.push(Error::required(&at.child("rule"), "rule is not specified"));
        } else if !text("message").is_empty() && message.is_empty() {
            errors.push(Error::invalid(&at.child("message"), text("message"), "must be non-empty if specified"));
        } else if lines(message) {
            errors.push(Error::invalid(&at.child("message"), text("message"), "must not contain line breaks"));
        } else if lines(expression) && message.is_empty() {
            let why = "message must be specified if rule contains line breaks";
            errors.push(Error::required(&at.child("message"), why));
        }
        if !text("messageExpression").is_empty() && text("messageExpression").trim().is_empty() {
            let why = "messageExpression must be non-empty if specified";
            errors.push(Error::required(&at.child("messageExpression"), why));
        }
        if !text("reason").is_empty() && !REASONS.contains(&text("reason")) {
            errors.push(Error::not_supported(&at.child("reason"), text("reason"), &REASONS));
        }
        let field = text("fieldPath");
        if !field.is_empty() && field.trim().is_empty() {
            errors.push(Error::invalid(&at.child("fieldPath"), field, "must be non-empty if specified"));
        } else if lines(field) {
            errors.push(Error::invalid(&at.child("fieldPath"), field, "must not contain line breaks"));
        } else if !field.is_empty() && !leads(schema, field) {
            errors.push(Error::invalid(&at.child("fieldPath"), field, "must be a valid path"));
        }
    }
}

/// Whether a path of fields leads to something that the schema describes.
fn leads(schema: &Value, path: &str) -> bool {
    let Some(mut rest) = path.strip_prefix(['.', '[']).map(|_| path) else { return false };
    let mut at = schema;
    while !rest.is_empty() {
        let (name, tail) = if let Some(tail) = rest.strip_prefix("['") {
            let Some(end) = tail.find("']") else { return false };
            (&tail[..end], &tail[end + 2..])
        } else if let Some(tail) = rest.strip_prefix('.') {
            let end = tail.find(['.', '[']).unwrap_or(tail.len());
            (&tail[..end], &tail[end..])
        } else {
            return false;
        };
        at = match (at["properties"].get(name), at.get("additionalProperties")) {
            (Some(field), _) => field,
            (None, Some(entry)) if entry.is_object() => entry,
            _ => return false,
        };
        rest = tail;
    }
    true
}
