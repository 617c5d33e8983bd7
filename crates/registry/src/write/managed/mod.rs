//! Who set which fields: `metadata.managedFields`, and server-side apply.

mod set;

use meta::{ApiError, Cause, Reason, StatusDetails};
use schema::{Schemas, TypeId};
use serde_json::{Value, json};

use self::set::{Set, child, element, is_atomic, is_list, item};
use super::fields::{metadata, put, text};

/// Who writes, and when.
pub(super) struct Writing<'a> {
    pub(super) schemas: &'a Schemas,
    pub(super) ty: Option<TypeId>,
    pub(super) manager: &'a str,
    pub(super) api_version: &'a str,
    pub(super) subresource: &'a str,
    /// Whether `status` is written by its own endpoint only.
    pub(super) has_status: bool,
    pub(super) now: &'a str,
}

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    manager: String,
    operation: String,
    api_version: String,
    subresource: String,
    time: String,
    set: Set,
}

fn entries(object: &Value) -> Vec<Entry> {
    let list = object.pointer("/metadata/managedFields").and_then(Value::as_array).into_iter().flatten();
    let entry = |value: &Value| Entry {
        manager: text(value, "/manager").to_owned(),
        operation: text(value, "/operation").to_owned(),
        api_version: text(value, "/apiVersion").to_owned(),
        subresource: text(value, "/subresource").to_owned(),
        time: text(value, "/time").to_owned(),
        set: value.get("fieldsV1").map(set::read).unwrap_or_default(),
    };
    list.map(entry).collect()
}

fn store(object: &mut Value, entries: &[Entry]) {
    let value = |entry: &Entry| {
        let mut value = json!({
            "manager": entry.manager, "operation": entry.operation, "apiVersion": entry.api_version,
            "time": entry.time, "fieldsType": "FieldsV1", "fieldsV1": set::write(&entry.set),
        });
        if !entry.subresource.is_empty() {
            value["subresource"] = json!(entry.subresource);
        }
        value
    };
    let list: Vec<Value> = entries.iter().filter(|entry| !entry.set.is_empty()).map(value).collect();
    put(metadata(object), "managedFields", (!list.is_empty()).then(|| json!(list)));
}

impl Writing<'_> {
    /// Takes the entry of this writer out of the list, or makes one.
    fn own(&self, entries: &mut Vec<Entry>, operation: &str) -> Entry {
        let is_own = |entry: &Entry| {
            entry.manager == self.manager
                && entry.operation == operation
                && entry.subresource == self.subresource
                && (entry.api_version == self.api_version || operation == "Apply")
        };
        match entries.iter().position(is_own) {
            Some(at) => entries.remove(at),
            None => Entry {
                manager: self.manager.to_owned(),
                operation: operation.to_owned(),
                api_version: self.api_version.to_owned(),
                subresource: self.subresource.to_owned(),
                time: String::new(),
                set: Set::new(),
            },
        }
    }

    fn of(&self, object: &Value) -> Set {
        let mut set = set::of(self.schemas, self.ty, object);
        if self.has_status {
            let status = self.subresource == "status";
            set.retain(|path| path.first().is_some_and(|first| first == "f:status") == status);
        }
        set
    }

    fn differs(&self, path: &[String], before: &Value, new: &Value) -> bool {
        let at = |object| set::value_at(self.schemas, self.ty, object, path);
        let keyed = path.last().is_some_and(|step| step.starts_with("k:"));
        match (at(before), at(new)) {
            (Some(_), Some(_)) if keyed => false,
            (before, new) => before != new,
        }
    }

    /// Notes that this writer changed `before` (null for a new object) to `new`.
    pub(super) fn update(&self, before: &Value, new: &mut Value) {
        let mut others = entries(before);
        let mut own = self.own(&mut others, "Update");
        let (old_set, new_set) = (self.of(before), self.of(new));
        let changed: Set = new_set.iter().filter(|path| self.differs(path, before, new)).cloned().collect();
        let gone: Set = old_set.difference(&new_set).cloned().collect();
        if changed.is_empty() && gone.is_empty() {
            put(metadata(new), "managedFields", before.pointer("/metadata/managedFields").cloned());
            return;
        }
        for entry in &mut others {
            entry.set.retain(|path| !changed.contains(path) && !gone.contains(path));
        }
        own.set.extend(changed);
        own.set.retain(|path| !gone.contains(path));
        self.now.clone_into(&mut own.time);
        others.push(own);
        store(new, &others);
    }

    /// What `before` (null for a new object) becomes when this writer applies `patch`.
    pub(super) fn apply(&self, before: &Value, patch: &Value, force: bool) -> Result<Value, ApiError> {
        let mut others = entries(before);
        let mut own = self.own(&mut others, "Apply");
        let wanted = self.of(patch);
        let mut conflicts = Vec::new();
        for entry in &mut others {
            let taken: Set =
                wanted.intersection(&entry.set).filter(|path| self.differs(path, before, patch)).cloned().collect();
            if force {
                entry.set.retain(|path| !taken.contains(path));
            } else {
                let who = format!("conflict with {:?} using {}", entry.manager, entry.api_version);
                conflicts.extend(taken.iter().map(|path| (who.clone(), set::show(path))));
            }
        }
        if !conflicts.is_empty() {
            return Err(conflict(&conflicts));
        }
        let mut new = if before.is_null() { json!({}) } else { before.clone() };
        self.merge(self.ty, &mut new, patch);
        // What this writer wanted before and wants no more goes, unless somebody else wants it.
        for path in own.set.iter().rev().filter(|path| !wanted.contains(*path)) {
            let kept = others.iter().any(|entry| entry.set.iter().any(|other| other.starts_with(path)))
                || wanted.iter().any(|other| other.starts_with(path));
            if !kept {
                set::remove(self.schemas, self.ty, &mut new, path);
            }
        }
        if own.set != wanted
            || own.time.is_empty()
            || self.of(before).iter().any(|path| self.differs(path, before, &new))
        {
            self.now.clone_into(&mut own.time);
        }
        own.set = wanted;
        own.api_version = self.api_version.to_owned();
        others.push(own);
        store(&mut new, &others);
        Ok(new)
    }

    fn merge(&self, ty: Option<TypeId>, target: &mut Value, patch: &Value) {
        match (patch, target) {
            (Value::Object(patch), Value::Object(target)) if !is_atomic(self.schemas, ty) => {
                for (name, value) in patch {
                    let ty = child(self.schemas, ty, name);
                    self.merge(ty, target.entry(name.clone()).or_insert(Value::Null), value);
                }
            }
            (Value::Array(patch), Value::Array(target))
                if is_list(self.schemas, ty) && !is_atomic(self.schemas, ty) =>
            {
                let item_type = item(self.schemas, ty);
                for value in patch {
                    let key = element(self.schemas, ty, value);
                    let own = target.iter_mut().find(|own| element(self.schemas, ty, own) == key);
                    match own {
                        Some(own) => self.merge(item_type, own, value),
                        None => target.push(value.clone()),
                    }
                }
            }
            (patch, target) => *target = patch.clone(),
        }
    }
}

fn conflict(conflicts: &[(String, String)]) -> ApiError {
    let causes = conflicts.iter().map(|(who, path)| Cause {
        reason: "FieldManagerConflict".to_owned(),
        message: who.clone(),
        field: path.clone(),
    });
    let message = match conflicts {
        [(who, path)] => format!("Apply failed with 1 conflict: {who}: {path}"),
        many => {
            let mut text = format!("Apply failed with {} conflicts:", many.len());
            let mut last = "";
            for (who, path) in many {
                if who != last {
                    text.push_str(&format!(" {who}:"));
                    last = who;
                }
                text.push_str(&format!("\n- {path}"));
            }
            text
        }
    };
    let mut error = ApiError::new(Reason::Conflict, message);
    error.details = Some(Box::new(StatusDetails { causes: causes.collect(), ..StatusDetails::default() }));
    error
}

#[cfg(test)]
mod tests {
    use meta::Gvk;

    use super::*;

    fn writing(manager: &str) -> Writing<'_> {
        let schemas = Schemas::builtin();
        let ty = schemas.of(&Gvk::new("", "v1", "Pod"));
        Writing {
            schemas,
            ty,
            manager,
            api_version: "v1",
            subresource: "",
            has_status: true,
            now: "2026-01-01T00:00:00Z",
        }
    }

    fn pod(labels: Value, containers: Value) -> Value {
        json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p", "labels": labels}, "spec": {"containers": containers}})
    }

    #[test]
    fn a_write_owns_what_it_sets() {
        let mut made = pod(json!({"a": "b"}), json!([{"name": "c", "image": "i"}]));
        writing("kubectl").update(&Value::Null, &mut made);
        let entry = &made["metadata"]["managedFields"][0];
        assert_eq!((&entry["manager"], &entry["operation"]), (&json!("kubectl"), &json!("Update")));
        let container = json!({".": {}, "f:image": {}, "f:name": {}});
        let expected = json!({"f:metadata": {"f:labels": {"f:a": {}}},
            "f:spec": {"f:containers": {"k:{\"name\":\"c\"}": container}}});
        assert_eq!(entry["fieldsV1"], expected);
        let mut changed = made.clone();
        changed["metadata"]["labels"]["a"] = json!("x");
        writing("other").update(&made, &mut changed);
        let lists: Vec<Value> = entries(&changed).iter().map(|entry| set::write(&entry.set)).collect();
        assert_eq!(lists[1], json!({"f:metadata": {"f:labels": {"f:a": {}}}}));
        assert_eq!(lists[0].get("f:metadata"), None);
    }

    #[test]
    fn applying_again_takes_back_what_is_no_longer_wanted() {
        let first = pod(json!({"a": "b", "c": "d"}), json!([{"name": "c", "image": "i"}]));
        let made = writing("me").apply(&Value::Null, &first, false).expect("it applies");
        assert_eq!(made["metadata"]["labels"], json!({"a": "b", "c": "d"}));
        let mut touched = made.clone();
        touched["metadata"]["labels"]["c"] = json!("e");
        writing("you").update(&made, &mut touched);
        let second = pod(json!({}), json!([{"name": "c", "image": "j"}]));
        let applied = writing("me").apply(&touched, &second, false).expect("it applies");
        assert_eq!(applied["metadata"]["labels"], json!({"c": "e"}));
        assert_eq!(applied["spec"]["containers"], json!([{"name": "c", "image": "j"}]));
        let error = writing("me").apply(&touched, &first, false).expect_err("a conflict");
        let text = "Apply failed with 1 conflict: conflict with \"you\" using v1: .metadata.labels.c";
        assert_eq!((error.code(), error.message.as_str()), (409, text));
        let forced = writing("me").apply(&touched, &first, true).expect("it applies");
        assert_eq!(forced["metadata"]["labels"]["c"], "d");
    }
}
