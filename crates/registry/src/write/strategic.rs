//! Strategic merge patches: like merge patches, but lists whose items have keys are merged item by item.

use schema::{Field, Schemas, Type, TypeId};
use serde_json::{Map, Value, json};

const DIRECTIVE: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const ORDER: &str = "$setElementOrder/";

/// Merges `patch` into `target`, a document of the type; without a type no list is merged.
pub(super) fn merge(schemas: &Schemas, ty: Option<TypeId>, target: &mut Value, patch: Value) {
    let Value::Object(mut patch) = patch else {
        *target = patch;
        return;
    };
    match patch.remove(DIRECTIVE).as_ref().and_then(Value::as_str) {
        Some("replace") => *target = json!({}),
        Some("delete") => {
            *target = json!({});
            return;
        }
        Some(_) | None => {}
    }
    if !target.is_object() {
        *target = json!({});
    }
    let Some(fields) = target.as_object_mut() else { return };
    if let Some(Value::Array(keep)) = patch.remove(RETAIN) {
        fields.retain(|name, _| keep.iter().any(|kept| kept == name.as_str()));
    }
    let orders = take_prefixed(&mut patch, ORDER);
    for (name, gone) in take_prefixed(&mut patch, DELETE_FROM) {
        if let (Some(Value::Array(list)), Value::Array(gone)) = (fields.get_mut(&name), gone) {
            list.retain(|item| !gone.contains(item));
        }
    }
    for (name, value) in patch {
        merge_field(schemas, ty, fields, name, value);
    }
    for (name, order) in orders {
        let key = ty
            .and_then(|ty| field(schemas, ty, &name))
            .and_then(|field| field.patch.as_ref())
            .and_then(|patch| patch.key.as_deref());
        if let (Some(Value::Array(list)), Value::Array(order)) = (fields.get_mut(&name), order) {
            sort(list, &order, key);
        }
    }
}

/// Carries out what the patch says of one field.
fn merge_field(schemas: &Schemas, ty: Option<TypeId>, fields: &mut Map<String, Value>, name: String, value: Value) {
    let deleted = value.get(DIRECTIVE).is_some_and(|directive| directive == "delete");
    if value.is_null() || deleted {
        fields.remove(&name);
        return;
    }
    let field = ty.and_then(|ty| field(schemas, ty, &name));
    let own_type = field.map(|field| field.ty).or_else(|| ty.and_then(|ty| map_value(schemas, ty)));
    match (value, field.and_then(|field| field.patch.as_ref()).filter(|patch| patch.merge)) {
        (Value::Array(items), Some(how)) => {
            let own = fields.entry(name).or_insert_with(|| json!([]));
            if !own.is_array() {
                *own = json!([]);
            }
            let Some(own) = own.as_array_mut() else { return };
            match &how.key {
                Some(key) => merge_list(schemas, own_type, key, own, items),
                None => {
                    let new: Vec<Value> = items.into_iter().filter(|item| !own.contains(item)).collect();
                    own.extend(new);
                }
            }
        }
        (value @ Value::Object(_), _) => {
            merge(schemas, own_type, fields.entry(name).or_insert_with(|| json!({})), value);
        }
        (value, _) => {
            fields.insert(name, value);
        }
    }
}

fn merge_list(schemas: &Schemas, list: Option<TypeId>, key: &str, own: &mut Vec<Value>, items: Vec<Value>) {
    let item_type = list.and_then(|list| match schemas.get(list) {
        Type::List(list) => Some(list.item),
        _ => None,
    });
    if items.iter().any(|item| item.get(DIRECTIVE).is_some_and(|directive| directive == "replace")) {
        own.clear();
    }
    let ids = |list: &[Value]| -> Vec<Value> { list.iter().filter_map(|item| item.get(key).cloned()).collect() };
    let (before, asked) = (ids(own), ids(&items));
    for mut item in items {
        let id = item.get(key).cloned();
        let same = |other: &Value| id.is_some() && other.get(key) == id.as_ref();
        match item.as_object_mut().and_then(|item| item.remove(DIRECTIVE)).as_ref().and_then(Value::as_str) {
            Some("delete") => {
                own.retain(|other| !same(other));
                continue;
            }
            Some("replace") if id.is_none() => continue,
            Some(_) | None => {}
        }
        if let Some(other) = own.iter_mut().find(|other| same(other)) {
            merge(schemas, item_type, other, item);
        } else {
            let mut made = json!({});
            merge(schemas, item_type, &mut made, item);
            own.push(made);
        }
    }
    *own = weave(std::mem::take(own), key, &before, &asked);
}

/// Puts what a patch named among what it didn't: in the patch's order, after those items that were before it already.
///
/// Compat: so a new item comes first, not last.
fn weave(list: Vec<Value>, key: &str, before: &[Value], asked: &[Value]) -> Vec<Value> {
    let place = |ids: &[Value], item: &Value| ids.iter().position(|id| item.get(key) == Some(id));
    let (mut named, others): (Vec<Value>, Vec<Value>) = list.into_iter().partition(|item| place(asked, item).is_some());
    named.sort_by_key(|item| place(asked, item));
    let mut woven = Vec::with_capacity(named.len() + others.len());
    let mut others = others.into_iter().peekable();
    for item in named {
        let precedes =
            |other: &Value| place(before, &item).zip(place(before, other)).is_some_and(|(item, other)| other < item);
        while let Some(other) = others.next_if(precedes) {
            woven.push(other);
        }
        woven.push(item);
    }
    woven.extend(others);
    woven
}

/// Brings the named items into the order asked for; the others stay where they are among those.
fn sort(list: &mut [Value], order: &[Value], key: Option<&str>) {
    let wanted = |item: &Value| {
        order.iter().position(|asked| match key {
            Some(key) => item.get(key).is_some() && asked.get(key) == item.get(key),
            None => asked == item,
        })
    };
    let mut named: Vec<Value> = list.iter().filter(|item| wanted(item).is_some()).cloned().collect();
    named.sort_by_key(|item| wanted(item));
    let mut named = named.into_iter();
    for place in list.iter_mut() {
        if wanted(place).is_some()
            && let Some(next) = named.next()
        {
            *place = next;
        }
    }
}

fn take_prefixed(patch: &mut Map<String, Value>, prefix: &str) -> Vec<(String, Value)> {
    let names: Vec<String> = patch.keys().filter(|name| name.starts_with(prefix)).cloned().collect();
    let take = |name: String| patch.remove(&name).map(|value| (name[prefix.len()..].to_owned(), value));
    names.into_iter().filter_map(take).collect()
}

fn field<'a>(schemas: &'a Schemas, ty: TypeId, name: &str) -> Option<&'a Field> {
    schemas.structure(ty)?.fields.iter().find(|field| field.name == name)
}

fn map_value(schemas: &Schemas, ty: TypeId) -> Option<TypeId> {
    match schemas.get(ty) {
        Type::Map(map) => Some(map.value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use meta::Gvk;

    use super::*;

    #[test]
    fn lists_with_keys_are_merged() {
        let schemas = Schemas::builtin();
        let ty = schemas.of(&Gvk::new("", "v1", "Pod"));
        let check = |target: Value, patch: Value, expected: Value| {
            let mut found = target.clone();
            merge(schemas, ty, &mut found, patch.clone());
            assert_eq!(found, expected, "{target} with {patch}");
        };
        let containers = |list: Value| json!({"spec": {"containers": list}});
        let two = || containers(json!([{"name": "a", "image": "x"}, {"name": "b", "image": "y"}]));
        check(
            two(),
            containers(json!([{"name": "b", "image": "z"}, {"name": "c"}])),
            containers(json!([{"name": "a", "image": "x"}, {"name": "b", "image": "z"}, {"name": "c"}])),
        );
        check(
            containers(json!([{"name": "a"}])),
            containers(json!([{"name": "new"}])),
            containers(json!([{"name": "new"}, {"name": "a"}])),
        );
        check(
            two(),
            containers(json!([{"name": "a", "$patch": "delete"}])),
            containers(json!([{"name": "b", "image": "y"}])),
        );
        check(two(), containers(json!([{"$patch": "replace"}, {"name": "c"}])), containers(json!([{"name": "c"}])));
        check(
            two(),
            json!({"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}}),
            containers(json!([{"name": "b", "image": "y"}, {"name": "a", "image": "x"}])),
        );
        let finalizers = |list: Value| json!({"metadata": {"finalizers": list}});
        check(finalizers(json!(["a"])), finalizers(json!(["a", "b"])), finalizers(json!(["a", "b"])));
        check(
            finalizers(json!(["a", "b"])),
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}),
            finalizers(json!(["b"])),
        );
        let command = |list: Value| containers(json!([{"name": "a", "command": list}]));
        check(command(json!(["a", "b"])), command(json!(["c"])), command(json!(["c"])));
        let volume = |source: Value| json!({"spec": {"volumes": [source]}});
        check(
            volume(json!({"name": "v", "emptyDir": {}})),
            volume(json!({"name": "v", "hostPath": {"path": "/"}, "$retainKeys": ["name", "hostPath"]})),
            volume(json!({"name": "v", "hostPath": {"path": "/"}})),
        );
        let labels = |labels: Value| json!({"metadata": {"labels": labels}});
        check(labels(json!({"a": "b"})), labels(json!({"a": null, "c": "d"})), labels(json!({"c": "d"})));
        let conditions = |status: &str| json!({"status": {"conditions": [{"type": "Ready", "status": status}]}});
        check(conditions("False"), conditions("True"), conditions("True"));
    }
}
