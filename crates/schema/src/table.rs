//! Reads the table of types that `cargo xtask schema` writes.
//!
//! One line each, columns split by tabs:
//! - `T name flags`: a struct, whose number is how many came before; `a` means atomic. Its fields follow.
//! - `F name type flags number default patch`: a field. Flags: `r`equired, `p`ointer, omit `e`mpty, omit `z`ero.
//!   The patch is `m`erge and `k`eep-only (retainKeys) letters, a colon, the merge key.
//! - `E values`: the values that the field before it, or its items, may have; nothing but OpenAPI reads them.
//! - `I number struct`: an inlined struct; number 0 when protobuf doesn't have it.
//! - `K group version kind struct`: a kind.
//!
//! A type is one of `s b i l d y q x t u n` (scalars, in the order of [`Scalar`]), `r f j` (any JSON, in the order of [`Any`]),
//! `@n` (the struct n), `Z@n` (the same, atomic here), `L` `S` `Mkey,key;` and an item's type (lists), `B` before a boxed list,
//! `G` `A` and a value's type (maps, atomic maps), `Ob` `Ol` `Os` and a struct (a JSON schema or a simpler thing).

use std::collections::HashMap;

use meta::Gvk;

use crate::types::{
    Any, Field, List, ListKind, Map, MapKey, Patch, Scalar, SchemaOr, SchemaOrKind, Schemas, Struct, Type, TypeId,
    Wire, WirePart,
};

/// A struct as the table has it: inlined structs are not yet dissolved.
#[derive(Default)]
struct Raw {
    structure: Struct,
    inlined: Vec<(u32, u32)>,
}

struct Reader<'a> {
    schemas: Schemas,
    /// Types that aren't structs, by their notation.
    known: HashMap<&'a str, TypeId>,
    /// Lists by keys, whose items' structs are known only at the end.
    keyed: Vec<TypeId>,
    /// Uses of a struct that is atomic there only.
    atomic_uses: Vec<(TypeId, u32)>,
}

/// The types of a table.
pub(crate) fn parse(text: &str) -> Schemas {
    let mut reader =
        Reader { schemas: Schemas::new(), known: HashMap::new(), keyed: Vec::new(), atomic_uses: Vec::new() };
    let count = text.lines().filter(|line| line.starts_with("T\t")).count();
    for _ in 0..count {
        reader.schemas.add(Type::Struct(Struct::default()));
    }
    let mut raws: Vec<Raw> = Vec::with_capacity(count);
    for line in text.lines() {
        let mut columns = line.split('\t');
        let tag = columns.next().unwrap_or_default();
        let mut column = || columns.next().unwrap_or_default();
        match (tag, raws.last_mut()) {
            ("T", _) => {
                let name = column().to_owned();
                let structure = Struct { name, atomic: column() == "a", ..Struct::default() };
                raws.push(Raw { structure, inlined: Vec::new() });
            }
            ("F", Some(raw)) => raw.structure.fields.push(reader.field(column)),
            ("I", Some(raw)) => raw.inlined.push((number(column()), number(column()))),
            ("K", _) => {
                let gvk = Gvk::new(column(), column(), column());
                reader.schemas.bind(gvk, TypeId(number(column())));
            }
            _ => {}
        }
    }
    reader.finish(&raws)
}

fn number(text: &str) -> u32 {
    text.parse().unwrap_or(0)
}

impl<'a> Reader<'a> {
    fn field(&mut self, mut column: impl FnMut() -> &'a str) -> Field {
        let (name, ty, flags) = (column().to_owned(), self.ty(column()), column());
        let number = number(column());
        let default = serde_json::from_str(column()).ok();
        let patch = column().split_once(':').map(|(letters, key)| Patch {
            merge: letters.contains('m'),
            retain_keys: letters.contains('k'),
            key: (!key.is_empty()).then(|| key.to_owned()),
        });
        Field {
            name,
            ty,
            default,
            required: flags.contains('r'),
            pointer: flags.contains('p'),
            omit_empty: flags.contains('e'),
            omit_zero: flags.contains('z'),
            patch,
            number,
        }
    }

    fn ty(&mut self, notation: &'a str) -> TypeId {
        if let Some(structure) = notation.strip_prefix('@') {
            return TypeId(number(structure));
        }
        if let Some(id) = self.known.get(notation) {
            return *id;
        }
        let ty = self.build(notation);
        let keyed = matches!(&ty, Type::List(List { kind: ListKind::Map(_), .. }));
        let id = self.schemas.add(ty);
        if keyed {
            self.keyed.push(id);
        }
        if let Some(structure) = notation.strip_prefix("Z@") {
            self.atomic_uses.push((id, number(structure)));
        }
        self.known.insert(notation, id);
        id
    }

    fn build(&mut self, notation: &'a str) -> Type {
        let (head, rest) = notation.split_at(notation.len().min(1));
        if let Some(scalar) = scalar(head) {
            return Type::Scalar(scalar);
        }
        match head {
            "r" => Type::Any(Any::Object),
            "f" => Type::Any(Any::Fields),
            "L" => Type::List(List { item: self.ty(rest), kind: ListKind::Atomic, boxed: false }),
            "S" => Type::List(List { item: self.ty(rest), kind: ListKind::Set, boxed: false }),
            "M" => {
                let (keys, item) = rest.split_once(';').unwrap_or_default();
                let keys = keys.split(',').map(|name| MapKey { name: name.to_owned(), default: None }).collect();
                Type::List(List { item: self.ty(item), kind: ListKind::Map(keys), boxed: false })
            }
            "B" => match self.build(rest) {
                Type::List(list) => Type::List(List { boxed: true, ..list }),
                other => other,
            },
            "G" => Type::Map(Map { value: self.ty(rest), atomic: false }),
            "A" => Type::Map(Map { value: self.ty(rest), atomic: true }),
            "O" => {
                let (other, schema) = rest.split_at(1);
                let other = match other {
                    "b" => SchemaOrKind::Bool,
                    "l" => SchemaOrKind::Schemas,
                    _ => SchemaOrKind::Strings,
                };
                Type::SchemaOr(SchemaOr { schema: TypeId(number(schema)), other })
            }
            "Z" => Type::Struct(Struct::default()),
            _ => Type::Any(Any::Json),
        }
    }

    fn finish(mut self, raws: &[Raw]) -> Schemas {
        for (index, _) in (0..).zip(raws) {
            self.schemas.set(TypeId(index), Type::Struct(flat(raws, index)));
        }
        for (id, index) in self.atomic_uses {
            self.schemas.set(id, Type::Struct(Struct { atomic: true, ..flat(raws, index) }));
        }
        for id in self.keyed {
            let Type::List(mut list) = self.schemas.get(id).clone() else { continue };
            if let (ListKind::Map(keys), Some(item)) = (&mut list.kind, self.schemas.structure(list.item)) {
                for key in keys {
                    key.default = item.field(&key.name).and_then(|field| field.default.clone());
                }
            }
            self.schemas.set(id, Type::List(list));
        }
        self.schemas
    }
}

fn scalar(letter: &str) -> Option<Scalar> {
    Some(match letter {
        "s" => Scalar::String,
        "b" => Scalar::Bool,
        "i" => Scalar::Int32,
        "l" => Scalar::Int64,
        "d" => Scalar::Float,
        "y" => Scalar::Bytes,
        "q" => Scalar::Quantity,
        "x" => Scalar::IntOrString,
        "t" => Scalar::Time,
        "u" => Scalar::MicroTime,
        "n" => Scalar::Duration,
        _ => return None,
    })
}

/// The struct with the fields of inlined structs among its own.
fn flat(raws: &[Raw], index: u32) -> Struct {
    let raw = &raws[index as usize];
    let mut structure = raw.structure.clone();
    for (_, inlined) in &raw.inlined {
        let inner = flat(raws, *inlined).fields;
        structure.fields.extend(inner.into_iter().map(|field| Field { number: 0, ..field }));
    }
    structure.fields.sort_by(|one, other| one.name.cmp(&other.name));
    let fields = structure.fields.iter().enumerate();
    let own = fields.map(|(at, field)| Wire { number: field.number, part: WirePart::Field(at) });
    let inlined = raw.inlined.iter().map(|(number, id)| Wire { number: *number, part: WirePart::Inline(TypeId(*id)) });
    let mut wire: Vec<Wire> = own.chain(inlined).filter(|wire| wire.number != 0).collect();
    wire.sort_by_key(|wire| wire.number);
    structure.wire = wire;
    structure
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn field<'a>(schemas: &'a Schemas, path: &[&str]) -> &'a Field {
        let mut id = schemas.of(&Gvk::new("", "v1", "Pod")).expect("pods are known");
        let mut found = None;
        for name in path {
            let field = schemas.structure(id).and_then(|structure| structure.field(name)).expect("the field is known");
            id = match schemas.get(field.ty) {
                Type::List(list) => list.item,
                _ => field.ty,
            };
            found = Some(field);
        }
        found.expect("a path has a field")
    }

    #[test]
    fn facts_of_pods() {
        let schemas = Schemas::builtin();
        let containers = field(schemas, &["spec", "containers"]);
        assert_eq!(containers.patch.as_ref().and_then(|patch| patch.key.as_deref()), Some("name"));
        let ports = field(schemas, &["spec", "containers", "ports"]);
        let Type::List(List { kind: ListKind::Map(keys), .. }) = schemas.get(ports.ty) else {
            panic!("not a list by keys")
        };
        let keys: Vec<_> = keys.iter().map(|key| (key.name.as_str(), key.default.clone())).collect();
        assert_eq!(keys, [("containerPort", None), ("protocol", Some(Value::from("TCP")))]);
        assert_eq!(field(schemas, &["spec", "volumes", "hostPath"]).number, 0);
    }

    #[test]
    fn kinds_have_their_groups() {
        let known =
            |group: &str, version: &str, kind: &str| Schemas::builtin().of(&Gvk::new(group, version, kind)).is_some();
        for (group, version, kind) in [
            ("apps", "v1", "DeleteOptions"),
            ("", "v1", "Status"),
            ("", "v1", "Binding"),
            ("meta.k8s.io", "v1", "PartialObjectMetadataList"),
            ("policy", "v1", "Eviction"),
            ("autoscaling", "v1", "Scale"),
            ("authentication.k8s.io", "v1", "TokenRequest"),
            ("events.k8s.io", "v1", "EventList"),
            ("apiextensions.k8s.io", "v1", "CustomResourceDefinition"),
            ("apiregistration.k8s.io", "v1", "APIService"),
            ("metrics.k8s.io", "v1beta1", "NodeMetricsList"),
        ] {
            assert!(known(group, version, kind), "{group}/{version} {kind}");
        }
        // A custom resource may have the name of one of upstream's own kinds.
        assert!(!known("example.com", "v1", "Status"));
        assert!(!known("apps", "v1", "Nonsense"));
    }
}
