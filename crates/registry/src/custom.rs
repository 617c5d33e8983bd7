//! Custom resources: which definitions there are, and the table that follows from them.
//!
//! The cache makes a new table when it takes in a change of a definition, before it says that it has reached the revision:
//! whoever sees a definition established can use what it defines.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use kinds::Resource;
use kinds::custom::{Names, compare_versions, resources};
use meta::Object;
use serde_json::Value;

use crate::admission::Reader;
use crate::resources::Resources;

/// Where definitions are stored.
pub(crate) const DEFINITIONS: (&str, &str) = ("apiextensions.k8s.io", "customresourcedefinitions");

/// Turns objects into those of another version by asking the webhook of their definition.
#[async_trait]
pub trait Converter: Send + Sync {
    /// Converts objects to `api_version`, as `spec.conversion.webhook` of their definition says; the error is for people.
    async fn convert(
        &self,
        webhook: &Value,
        objects: Vec<Value>,
        api_version: &str,
        reader: &dyn Reader,
    ) -> Result<Vec<Value>, String>;
}

/// The definitions, and what each one makes.
pub(crate) struct Definitions {
    builtin: Arc<Resources>,
    names: Names,
    known: BTreeMap<String, Known>,
}

struct Known {
    /// The revision of the definition that was read last.
    revision: u64,
    /// What of it decides about its resources.
    said: Value,
    rows: Vec<Resource>,
}

impl Definitions {
    pub(crate) fn new(builtin: Arc<Resources>) -> Self {
        Self { builtin, names: Names::default(), known: BTreeMap::new() }
    }

    /// The table with what these definitions make; definitions that didn't change are not read again.
    pub(crate) fn table<'a>(&mut self, definitions: impl Iterator<Item = &'a Arc<Object>>) -> Resources {
        let mut before = std::mem::take(&mut self.known);
        for object in definitions {
            let name = &object.metadata.name;
            let known = match before.remove(name) {
                Some(known) if known.revision == object.revision => known,
                known => self.read(object, known),
            };
            self.known.insert(name.clone(), known);
        }
        let mut custom: Vec<&Resource> = self.known.values().flat_map(|known| &known.rows).collect();
        custom.sort_by(|a, b| a.group.cmp(b.group).then_with(|| compare_versions(a.version, b.version)));
        Resources::new(self.builtin.iter().chain(custom).cloned())
    }

    fn read(&mut self, object: &Object, before: Option<Known>) -> Known {
        let definition = object.value();
        let said = said(&definition);
        if let Some(before) = before.filter(|before| before.said == said) {
            return Known { revision: object.revision, ..before };
        }
        let rows = resources(&definition, object.revision, &mut self.names);
        Known { revision: object.revision, said, rows }
    }
}

fn said(definition: &Value) -> Value {
    let established = definition.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    let established =
        established.filter(|condition| condition["type"] == "Established").map(|condition| &condition["status"]);
    serde_json::json!({
        "uid": definition["metadata"]["uid"], "deleted": definition["metadata"]["deletionTimestamp"],
        "spec": definition["spec"], "names": definition["status"]["acceptedNames"],
        "established": established.collect::<Vec<_>>(),
    })
}
