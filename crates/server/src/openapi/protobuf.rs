//! Version 2's document in protobuf, which clients of Go ask for: the messages of `openapi.v2`, as a table over the JSON.

use serde_json::{Map, Value};

/// The media type, as clients name it.
pub(super) const MEDIA_TYPE: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// The same, as an answer names it.
pub(super) const CONTENT_TYPE: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// A message: its fields by their names in JSON, and the number of `vendor_extension`, where all `x-…` go.
struct Message {
    fields: &'static [(&'static str, u32, Shape)],
    extensions: u32,
}

/// What stands at a field.
enum Shape {
    Text,
    Texts,
    Flag,
    Integer,
    /// Any JSON, which is YAML as well.
    Any,
    Anys,
    One(&'static Message),
    Many(&'static Message),
    /// A message with nothing but another one, at this number.
    Wrapped(u32, &'static Message),
    /// The same with texts.
    WrappedTexts,
    /// A message of names and values, at this number.
    Named(u32, &'static Message),
    /// The same, where each value is wrapped.
    NamedWrapped(&'static Message),
    Parameters,
}

static DOCUMENT: Message = Message {
    fields: &[
        ("swagger", 1, Shape::Text),
        ("info", 2, Shape::One(&INFO)),
        ("paths", 8, Shape::Named(2, &PATH)),
        ("definitions", 9, Shape::Named(1, &SCHEMA)),
    ],
    extensions: 16,
};

static INFO: Message = Message { fields: &[("title", 1, Shape::Text), ("version", 2, Shape::Text)], extensions: 7 };

static PATH: Message = Message {
    fields: &[
        ("get", 2, Shape::One(&OPERATION)),
        ("put", 3, Shape::One(&OPERATION)),
        ("post", 4, Shape::One(&OPERATION)),
        ("delete", 5, Shape::One(&OPERATION)),
        ("options", 6, Shape::One(&OPERATION)),
        ("head", 7, Shape::One(&OPERATION)),
        ("patch", 8, Shape::One(&OPERATION)),
        ("parameters", 9, Shape::Parameters),
    ],
    extensions: 10,
};

static OPERATION: Message = Message {
    fields: &[
        ("tags", 1, Shape::Texts),
        ("description", 3, Shape::Text),
        ("operationId", 5, Shape::Text),
        ("produces", 6, Shape::Texts),
        ("consumes", 7, Shape::Texts),
        ("parameters", 8, Shape::Parameters),
        ("responses", 9, Shape::NamedWrapped(&RESPONSE)),
        ("schemes", 10, Shape::Texts),
    ],
    extensions: 13,
};

static RESPONSE: Message =
    Message { fields: &[("description", 1, Shape::Text), ("schema", 2, Shape::Wrapped(1, &SCHEMA))], extensions: 5 };

static SCHEMA: Message = Message {
    fields: &[
        ("$ref", 1, Shape::Text),
        ("format", 2, Shape::Text),
        ("title", 3, Shape::Text),
        ("description", 4, Shape::Text),
        ("default", 5, Shape::Any),
        ("maxLength", 11, Shape::Integer),
        ("minLength", 12, Shape::Integer),
        ("pattern", 13, Shape::Text),
        ("maxItems", 14, Shape::Integer),
        ("minItems", 15, Shape::Integer),
        ("uniqueItems", 16, Shape::Flag),
        ("maxProperties", 17, Shape::Integer),
        ("minProperties", 18, Shape::Integer),
        ("required", 19, Shape::Texts),
        ("enum", 20, Shape::Anys),
        ("additionalProperties", 21, Shape::Wrapped(1, &SCHEMA)),
        ("type", 22, Shape::WrappedTexts),
        ("items", 23, Shape::Wrapped(1, &SCHEMA)),
        ("allOf", 24, Shape::Many(&SCHEMA)),
        ("properties", 25, Shape::Named(1, &SCHEMA)),
        ("example", 30, Shape::Any),
    ],
    extensions: 31,
};

static BODY: Message = Message {
    fields: &[
        ("description", 1, Shape::Text),
        ("name", 2, Shape::Text),
        ("in", 3, Shape::Text),
        ("required", 4, Shape::Flag),
        ("schema", 5, Shape::One(&SCHEMA)),
    ],
    extensions: 6,
};

static QUERY: Message = Message {
    fields: &[
        ("required", 1, Shape::Flag),
        ("in", 2, Shape::Text),
        ("description", 3, Shape::Text),
        ("name", 4, Shape::Text),
        ("type", 6, Shape::Text),
        ("format", 7, Shape::Text),
        ("uniqueItems", 20, Shape::Flag),
    ],
    extensions: 23,
};

static IN_PATH: Message = Message {
    fields: &[
        ("required", 1, Shape::Flag),
        ("in", 2, Shape::Text),
        ("description", 3, Shape::Text),
        ("name", 4, Shape::Text),
        ("type", 5, Shape::Text),
        ("format", 6, Shape::Text),
        ("uniqueItems", 19, Shape::Flag),
    ],
    extensions: 22,
};

/// The document in protobuf.
pub(super) fn encode(document: &Value) -> Vec<u8> {
    message(&DOCUMENT, document)
}

fn message(of: &Message, value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    let empty = Map::new();
    let fields = value.as_object().unwrap_or(&empty);
    for (name, number, shape) in of.fields {
        if let Some(value) = fields.get(*name) {
            put(*number, shape, value, &mut out);
        }
    }
    for (name, value) in fields.iter().filter(|(name, _)| name.starts_with("x-")) {
        delimited(of.extensions, &pair(name, &any(value)), &mut out);
    }
    out
}

fn put(number: u32, shape: &Shape, value: &Value, out: &mut Vec<u8>) {
    let list = || value.as_array().into_iter().flatten();
    match shape {
        Shape::Text => delimited(number, value.as_str().unwrap_or_default().as_bytes(), out),
        Shape::Texts => texts(number, value, out),
        Shape::Flag => scalar(number, u64::from(value == true), out),
        Shape::Integer => scalar(number, value.as_i64().unwrap_or_default().cast_unsigned(), out),
        Shape::Any => delimited(number, &any(value), out),
        Shape::Anys => list().for_each(|value| delimited(number, &any(value), out)),
        Shape::One(of) => delimited(number, &message(of, value), out),
        Shape::Many(of) => list().for_each(|value| delimited(number, &message(of, value), out)),
        Shape::Wrapped(at, of) => delimited(number, &wrapped(*at, &message(of, value)), out),
        Shape::WrappedTexts => {
            let mut inner = Vec::new();
            texts(1, value, &mut inner);
            delimited(number, &inner, out);
        }
        Shape::Named(at, of) => delimited(number, &named(*at, value, |value| message(of, value)), out),
        Shape::NamedWrapped(of) => {
            delimited(number, &named(1, value, |value| wrapped(1, &message(of, value))), out);
        }
        Shape::Parameters => list().for_each(|value| delimited(number, &parameter(value), out)),
    }
}

/// A text, or a list of texts.
fn texts(number: u32, value: &Value, out: &mut Vec<u8>) {
    let all = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    all.iter().filter_map(Value::as_str).for_each(|text| delimited(number, text.as_bytes(), out));
}

/// Which message a parameter is depends on its place.
fn parameter(value: &Value) -> Vec<u8> {
    let inner = match value["in"].as_str() {
        Some("body") => wrapped(1, &message(&BODY, value)),
        Some("path") => wrapped(2, &wrapped(4, &message(&IN_PATH, value))),
        _ => wrapped(2, &wrapped(3, &message(&QUERY, value))),
    };
    wrapped(1, &inner)
}

fn named(number: u32, value: &Value, encode: impl Fn(&Value) -> Vec<u8>) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in value.as_object().into_iter().flatten() {
        delimited(number, &pair(name, &encode(value)), &mut out);
    }
    out
}

fn pair(name: &str, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    delimited(1, name.as_bytes(), &mut out);
    delimited(2, value, &mut out);
    out
}

fn any(value: &Value) -> Vec<u8> {
    wrapped(2, value.to_string().as_bytes())
}

fn wrapped(number: u32, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 8);
    delimited(number, bytes, &mut out);
    out
}

fn delimited(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    varint(u64::from(number) << 3 | 2, out);
    varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn scalar(number: u32, value: u64, out: &mut Vec<u8>) {
    varint(u64::from(number) << 3, out);
    varint(value, out);
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn messages_have_upstreams_numbers() {
        let check = |of: &Message, value: Value, expected: &[u8]| assert_eq!(message(of, &value), expected, "{value}");
        check(&INFO, json!({"title": "a"}), b"\x0a\x01a");
        check(&SCHEMA, json!({"type": "string"}), b"\xb2\x01\x08\x0a\x06string");
        check(&SCHEMA, json!({"items": {"$ref": "x"}}), b"\xba\x01\x05\x0a\x03\x0a\x01x");
        check(&SCHEMA, json!({"x-a": true}), b"\xfa\x01\x0d\x0a\x03x-a\x12\x06\x12\x04true");
        let parameter = json!([{"in": "path", "required": true}]);
        check(&PATH, json!({"parameters": parameter}), b"\x4a\x0e\x0a\x0c\x12\x0a\x22\x08\x08\x01\x12\x04path");
    }
}
