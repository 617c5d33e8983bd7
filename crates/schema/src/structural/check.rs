//! What is wrong with the schema of a definition.

use meta::field::{Error, Errors, Path};
use serde_json::{Map, Value, json};

use super::Structural;

/// Which fields a root may have whose `status` is an endpoint of its own.
const AT_ROOT: [&str; 13] = [
    "description",
    "type",
    "format",
    "title",
    "required",
    "properties",
    "additionalProperties",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
    "x-kubernetes-embedded-resource",
    "example",
    "externalDocs",
    "default",
];

pub(super) fn check(schema: &Value, path: &Path, has_status: bool) -> Errors {
    let mut errors = Errors::new();
    if has_status {
        root(schema, path, &mut errors);
    }
    if schema["nullable"] == true {
        errors.push(Error::forbidden(&path.child("nullable"), "nullable cannot be true at the root"));
    }
    let mut structure = Errors::new();
    structural(schema, path, Level::Root, &mut structure);
    complete(schema, schema, path, path, &mut structure);
    structure.sort_by_key(ToString::to_string);
    errors.extend(structure);
    if errors.is_empty() {
        let parsed = Structural::parse(schema);
        default(&parsed, path, &mut errors);
    }
    standard(schema, path, true, &mut errors);
    errors
}

fn root(schema: &Value, path: &Path, errors: &mut Errors) {
    let kind = schema["type"].as_str().unwrap_or_default();
    if kind != "object" {
        let why =
            "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
        errors.push(Error::invalid(&path.child("type"), kind, why));
    }
    let is_set = |value: &Value| {
        !matches!(value, Value::Null | Value::Bool(false)) && *value != json!([]) && *value != json!({})
    };
    let other = entries(schema).find(|(name, value)| !AT_ROOT.contains(&name.as_str()) && is_set(value));
    if other.is_some() {
        let why = "only [Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength MinLength \
                   Pattern MaxItems MinItems UniqueItems MultipleOf Required Items Properties ExternalDocs Example \
                   XPreserveUnknownFields XValidations] fields are allowed at the root of the schema if the status \
                   subresource is enabled";
        const ALSO: [&str; 13] = [
            "maximum",
            "exclusiveMaximum",
            "minimum",
            "exclusiveMinimum",
            "maxLength",
            "minLength",
            "pattern",
            "maxItems",
            "minItems",
            "uniqueItems",
            "multipleOf",
            "items",
            "nullable",
        ];
        if other.is_some_and(|(name, _)| !ALSO.contains(&name.as_str())) {
            errors.push(Error::invalid(path, schema.clone(), why));
        }
    }
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn list<'a>(schema: &'a Value, name: &str) -> &'a [Value] {
    schema[name].as_array().map_or(&[], Vec::as_slice)
}

#[derive(Clone, Copy, PartialEq)]
enum Level {
    Root,
    Items,
    Field,
}

impl Level {
    fn untyped(self) -> &'static str {
        match self {
            Self::Root => "must not be empty at the root",
            Self::Items => "must not be empty for specified array items",
            Self::Field => "must not be empty for specified object fields",
        }
    }
}

fn structural(schema: &Value, path: &Path, level: Level, errors: &mut Errors) {
    let kind = schema["type"].as_str().unwrap_or_default();
    let flag = |name: &str| schema[name] == true;
    if kind == "array" && !schema["items"].is_object() {
        errors.push(Error::required(&path.child("items"), "must be specified"));
    }
    if schema["items"].is_object() {
        structural(&schema["items"], &path.child("items"), Level::Items, errors);
    }
    for (name, field) in entries(&schema["properties"]) {
        structural(field, &path.child("properties").key(name), Level::Field, errors);
    }
    let additional = &schema["additionalProperties"];
    if level == Level::Root && !additional.is_null() {
        errors.push(Error::forbidden(&path.child("additionalProperties"), "must not be used at the root"));
    }
    if additional.is_object() {
        structural(additional, &path.child("additionalProperties"), Level::Field, errors);
    }
    let (either, keep, embedded) = (
        flag("x-kubernetes-int-or-string"),
        flag("x-kubernetes-preserve-unknown-fields"),
        flag("x-kubernetes-embedded-resource"),
    );
    for (name, set) in [("x-kubernetes-preserve-unknown-fields", keep), ("x-kubernetes-embedded-resource", embedded)] {
        if either && set {
            errors.push(Error::invalid(&path.child(name), true, "must be false if x-kubernetes-int-or-string is true"));
        }
    }
    nested(schema, path, either, errors);
    if embedded && kind != "object" {
        let why = "must be object if x-kubernetes-embedded-resource is true";
        let at = path.child("type");
        errors.push(if kind.is_empty() { Error::required(&at, why) } else { Error::invalid(&at, kind, why) });
    } else if kind.is_empty() && !either && !keep {
        errors.push(Error::required(&path.child("type"), level.untyped()));
    }
    if embedded && !additional.is_null() {
        let why = "must not be used if x-kubernetes-embedded-resource is set";
        errors.push(Error::forbidden(&path.child("additionalProperties"), why));
    }
    if level == Level::Root && !kind.is_empty() && kind != "object" {
        errors.push(Error::invalid(&path.child("type"), kind, "must be object at the root"));
    }
    resource(schema, path, level, embedded, errors);
    if embedded && !keep && entries(&schema["properties"]).next().is_none() {
        let why =
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        errors.push(Error::required(&path.child("properties"), why));
    }
}

/// What every object of the API has may be described only as it is.
fn resource(schema: &Value, path: &Path, level: Level, embedded: bool, errors: &mut Errors) {
    if level != Level::Root && !embedded {
        return;
    }
    let properties = &schema["properties"];
    for (name, wanted) in [("kind", "string"), ("apiVersion", "string"), ("metadata", "object")] {
        let Some(field) = properties.get(name) else { continue };
        let kind = field["type"].as_str().unwrap_or_default();
        if kind != wanted {
            let at = path.child("properties").key(name).child("type");
            errors.push(Error::invalid(&at, kind, &format!("must be {wanted}")));
        }
    }
    let Some(metadata) = properties.get("metadata").filter(|_| level == Level::Root) else { return };
    let restricts = |(name, value): (&String, &Value)| match name.as_str() {
        "type" | "description" | "title" | "default" => false,
        "properties" => entries(value).any(|(name, _)| name != "name" && name != "generateName"),
        _ => !value.is_null() && *value != false,
    };
    if entries(metadata).any(restricts) {
        let why = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        errors.push(Error::forbidden(&path.child("properties").key("metadata"), why));
    }
}

/// What stands under `allOf` and the like only checks values.
fn nested(schema: &Value, path: &Path, either: bool, errors: &mut Errors) {
    let is_either = |any: &Value| either && *any == json!([{"type": "integer"}, {"type": "string"}]);
    if let Some(pattern) = schema["pattern"].as_str()
        && let Err(error) = regex::Regex::new(pattern)
    {
        let why = format!("must be a valid regular expression, but isn't: {error}");
        errors.push(Error::invalid(&path.child("pattern"), pattern, &why));
    }
    for junction in ["allOf", "anyOf", "oneOf"] {
        if junction == "anyOf" && is_either(&schema["anyOf"]) {
            continue;
        }
        for (index, one) in list(schema, junction).iter().enumerate() {
            if junction == "allOf" && is_either(&one["anyOf"]) {
                continue;
            }
            value_only(one, &path.child(junction).index(index), errors);
        }
    }
    if schema["not"].is_object() {
        value_only(&schema["not"], &path.child("not"), errors);
    }
}

fn value_only(schema: &Value, path: &Path, errors: &mut Errors) {
    const EMPTY: [&str; 4] = ["type", "title", "description", "default"];
    const FALSE: [&str; 5] = [
        "nullable",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-embedded-resource",
        "x-kubernetes-int-or-string",
        "x-kubernetes-map-type",
    ];
    const UNDEFINED: [&str; 4] =
        ["additionalProperties", "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-validations"];
    let is_set = |name: &&&str| !schema[**name].is_null() && schema[**name] != false && schema[**name] != "";
    let forbid = |names: &[&str], how: &str, errors: &mut Errors| {
        for name in names.iter().filter(is_set) {
            errors.push(Error::forbidden(&path.child(name), &format!("must be {how} to be structural")));
        }
    };
    forbid(&EMPTY, "empty", errors);
    forbid(&FALSE, "false", errors);
    forbid(&UNDEFINED, "undefined", errors);
    nested(schema, path, false, errors);
    if schema["items"].is_object() {
        value_only(&schema["items"], &path.child("items"), errors);
    }
    for (name, field) in entries(&schema["properties"]) {
        value_only(field, &path.child("properties").key(name), errors);
    }
}

/// What is checked under `allOf` and the like must be described outside as well.
fn complete(checks: &Value, schema: &Value, path: &Path, from: &Path, errors: &mut Errors) {
    let one = |checks: &Value, from: &Path, errors: &mut Errors| {
        complete(checks, schema, path, from, errors);
        if checks["items"].is_object() {
            beneath(&checks["items"], schema.get("items"), &path.child("items"), &from.child("items"), errors);
        }
        for (name, field) in entries(&checks["properties"]) {
            let key = |path: &Path| path.child("properties").key(name);
            beneath(field, schema["properties"].get(name), &key(path), &key(from), errors);
        }
    };
    for junction in ["allOf", "anyOf", "oneOf"] {
        for (index, checks) in list(checks, junction).iter().enumerate() {
            one(checks, &from.child(junction).index(index), errors);
        }
    }
    if checks["not"].is_object() {
        one(&checks["not"], &from.child("not"), errors);
    }
}

fn beneath(checks: &Value, schema: Option<&Value>, path: &Path, from: &Path, errors: &mut Errors) {
    let Some(schema) = schema else {
        errors.push(Error::required(path, &format!("because it is defined in {from}")));
        return;
    };
    // The same walk as for a junction of one.
    complete(&json!({"allOf": [checks]}), schema, path, from, errors);
}

/// Defaults must be what the schema itself allows.
fn default(schema: &Structural, path: &Path, errors: &mut Errors) {
    if let Some(default) = &schema.default {
        let at = path.child("default");
        let mut pruned = default.clone();
        schema.fill(&mut pruned);
        let wrapped = Structural { default: None, ..schema.clone() };
        let names = wrapped.prune(&mut pruned);
        if !names.is_empty() && !schema.preserve_unknown && !schema.embedded {
            errors.push(Error::invalid(&at, default.clone(), "must not have unknown fields"));
        }
        let mut filled = default.clone();
        schema.fill(&mut filled);
        errors.extend(schema.validate(&filled, None).into_iter().map(|mut error| {
            let beneath = error.path.as_str().to_owned();
            error.path = if beneath.is_empty() { at.clone() } else { at.child(&beneath) };
            error
        }));
    }
    for (name, field) in &schema.properties {
        default(field, &path.child("properties").key(name), errors);
    }
    if let Some(additional) = &schema.additional {
        default(additional, &path.child("additionalProperties"), errors);
    }
    if let Some(items) = &schema.items {
        default(items, &path.child("items"), errors);
    }
}

/// What upstream takes from OpenAPI, and what its own extensions need.
fn standard(schema: &Value, path: &Path, root: bool, errors: &mut Errors) {
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
