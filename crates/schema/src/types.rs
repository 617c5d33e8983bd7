//! What an API type is: an arena of types, where struct fields refer to other types by id.
//!
//! The built-in types come from [`Schemas::builtin`]; custom resources build an arena of their own at run time.
//! Nothing here reads or writes documents.

use std::collections::HashMap;
use std::sync::OnceLock;

use meta::Gvk;
use serde_json::Value;

/// The kinds of `meta/v1` that every group and version has.
const EVERYWHERE: [&str; 7] =
    ["WatchEvent", "ListOptions", "GetOptions", "DeleteOptions", "CreateOptions", "UpdateOptions", "PatchOptions"];

/// A type's place in its [`Schemas`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeId(pub(crate) u32);

/// An arena of types, and which of them are the top-level types of kinds.
#[derive(Debug, Default)]
pub struct Schemas {
    types: Vec<Type>,
    by_gvk: HashMap<Gvk, TypeId>,
    by_name: HashMap<String, TypeId>,
}

/// A type.
#[derive(Debug, Clone, PartialEq)]
pub enum Type {
    /// An object with known fields.
    Struct(Struct),
    /// A list.
    List(List),
    /// An object whose keys are data.
    Map(Map),
    /// A value without parts.
    Scalar(Scalar),
    /// Any JSON at all.
    Any(Any),
    /// A JSON schema, or something simpler in its place.
    SchemaOr(SchemaOr),
}

/// An object with known fields.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Struct {
    /// The name in OpenAPI, such as `io.k8s.api.core.v1.PodSpec`; empty when it has none.
    pub name: String,
    /// All fields as JSON has them (those of inlined structs included), sorted by name.
    pub fields: Vec<Field>,
    /// Whether server-side apply replaces it as a whole.
    pub atomic: bool,
    /// Whether fields that are not in the list are kept (`x-kubernetes-preserve-unknown-fields`).
    pub open: bool,
    /// What protobuf sends, in ascending order of the numbers.
    pub wire: Vec<Wire>,
}

/// A part of a struct's protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wire {
    /// The protobuf number.
    pub number: u32,
    /// What has that number.
    pub part: WirePart,
}

/// What a protobuf number stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WirePart {
    /// The field at this index of [`Struct::fields`].
    Field(usize),
    /// A struct whose fields JSON has directly in the outer object, protobuf in a message of their own.
    Inline(TypeId),
}

/// A field of a struct.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// The name in JSON.
    pub name: String,
    /// The type of its value.
    pub ty: TypeId,
    /// The value that OpenAPI and server-side apply assume when it is absent.
    pub default: Option<Value>,
    /// Whether OpenAPI lists it as required.
    pub required: bool,
    /// Go has a pointer here: absent and zero are two things.
    pub pointer: bool,
    /// Go leaves it out when it is empty (`omitempty`). A struct that isn't behind a pointer is never empty.
    pub omit_empty: bool,
    /// Go leaves it out when it is zero (`omitzero`), structs too.
    pub omit_zero: bool,
    /// How strategic merge patches treat it; `None` means replace (or merge field by field, for objects).
    pub patch: Option<Patch>,
    /// The protobuf number; 0 when it isn't a direct part of the struct's message.
    pub number: u32,
}

/// How a strategic merge patch treats a field.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Patch {
    /// Lists are merged instead of replaced.
    pub merge: bool,
    /// Keys that the patch does not have are dropped (`retainKeys`).
    pub retain_keys: bool,
    /// What identifies a list's items (`patchMergeKey`).
    pub key: Option<String>,
}

/// A list.
#[derive(Debug, Clone, PartialEq)]
pub struct List {
    /// The type of each item.
    pub item: TypeId,
    /// How items are told apart.
    pub kind: ListKind,
    /// Protobuf has a message around it (Go has a named list type here).
    pub boxed: bool,
}

/// How the items of a list are told apart (`x-kubernetes-list-type`).
#[derive(Debug, Clone, PartialEq)]
pub enum ListKind {
    /// They aren't: the list is replaced as a whole.
    Atomic,
    /// By their value.
    Set,
    /// By these fields.
    Map(Vec<MapKey>),
}

/// A field that identifies an item of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct MapKey {
    /// The field.
    pub name: String,
    /// What an item without the field has.
    pub default: Option<Value>,
}

/// An object whose keys are data.
#[derive(Debug, Clone, PartialEq)]
pub struct Map {
    /// The type of each value.
    pub value: TypeId,
    /// Whether server-side apply replaces it as a whole.
    pub atomic: bool,
}

/// A value without parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scalar {
    /// Text.
    String,
    /// True or false.
    Bool,
    /// A whole number of 32 bits.
    Int32,
    /// A whole number of 64 bits.
    Int64,
    /// A double.
    Float,
    /// Bytes, base64 in JSON.
    Bytes,
    /// A quantity such as `500m`.
    Quantity,
    /// A number or a text.
    IntOrString,
    /// RFC 3339, to the second.
    Time,
    /// RFC 3339, to the microsecond.
    MicroTime,
    /// Go's notation, such as `1m30s`.
    Duration,
}

/// JSON without a schema, by what protobuf makes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Any {
    /// `runtime.RawExtension`: an object of some kind.
    Object,
    /// `metav1.FieldsV1`: an object of field paths.
    Fields,
    /// `apiextensions.JSON`: any JSON value.
    Json,
}

/// A place of a JSON schema that also takes something simpler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchemaOr {
    /// The type of the schema.
    pub schema: TypeId,
    /// What else may stand there.
    pub other: SchemaOrKind,
}

/// What may stand in the place of a JSON schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaOrKind {
    /// True or false.
    Bool,
    /// A list of schemas.
    Schemas,
    /// A list of property names.
    Strings,
}

/// The built-in types, as `cargo xtask schema` writes them.
pub(crate) static TABLE: &str = include_str!("../data/types.txt");

impl Schemas {
    /// The types of all built-in kinds; read on first use.
    pub fn builtin() -> &'static Self {
        static BUILTIN: OnceLock<Schemas> = OnceLock::new();
        BUILTIN.get_or_init(|| crate::table::parse(TABLE))
    }

    /// An arena without types.
    pub fn new() -> Self {
        Self::default()
    }

    /// The type of a kind's objects.
    pub fn of(&self, gvk: &Gvk) -> Option<TypeId> {
        if let Some(id) = self.by_gvk.get(gvk) {
            return Some(*id);
        }
        // Compat: upstream registers options and events in every group and version, `Status` and discovery in core.
        let kind = gvk.kind.as_str();
        let shared = EVERYWHERE.contains(&kind) || (gvk.group.is_empty() && gvk.version == "v1");
        shared.then(|| self.by_gvk.get(&Gvk::new("meta.k8s.io", "v1", kind)).copied()).flatten()
    }

    /// The type with this name in OpenAPI.
    pub fn named(&self, name: &str) -> Option<TypeId> {
        self.by_name.get(name).copied()
    }

    /// A type; ids of another arena are a mistake of the caller.
    pub fn get(&self, id: TypeId) -> &Type {
        &self.types[id.0 as usize]
    }

    /// The struct behind an id, if it is one.
    pub fn structure(&self, id: TypeId) -> Option<&Struct> {
        match self.get(id) {
            Type::Struct(structure) => Some(structure),
            _ => None,
        }
    }

    /// Every type with its id.
    pub fn iter(&self) -> impl Iterator<Item = (TypeId, &Type)> {
        (0..).map(TypeId).zip(&self.types)
    }

    /// Every kind with its type, in no order.
    pub fn kinds(&self) -> impl Iterator<Item = (&Gvk, TypeId)> {
        self.by_gvk.iter().map(|(gvk, id)| (gvk, *id))
    }

    /// Adds a type.
    pub fn add(&mut self, ty: Type) -> TypeId {
        let id = TypeId(u32::try_from(self.types.len()).expect("an arena has fewer types than memory has bytes"));
        self.note_name(id, &ty);
        self.types.push(ty);
        id
    }

    /// Puts a type in the place of another: how types that refer to each other are built.
    pub fn set(&mut self, id: TypeId, ty: Type) {
        self.note_name(id, &ty);
        self.types[id.0 as usize] = ty;
    }

    /// Says which type a kind's objects have.
    pub fn bind(&mut self, gvk: Gvk, id: TypeId) {
        self.by_gvk.insert(gvk, id);
    }

    fn note_name(&mut self, id: TypeId, ty: &Type) {
        if let Type::Struct(structure) = ty
            && !structure.name.is_empty()
        {
            self.by_name.entry(structure.name.clone()).or_insert(id);
        }
    }
}

impl Struct {
    /// The field with this name in JSON.
    pub fn field(&self, name: &str) -> Option<&Field> {
        let index = self.fields.binary_search_by(|field| field.name.as_str().cmp(name)).ok()?;
        Some(&self.fields[index])
    }

    /// The name as Go's errors show it, such as `v1.PodSpec`.
    pub fn go_name(&self) -> &str {
        let cut = self.name.rmatch_indices('.').nth(1).map_or(0, |(at, _)| at + 1);
        &self.name[cut..]
    }
}
