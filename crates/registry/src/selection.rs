//! Which objects a list or a watch is about.

use meta::{ApiError, FieldSelector, LabelSelector, Object};

use crate::cache::Storage;

/// Where to look, and what to look for.
pub(crate) struct Selection {
    /// What the keys begin with; the whole key where `single` is set.
    pub(crate) prefix: String,
    /// Whether at most one object can match.
    pub(crate) single: bool,
    labels: LabelSelector,
    fields: FieldSelector,
}

impl Selection {
    /// All that the selectors let pass in a namespace, or everywhere.
    pub(crate) fn new(
        storage: &Storage,
        namespaced: bool,
        namespace: Option<&str>,
        labels: LabelSelector,
        fields: FieldSelector,
    ) -> Self {
        let own = fields.required("metadata.namespace").filter(|_| namespaced);
        let namespace = namespace.or(own).filter(|namespace| !namespace.is_empty());
        let name = fields.required("metadata.name").filter(|name| !name.is_empty());
        let (prefix, single) = match (namespace, name) {
            (Some(namespace), Some(name)) => (storage.key(namespace, name).to_string(), true),
            (None, Some(name)) if !namespaced => (storage.key("", name).to_string(), true),
            (Some(namespace), None) => (storage.key(namespace, "").to_string(), false),
            (None, _) => (storage.prefix.clone(), false),
        };
        Self { prefix, single, labels, fields }
    }

    /// Whether an object at `key` is meant.
    pub(crate) fn matches(&self, key: &str, object: &Object) -> bool {
        let here = if self.single { key == self.prefix } else { key.starts_with(&self.prefix) };
        here && self.matches_object(object)
    }

    /// Whether an object that is at the right place is meant.
    pub(crate) fn matches_object(&self, object: &Object) -> bool {
        self.labels.matches(&object.metadata.labels) && self.fields.matches(object)
    }

    /// Whether all objects at that place are meant.
    pub(crate) fn is_everything(&self) -> bool {
        !self.single && self.labels.is_everything() && self.fields.is_everything()
    }
}

/// Refuses field selectors that the resource doesn't know.
pub(crate) fn check_fields(known: &[&str], fields: &FieldSelector) -> Result<(), ApiError> {
    const OF_ALL: [&str; 2] = ["metadata.name", "metadata.namespace"];
    let mut names = fields.requirements.iter().map(|(name, _, _)| name.as_str());
    match names.find(|name| !OF_ALL.contains(name) && !known.contains(name)) {
        None => Ok(()),
        // Compat: kinds with selectors of their own and kinds without have different words for it.
        Some(unknown) if known.is_empty() => Err(ApiError::bad_request(format!(
            "{unknown:?} is not a known field selector: only {:?}, {:?}",
            OF_ALL[0], OF_ALL[1]
        ))),
        Some(unknown) => Err(ApiError::bad_request(format!("field label not supported: {unknown}"))),
    }
}
