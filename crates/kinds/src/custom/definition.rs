//! From a definition to resources.

use std::sync::Arc;

use schema::Structural;
use schema::cel::Rules;
use serde_json::Value;

use super::columns::columns;
use super::version::compare_versions;
use super::{Conversion, Custom, JsonPath, Names, ScalePaths};
use crate::field::{items, text};
use crate::plain::{Plain, READ_WRITE, STATUS, VERBS};
use crate::resource::{Resource, Subresource};

/// `scale` of a custom resource.
const SCALE: Subresource = Subresource { name: "scale", kind: Some(("autoscaling", "v1", "Scale")), verbs: READ_WRITE };

/// The resources of an established definition, the preferred version first; none before it is established. `since` is the
/// revision at which it began to say what it says of its versions.
pub fn resources(definition: &Value, since: u64, names: &mut Names) -> Vec<Resource> {
    if !is_established(definition) {
        return Vec::new();
    }
    let mut versions: Vec<&Value> =
        items(definition, "/spec/versions").iter().filter(|version| version["served"] == true).collect();
    versions.sort_by(|a, b| compare_versions(text(a, "/name"), text(b, "/name")));
    versions.into_iter().map(|version| resource(definition, version, since, names)).collect()
}

fn is_established(definition: &Value) -> bool {
    let is = |condition: &&Value| condition["type"] == "Established";
    items(definition, "/status/conditions").iter().find(is).is_some_and(|condition| condition["status"] == "True")
}

fn resource(definition: &Value, version: &Value, since: u64, names: &mut Names) -> Resource {
    let accepted = |pointer: &str| text(definition, &format!("/status/acceptedNames{pointer}"));
    let listed = |pointer: &str| {
        let list = items(definition, &format!("/status/acceptedNames{pointer}"));
        list.iter().filter_map(Value::as_str).collect::<Vec<_>>()
    };
    let (group, plural) =
        (names.text(text(definition, "/spec/group")), names.text(text(definition, "/spec/names/plural")));
    let columns = columns(version, names);
    let fields: Vec<&str> = items(version, "/selectableFields").iter().map(|field| text(field, "/jsonPath")).collect();
    let scale = scale(version);
    let has_status = version.pointer("/subresources/status").is_some_and(|status| !status.is_null());
    let subresources = [has_status.then_some(STATUS), scale.is_some().then_some(SCALE)].into_iter().flatten().collect();
    let schema = version.pointer("/schema/openAPIV3Schema").cloned().unwrap_or_default();
    let structural = Structural::parse(&schema);
    let custom = Custom {
        uid: text(definition, "/metadata/uid").to_owned(),
        since,
        storage_version: storage_version(definition),
        conversion: conversion(definition),
        terminating: !text(definition, "/metadata/deletionTimestamp").is_empty(),
        rules: Rules::compile(&structural),
        types: structural.types(),
        structural,
        schema,
        preserve_unknown: definition.pointer("/spec/preserveUnknownFields") == Some(&Value::Bool(true)),
        deprecation: deprecation(definition, version),
        has_status,
        scale,
        cells: columns.cells,
        column_descriptions: columns.descriptions,
        selectable: names.list(fields.iter().map(|path| path.trim_start_matches('.'))),
        selectable_paths: fields.iter().map(|path| JsonPath::parse(path)).collect(),
    };
    Resource {
        group,
        version: names.text(text(version, "/name")),
        kind: names.text(accepted("/kind")),
        plural,
        singular: names.text(accepted("/singular")),
        short_names: names.list(listed("/shortNames")),
        categories: names.list(listed("/categories")),
        namespaced: text(definition, "/spec/scope") == "Namespaced",
        verbs: VERBS,
        subresources: names.subresources(subresources),
        columns: columns.all,
        storage: (group, plural),
        rules: &Plain,
        custom: Some(Arc::new(custom)),
    }
}

fn storage_version(definition: &Value) -> String {
    let stored = items(definition, "/spec/versions").iter().find(|version| version["storage"] == true);
    stored.map_or_else(String::new, |version| text(version, "/name").to_owned())
}

fn conversion(definition: &Value) -> Conversion {
    match text(definition, "/spec/conversion/strategy") {
        "Webhook" => Conversion::Webhook(definition["spec"]["conversion"]["webhook"].clone()),
        _ => Conversion::None,
    }
}

fn scale(version: &Value) -> Option<ScalePaths> {
    let scale = version.pointer("/subresources/scale").filter(|scale| scale.is_object())?;
    Some(ScalePaths {
        replicas: JsonPath::parse(text(scale, "/specReplicasPath"))?,
        status_replicas: JsonPath::parse(text(scale, "/statusReplicasPath"))?,
        selector: Some(text(scale, "/labelSelectorPath")).filter(|path| !path.is_empty()).and_then(JsonPath::parse),
    })
}

fn deprecation(definition: &Value, version: &Value) -> Option<String> {
    if version["deprecated"] != true {
        return None;
    }
    Some(match text(version, "/deprecationWarning") {
        "" => {
            let (group, kind) = (text(definition, "/spec/group"), text(definition, "/spec/names/kind"));
            format!("{group}/{} {kind} is deprecated", text(version, "/name"))
        }
        own => own.to_owned(),
    })
}
