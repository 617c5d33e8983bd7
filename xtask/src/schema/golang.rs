//! Reads the type declarations of a Go package: as much of Go as API packages use, line by line.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context;

/// A Go package.
#[derive(Debug, Default)]
pub(super) struct Package {
    /// The import path.
    pub(super) path: String,
    /// `GroupName` of register.go.
    pub(super) group: String,
    pub(super) types: BTreeMap<String, Declaration>,
    /// String constants.
    pub(super) constants: BTreeMap<String, String>,
    /// The values of those that have a type, by its name.
    pub(super) values: BTreeMap<String, BTreeSet<String>>,
}

/// A type declaration.
#[derive(Debug)]
pub(super) struct Declaration {
    /// Comment markers, without the plus sign.
    pub(super) markers: Vec<String>,
    pub(super) body: Body,
    /// Names of imported packages in its file.
    pub(super) imports: BTreeMap<String, String>,
}

#[derive(Debug)]
pub(super) enum Body {
    Struct(Vec<GoField>),
    Named(String),
}

/// A field of a Go struct.
#[derive(Debug)]
pub(super) struct GoField {
    pub(super) markers: Vec<String>,
    pub(super) ty: String,
    pub(super) tags: String,
}

impl GoField {
    /// The value of a struct tag.
    pub(super) fn tag(&self, name: &str) -> Option<&str> {
        let start = self.tags.find(&format!("{name}:\""))? + name.len() + 2;
        self.tags[start..].split('"').next()
    }
}

/// Reads every source file of a package that isn't generated or a test.
pub(super) fn package(folder: &Path, path: &str) -> anyhow::Result<Package> {
    let mut package = Package { path: path.to_owned(), ..Package::default() };
    let mut files: Vec<_> = std::fs::read_dir(folder)?.filter_map(Result::ok).map(|entry| entry.path()).collect();
    files.sort();
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let generated = name.starts_with("zz_") || name.contains("generated") || name.ends_with("_test.go");
        if name.ends_with(".go") && !generated {
            let source = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
            read(&source, &mut package);
        }
    }
    if package.group.is_empty() && !path.contains("/core/") {
        let register = folder.parent().unwrap_or(folder).join("register.go");
        let source = std::fs::read_to_string(&register).with_context(|| format!("read {}", register.display()))?;
        package.group = source.lines().find_map(group_name).unwrap_or_default();
    }
    Ok(package)
}

fn group_name(line: &str) -> Option<String> {
    let value = line.trim().trim_start_matches("const ").strip_prefix("GroupName")?.trim_start().strip_prefix("= ")?;
    Some(value.trim_matches('"').to_owned())
}

fn read(source: &str, package: &mut Package) {
    let mut imports = BTreeMap::new();
    let mut markers = Vec::new();
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        if let Some(group) = group_name(line) {
            package.group = group;
        } else if line == "import (" {
            imports = lines.by_ref().take_while(|line| *line != ")").filter_map(import).collect();
        } else if let Some(one) = line.strip_prefix("import ") {
            imports.extend(import(one));
        } else if let Some(marker) = line.strip_prefix("// +") {
            markers.push(marker.trim().to_owned());
        } else if let Some((name, rest)) = line.strip_prefix("type ").and_then(|rest| rest.split_once(' ')) {
            let body = if rest == "struct {" {
                Body::Struct(fields(&mut lines))
            } else if rest.starts_with("struct") {
                Body::Struct(Vec::new())
            } else {
                Body::Named(rest.trim_start_matches("= ").split(" //").next().unwrap_or(rest).trim().to_owned())
            };
            let declaration = Declaration { markers: std::mem::take(&mut markers), body, imports: imports.clone() };
            package.types.insert(name.to_owned(), declaration);
        } else if let Some((left, right)) = line.split_once(" = \"") {
            let mut words = left.trim().trim_start_matches("const ").split_whitespace();
            let (name, ty) = (words.next().unwrap_or_default(), words.next());
            let value = right.split('"').next().unwrap_or_default().to_owned();
            if let Some(ty) = ty {
                package.values.entry(ty.to_owned()).or_default().insert(value.clone());
            }
            package.constants.insert(name.to_owned(), value);
        } else if line.starts_with("func ") {
            markers.clear();
        }
    }
}

fn import(line: &str) -> Option<(String, String)> {
    let (alias, path) = line.trim().split_once('"')?;
    let path = path.split('"').next()?;
    let alias = alias.trim();
    let name = if alias.is_empty() { path.rsplit('/').next()? } else { alias };
    Some((name.to_owned(), path.to_owned()))
}

fn fields<'a>(lines: &mut impl Iterator<Item = &'a str>) -> Vec<GoField> {
    let mut fields = Vec::new();
    let mut markers = Vec::new();
    for line in lines.take_while(|line| *line != "}") {
        let line = line.trim();
        if let Some(comment) = line.strip_prefix("//") {
            markers.extend(comment.trim_start().strip_prefix('+').map(|marker| marker.trim().to_owned()));
            continue;
        }
        let mut parts = line.splitn(3, '`');
        let (declared, tags) = (parts.next().unwrap_or_default().trim(), parts.next().unwrap_or_default());
        if tags.contains("json:\"") {
            // `Name Type` or an embedded `Type`; no type of the API holds a space.
            let ty = declared.split_whitespace().last().unwrap_or_default().to_owned();
            fields.push(GoField { markers: std::mem::take(&mut markers), ty, tags: tags.to_owned() });
        }
    }
    fields
}
