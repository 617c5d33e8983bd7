//! Service.

use serde_json::{Value, json};

use crate::age;
use crate::field::{self, items, text};
use crate::names;
use crate::plain::{AGE, NAME, cell, column, name, wide};
use crate::resource::{Column, Rules};

pub(crate) const COLUMNS: &[Column] = &[
    NAME,
    column("Type", "string"),
    column("Cluster-IP", "string"),
    column("External-IP", "string"),
    column("Port(s)", "string"),
    AGE,
    wide("Selector"),
];

pub(crate) struct Service;

impl Rules for Service {
    fn validate_name(&self, name: &str) -> Vec<String> {
        names::label(name)
    }

    fn default(&self, object: &mut Value) {
        let spec = field::child(object, "spec");
        field::default(spec, "sessionAffinity", "None");
        field::default(spec, "type", "ClusterIP");
        field::default(spec, "internalTrafficPolicy", "Cluster");
        for port in field::items_mut(spec, "ports") {
            field::default(port, "protocol", "TCP");
            let number = port["port"].clone();
            field::default(port, "targetPort", number);
        }
        field::child(object, "status");
    }

    fn prepare_create(&self, object: &mut Value) {
        object["status"] = json!({"loadBalancer": {}});
    }

    fn selectable(&self) -> &'static [&'static str] {
        &["spec.clusterIP", "spec.type"]
    }

    fn fields(&self, object: &Value) -> Vec<(String, String)> {
        let value = |pointer: &str| text(object, pointer).to_owned();
        vec![("spec.clusterIP".to_owned(), value("/spec/clusterIP")), ("spec.type".to_owned(), value("/spec/type"))]
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        let port = |port: &Value| {
            let node = port["nodePort"].as_i64().filter(|number| *number > 0).map(|number| format!(":{number}"));
            format!("{}{}/{}", port["port"], node.unwrap_or_default(), text(port, "/protocol"))
        };
        let ports: Vec<String> = items(object, "/spec/ports").iter().map(port).collect();
        let external: Vec<&str> = items(object, "/spec/externalIPs").iter().filter_map(Value::as_str).collect();
        let external =
            if external.is_empty() { cell(object, "/spec/externalName", "<none>") } else { external.join(",").into() };
        let selector = meta::LabelSelector::from_value(&json!({"matchLabels": object["spec"]["selector"]}));
        let selector = selector.unwrap_or_default().to_string();
        vec![
            name(object),
            cell(object, "/spec/type", ""),
            cell(object, "/spec/clusterIP", "<none>"),
            external,
            if ports.is_empty() { "<none>".into() } else { ports.join(",").into() },
            age::of(object, now),
            if selector.is_empty() { "<none>".into() } else { selector.into() },
        ]
    }
}
