//! Schemas of custom resources, as their definitions have them.

use meta::Gvk;
use serde_json::{Value, json};

use super::descriptions::Descriptions;
use super::dialect::Dialect;

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// The name of a custom kind's schema: `com.example.v1.Foo`.
pub(super) fn name(gvk: &Gvk) -> String {
    let mut parts: Vec<&str> = gvk.group.split('.').rev().collect();
    parts.extend([gvk.version.as_str(), gvk.kind.as_str()]);
    parts.join(".")
}

fn kinds(gvk: &Gvk) -> Value {
    json!([{"group": gvk.group, "version": gvk.version, "kind": gvk.kind}])
}

/// The schema of a list of custom objects.
pub(super) fn list(words: &Descriptions, gvk: &Gvk, item: &Value, metadata: &Value) -> Value {
    let field = |name: &str| json!({"type": "string", "description": words.of_every_kind(name)});
    json!({
        "description": format!("{} is a list of {}", gvk.kind, gvk.kind.trim_end_matches("List")),
        "type": "object", "required": ["items"],
        "properties": {
            "apiVersion": field("apiVersion"),
            "kind": field("kind"),
            "metadata": metadata,
            "items": {"type": "array", "items": item},
        },
        "x-kubernetes-group-version-kind": kinds(gvk),
    })
}

/// The schema of a custom kind, from its definition's own.
pub(super) fn schema(
    (words, dialect): (&Descriptions, Dialect),
    gvk: &Gvk,
    own: &Value,
    preserve_unknown: bool,
) -> Value {
    let open = own["x-kubernetes-preserve-unknown-fields"] == true || preserve_unknown;
    if !own.is_object() || (open && dialect == Dialect::V2) {
        // Compat: a client of version 2 that saw any field would refuse all others.
        return json!({"type": "object", "x-kubernetes-group-version-kind": kinds(gvk)});
    }
    let mut schema = own.clone();
    if dialect == Dialect::V2 {
        simplify(&mut schema);
    }
    embed(words, dialect, &mut schema);
    schema["type"] = json!("object");
    complete(words, dialect, &mut schema);
    schema["x-kubernetes-group-version-kind"] = kinds(gvk);
    schema
}

/// Adds the fields that every object has.
fn complete(words: &Descriptions, dialect: Dialect, schema: &mut Value) {
    let mut add = |name: &str, value: Value| {
        if schema["properties"].is_null() {
            schema["properties"] = json!({});
        }
        schema["properties"][name] = value;
    };
    for name in ["apiVersion", "kind"] {
        add(name, json!({"type": "string", "description": words.of_every_kind(name)}));
    }
    add("metadata", dialect.described_reference(OBJECT_META, words.of_every_kind("metadata")));
}

/// Objects within objects have those fields too.
fn embed(words: &Descriptions, dialect: Dialect, schema: &mut Value) {
    for child in children(schema) {
        embed(words, dialect, child);
        let open = dialect == Dialect::V2 && child["x-kubernetes-preserve-unknown-fields"] == true;
        if child["x-kubernetes-embedded-resource"] == true && !open {
            complete(words, dialect, child);
        }
    }
}

fn children(schema: &mut Value) -> Vec<&mut Value> {
    let Some(fields) = schema.as_object_mut() else { return Vec::new() };
    let mut found = Vec::new();
    for (name, value) in fields {
        match name.as_str() {
            "properties" => found.extend(value.as_object_mut().into_iter().flat_map(|all| all.values_mut())),
            "items" | "additionalProperties" if value.is_object() => found.push(value),
            _ => {}
        }
    }
    found
}

/// Takes away what version 2 doesn't know, and what its clients stumble over.
///
/// Compat: the rules are apiextensions' own for version 2.
fn simplify(schema: &mut Value) {
    let nullable = |schema: &Value| schema["nullable"] == true;
    let without: Vec<String> = schema["properties"]
        .as_object()
        .map(|all| all.iter().filter(|(_, child)| nullable(child)).map(|(name, _)| name.clone()).collect())
        .unwrap_or_default();
    if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|name| !without.iter().any(|own| name == own));
    }
    let (is_nullable, open) = (nullable(schema), schema["x-kubernetes-preserve-unknown-fields"] == true);
    let Some(fields) = schema.as_object_mut() else { return };
    for name in ["allOf", "anyOf", "oneOf", "not", "nullable"] {
        fields.remove(name);
    }
    if fields.get("required").and_then(Value::as_array).is_some_and(Vec::is_empty) {
        fields.remove("required");
    }
    if is_nullable || open {
        fields.remove("items");
        fields.remove("properties");
    }
    let ty = fields.get("type").and_then(Value::as_str).unwrap_or_default();
    let untyped = is_nullable || (open && ty == "object") || (ty == "array" && !fields.contains_key("items"));
    if untyped {
        fields.remove("type");
    }
    for child in children(schema) {
        simplify(child);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_groups_backwards() {
        assert_eq!(name(&Gvk::new("a.example.com", "v1", "Foo")), "com.example.a.v1.Foo");
    }

    #[test]
    fn version_2_has_less() {
        let check = |own: Value, expected: Value| {
            let mut schema = own;
            simplify(&mut schema);
            assert_eq!(schema, expected);
        };
        let string = json!({"type": "string"});
        check(json!({"type": "object", "nullable": true, "properties": {"a": string}}), json!({}));
        check(
            json!({"type": "object", "required": ["a", "b"], "anyOf": [], "properties": {"a": {"type": "string", "nullable": true}, "b": string}}),
            json!({"type": "object", "required": ["b"], "properties": {"a": {}, "b": string}}),
        );
        check(
            json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"a": string}}),
            json!({"x-kubernetes-preserve-unknown-fields": true}),
        );
    }

    #[test]
    fn custom_kinds_have_metadata_and_keep_their_words() {
        let gvk = Gvk::new("example.com", "v1", "Foo");
        let inner = json!({"type": "object", "x-kubernetes-embedded-resource": true, "properties": {}});
        let own = json!({"type": "object", "description": "A foo.", "properties": {"inner": inner}});
        let words = Descriptions::read();
        let schema = schema((&words, Dialect::V3), &gvk, &own, false);
        assert_eq!(schema["description"], "A foo.");
        let open = json!({"x-kubernetes-preserve-unknown-fields": true, "description": "Anything."});
        assert_eq!(self::schema((&words, Dialect::V2), &gvk, &open, false).get("properties"), None);
        let metadata = format!("#/components/schemas/{OBJECT_META}");
        for at in ["/properties/metadata", "/properties/inner/properties/metadata"] {
            assert_eq!(schema.pointer(at).map(|own| &own["allOf"][0]["$ref"]), Some(&json!(metadata)), "{at}");
        }
    }
}
