//! Tables for people, and metadata alone.

use kinds::Resource;
use meta::Object;
use serde_json::{Value, json};

/// How a table is to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TableOptions {
    /// Seconds since 1970, for ages.
    pub(crate) now: i64,
    /// What of the object each row holds.
    pub(crate) include: Include,
    /// Whether the columns are told; later events of a watch leave them out.
    pub(crate) columns: bool,
}

/// What of the object a row holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Include {
    Nothing,
    Metadata,
    Whole,
}

impl Include {
    pub(crate) fn of(query: Option<&str>) -> Self {
        match query {
            Some("None") => Self::Nothing,
            Some("Object") => Self::Whole,
            _ => Self::Metadata,
        }
    }
}

/// A table of objects; `version` is that of the table and of the metadata in it.
pub(crate) fn table<'a>(
    row: &Resource,
    objects: impl Iterator<Item = &'a Object>,
    metadata: &Value,
    version: &str,
    options: &TableOptions,
) -> Value {
    let column = |(index, column): (usize, &kinds::Column)| {
        let description = row.custom.as_ref().and_then(|custom| custom.column_descriptions.get(index));
        json!({
            "name": column.name, "type": column.kind, "format": column.format,
            "description": description.map_or("", String::as_str), "priority": column.priority,
        })
    };
    let columns = row.columns.iter().enumerate().filter(|_| options.columns);
    let columns: Vec<Value> = columns.map(column).collect();
    let rows: Vec<Value> = objects.map(|object| table_row(row, object, version, options)).collect();
    json!({
        "kind": "Table", "apiVersion": version, "metadata": metadata,
        "columnDefinitions": columns, "rows": rows,
    })
}

fn table_row(row: &Resource, object: &Object, version: &str, options: &TableOptions) -> Value {
    let value = object.value();
    let mut cells = json!({"cells": row.rules().row(&value, options.now)});
    match options.include {
        Include::Nothing => {}
        Include::Metadata => cells["object"] = partial(&value, version),
        Include::Whole => cells["object"] = value,
    }
    cells
}

fn partial(value: &Value, version: &str) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": version, "metadata": value["metadata"]})
}

/// An object's metadata alone.
pub(crate) fn metadata_of(object: &Object, version: &str) -> Value {
    partial(&object.value(), version)
}
