//! Makes the table of types from declarations: follows every name from the kinds on.
//!
//! The table is text, one line a type, field or kind; `crates/schema/src/table.rs` says what the columns are.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

use anyhow::{Context, bail};

use super::golang::{Body, Declaration, GoField, Package};

const META: &str = "k8s.io/apimachinery/pkg/apis/meta/v1";
const EXTENSIONS: &str = "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1";

/// Kinds that upstream registers without a `TypeMeta` of their own.
const BARE_KINDS: [&str; 1] = ["WatchEvent"];

struct Resolver<'a> {
    packages: HashMap<&'a str, &'a Package>,
    /// Structs by package and name, in the order of their numbers.
    numbers: HashMap<(String, String), usize>,
    names: Vec<(String, String)>,
}

/// The whole table.
pub(super) fn table(packages: &[Package]) -> anyhow::Result<String> {
    let mut resolver = Resolver {
        packages: packages.iter().map(|package| (package.path.as_str(), package)).collect(),
        numbers: HashMap::new(),
        names: Vec::new(),
    };
    let mut kinds = String::new();
    for package in packages {
        let version = package.path.rsplit('/').next().unwrap_or_default();
        for (name, declaration) in &package.types {
            if is_kind(name, declaration) && name != "TypeMeta" {
                let number = resolver.number(&package.path, name);
                writeln!(kinds, "K\t{}\t{version}\t{name}\t{number}", package.group)?;
            }
        }
    }
    let mut types = String::new();
    let mut next = 0;
    while next < resolver.names.len() {
        let (path, name) = resolver.names[next].clone();
        resolver.structure(&mut types, &path, &name).with_context(|| format!("{path}.{name}"))?;
        next += 1;
    }
    Ok(types + &kinds)
}

fn is_kind(name: &str, declaration: &Declaration) -> bool {
    let Body::Struct(fields) = &declaration.body else { return false };
    let inline = |field: &GoField| field.tag("json").is_some_and(|tag| tag.contains("inline"));
    BARE_KINDS.contains(&name)
        || fields.iter().any(|field| inline(field) && field.ty.trim_start_matches("metav1.").ends_with("TypeMeta"))
}

impl Resolver<'_> {
    fn number(&mut self, path: &str, name: &str) -> usize {
        let key = (path.to_owned(), name.to_owned());
        let names = &mut self.names;
        *self.numbers.entry(key.clone()).or_insert_with(|| {
            names.push(key);
            names.len() - 1
        })
    }

    fn declaration(&self, path: &str, name: &str) -> anyhow::Result<&Declaration> {
        let package = self.packages.get(path).with_context(|| format!("the package {path} isn't read"))?;
        package.types.get(name).with_context(|| format!("no type {path}.{name}"))
    }

    fn structure(&mut self, out: &mut String, path: &str, name: &str) -> anyhow::Result<()> {
        let declaration = self.declaration(path, name)?;
        let atomic = has(&declaration.markers, "structType=atomic") || has(&declaration.markers, "mapType=atomic");
        let imports = declaration.imports.clone();
        let Body::Struct(fields) = &declaration.body else { bail!("not a struct") };
        let mut rows = Vec::new();
        for field in fields {
            rows.push(FieldRow::new(field));
        }
        let host = path.replacen("k8s.io", "io.k8s", 1).replace('/', ".");
        writeln!(out, "T\t{host}.{name}\t{}", if atomic { "a" } else { "" })?;
        for row in rows.iter().flatten() {
            let expression = self.expression(&row.ty, path, &imports, row)?;
            let number = row.number;
            if row.inline {
                writeln!(out, "I\t{number}\t{}", expression.trim_start_matches('@'))?;
                continue;
            }
            let default = self.default(row, path)?;
            let line = format!("F\t{}\t{expression}\t{}\t{number}\t{default}\t{}", row.name, row.flags, row.patch);
            writeln!(out, "{}", line.trim_end())?;
            if let Some(values) = self.enumeration(&row.ty, path, &imports) {
                writeln!(out, "E\t{values}")?;
            }
        }
        Ok(())
    }

    fn default(&self, row: &FieldRow, path: &str) -> anyhow::Result<String> {
        let Some(value) = value_of(&row.markers, "default=") else { return Ok(String::new()) };
        let Some(name) = value.strip_prefix("ref(").and_then(|rest| rest.strip_suffix(')')) else {
            return Ok(value.to_owned());
        };
        let constant = self.packages[path].constants.get(name).with_context(|| format!("no constant {name}"))?;
        Ok(format!("{constant:?}"))
    }

    /// The values of a field's type, or of its items', where they are all that there are.
    fn enumeration(&self, ty: &str, path: &str, imports: &BTreeMap<String, String>) -> Option<String> {
        let ty = ty.strip_prefix("map[").and_then(|rest| rest.split_once(']')).map_or(ty, |(_, value)| value);
        let ty = ty.trim_start_matches(['*', '[', ']']);
        let (path, name) = match ty.split_once('.') {
            None => (path, ty),
            Some((alias, name)) => (imports.get(alias)?.as_str(), name),
        };
        let package = self.packages.get(path)?;
        let declaration = package.types.get(name)?;
        let values = package.values.get(name).filter(|_| has(&declaration.markers, "enum"))?;
        Some(values.iter().map(String::as_str).collect::<Vec<_>>().join(","))
    }

    /// The type of a field in the table's notation.
    fn expression(
        &mut self,
        ty: &str,
        path: &str,
        imports: &BTreeMap<String, String>,
        row: &FieldRow,
    ) -> anyhow::Result<String> {
        if let Some(inner) = ty.strip_prefix('*') {
            return self.expression(inner, path, imports, row);
        }
        if ty == "[]byte" {
            return Ok("y".to_owned());
        }
        if let Some(item) = ty.strip_prefix("[]") {
            let plain = row.item();
            return Ok(row.list_prefix() + &self.expression(item, path, imports, &plain)?);
        }
        if let Some((_, value)) = ty.strip_prefix("map[").and_then(|rest| rest.split_once(']')) {
            let prefix = if has(&row.markers, "mapType=atomic") { "A" } else { "G" };
            return Ok(prefix.to_owned() + &self.expression(value, path, imports, &row.item())?);
        }
        if let Some(scalar) = basic(ty) {
            return Ok(scalar.to_owned());
        }
        let (path, name) = match ty.split_once('.') {
            None => (path.to_owned(), ty),
            Some((alias, name)) => (imports.get(alias).with_context(|| format!("no import {alias}"))?.clone(), name),
        };
        if let Some(special) = special(&path, name) {
            return Ok(special.to_owned());
        }
        if path == EXTENSIONS && name.starts_with("JSONSchemaPropsOr") {
            let other = &name["JSONSchemaPropsOr".len()..];
            let code = match other {
                "Bool" => "b",
                "Array" => "l",
                _ => "s",
            };
            return Ok(format!("O{code}{}", self.number(&path, "JSONSchemaProps")));
        }
        let declaration = self.declaration(&path, name)?;
        match &declaration.body {
            Body::Struct(_) => {
                let atomic = has(&row.markers, "structType=atomic") || has(&row.markers, "mapType=atomic");
                Ok(format!("{}@{}", if atomic { "Z" } else { "" }, self.number(&path, name)))
            }
            Body::Named(under) => {
                let (under, imports) = (under.clone(), declaration.imports.clone());
                // Compat: a named list gets a message of its own, unless the field is marked as repeated.
                let boxed = if under.starts_with("[]") && !row.repeated { "B" } else { "" };
                Ok(boxed.to_owned() + &self.expression(&under, &path, &imports, row)?)
            }
        }
    }
}

fn basic(ty: &str) -> Option<&'static str> {
    Some(match ty {
        "string" => "s",
        "bool" => "b",
        "int32" | "uint16" => "i",
        "int64" | "int" => "l",
        "float64" | "float32" => "d",
        "interface{}" => "j",
        _ => return None,
    })
}

fn special(path: &str, name: &str) -> Option<&'static str> {
    Some(match (path, name) {
        ("k8s.io/apimachinery/pkg/api/resource", "Quantity") => "q",
        ("k8s.io/apimachinery/pkg/util/intstr", "IntOrString") => "x",
        ("k8s.io/apimachinery/pkg/types", _) => "s",
        ("k8s.io/apimachinery/pkg/runtime", "RawExtension") => "r",
        (META, "Time") => "t",
        (META, "MicroTime") => "u",
        (META, "Duration") => "n",
        (META, "FieldsV1") => "f",
        (EXTENSIONS, "JSON") => "j",
        _ => return None,
    })
}

/// What a field's tags and markers say.
struct FieldRow {
    name: String,
    ty: String,
    markers: Vec<String>,
    inline: bool,
    /// Protobuf repeats it, or nothing is known of protobuf.
    repeated: bool,
    number: u32,
    flags: String,
    patch: String,
}

impl FieldRow {
    /// `None` for a field that JSON doesn't have.
    fn new(field: &GoField) -> Option<Self> {
        let json = field.tag("json")?;
        let (name, options) = json.split_once(',').unwrap_or((json, ""));
        if name == "-" {
            return None;
        }
        let option = |wanted: &str| options.split(',').any(|option| option == wanted);
        let inline = option("inline") || name.is_empty();
        let mut protobuf = field.tag("protobuf").unwrap_or_default().split(',').skip(1);
        let number = protobuf.next().and_then(|number| number.parse().ok()).unwrap_or(0);
        let repeated = protobuf.next() == Some("rep");
        let optional = option("omitempty") || option("omitzero") || has(&field.markers, "optional");
        let flags = [
            ('r', !optional || has(&field.markers, "required")),
            ('p', field.ty.starts_with('*')),
            ('e', option("omitempty")),
            ('z', option("omitzero")),
        ];
        let strategy = field.tag("patchStrategy");
        let merges = |wanted: &str| strategy.is_some_and(|tag| tag.split(',').any(|part| part == wanted));
        let patch = strategy.map_or(String::new(), |_| {
            let merge = if merges("merge") { "m" } else { "" };
            let retain = if merges("retainKeys") { "k" } else { "" };
            format!("{merge}{retain}:{}", field.tag("patchMergeKey").unwrap_or_default())
        });
        Some(Self {
            name: name.to_owned(),
            ty: field.ty.clone(),
            markers: field.markers.clone(),
            inline,
            repeated,
            number,
            flags: flags.iter().filter(|(_, set)| *set).map(|(letter, _)| letter).collect(),
            patch,
        })
    }

    /// The row for the items of this field: its markers don't concern them.
    fn item(&self) -> Self {
        Self {
            name: String::new(),
            ty: String::new(),
            markers: Vec::new(),
            inline: false,
            repeated: false,
            number: 0,
            flags: String::new(),
            patch: String::new(),
        }
    }

    fn list_prefix(&self) -> String {
        match value_of(&self.markers, "listType=") {
            Some("set") => "S".to_owned(),
            Some("map") => {
                let keys = self.markers.iter().filter_map(|marker| marker.strip_prefix("listMapKey="));
                let keys: Vec<&str> = keys.map(|key| key.trim_matches('"')).collect();
                format!("M{};", keys.join(","))
            }
            _ => "L".to_owned(),
        }
    }
}

fn has(markers: &[String], wanted: &str) -> bool {
    markers.iter().any(|marker| marker == wanted)
}

fn value_of<'a>(markers: &'a [String], name: &str) -> Option<&'a str> {
    markers.iter().find_map(|marker| marker.strip_prefix(name))
}
