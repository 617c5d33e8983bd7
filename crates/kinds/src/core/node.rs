//! Node.

use serde_json::Value;

use crate::age;
use crate::field::{fields, items, text};
use crate::plain::{AGE, NAME, cell, column, name, wide};
use crate::resource::{Column, Rules};

pub(crate) const COLUMNS: &[Column] = &[
    NAME,
    column("Status", "string"),
    column("Roles", "string"),
    AGE,
    column("Version", "string"),
    wide("Internal-IP"),
    wide("External-IP"),
    wide("OS-Image"),
    wide("Kernel-Version"),
    wide("Container-Runtime"),
];

pub(crate) struct Node;

impl Rules for Node {
    fn selectable(&self) -> &'static [&'static str] {
        &["spec.unschedulable"]
    }

    fn fields(&self, object: &Value) -> Vec<(String, String)> {
        let unschedulable = object.pointer("/spec/unschedulable").and_then(Value::as_bool).unwrap_or(false);
        vec![("spec.unschedulable".to_owned(), unschedulable.to_string())]
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        let address = |kind: &str| {
            let found = items(object, "/status/addresses").iter().find(|address| text(address, "/type") == kind);
            found.map_or(Value::from("<none>"), |address| address["address"].clone())
        };
        vec![
            name(object),
            status(object).into(),
            roles(object).into(),
            age::of(object, now),
            cell(object, "/status/nodeInfo/kubeletVersion", ""),
            address("InternalIP"),
            address("ExternalIP"),
            cell(object, "/status/nodeInfo/osImage", "<unknown>"),
            cell(object, "/status/nodeInfo/kernelVersion", "<unknown>"),
            cell(object, "/status/nodeInfo/containerRuntimeVersion", "<unknown>"),
        ]
    }
}

fn status(object: &Value) -> String {
    let ready = items(object, "/status/conditions").iter().find(|condition| text(condition, "/type") == "Ready");
    let mut status = match ready.map(|condition| text(condition, "/status")) {
        Some("True") => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if object.pointer("/spec/unschedulable") == Some(&Value::Bool(true)) {
        status.push_str(",SchedulingDisabled");
    }
    status
}

fn roles(object: &Value) -> String {
    let role = |(key, value): (&String, &Value)| match key.strip_prefix("node-role.kubernetes.io/") {
        Some(role) if !role.is_empty() => Some(role.to_owned()),
        _ if key == "kubernetes.io/role" => value.as_str().map(str::to_owned),
        _ => None,
    };
    let roles: Vec<String> = fields(&object["metadata"]["labels"]).filter_map(role).collect();
    if roles.is_empty() { "<none>".to_owned() } else { roles.join(",") }
}
