//! Applying a configuration to an object: as server-side apply merges, lists by their keys.

use meta::Gvk;
use registry::Reader;
use schema::{ListKind, MapKey, Schemas, Type, TypeId};
use serde_json::{Map, Value};

/// Merges `patch` into an object of a kind.
pub(super) fn merge(reader: &dyn Reader, kind: &Gvk, object: &mut Value, patch: &Value) {
    let custom = reader.custom(kind);
    let (schemas, ty) = match &custom {
        Some(custom) => (custom.types().0, Some(custom.types().1)),
        None => (Schemas::builtin(), Schemas::builtin().of(kind)),
    };
    Merge { schemas }.value(ty, object, patch);
}

struct Merge<'s> {
    schemas: &'s Schemas,
}

impl Merge<'_> {
    fn value(&self, ty: Option<TypeId>, target: &mut Value, patch: &Value) {
        match (patch, ty.map(|ty| self.schemas.get(ty))) {
            (Value::Object(patch), Some(Type::Struct(structure))) if target.is_object() && !structure.atomic => {
                self.fields(target, patch, |name| structure.field(name).map(|field| field.ty));
            }
            (Value::Object(patch), Some(Type::Map(map))) if target.is_object() && !map.atomic => {
                self.fields(target, patch, |_| Some(map.value));
            }
            (Value::Array(patch), Some(Type::List(list))) if target.is_array() => match &list.kind {
                ListKind::Atomic => *target = Value::Array(patch.clone()),
                ListKind::Set => {
                    let items = target.as_array_mut().into_iter();
                    items.for_each(|items| {
                        let new: Vec<Value> = patch.iter().filter(|item| !items.contains(item)).cloned().collect();
                        items.extend(new);
                    });
                }
                ListKind::Map(keys) => self.items(list.item, keys, target, patch),
            },
            (patch, _) => *target = patch.clone(),
        }
    }

    fn fields(&self, target: &mut Value, patch: &Map<String, Value>, ty: impl Fn(&str) -> Option<TypeId>) {
        let Some(fields) = target.as_object_mut() else { return };
        for (name, value) in patch {
            self.value(ty(name), fields.entry(name.clone()).or_insert(Value::Null), value);
        }
    }

    fn items(&self, item: TypeId, keys: &[MapKey], target: &mut Value, patch: &[Value]) {
        let key = |value: &Value| -> Vec<Option<Value>> {
            keys.iter().map(|key| value.get(&key.name).cloned().or_else(|| key.default.clone())).collect()
        };
        let Some(items) = target.as_array_mut() else { return };
        for value in patch {
            let wanted = key(value);
            match items.iter_mut().find(|own| key(own) == wanted) {
                Some(own) => self.value(Some(item), own, value),
                None => items.push(value.clone()),
            }
        }
    }
}
