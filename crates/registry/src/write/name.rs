//! Names and the other metadata that a new object gets.

use meta::{ApiError, format_time};
use rand::Rng;
use serde_json::{Map, Value, json};

use super::fields::metadata;
use super::{Writer, plain};

/// Upstream's alphabet: no vowels, so no words.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX: usize = 5;
const MAX_LENGTH: usize = 63;

/// A name that begins with `base`.
pub(super) fn generate(base: &str) -> String {
    let mut random = rand::rng();
    let suffix = (0..SUFFIX).map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())]));
    base.chars().take(MAX_LENGTH - SUFFIX).chain(suffix).collect()
}

/// What users may not say of a new object.
pub(super) fn wipe(metadata: &mut Map<String, Value>) {
    for field in
        ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generation"]
    {
        metadata.remove(field);
    }
}

impl Writer<'_> {
    /// The object's namespace is the request's.
    pub(super) fn place(&self, object: &mut Value) -> Result<(), ApiError> {
        let metadata = metadata(object);
        let own = metadata.get("namespace").and_then(Value::as_str).unwrap_or_default();
        if own.is_empty() {
            metadata.remove("namespace");
        } else if own != self.namespace {
            let text = if self.row.namespaced {
                "the namespace of the provided object does not match the namespace sent on the request"
            } else {
                "namespace may not be set on a cluster-scoped object"
            };
            return Err(ApiError::bad_request(text));
        }
        if !self.namespace.is_empty() {
            metadata.insert("namespace".to_owned(), json!(self.namespace));
        }
        Ok(())
    }

    /// The metadata of a new object that only the server knows.
    pub(super) fn fill(&self, object: &mut Value) -> Result<(), ApiError> {
        let metadata = metadata(object);
        if !matches!(metadata.get("resourceVersion").and_then(Value::as_str), None | Some("" | "0")) {
            return Err(plain("resourceVersion should not be set on objects to be created"));
        }
        metadata.remove("resourceVersion");
        wipe(metadata);
        metadata.insert("uid".to_owned(), json!(uuid::Uuid::new_v4().to_string()));
        metadata.insert("creationTimestamp".to_owned(), json!(format_time(self.registry.clock.now())));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names_are_short_and_differ() {
        for (base, length) in [("web-", 9), ("a".repeat(90).as_str(), 63)] {
            let name = generate(base);
            assert_eq!(name.len(), length);
            assert!(name.bytes().skip(length - 5).all(|byte| ALPHABET.contains(&byte)), "{name}");
            assert_ne!(name, generate(base));
        }
    }
}
