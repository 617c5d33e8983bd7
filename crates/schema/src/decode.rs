//! Decoding of JSON by a type: unknown fields are pruned and reported, and the result has the one form that a round
//! trip through upstream's types would give it.

mod canonical;
mod scalar;
mod seed;

use serde::de::DeserializeSeed;
use serde_json::Value;

pub(crate) use canonical::{complete, settle, zero};
pub use scalar::go_kind;

use crate::types::{Schemas, TypeId};

/// A decoded document.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// The document in canonical form.
    pub value: Value,
    /// Unknown and duplicate fields, in upstream's words: `unknown field "spec.foo"`, `duplicate field "spec.replicas"`.
    pub errors: Vec<String>,
}

/// Why a document cannot be of its type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It isn't JSON.
    #[error("{0}")]
    Syntax(String),
    /// A value has the wrong type.
    #[error("{0}")]
    Type(String),
}

/// Decodes a JSON document of the given type.
pub fn decode(schemas: &Schemas, ty: TypeId, json: &[u8]) -> Result<Decoded, DecodeError> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let decoded = run(schemas, ty, &mut deserializer)?;
    deserializer.end().map_err(|error| DecodeError::Syntax(error.to_string()))?;
    Ok(decoded)
}

/// The same for a document that is parsed already: a patched object, say.
pub fn decode_value(schemas: &Schemas, ty: TypeId, value: Value) -> Result<Decoded, DecodeError> {
    run(schemas, ty, value)
}

fn run<'de, D>(schemas: &Schemas, ty: TypeId, deserializer: D) -> Result<Decoded, DecodeError>
where
    D: serde::Deserializer<'de, Error = serde_json::Error>,
{
    let mut cx = seed::Context::new(schemas);
    let seed = seed::Seed { cx: &mut cx, ty };
    match seed.deserialize(deserializer) {
        Ok(value) => Ok(Decoded { value: value.unwrap_or_else(|| zero(schemas, ty)), errors: cx.errors }),
        Err(error) => Err(cx.fatal.map_or_else(|| DecodeError::Syntax(error.to_string()), DecodeError::Type)),
    }
}

#[cfg(test)]
mod tests {
    use meta::Gvk;
    use serde_json::json;

    use super::*;

    fn check(gvk: (&str, &str, &str), given: &str, wanted: Value, errors: &[&str]) {
        let schemas = Schemas::builtin();
        let ty = schemas.of(&Gvk::new(gvk.0, gvk.1, gvk.2)).expect("the kind is known");
        let decoded = decode(schemas, ty, given.as_bytes()).expect("the document has the type");
        assert_eq!(decoded.value, wanted);
        assert_eq!(decoded.errors, errors);
        let again = decode_value(schemas, ty, wanted.clone()).expect("a decoded document has the type");
        assert_eq!(again.value, wanted, "decoding twice changes nothing");
    }

    fn check_error(kind: &str, given: &str, wanted: &str) {
        let schemas = Schemas::builtin();
        let ty = schemas.of(&Gvk::new("", "v1", kind)).expect("the kind is known");
        let error = decode(schemas, ty, given.as_bytes()).expect_err("the document hasn't the type");
        assert_eq!(error.to_string(), wanted);
    }

    #[test]
    fn objects_take_the_form_that_go_gives_them() {
        check(
            ("", "v1", "Pod"),
            r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","labels":{},"creationTimestamp":null,"x":1},
                "spec":{"containers":[{"name":"c","foo":{},"image":"","resources":{"requests":{"cpu":"0.5","memory":1024}}}],
                "hostNetwork":false,"terminationGracePeriodSeconds":0}}"#,
            json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a"}, "spec": {
                "containers": [{"name": "c", "resources": {"requests": {"cpu": "500m", "memory": "1024"}}}],
                "terminationGracePeriodSeconds": 0}, "status": {}}),
            &[r#"unknown field "metadata.x""#, r#"unknown field "spec.containers[0].foo""#],
        );
        check(
            ("apps", "v1", "Deployment"),
            r#"{"spec":{"replicas":1,"replicas":2}}"#,
            json!({"metadata": {}, "spec": {"replicas": 2, "selector": null, "strategy": {},
                "template": {"metadata": {}, "spec": {"containers": null}}}, "status": {}}),
            &[r#"duplicate field "spec.replicas""#],
        );
    }

    #[test]
    fn wrong_types_are_told_as_go_tells_them() {
        check_error(
            "Pod",
            r#"{"spec":{"containers":"x"}}"#,
            "json: cannot unmarshal string into Go struct field PodSpec.spec.containers of type []v1.Container",
        );
        check_error(
            "ConfigMap",
            r#"{"data":{"a":1}}"#,
            "json: cannot unmarshal number into Go struct field ConfigMap.data of type string",
        );
        check_error("Pod", "[]", "json: cannot unmarshal array into Go value of type v1.Pod");
    }
}
