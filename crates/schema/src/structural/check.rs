//! What is wrong with the schema of a definition.

use meta::field::{Error, Errors, Path};
use serde_json::{Map, Value, json};

use super::Structural;
use super::standard::standard;

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

pub(super) fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

pub(super) fn list<'a>(schema: &'a Value, name: &str) -> &'a [Value] {
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
