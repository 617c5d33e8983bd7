//! Service.

mod change;
mod defaults;
mod validation;

use meta::field::Errors;
use meta::names;
use serde_json::{Value, json};

use crate::age;
use crate::field::{items, text};
use crate::plain::{AGE, NAME, cell, column, keep_desired_state, name, wide};
use crate::resource::{Column, Part, Rules, Settings, keep_other_part};

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
        defaults::fill(object);
    }

    fn prepare_create(&self, object: &mut Value) {
        object["status"] = json!({"loadBalancer": {}});
        defaults::normalize(&mut object["spec"], None);
        defaults::families(&mut object["spec"]);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part<'_>) {
        if part == Part::Status {
            return keep_desired_state(new, old);
        }
        keep_other_part(new, old, part);
        let before = old["spec"].clone();
        let spec = &mut new["spec"];
        change::keep_allocated(spec, &before);
        defaults::normalize(spec, Some(&before));
        change::drop_what_type_forbids(spec, &before);
        defaults::families(spec);
        if text(spec, "/type") != "LoadBalancer" {
            new["status"]["loadBalancer"] = json!({});
        }
    }

    fn validate(&self, object: &Value, _: &Settings) -> Errors {
        validation::service(object)
    }

    fn validate_update(&self, new: &Value, old: &Value, part: Part<'_>, settings: &Settings) -> Errors {
        if part == Part::Status {
            return validation::status(new, old);
        }
        let mut errors = change::validate(&new["spec"], &old["spec"]);
        errors.extend(self.validate(new, settings));
        errors
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
        let selector = meta::LabelSelector::from_value(&json!({"matchLabels": object["spec"]["selector"]}));
        let selector = selector.unwrap_or_default().to_string();
        vec![
            name(object),
            cell(object, "/spec/type", ""),
            cell(object, "/spec/clusterIP", "<none>"),
            external(object).into(),
            if ports.is_empty() { "<none>".into() } else { ports.join(",").into() },
            age::of(object, now),
            if selector.is_empty() { "<none>".into() } else { selector.into() },
        ]
    }
}

/// The addresses that others reach a service by.
fn external(object: &Value) -> String {
    let own = items(object, "/spec/externalIPs").iter().filter_map(Value::as_str);
    let balanced = items(object, "/status/loadBalancer/ingress").iter();
    let balanced = balanced
        .map(|ingress| if text(ingress, "/ip").is_empty() { text(ingress, "/hostname") } else { text(ingress, "/ip") });
    let (addresses, none) = match text(object, "/spec/type") {
        "ExternalName" => return text(object, "/spec/externalName").to_owned(),
        "LoadBalancer" => (balanced.chain(own).collect::<Vec<_>>(), "<pending>"),
        _ => (own.collect(), "<none>"),
    };
    if addresses.is_empty() { none.to_owned() } else { addresses.join(",") }
}
