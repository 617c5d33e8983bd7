//! Structural schemas on small documents.

use serde_json::json;

use super::*;

fn schema(schema: Value) -> Structural {
    Structural::parse(&schema)
}

fn spec(properties: Value) -> Structural {
    schema(json!({"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}}))
}

#[test]
fn what_is_not_named_is_dropped() {
    let schema =
        spec(json!({"a": {"type": "string"}, "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        "list": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "integer"}}}}}));
    let decoded = schema.decode(
        br#"{"kind":"K","metadata":{"name":"n","foo":1},"x":1,"spec":{"a":"b","a":"c","free":{"z":1},"list":[{"x":1,"y":2}]}}"#,
    );
    let decoded = decoded.expect("an object");
    let expected =
        json!({"kind": "K", "metadata": {"name": "n"}, "spec": {"a": "c", "free": {"z": 1}, "list": [{"x": 1}]}});
    assert_eq!(decoded.value, expected);
    let errors = [
        "duplicate field \"spec.a\"",
        "unknown field \"metadata.foo\"",
        "unknown field \"spec.list[0].y\"",
        "unknown field \"x\"",
    ];
    assert_eq!(decoded.errors, errors);
}

#[test]
fn metadata_of_embedded_objects_has_its_form() {
    let embedded = json!({
        "type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true,
    });
    let schema = spec(json!({"one": embedded, "list": {"type": "array", "items": embedded}}));
    let decoded = schema.decode(
        br#"{"spec":{"one":{"metadata":{"name":"n","x":1}},"list":[{"metadata":{"namespace":"m","y":1},"z":1}]}}"#,
    );
    let decoded = decoded.expect("an object");
    let expected = json!({"one": {"metadata": {"name": "n"}}, "list": [{"metadata": {"namespace": "m"}, "z": 1}]});
    assert_eq!(decoded.value["spec"], expected);
    let errors = ["unknown field \"spec.list[0].metadata.y\"", "unknown field \"spec.one.metadata.x\""];
    let mut found = decoded.errors;
    found.sort();
    assert_eq!(found, errors);
}

#[test]
fn absent_fields_get_their_defaults() {
    let schema = spec(
        json!({"a": {"type": "string", "default": "A"}, "n": {"type": "string", "nullable": true, "default": "N"},
        "o": {"type": "object", "default": {}, "properties": {"x": {"type": "integer", "default": 1}}}}),
    );
    let mut object = json!({"spec": {"a": null, "n": null}});
    schema.fill(&mut object);
    assert_eq!(object, json!({"spec": {"a": "A", "n": null, "o": {"x": 1}}}));
}

fn check(properties: Value, spec_value: Value, expected: &[&str]) {
    let object = json!({"spec": spec_value});
    let errors: Vec<String> = spec(properties).validate(&object, None).iter().map(ToString::to_string).collect();
    assert_eq!(errors, expected, "{object}");
}

#[test]
fn values_are_checked_in_upstreams_words() {
    check(
        json!({"a": {"type": "integer"}}),
        json!({"a": "x"}),
        &["spec.a: Invalid value: \"string\": spec.a in body must be of type integer: \"string\""],
    );
    check(
        json!({"a": {"type": "integer", "maximum": 3, "minimum": 1}}),
        json!({"a": 4}),
        &["spec.a: Invalid value: 4: spec.a in body should be less than or equal to 3"],
    );
    check(
        json!({"a": {"type": "string", "enum": ["x", "y"]}}),
        json!({"a": "z"}),
        &["spec.a: Unsupported value: \"z\": supported values: \"x\", \"y\""],
    );
    check(
        json!({"a": {"type": "string", "pattern": "^a$", "maxLength": 1}}),
        json!({"a": "bb"}),
        &[
            "spec.a: Too long: may not be more than 1 byte",
            "spec.a: Invalid value: \"bb\": spec.a in body should match '^a$'",
        ],
    );
    check(
        json!({"a": {"type": "array", "items": {"type": "object", "required": ["b"]}}}),
        json!({"a": [{}]}),
        &["spec.a[0].b: Required value"],
    );
    check(json!({"a": {"x-kubernetes-int-or-string": true}}), json!({"a": 1}), &[]);
    check(
        json!({"a": {"type": "string", "format": "ipv4"}}),
        json!({"a": "x"}),
        &["spec.a: Invalid value: \"x\": spec.a in body must be of type ipv4: \"x\""],
    );
}

#[test]
fn what_stays_is_not_judged_anew() {
    let schema = spec(json!({"a": {"type": "string", "maxLength": 1}, "b": {"type": "string"}}));
    let (old, new) = (json!({"spec": {"a": "xx"}}), json!({"spec": {"a": "xx", "b": "y"}}));
    assert_eq!(schema.validate(&new, Some(&old)), Vec::new());
    assert_eq!(schema.validate(&new, None).len(), 1);
}

#[test]
fn a_schema_must_be_structural() {
    let check = |schema: Value, expected: &[&str]| {
        let errors = Structural::check(&schema, &meta::field::Path::new("s"), false);
        assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), expected, "{schema}");
    };
    check(json!({"type": "object", "properties": {"a": {"type": "string"}}}), &[]);
    check(
        json!({"type": "object", "properties": {"a": {}}}),
        &["s.properties[a].type: Required value: must not be empty for specified object fields"],
    );
    check(
        json!({"type": "object", "properties": {"a": {"type": "array"}}}),
        &["s.properties[a].items: Required value: must be specified"],
    );
    check(
        json!({"type": "object", "properties": {"a": {"type": "string", "default": 1}}}),
        &["s.properties[a].default: Invalid value: \"integer\":  in body must be of type string: \"integer\""],
    );
    check(
        json!({"type": "object", "allOf": [{"properties": {"x": {"maximum": 1}}}]}),
        &["s.properties[x]: Required value: because it is defined in s.allOf[0].properties[x]"],
    );
}
