//! The documents of aggregated servers beside our own.

use std::sync::Arc;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::aggregation::Learned;

/// A tag that changes with theirs too.
pub(super) fn tag(own: String, others: &[Arc<Learned>]) -> String {
    if others.is_empty() {
        return own;
    }
    let mut hash = Sha256::new();
    hash.update(own);
    for other in others {
        hash.update(other.openapi.to_string());
        hash.update(serde_json::to_vec(&other.openapi_index).unwrap_or_default());
    }
    hex::encode_upper(&hash.finalize()[..16])
}

/// A document of version 2 with their paths and types. A type that two know is told as the first does.
pub(super) fn documents(mut own: Value, others: &[Arc<Learned>]) -> Value {
    for other in others {
        for part in ["paths", "definitions"] {
            add(&mut own[part], other.openapi[part].as_object());
        }
    }
    own
}

/// The index of version 3 with their entries.
pub(super) fn indexes(mut own: Value, others: &[Arc<Learned>]) -> Value {
    for other in others {
        add(&mut own["paths"], Some(&other.openapi_index));
    }
    own
}

fn add(to: &mut Value, from: Option<&Map<String, Value>>) {
    let (Some(to), Some(from)) = (to.as_object_mut(), from) else { return };
    for (name, value) in from {
        to.entry(name.clone()).or_insert_with(|| value.clone());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_others_serve_is_shown_beside_our_own() {
        let openapi = json!({"paths": {"/apis/b/v1/": 2}, "definitions": {"Shared": 2, "Theirs": 2}});
        let index = json!({"apis/b/v1": {"serverRelativeURL": "/x"}});
        let openapi_index = index.as_object().cloned().unwrap_or_default();
        let others = [Arc::new(Learned { resources: Vec::new(), openapi, openapi_index })];
        let own = json!({"paths": {"/api/": 1}, "definitions": {"Shared": 1}});
        let expected = json!({"paths": {"/api/": 1, "/apis/b/v1/": 2}, "definitions": {"Shared": 1, "Theirs": 2}});
        assert_eq!(documents(own, &others), expected);
        assert_eq!(indexes(json!({"paths": {}}), &others)["paths"], index);
        assert_ne!(tag("a".to_owned(), &others), tag("a".to_owned(), &[]));
    }
}
