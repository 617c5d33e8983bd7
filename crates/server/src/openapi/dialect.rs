//! Where the two versions of OpenAPI differ.

use serde_json::{Map, Value, json};

/// A version of OpenAPI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    V2,
    V3,
}

const MEDIA_TYPES: [&str; 3] = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

impl Dialect {
    /// A reference to a schema.
    pub(super) fn reference(self, name: &str) -> Value {
        match self {
            Self::V2 => json!({"$ref": format!("#/definitions/{name}")}),
            Self::V3 => json!({"$ref": format!("#/components/schemas/{name}")}),
        }
    }

    /// A schema that is one of these types, in version 2 as `plain` has it.
    pub(super) fn either(self, plain: Value, types: &[&str]) -> Value {
        let Self::V3 = self else { return plain };
        let mut value = json!({"oneOf": types.iter().map(|name| json!({"type": name})).collect::<Vec<_>>()});
        if let Some(format) = plain.get("format") {
            value["format"] = format.clone();
        }
        value
    }

    /// A reference with something said beside it.
    pub(super) fn described_reference(self, name: &str, description: &str) -> Value {
        let mut value = self.reference(name);
        if self == Self::V3 {
            value = json!({"allOf": [value]});
        }
        value["description"] = json!(description);
        value
    }

    /// A parameter in a path or a query.
    pub(super) fn parameter(self, place: &str, name: &str, ty: &str) -> Value {
        let mut value = match self {
            Self::V2 => json!({"name": name, "in": place, "type": ty, "uniqueItems": true}),
            Self::V3 => json!({"name": name, "in": place, "schema": {"type": ty, "uniqueItems": true}}),
        };
        if place == "path" {
            value["required"] = json!(true);
        }
        value
    }

    /// Adds a body to an operation.
    pub(super) fn body(self, operation: &mut Value, schema: &Value, media_types: &[&str]) {
        match self {
            Self::V2 => {
                let body = json!({"name": "body", "in": "body", "required": true, "schema": schema});
                if let Some(parameters) = operation["parameters"].as_array_mut() {
                    parameters.insert(0, body);
                }
                operation["consumes"] = json!(media_types);
            }
            Self::V3 => {
                let content: Map<String, Value> =
                    media_types.iter().map(|name| ((*name).to_owned(), json!({"schema": schema}))).collect();
                operation["requestBody"] = json!({"required": true, "content": content});
            }
        }
    }

    /// Adds an answer to an operation.
    pub(super) fn answer(self, operation: &mut Value, code: &str, description: &str, schema: Option<&Value>) {
        let mut answer = json!({"description": description});
        match (self, schema) {
            (_, None) => {}
            (Self::V2, Some(schema)) => {
                answer["schema"] = schema.clone();
                operation["produces"] = json!(MEDIA_TYPES);
            }
            (Self::V3, Some(schema)) => {
                let content: Map<String, Value> =
                    MEDIA_TYPES.iter().map(|name| ((*name).to_owned(), json!({"schema": schema}))).collect();
                answer["content"] = Value::Object(content);
            }
        }
        operation["responses"][code] = answer;
    }
}
