//! The entries of `metadata.managedFields`.

use serde_json::{Value, json};

use super::super::fields::text;
use super::set::Set;

/// As many entries of updates are kept apart; of more, the oldest are joined.
const MAX_UPDATES: usize = 10;

/// Whose entry the oldest updates are joined in.
const ANCIENT: &str = "ancient-changes";

/// One manager's fields.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) manager: String,
    pub(super) operation: String,
    pub(super) api_version: String,
    pub(super) subresource: String,
    pub(super) time: String,
    pub(super) set: Set,
}

impl Entry {
    /// Whether both are one manager's. Compat: one who applies has one entry for all versions.
    fn is_of(&self, other: &Self) -> bool {
        self.manager == other.manager
            && self.operation == other.operation
            && self.subresource == other.subresource
            && (self.api_version == other.api_version || self.operation == "Apply")
    }

    fn read(value: &Value) -> Self {
        Self {
            manager: text(value, "/manager").to_owned(),
            operation: text(value, "/operation").to_owned(),
            api_version: text(value, "/apiVersion").to_owned(),
            subresource: text(value, "/subresource").to_owned(),
            time: text(value, "/time").to_owned(),
            set: value.get("fieldsV1").map(Set::read).unwrap_or_default(),
        }
    }

    fn write(&self) -> Value {
        let mut value = json!({
            "manager": self.manager, "operation": self.operation, "apiVersion": self.api_version,
            "fieldsType": "FieldsV1", "fieldsV1": self.set.write(),
        });
        for (name, text) in [("subresource", &self.subresource), ("time", &self.time)] {
            if !text.is_empty() {
                value[name] = json!(text);
            }
        }
        value
    }
}

/// All entries of an object.
#[derive(Debug, Default)]
pub(super) struct Entries(Vec<Entry>);

impl Entries {
    pub(super) fn read(object: &Value) -> Self {
        let list = object.pointer("/metadata/managedFields").and_then(Value::as_array).into_iter().flatten();
        Self(list.map(Entry::read).filter(|entry| !entry.set.is_empty()).collect())
    }

    /// In upstream's order: those who apply first, then the oldest.
    pub(super) fn write(&self) -> Option<Value> {
        let mut entries: Vec<&Entry> = self.0.iter().filter(|entry| !entry.set.is_empty()).collect();
        let order = |entry: &&Entry| {
            let Entry { manager, operation, api_version, subresource, time, .. } = *entry;
            [operation, time, manager, api_version, subresource].map(String::clone)
        };
        entries.sort_by_key(order);
        (!entries.is_empty()).then(|| entries.into_iter().map(Entry::write).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn all(&self) -> &[Entry] {
        &self.0
    }

    /// Changes each entry's set.
    pub(super) fn each(&mut self, mut change: impl FnMut(&Entry, &mut Set)) {
        for index in 0..self.0.len() {
            let mut set = std::mem::take(&mut self.0[index].set);
            change(&self.0[index], &mut set);
            self.0[index].set = set;
        }
        self.0.retain(|entry| !entry.set.is_empty());
    }

    /// Takes the entry of the same manager out.
    pub(super) fn take(&mut self, of: &Entry) -> Option<Entry> {
        let at = self.0.iter().position(|entry| entry.is_of(of))?;
        Some(self.0.remove(at))
    }

    /// Adds to what the same manager has.
    pub(super) fn add(&mut self, entry: Entry) {
        let set = match self.take(&entry) {
            Some(before) => before.set.union(&entry.set),
            None => entry.set,
        };
        self.0.push(Entry { set, ..entry });
    }

    /// Joins the oldest updates, those of each version in one, until there are few enough.
    pub(super) fn cap(&mut self) {
        let mut updates: Vec<Entry> = self.0.iter().filter(|entry| entry.operation == "Update").cloned().collect();
        if updates.len() <= MAX_UPDATES {
            return;
        }
        updates.sort_by_key(|entry| (entry.time.clone(), entry.manager.clone()));
        let mut left = updates.len();
        let mut first_of: Vec<Entry> = Vec::new();
        for update in updates {
            if left <= MAX_UPDATES {
                return;
            }
            let Some(first) = first_of.iter().find(|first| first.api_version == update.api_version) else {
                first_of.push(update);
                continue;
            };
            let ancient = |entry: Entry| Entry { manager: ANCIENT.to_owned(), subresource: String::new(), ..entry };
            if let Some(first) = self.take(first) {
                self.add(ancient(first));
            }
            if let Some(update) = self.take(&update) {
                self.add(ancient(update));
                left -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_updates_are_joined() {
        let mut entries = Entries::default();
        for index in 0..12 {
            let set = Set::read(&json!({"f:data": {format!("f:{index}"): {}}}));
            let (manager, time) = (format!("m{index}"), format!("2026-01-01T00:00:{index:02}Z"));
            let operation = "Update".to_owned();
            entries.add(Entry {
                manager,
                operation,
                api_version: "v1".to_owned(),
                subresource: String::new(),
                time,
                set,
            });
        }
        entries.cap();
        let all = entries.all();
        assert_eq!(all.len(), MAX_UPDATES);
        let joined = all.iter().find(|entry| entry.manager == ANCIENT).expect("an entry for the oldest");
        assert_eq!(joined.set.write(), json!({"f:data": {"f:0": {}, "f:1": {}, "f:2": {}}}));
        assert_eq!(joined.time, "2026-01-01T00:00:02Z");
    }
}
