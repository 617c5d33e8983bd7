//! Schemas of custom resources, as their definitions have them, and the words that all kinds share.

use meta::Gvk;
use serde_json::{Value, json};

use super::dialect::Dialect;

pub(super) const API_VERSION: &str = "APIVersion defines the group and version of the schema that this object follows.";
pub(super) const KIND: &str = "Kind is the name of the type that this object has. It never changes.";
pub(super) const METADATA: &str = "Standard object's metadata.";

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// What is said of a field of an object's metadata.
pub(super) fn metadata_description(field: &str) -> Option<&'static str> {
    Some(match field {
        "annotations" => "Annotations is a map of notes that tools keep on the object; nothing is selected by them.",
        "creationTimestamp" => "CreationTimestamp is a timestamp of the moment when the object was made. Read-only.",
        "deletionGracePeriodSeconds" => "Seconds that the object has to end by itself. Read-only.",
        "deletionTimestamp" => "DeletionTimestamp is a timestamp after which the object is gone. Read-only.",
        "finalizers" => "Names of those who have to act before the object is gone.",
        "generateName" => "What a name begins with that the server makes up, where no name is given.",
        "generation" => "Counts the changes of the desired state. Read-only.",
        "labels" => "Labels are keys and values by which objects are selected.",
        "managedFields" => "Who set which fields.",
        "name" => "The name, unique among the objects of a kind in a namespace. It never changes.",
        "namespace" => "The namespace that the object lives in. It never changes.",
        "ownerReferences" => "The objects that this one belongs to; it goes when all of them are gone.",
        "resourceVersion" => "The version of the whole object, to be compared for equality only. Read-only.",
        "uid" => "Tells the object apart from all that ever had its name. Read-only.",
        _ => return None,
    })
}

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
pub(super) fn list(gvk: &Gvk, item: &Value, metadata: &Value) -> Value {
    json!({
        "description": format!("{} is a list of {}", gvk.kind, gvk.kind.trim_end_matches("List")),
        "type": "object", "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string", "description": API_VERSION},
            "kind": {"type": "string", "description": KIND},
            "metadata": metadata,
            "items": {"type": "array", "items": item},
        },
        "x-kubernetes-group-version-kind": kinds(gvk),
    })
}

/// The schema of a custom kind, from its definition's own.
pub(super) fn schema(dialect: Dialect, gvk: &Gvk, own: &Value, preserve_unknown: bool) -> Value {
    let open = own["x-kubernetes-preserve-unknown-fields"] == true || preserve_unknown;
    if !own.is_object() || (open && dialect == Dialect::V2) {
        // Compat: a client of version 2 that saw any field would refuse all others.
        return json!({"type": "object", "x-kubernetes-group-version-kind": kinds(gvk)});
    }
    let mut schema = own.clone();
    if dialect == Dialect::V2 {
        simplify(&mut schema);
    }
    embed(dialect, &mut schema);
    schema["type"] = json!("object");
    complete(dialect, &mut schema);
    schema["x-kubernetes-group-version-kind"] = kinds(gvk);
    schema
}

/// Adds the fields that every object has.
fn complete(dialect: Dialect, schema: &mut Value) {
    let mut add = |name: &str, value: Value| {
        if schema["properties"].is_null() {
            schema["properties"] = json!({});
        }
        schema["properties"][name] = value;
    };
    add("apiVersion", json!({"type": "string", "description": API_VERSION}));
    add("kind", json!({"type": "string", "description": KIND}));
    add("metadata", dialect.described_reference(OBJECT_META, METADATA));
}

/// Objects within objects have those fields too.
fn embed(dialect: Dialect, schema: &mut Value) {
    for child in children(schema) {
        embed(dialect, child);
        let open = dialect == Dialect::V2 && child["x-kubernetes-preserve-unknown-fields"] == true;
        if child["x-kubernetes-embedded-resource"] == true && !open {
            complete(dialect, child);
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
        let schema = schema(Dialect::V3, &gvk, &own, false);
        assert_eq!(schema["description"], "A foo.");
        let open = json!({"x-kubernetes-preserve-unknown-fields": true, "description": "Anything."});
        assert_eq!(self::schema(Dialect::V2, &gvk, &open, false).get("properties"), None);
        let metadata = format!("#/components/schemas/{OBJECT_META}");
        for at in ["/properties/metadata", "/properties/inner/properties/metadata"] {
            assert_eq!(schema.pointer(at).map(|own| &own["allOf"][0]["$ref"]), Some(&json!(metadata)), "{at}");
        }
    }
}
