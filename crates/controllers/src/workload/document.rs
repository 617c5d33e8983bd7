//! Short ways to look into a document. Null counts as absent.

use meta::Object;
use serde_json::{Value, json};

pub(crate) fn number(value: &Value, pointer: &str) -> i64 {
    value.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

pub(crate) fn items<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The labels or annotations at a pointer, or any other map; empty if there are none.
pub(crate) fn map(value: &Value, pointer: &str) -> serde_json::Map<String, Value> {
    value.pointer(pointer).and_then(Value::as_object).cloned().unwrap_or_default()
}

/// Sets a number in a status, or removes it where upstream leaves out a zero.
pub(crate) fn set_count(status: &mut Value, field: &str, count: i64) {
    if count != 0 {
        status[field] = json!(count);
    } else if let Some(fields) = status.as_object_mut() {
        fields.remove(field);
    }
}

/// The document without nulls and empty lists, for comparisons.
pub(crate) fn normal(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().map(|(name, value)| (name.clone(), normal(value)));
            Value::Object(kept.filter(|(_, value)| !value.is_null() && *value != json!([])).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(normal).collect()),
        other => other.clone(),
    }
}

/// A count that may be given in percent of a total, as `maxSurge` is.
pub(crate) fn scaled(value: &Value, total: i64, up: bool) -> i64 {
    let percent = value.as_str().and_then(|text| text.strip_suffix('%')).and_then(|text| text.parse::<i64>().ok());
    match percent {
        Some(percent) if up => (total * percent + 99) / 100,
        Some(percent) => total * percent / 100,
        None => value.as_i64().unwrap_or(0),
    }
}

/// A short name for a document that a person can read aloud without saying anything rude, as upstream spells its hashes.
pub(crate) fn hash(document: &Value, collisions: Option<i64>) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let salt = collisions.map(|count| count.to_string()).unwrap_or_default();
    let bytes = normal(document).to_string().into_bytes().into_iter().chain(salt.into_bytes());
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash.to_string().bytes().map(|byte| char::from(LETTERS[usize::from(byte) % LETTERS.len()])).collect()
}

/// The reference by which an object controls another.
pub(crate) fn controller_reference(owner: &Object) -> Value {
    json!({
        "apiVersion": owner.api_version(), "kind": owner.kind(), "name": owner.metadata.name, "uid": owner.metadata.uid,
        "controller": true, "blockOwnerDeletion": true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percents_round_as_asked() {
        let check = |value: Value, total: i64, up: bool, expected: i64| {
            assert_eq!(scaled(&value, total, up), expected, "{value} of {total}");
        };
        check(json!("25%"), 10, true, 3);
        check(json!("25%"), 10, false, 2);
        check(json!(4), 10, false, 4);
        check(Value::Null, 10, true, 0);
    }

    #[test]
    fn hashes_depend_on_content_alone() {
        let plain = |value: Value| hash(&value, None);
        assert_eq!(plain(json!({"a": 1, "b": null})), plain(json!({"a": 1, "b": []})));
        assert_ne!(plain(json!({"a": 1})), plain(json!({"a": 2})));
        assert_ne!(plain(json!({"a": 1})), hash(&json!({"a": 1}), Some(1)));
    }
}
