//! The types of a custom resource, by which server-side apply tells fields and items apart.

use std::collections::HashMap;

use super::Structural;
use crate::types::{Any, Field, List, ListKind, Map, MapKey, Schemas, Struct, Type, TypeId};

const METADATA: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

pub(super) fn types(schema: &Structural) -> (Schemas, TypeId) {
    let mut arena = Arena { types: Schemas::new(), known: HashMap::new(), json: TypeId(0), free: TypeId(0) };
    arena.json = arena.types.add(Type::Any(Any::Json));
    // Compat: in what no schema describes, maps are merged by their keys and lists are replaced.
    arena.free = arena.types.add(Type::Any(Any::Json));
    arena.types.set(arena.free, Type::Map(Map { value: arena.free, atomic: false }));
    let root = arena.add(schema, true);
    (arena.types, root)
}

struct Arena {
    types: Schemas,
    /// Built-in types that were taken over.
    known: HashMap<TypeId, TypeId>,
    json: TypeId,
    free: TypeId,
}

impl Arena {
    fn add(&mut self, schema: &Structural, resource: bool) -> TypeId {
        match schema.kind.as_str() {
            "array" => self.list(schema),
            "object" => self.object(schema, resource || schema.embedded),
            "" if schema.preserve_unknown => self.free,
            _ => self.json,
        }
    }

    fn list(&mut self, schema: &Structural) -> TypeId {
        let item = schema.items.as_ref().map_or(self.json, |items| self.add(items, false));
        let default = |key: &str| schema.items.as_ref()?.properties.get(key)?.default.clone();
        let key = |key: &String| MapKey { name: key.clone(), default: default(key) };
        let kind = match schema.list_type.as_str() {
            "set" => ListKind::Set,
            "map" => ListKind::Map(schema.list_keys.iter().map(key).collect()),
            _ => ListKind::Atomic,
        };
        self.types.add(Type::List(List { item, kind, boxed: false }))
    }

    fn object(&mut self, schema: &Structural, resource: bool) -> TypeId {
        if let Some(value) = &schema.additional {
            let value = self.add(value, false);
            return self.types.add(Type::Map(Map { value, atomic: schema.atomic }));
        }
        if schema.properties.is_empty() && !resource && (schema.preserve_unknown || schema.additional_any) {
            return if schema.atomic { self.json } else { self.free };
        }
        let mut types: std::collections::BTreeMap<String, TypeId> =
            schema.properties.iter().map(|(name, field)| (name.clone(), self.add(field, false))).collect();
        if resource {
            let metadata = Schemas::builtin().named(METADATA).map_or(self.free, |id| self.import(id));
            types.insert("apiVersion".to_owned(), self.json);
            types.insert("kind".to_owned(), self.json);
            types.insert("metadata".to_owned(), metadata);
        }
        let fields = types.into_iter().map(|(name, ty)| field(name, ty)).collect();
        let structure = Struct { fields, atomic: schema.atomic, open: schema.preserve_unknown, ..Struct::default() };
        self.types.add(Type::Struct(structure))
    }

    /// A built-in type with all that it refers to.
    fn import(&mut self, id: TypeId) -> TypeId {
        if let Some(known) = self.known.get(&id) {
            return *known;
        }
        let own = self.types.add(Type::Any(Any::Json));
        self.known.insert(id, own);
        let ty = match Schemas::builtin().get(id).clone() {
            Type::Struct(mut structure) => {
                for field in &mut structure.fields {
                    field.ty = self.import(field.ty);
                }
                structure.wire.clear();
                Type::Struct(structure)
            }
            Type::List(list) => Type::List(List { item: self.import(list.item), ..list }),
            Type::Map(map) => Type::Map(Map { value: self.import(map.value), ..map }),
            other @ (Type::Scalar(_) | Type::Any(_)) => other,
            Type::SchemaOr(_) => Type::Any(Any::Json),
        };
        self.types.set(own, ty);
        own
    }
}

fn field(name: String, ty: TypeId) -> Field {
    Field {
        name,
        ty,
        default: None,
        required: false,
        pointer: true,
        omit_empty: true,
        omit_zero: false,
        patch: None,
        number: 0,
    }
}
