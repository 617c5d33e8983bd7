//! What is said of types and fields: upstream's words, as k8s-openapi has them. The table is read when a document is made, and
//! forgotten with it.

use std::collections::HashMap;
use std::io::Read;

use flate2::read::ZlibDecoder;
use serde::Deserialize;

/// Made by the crate's build.
static TABLE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptions.json.z"));

/// The kind whose words count for fields that all kinds have.
const ANY_KIND: &str = "io.k8s.api.core.v1.Pod";

/// Of a type and of its fields.
#[derive(Default, Deserialize)]
struct Described(String, HashMap<String, String>);

/// Descriptions by the types' names in OpenAPI.
pub(super) struct Descriptions(HashMap<String, Described>);

/// Tells one table from another: what compresses them ends with a checksum.
pub(super) fn checksum() -> &'static [u8] {
    &TABLE[TABLE.len().saturating_sub(4)..]
}

impl Descriptions {
    pub(super) fn read() -> Self {
        let mut text = Vec::new();
        let read = ZlibDecoder::new(TABLE).read_to_end(&mut text);
        read.expect("the table is made by this crate's build");
        Self(serde_json::from_slice(&text).expect("the table is made by this crate's build"))
    }

    /// What is said of a type.
    pub(super) fn of(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|described| described.0.as_str()).filter(|text| !text.is_empty())
    }

    /// What is said of a type's field.
    pub(super) fn of_field(&self, name: &str, field: &str) -> Option<&str> {
        self.0.get(name).and_then(|described| described.1.get(field)).map(String::as_str)
    }

    /// What is said of a field that every kind has.
    pub(super) fn of_every_kind(&self, field: &str) -> &str {
        self.of_field(ANY_KIND, field).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_fields_are_described() {
        let descriptions = Descriptions::read();
        let check = |name: &str, field: &str, begin: &str| {
            let found = if field.is_empty() { descriptions.of(name) } else { descriptions.of_field(name, field) };
            assert!(found.is_some_and(|text| text.starts_with(begin)), "{name} {field}: {found:?}");
        };
        check("io.k8s.api.core.v1.Pod", "", "Pod is a collection of containers");
        check("io.k8s.api.core.v1.ContainerPort", "hostIP", "What host IP");
        check("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", "uid", "UID is");
        check("io.k8s.apimachinery.pkg.api.resource.Quantity", "", "Quantity is");
        check("io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIService", "spec", "Spec");
        assert_eq!(descriptions.of("io.example.Nothing"), None);
        assert!(descriptions.of_every_kind("apiVersion").starts_with("APIVersion defines"));
    }
}
