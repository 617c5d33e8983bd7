//! Documents by their types: which fields one sets, how two differ, how one is merged into another and what remains of it.
//!
//! Compat: the rules are those of upstream's structured merge: lists and maps are atomic or not as their type says, and of two
//! objects one is compared as Go's structs are, where a field without `omitempty` is always there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use schema::{ListKind, Schemas, Type, TypeId};
use serde_json::{Map, Value, json};

use super::set::{Scalar, Set, Step};

/// A type within its arena; `None` is a value without a schema.
#[derive(Clone, Copy)]
pub(super) struct Typed<'a> {
    pub(super) schemas: &'a Schemas,
    pub(super) ty: Option<TypeId>,
}

/// How the document that came after differs from the one before.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Difference {
    /// Added or modified.
    pub(super) changed: Set,
    pub(super) removed: Set,
}

static NOTHING: Value = Value::Null;
static EMPTY: LazyLock<Value> = LazyLock::new(|| json!({}));

impl<'a> Typed<'a> {
    fn get(&self) -> Option<&'a Type> {
        self.ty.map(|ty| self.schemas.get(ty))
    }

    fn at(&self, ty: Option<TypeId>) -> Self {
        Self { ty, ..*self }
    }

    /// The type of a field or of a map's value.
    fn field(&self, name: &str) -> Self {
        let ty = match self.get() {
            Some(Type::Struct(structure)) => {
                structure.fields.iter().find(|field| field.name == name).map(|field| field.ty)
            }
            Some(Type::Map(map)) => Some(map.value),
            _ => None,
        };
        self.at(ty)
    }

    /// Whether the type itself has a field of this name.
    fn names(&self, name: &str) -> bool {
        matches!(self.get(), Some(Type::Struct(structure)) if structure.fields.iter().any(|field| field.name == name))
    }

    fn item(&self) -> Self {
        self.at(match self.get() {
            Some(Type::List(list)) => Some(list.item),
            _ => None,
        })
    }

    /// Whether a value has one owner as a whole.
    fn is_leaf(&self, value: &Value) -> bool {
        match (self.get(), value) {
            (Some(Type::Struct(structure)), Value::Object(_)) => structure.atomic,
            (Some(Type::Map(map)), Value::Object(_)) => map.atomic,
            (Some(Type::List(list)), Value::Array(_)) => list.kind == ListKind::Atomic,
            // Without a schema, objects are taken apart and lists are not.
            (None, Value::Object(_)) => false,
            _ => true,
        }
    }

    /// What tells a list's item from the others.
    fn step(&self, item: &Value) -> Option<Step> {
        let Some(Type::List(list)) = self.get() else { return None };
        match &list.kind {
            ListKind::Atomic => None,
            ListKind::Set => Some(Step::Value(Scalar::of(item))),
            ListKind::Map(keys) => {
                let key = |key: &schema::MapKey| {
                    let value = item.get(&key.name).or(key.default.as_ref())?;
                    Some((key.name.clone(), Scalar::of(value)))
                };
                Some(Step::Keys(keys.iter().filter_map(key).collect()))
            }
        }
    }

    /// All fields that a document sets.
    pub(super) fn fields(&self, value: &Value) -> Set {
        let mut set = Set::default();
        match value {
            _ if self.is_leaf(value) => set.member = true,
            Value::Object(fields) => {
                for (name, value) in fields {
                    let mut part = self.field(name).fields(value);
                    let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
                    part.member |= empty || !self.names(name);
                    set.put(Step::field(name), part);
                }
            }
            Value::Array(items) => {
                for item in items {
                    let Some(step) = self.step(item) else { continue };
                    let mut part = self.item().fields(item);
                    part.member = true;
                    set.put(step, part);
                }
            }
            _ => {}
        }
        set
    }

    /// A field as Go's struct has it: one that is always there may be null or empty.
    fn part<'v>(&self, value: Option<&'v Value>, name: &str) -> Option<&'v Value> {
        if let Some(found) = value?.get(name) {
            return Some(found);
        }
        let Some(Type::Struct(structure)) = self.get() else { return None };
        let field = structure.fields.iter().find(|field| field.name == name)?;
        let is_struct = matches!(self.schemas.get(field.ty), Type::Struct(_));
        match is_struct {
            true => (!field.pointer && !field.omit_zero).then(|| &*EMPTY),
            false => (!field.pointer && !field.omit_empty).then_some(&NOTHING),
        }
    }

    /// How `after` differs from `before`; `None` is what isn't there.
    pub(super) fn compare(&self, before: Option<&Value>, after: Option<&Value>) -> Difference {
        let mut difference = Difference::default();
        match (before, after) {
            (None, None) => return difference,
            (None, Some(_)) => difference.changed.member = true,
            (Some(_), None) => difference.removed.member = true,
            (Some(_), Some(_)) => {}
        }
        let parts = |value: Option<&Value>| value.is_some_and(|value| !is_empty(value) && !self.is_leaf(value));
        let alike = |one: Option<&Value>, other: Option<&Value>| match (one, other) {
            (Some(one), Some(other)) => {
                is_empty(one) || is_empty(other) || std::mem::discriminant(one) == std::mem::discriminant(other)
            }
            _ => true,
        };
        if (!parts(before) && !parts(after)) || !alike(before, after) {
            difference.changed.member |= before
                .zip(after)
                .is_some_and(|(before, after)| before != after && !(is_zero(before) && is_zero(after)));
            return difference;
        }
        for (step, part, before, after) in self.pairs(before, after) {
            let within = part.compare(before, after);
            difference.changed.put(step.clone(), within.changed);
            difference.removed.put(step, within.removed);
        }
        difference
    }

    /// The parts of two documents side by side.
    fn pairs<'v>(
        &self,
        before: Option<&'v Value>,
        after: Option<&'v Value>,
    ) -> Vec<(Step, Self, Option<&'v Value>, Option<&'v Value>)> {
        let is_list = [before, after].iter().any(|value| matches!(value, Some(Value::Array(_))));
        if is_list {
            let index = |list: Option<&'v Value>| -> BTreeMap<Step, &'v Value> {
                let items = list.and_then(Value::as_array).into_iter().flatten();
                items.filter_map(|item| Some((self.step(item)?, item))).collect()
            };
            let (before, after) = (index(before), index(after));
            let steps: BTreeSet<&Step> = before.keys().chain(after.keys()).collect();
            let pair = |step: &Step| (step.clone(), self.item(), before.get(step).copied(), after.get(step).copied());
            return steps.into_iter().map(pair).collect();
        }
        let names = |value: Option<&'v Value>| value.and_then(Value::as_object).into_iter().flat_map(Map::keys);
        let all: BTreeSet<&String> = names(before).chain(names(after)).collect();
        let pair =
            |name: &String| (Step::field(name), self.field(name), self.part(before, name), self.part(after, name));
        all.into_iter().map(pair).collect()
    }

    /// Puts what `patch` says into `target`.
    pub(super) fn merge(&self, target: &mut Value, patch: &Value) {
        let whole = self.is_leaf(patch) || (is_empty(target) && is_empty(patch));
        match (patch, target) {
            (Value::Object(patch), Value::Object(target)) if !whole => {
                for (name, value) in patch {
                    self.field(name).merge(target.entry(name.clone()).or_insert(Value::Null), value);
                }
            }
            (Value::Array(patch), Value::Array(target)) if !whole => self.merge_items(target, patch),
            (Value::Null, target @ (Value::Object(_) | Value::Array(_))) if !self.is_leaf(target) => {}
            (patch, target) => *target = patch.clone(),
        }
    }

    /// Shared items come in the patch's order; what only the object has stays before the shared item that it stood before.
    fn merge_items(&self, target: &mut Vec<Value>, patch: &[Value]) {
        let mut old: Vec<(Option<Step>, Option<Value>)> =
            std::mem::take(target).into_iter().map(|item| (self.step(&item), Some(item))).collect();
        let steps: Vec<Option<Step>> = patch.iter().map(|item| self.step(item)).collect();
        let mut at = 0;
        for (index, item) in patch.iter().enumerate() {
            let next = steps[index..].iter().find(|step| old.iter().any(|(own, left)| own == *step && left.is_some()));
            while at < old.len() && (old[at].1.is_none() || Some(&old[at].0) != next) {
                if !steps.contains(&old[at].0) {
                    target.extend(old[at].1.take());
                }
                at += 1;
            }
            match old.iter_mut().find(|(own, left)| *own == steps[index] && left.is_some()) {
                Some((_, own)) => {
                    let mut merged = own.take().unwrap_or_default();
                    self.item().merge(&mut merged, item);
                    target.push(merged);
                }
                None => target.push(item.clone()),
            }
        }
        target.extend(old.into_iter().filter_map(|(_, item)| item));
    }

    /// The set with the fields of structs in it that lead to what it has.
    pub(super) fn with_named_fields(&self, set: &Set) -> Set {
        let mut all = Set::default();
        all.member = set.member;
        for (step, part) in set.children() {
            let (within, named) = match step {
                Step::Field(name) => (self.field(name), self.names(name)),
                Step::Keys(_) | Step::Value(_) => (self.item(), false),
            };
            let mut part = within.with_named_fields(part);
            part.member |= named;
            all.put(step.clone(), part);
        }
        all
    }

    /// A document without the places of a set. What that leaves empty is gone, `None`.
    pub(super) fn without(&self, value: &Value, set: &Set) -> Option<Value> {
        match value {
            _ if self.is_leaf(value) => Some(value.clone()),
            Value::Object(fields) if !fields.is_empty() => {
                let mut kept = Map::new();
                for (name, value) in fields {
                    let value = match set.beneath(&Step::field(name)) {
                        Some(part) if part.member => continue,
                        Some(part) => self.field(name).without(value, part).unwrap_or_default(),
                        None => value.clone(),
                    };
                    kept.insert(name.clone(), value);
                }
                (!kept.is_empty()).then_some(Value::Object(kept))
            }
            Value::Array(items) if !items.is_empty() => {
                let keep = |item: &Value| match self.step(item).and_then(|step| set.beneath(&step)) {
                    Some(part) if part.member => None,
                    Some(part) => Some(self.item().without(item, part).unwrap_or_default()),
                    None => Some(item.clone()),
                };
                let kept: Vec<Value> = items.iter().filter_map(keep).collect();
                (!kept.is_empty()).then_some(Value::Array(kept))
            }
            _ => None,
        }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Whether Go can't tell the value of a field that is always there from null.
fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(_) | Value::Object(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use meta::Gvk;

    use super::*;

    fn pods() -> Typed<'static> {
        let schemas = Schemas::builtin();
        Typed { schemas, ty: schemas.of(&Gvk::new("", "v1", "Pod")) }
    }

    fn spec(containers: Value) -> Value {
        json!({"spec": {"containers": containers}})
    }

    #[test]
    fn a_document_sets_its_leaves_and_its_items() {
        let check = |value: Value, expected: Value| assert_eq!(pods().fields(&value).write(), expected);
        check(json!({"metadata": {"labels": {"a": "b"}}}), json!({"f:metadata": {"f:labels": {"f:a": {}}}}));
        check(json!({"spec": {"securityContext": {}}}), json!({"f:spec": {"f:securityContext": {}}}));
        let container = json!({".": {}, "f:image": {}, "f:name": {}});
        let expected = json!({"f:spec": {"f:containers": {"k:{\"name\":\"c\"}": container}}});
        check(spec(json!([{"name": "c", "image": "i"}])), expected);
    }

    #[test]
    fn what_comes_whole_is_added_with_the_way_there() {
        let check = |before: Value, after: Value, changed: Value, removed: Value| {
            let found = pods().compare(Some(&before), Some(&after));
            assert_eq!((found.changed.write(), found.removed.write()), (changed, removed), "{before} {after}");
        };
        let labelled = |labels: Value| json!({"metadata": {"labels": labels}});
        let both = json!({"f:metadata": {"f:labels": {".": {}, "f:a": {}}}});
        check(json!({}), labelled(json!({"a": "b"})), both.clone(), json!({}));
        check(labelled(json!({"a": "b"})), json!({}), json!({}), both);
        let one = json!({"f:metadata": {"f:labels": {"f:a": {}}}});
        check(labelled(json!({"a": "b", "c": "d"})), labelled(json!({"a": "x", "c": "d"})), one.clone(), json!({}));
        check(labelled(json!({"a": "b", "c": "d"})), labelled(json!({"c": "d"})), json!({}), one);
        // The list of containers and the specification are always there, the item is not.
        let item = json!({"f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:name": {}}}}});
        check(json!({}), spec(json!([{"name": "c"}])), item, json!({}));
    }

    #[test]
    fn items_are_merged_in_order() {
        let check = |target: &[&str], patch: &[&str], expected: &[&str]| {
            let list = |names: &[&str]| spec(names.iter().map(|name| json!({"name": name})).collect());
            let mut merged = list(target);
            pods().merge(&mut merged, &list(patch));
            assert_eq!(merged, list(expected));
        };
        check(&["a", "x"], &["a", "b"], &["a", "x", "b"]);
        check(&["a", "b", "c"], &["c", "a"], &["b", "c", "a"]);
        check(&["x", "a"], &["b", "a"], &["x", "b", "a"]);
        check(&[], &["a", "b"], &["a", "b"]);
    }

    #[test]
    fn what_is_taken_out_leaves_no_empty_shells() {
        let set = |fields: Value| Set::read(&fields);
        let value = json!({"metadata": {"name": "p", "labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
        let check = |out: Value, expected: Value| assert_eq!(pods().without(&value, &set(out)), Some(expected));
        check(
            json!({"f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {"f:image": {}}}}}),
            json!({"metadata": {"name": "p", "labels": {"a": "b"}}, "spec": {"containers": [{"name": "c"}]}}),
        );
        check(
            json!({"f:metadata": {"f:labels": {"f:a": {}}}}),
            json!({"metadata": {"name": "p", "labels": null}, "spec": {"containers": [{"name": "c", "image": "i"}]}}),
        );
    }
}
