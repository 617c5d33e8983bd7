//! Schemas of the built-in types, and of custom resources beside them.

use std::collections::BTreeSet;

use kinds::Resource;
use meta::Gvk;
use schema::{Any, Field, List, ListKind, Scalar, SchemaOrKind, Schemas, Struct, Type, TypeId};
use serde_json::{Map, Value, json};

use super::custom;
use super::dialect::Dialect;

/// Types that other schemas refer to, and that the types' table knows as values without parts.
const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
const INT_OR_STRING: &str = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";
const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const RAW: &str = "io.k8s.apimachinery.pkg.runtime.RawExtension";
const APIEXTENSIONS: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1";

/// The schemas that a document needs, found by following references from kinds.
pub(super) struct Definitions {
    dialect: Dialect,
    done: Map<String, Value>,
    wanted: Vec<TypeId>,
    seen: BTreeSet<TypeId>,
}

impl Definitions {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self { dialect, done: Map::new(), wanted: Vec::new(), seen: BTreeSet::new() }
    }

    /// A reference to a resource's kind, or to the list of it.
    pub(super) fn of_resource(&mut self, row: &Resource, list: bool) -> Value {
        let mut gvk = row.gvk();
        if list {
            gvk.kind.push_str("List");
        }
        let Some(custom) = &row.custom else { return self.of_kind(&gvk) };
        let name = custom::name(&gvk);
        if !self.done.contains_key(&name) {
            let schema = if list {
                let item = self.of_resource(row, false);
                let metadata = self.named(&format!("{META}.ListMeta"));
                custom::list(&gvk, &item, &metadata)
            } else {
                self.named(&format!("{META}.ObjectMeta"));
                custom::schema(self.dialect, &gvk, &custom.schema, custom.preserve_unknown)
            };
            self.done.insert(name.clone(), schema);
        }
        self.dialect.reference(&name)
    }

    /// A reference to a kind; anything at all where nothing is known of it.
    pub(super) fn of_kind(&mut self, gvk: &Gvk) -> Value {
        Schemas::builtin().of(gvk).map_or_else(|| json!({"type": "object"}), |id| self.of_type(id))
    }

    fn named(&mut self, name: &str) -> Value {
        Schemas::builtin().named(name).map_or_else(|| json!({"type": "object"}), |id| self.of_type(id))
    }

    /// All of them, with what they refer to.
    pub(super) fn finish(mut self) -> Map<String, Value> {
        let schemas = Schemas::builtin();
        while let Some(id) = self.wanted.pop() {
            if let Some(structure) = schemas.structure(id) {
                let mut value = self.structure(structure);
                let kinds: Vec<Value> = schemas
                    .kinds()
                    .filter(|(_, own)| *own == id)
                    .map(|(gvk, _)| json!({"group": group(gvk), "version": gvk.version, "kind": gvk.kind}))
                    .collect();
                if !kinds.is_empty() {
                    value["x-kubernetes-group-version-kind"] = Value::Array(kinds);
                }
                self.done.insert(structure.name.clone(), value);
            }
        }
        self.done
    }

    fn of_type(&mut self, id: TypeId) -> Value {
        match Schemas::builtin().get(id) {
            Type::Struct(structure) if structure.name.is_empty() => self.structure(structure),
            Type::Struct(structure) => {
                if self.seen.insert(id) && !self.done.contains_key(&structure.name) {
                    self.wanted.push(id);
                }
                self.dialect.reference(&structure.name)
            }
            Type::List(list) => self.list(list),
            Type::Map(map) => {
                let mut value = json!({"type": "object", "additionalProperties": self.of_type(map.value)});
                if map.atomic {
                    value["x-kubernetes-map-type"] = json!("atomic");
                }
                value
            }
            Type::Scalar(scalar) => self.scalar(*scalar),
            Type::Any(Any::Object) => self.leaf(RAW, json!({"type": "object"})),
            Type::Any(Any::Fields) => self.leaf(&format!("{META}.FieldsV1"), json!({"type": "object"})),
            Type::Any(Any::Json) => self.leaf(&format!("{APIEXTENSIONS}.JSON"), json!({})),
            Type::SchemaOr(either) => {
                let other = match either.other {
                    SchemaOrKind::Bool => "Bool",
                    SchemaOrKind::Schemas => "Array",
                    SchemaOrKind::Strings => "StringArray",
                };
                self.leaf(&format!("{APIEXTENSIONS}.JSONSchemaPropsOr{other}"), json!({}))
            }
        }
    }

    fn scalar(&mut self, scalar: Scalar) -> Value {
        let plain = |ty: &str, format: &str| {
            if format.is_empty() { json!({"type": ty}) } else { json!({"type": ty, "format": format}) }
        };
        match scalar {
            Scalar::String => plain("string", ""),
            Scalar::Bool => plain("boolean", ""),
            Scalar::Int32 => plain("integer", "int32"),
            Scalar::Int64 => plain("integer", "int64"),
            Scalar::Float => plain("number", "double"),
            Scalar::Bytes => plain("string", "byte"),
            Scalar::Quantity => self.leaf(QUANTITY, plain("string", "")),
            Scalar::IntOrString => self.leaf(INT_OR_STRING, plain("string", "int-or-string")),
            Scalar::Time => self.leaf(&format!("{META}.Time"), plain("string", "date-time")),
            Scalar::MicroTime => self.leaf(&format!("{META}.MicroTime"), plain("string", "date-time")),
            Scalar::Duration => self.leaf(&format!("{META}.Duration"), plain("string", "")),
        }
    }

    /// A reference to a type that has a name and no parts.
    fn leaf(&mut self, name: &str, schema: Value) -> Value {
        self.done.entry(name).or_insert(schema);
        self.dialect.reference(name)
    }

    fn list(&mut self, list: &List) -> Value {
        let mut value = json!({"type": "array", "items": self.of_type(list.item)});
        value["x-kubernetes-list-type"] = match &list.kind {
            ListKind::Atomic => json!("atomic"),
            ListKind::Set => json!("set"),
            ListKind::Map(keys) => {
                let names: Vec<&str> = keys.iter().map(|key| key.name.as_str()).collect();
                value["x-kubernetes-list-map-keys"] = json!(names);
                json!("map")
            }
        };
        value
    }

    fn structure(&mut self, structure: &Struct) -> Value {
        let described = structure.name == format!("{META}.ObjectMeta");
        let mut properties = Map::new();
        for field in &structure.fields {
            let description = if described { custom::metadata_description(&field.name) } else { general(&field.name) };
            properties.insert(field.name.clone(), self.field(field, description));
        }
        let mut value = json!({"type": "object", "properties": properties});
        let required: Vec<&str> =
            structure.fields.iter().filter(|field| field.required).map(|field| field.name.as_str()).collect();
        if !required.is_empty() {
            value["required"] = json!(required);
        }
        if structure.atomic {
            value["x-kubernetes-map-type"] = json!("atomic");
        }
        if structure.open {
            value["x-kubernetes-preserve-unknown-fields"] = json!(true);
        }
        value
    }

    fn field(&mut self, field: &Field, description: Option<&str>) -> Value {
        let mut value = self.of_type(field.ty);
        let beside = field.default.is_some() || description.is_some() || field.patch.is_some();
        if beside && value.get("$ref").is_some() && self.dialect == Dialect::V3 {
            value = json!({"allOf": [value]});
        }
        if let Some(description) = description {
            value["description"] = json!(description);
        }
        if let Some(default) = &field.default {
            value["default"] = default.clone();
        }
        if let Some(patch) = &field.patch {
            let strategies = [("merge", patch.merge), ("retainKeys", patch.retain_keys)];
            let strategies: Vec<&str> =
                strategies.into_iter().filter(|(_, holds)| *holds).map(|(name, _)| name).collect();
            if !strategies.is_empty() {
                value["x-kubernetes-patch-strategy"] = json!(strategies.join(","));
            }
            if let Some(key) = &patch.key {
                value["x-kubernetes-patch-merge-key"] = json!(key);
            }
        }
        value
    }
}

/// What is said of the fields that every kind has.
fn general(field: &str) -> Option<&'static str> {
    match field {
        "apiVersion" => Some(custom::API_VERSION),
        "kind" => Some(custom::KIND),
        "metadata" => Some(custom::METADATA),
        _ => None,
    }
}

/// Compat: documents name options and statuses without a group.
fn group(gvk: &Gvk) -> &str {
    if gvk.group == "meta.k8s.io" { "" } else { &gvk.group }
}
