//! Who set which fields: `metadata.managedFields`, and server-side apply.

mod client_side;
mod entries;
mod set;
mod typed;

use meta::{ApiError, Cause, Reason, StatusDetails};
use schema::{Schemas, TypeId};
use serde_json::{Value, json};

use self::entries::{Entries, Entry};
use self::set::Set;
use self::typed::Typed;
use super::fields::{metadata, put};

/// Who is said to have set what an object had before anybody's fields were noted.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// Fields of metadata that nobody owns, and metadata itself.
const UNOWNED: [&[&str]; 12] = [
    &["apiVersion"],
    &["kind"],
    &["metadata"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "creationTimestamp"],
    &["metadata", "selfLink"],
    &["metadata", "uid"],
    &["metadata", "clusterName"],
    &["metadata", "generation"],
    &["metadata", "managedFields"],
    &["metadata", "resourceVersion"],
];

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

impl Writing<'_> {
    fn typed(&self) -> Typed<'_> {
        Typed { schemas: self.schemas, ty: self.ty }
    }

    fn entry(&self, manager: &str, operation: &str) -> Entry {
        Entry {
            manager: manager.to_owned(),
            operation: operation.to_owned(),
            api_version: self.api_version.to_owned(),
            subresource: self.subresource.to_owned(),
            time: self.now.to_owned(),
            set: Set::default(),
        }
    }

    /// The set without what this endpoint doesn't write.
    fn writable(&self, mut set: Set) -> Set {
        match self.subresource {
            "status" => set.drop_all(&["spec"]),
            _ if self.has_status => set.drop_all(&["status"]),
            _ => {}
        }
        set
    }

    /// The set without what nobody owns.
    fn ownable(&self, set: Set) -> Set {
        let mut set = self.writable(set);
        UNOWNED.iter().for_each(|path| set.drop_one(path));
        set
    }

    /// Notes that this writer changed `before` (null for a new object) to `new`.
    pub(super) fn update(&self, before: &Value, new: &mut Value) {
        let mut entries = self.known(before, new);
        metadata(new).remove("managedFields");
        if entries.is_empty() && !before.is_null() {
            return;
        }
        self.note_update(before, new, &mut entries, self.manager);
        store(new, &entries);
    }

    /// The entries to go on from: those that the writer sent, else those of the object.
    fn known(&self, before: &Value, new: &Value) -> Entries {
        let sent = new.pointer("/metadata/managedFields");
        // Compat: one empty entry asks to forget everything.
        if self.subresource.is_empty() && sent == Some(&json!([{}])) {
            return Entries::default();
        }
        let sent = Entries::read(new);
        if self.subresource.is_empty() && !sent.is_empty() { sent } else { Entries::read(before) }
    }

    fn note_update(&self, before: &Value, new: &Value, entries: &mut Entries, manager: &str) {
        let empty = json!({});
        let before = if before.is_null() { &empty } else { before };
        let difference = self.typed().compare(Some(&without_managed(before)), Some(&without_managed(new)));
        let (changed, removed) = (self.writable(difference.changed), self.writable(difference.removed));
        entries.each(|_, set| *set = set.difference(&changed).difference(&removed));
        let changed = self.ownable(changed);
        if !changed.is_empty() {
            entries.add(Entry { set: changed, ..self.entry(manager, "Update") });
        }
        entries.cap();
    }

    /// What `before` (null for a new object) becomes when this writer applies `patch`.
    pub(super) fn apply(&self, before: &Value, patch: &Value, force: bool) -> Result<Value, ApiError> {
        match self.try_apply(before, patch, force) {
            Err(conflicts) => {
                let left = client_side::unless_applied_before(self, before, conflicts);
                if !left.is_empty() {
                    return Err(conflict(&left));
                }
                self.try_apply(before, patch, true).map_err(|conflicts| conflict(&conflicts))
            }
            Ok(new) => Ok(new),
        }
        .map(|new| client_side::note(self, new, patch))
    }

    fn try_apply(&self, before: &Value, patch: &Value, force: bool) -> Result<Value, Vec<Conflict>> {
        let mut entries = Entries::read(before);
        let live = if before.is_null() { json!({}) } else { without_managed(before) };
        if entries.is_empty() && !before.is_null() {
            let unnamed = Writing { subresource: "", ..*self };
            unnamed.note_update(&Value::Null, &live, &mut entries, BEFORE_FIRST_APPLY);
        }
        let typed = self.typed();
        let own = self.entry(self.manager, "Apply");
        let last = entries.take(&own);
        let wanted = self.writable(typed.fields(patch));
        let mut new = live.clone();
        typed.merge(&mut new, patch);
        if let Some(last) = &last {
            let others = entries.all().iter().fold(wanted.clone(), |all, entry| all.union(&entry.set));
            new = prune(&typed, new, &last.set, &others);
        }
        let difference = typed.compare(Some(&live), Some(&new));
        let (changed, removed) = (self.writable(difference.changed), self.writable(difference.removed));
        let mut conflicts = Vec::new();
        entries.each(|entry, set| {
            let taken = set.intersection(&changed);
            if !force && !taken.is_empty() {
                conflicts.push(Conflict { entry: entry.clone(), set: taken.clone() });
            }
            *set = set.difference(&taken).difference(&removed);
        });
        if !conflicts.is_empty() {
            conflicts.sort_by_key(Conflict::who);
            return Err(conflicts);
        }
        // Compat: what changes nothing keeps the time of the apply before it, if there was one.
        let time = if live == new { last.map(|last| last.time).unwrap_or_default() } else { self.now.to_owned() };
        entries.add(Entry { set: self.ownable(wanted), time, ..own });
        store(&mut new, &entries);
        Ok(new)
    }
}

/// What this writer wanted before and wants no more goes, unless somebody wants it or it was never asked for.
fn prune(typed: &Typed<'_>, merged: Value, last: &Set, wanted: &Set) -> Value {
    let named = |set: &Set| typed.with_named_fields(set);
    let last = named(last);
    let pruned = typed.without(&merged, &last).unwrap_or_default();
    let all = named(&typed.fields(&merged));
    let left = named(&typed.fields(&pruned));
    let unwanted = all.difference(&left.union(&named(wanted)));
    let pruned = typed.without(&merged, &unwanted).unwrap_or_default();
    let left = named(&typed.fields(&pruned));
    typed.without(&merged, &all.difference(&left).intersection(&last)).unwrap_or_default()
}

fn without_managed(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    object
}

fn store(object: &mut Value, entries: &Entries) {
    put(metadata(object), "managedFields", entries.write());
}

/// Fields that another manager has.
struct Conflict {
    entry: Entry,
    set: Set,
}

impl Conflict {
    /// Compat: an applier is known by its name alone.
    fn who(&self) -> String {
        let Entry { manager, operation, api_version, subresource, .. } = &self.entry;
        let within = if subresource.is_empty() { String::new() } else { format!(" with subresource {subresource:?}") };
        let using = if operation == "Update" { format!(" using {api_version}") } else { String::new() };
        format!("{manager:?}{within}{using}")
    }
}

fn conflict(conflicts: &[Conflict]) -> ApiError {
    let paths =
        |conflict: &Conflict| conflict.set.show().into_iter().map(|path| (conflict.who(), path)).collect::<Vec<_>>();
    let all: Vec<(String, String)> = conflicts.iter().flat_map(paths).collect();
    let causes = all.iter().map(|(who, path)| Cause {
        reason: "FieldManagerConflict".to_owned(),
        message: format!("conflict with {who}"),
        field: path.clone(),
    });
    let message = match all.as_slice() {
        [(who, path)] => format!("Apply failed with 1 conflict: conflict with {who}: {path}"),
        many => {
            let mut lines = Vec::new();
            for conflict in conflicts {
                lines.push(format!("conflicts with {}:", conflict.who()));
                lines.extend(conflict.set.show().iter().map(|path| format!("- {path}")));
            }
            format!("Apply failed with {} conflicts: {}", many.len(), lines.join("\n"))
        }
    };
    let mut error = ApiError::new(Reason::Conflict, message);
    error.details = Some(Box::new(StatusDetails { causes: causes.collect(), ..StatusDetails::default() }));
    error
}

#[cfg(test)]
mod tests;
