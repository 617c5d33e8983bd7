//! Schemas of the built-in types, and of custom resources beside them.

use std::collections::BTreeSet;

use kinds::Resource;
use meta::Gvk;
use schema::{Any, Enumerations, Field, List, ListKind, Scalar, SchemaOrKind, Schemas, Struct, Type, TypeId};
use serde_json::{Map, Value, json};

use super::custom;
use super::descriptions::Descriptions;
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
    words: Descriptions,
    values: Enumerations,
    done: Map<String, Value>,
    wanted: Vec<TypeId>,
    seen: BTreeSet<TypeId>,
}

impl Definitions {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            words: Descriptions::read(),
            values: Enumerations::builtin(),
            done: Map::new(),
            wanted: Vec::new(),
            seen: BTreeSet::new(),
        }
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
                custom::list(&self.words, &gvk, &item, &metadata)
            } else {
                self.named(&format!("{META}.ObjectMeta"));
                custom::schema((&self.words, self.dialect), &gvk, &custom.schema, custom.preserve_unknown)
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
                let mut value = json!({"type": "object", "additionalProperties": self.element(map.value)});
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
            Scalar::Quantity => {
                let plain = plain("string", "");
                self.leaf(QUANTITY, self.dialect.either(plain, &["string", "number"]))
            }
            Scalar::IntOrString => {
                let plain = plain("string", "int-or-string");
                self.leaf(INT_OR_STRING, self.dialect.either(plain, &["integer", "string"]))
            }
            Scalar::Time => self.leaf(&format!("{META}.Time"), plain("string", "date-time")),
            Scalar::MicroTime => self.leaf(&format!("{META}.MicroTime"), plain("string", "date-time")),
            Scalar::Duration => self.leaf(&format!("{META}.Duration"), plain("string", "")),
        }
    }

    /// A reference to a type that has a name and no parts.
    fn leaf(&mut self, name: &str, mut schema: Value) -> Value {
        if let Some(description) = self.words.of(name) {
            schema["description"] = json!(description);
        }
        self.done.entry(name).or_insert(schema);
        self.dialect.reference(name)
    }

    fn list(&mut self, list: &List) -> Value {
        let mut value = json!({"type": "array", "items": self.element(list.item)});
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

    /// What a list or a map holds.
    fn element(&mut self, id: TypeId) -> Value {
        let value = self.of_type(id);
        self.beside(value, None, self.zero(id, true))
    }

    /// What OpenAPI says is there when nothing is: Go's zero, which it writes unless told to leave it out.
    ///
    /// Compat: only version 3 says so; types with a form of their own have none.
    fn zero(&self, id: TypeId, written: bool) -> Option<Value> {
        match Schemas::builtin().get(id) {
            Type::Struct(_) => Some(json!({})),
            Type::Scalar(Scalar::String) if written => Some(json!("")),
            Type::Scalar(Scalar::Bool) if written => Some(json!(false)),
            Type::Scalar(Scalar::Int32 | Scalar::Int64 | Scalar::Float) if written => Some(json!(0)),
            Type::Scalar(_) | Type::List(_) | Type::Map(_) | Type::Any(_) | Type::SchemaOr(_) => None,
        }
    }

    /// A schema with something said beside it, which a reference alone can't have in version 3.
    fn beside(&self, mut value: Value, description: Option<&str>, default: Option<Value>) -> Value {
        let default = default.filter(|_| self.dialect == Dialect::V3);
        if (description.is_some() || default.is_some()) && value.get("$ref").is_some() && self.dialect == Dialect::V3 {
            value = json!({"allOf": [value]});
        }
        if let Some(description) = description {
            value["description"] = json!(description);
        }
        if let Some(default) = default {
            value["default"] = default;
        }
        value
    }

    fn structure(&mut self, structure: &Struct) -> Value {
        let mut properties = Map::new();
        for field in &structure.fields {
            properties.insert(field.name.clone(), self.field(&structure.name, field));
        }
        if self.is_list(structure) {
            // Compat: nobody applies to lists, so upstream doesn't say how their items are told apart.
            properties["items"].as_object_mut().map(|items| items.remove("x-kubernetes-list-type"));
        }
        let mut value = json!({"type": "object", "properties": properties});
        if let Some(description) = self.words.of(&structure.name) {
            value["description"] = json!(description);
        }
        let mut required: Vec<&Field> = structure.fields.iter().filter(|field| field.required).collect();
        // As they are declared.
        required.sort_by_key(|field| field.number);
        if !required.is_empty() {
            value["required"] = required.iter().map(|field| field.name.as_str()).collect();
        }
        if structure.atomic {
            value["x-kubernetes-map-type"] = json!("atomic");
        }
        if structure.open {
            value["x-kubernetes-preserve-unknown-fields"] = json!(true);
        }
        value
    }

    /// Whether it is the list of a kind.
    fn is_list(&self, structure: &Struct) -> bool {
        let has = |name: &str| structure.fields.iter().find(|field| field.name == name);
        let Some(metadata) = has("metadata") else { return false };
        has("items").is_some() && Schemas::builtin().named(&format!("{META}.ListMeta")) == Some(metadata.ty)
    }

    fn field(&mut self, of: &str, field: &Field) -> Value {
        let mut value = self.of_type(field.ty);
        let general = ["apiVersion", "kind"].contains(&field.name.as_str());
        let description = self.words.of_field(of, &field.name);
        // Lists of kinds have no words of their own.
        let description = description.or_else(|| general.then(|| self.words.of_every_kind(&field.name)));
        let mut description = description.map(str::to_owned);
        if let Some(values) = self.values.of(of, &field.name) {
            enumerate(&mut value, &mut description, values.collect());
        }
        let zero = || if field.pointer { None } else { self.zero(field.ty, !field.omit_empty) };
        let mut value = self.beside(value, description.as_deref(), field.default.clone().or_else(zero));
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

/// Tells the values of a text or of the texts in a list or map; those of a text are told in words, too.
fn enumerate(value: &mut Value, description: &mut Option<String>, values: Vec<&str>) {
    let inner = ["items", "additionalProperties"].into_iter().find(|name| value.get(*name).is_some());
    if let Some(inner) = inner {
        value[inner]["enum"] = json!(values);
        return;
    }
    let mut text = description.take().map(|text| text + "\n\n").unwrap_or_default();
    text.push_str("Possible enum values:");
    for one in &values {
        text.push_str(&format!("\n - `{one:?}`"));
    }
    *description = Some(text);
    value["enum"] = json!(values);
}

/// Compat: documents name options and statuses without a group.
fn group(gvk: &Gvk) -> &str {
    if gvk.group == "meta.k8s.io" { "" } else { &gvk.group }
}
