//! PodTemplate.

use meta::field::{Errors, Path};
use serde_json::{Value, json};

use super::pod::{default_template, validate_template};
use crate::field::{self, fields, items};
use crate::plain::{NAME, column, name};
use crate::resource::{Column, Part, Rules, Settings};

pub(crate) const COLUMNS: &[Column] =
    &[NAME, column("Containers", "string"), column("Images", "string"), column("Pod Labels", "string")];

pub(crate) struct PodTemplate;

impl Rules for PodTemplate {
    fn default(&self, object: &mut Value) {
        default_template(field::child(object, "template"));
    }

    fn prepare_create(&self, object: &mut Value) {
        object["metadata"]["generation"] = json!(1);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, _: Part<'_>) {
        field::count_generation(new, old);
    }

    fn validate(&self, object: &Value, settings: &Settings) -> Errors {
        validate_template(&object["template"], &Path::new("template"), settings)
    }

    fn row(&self, object: &Value, _: i64) -> Vec<Value> {
        let containers = items(object, "/template/spec/containers");
        let join = |field: &str| {
            containers.iter().filter_map(|container| container[field].as_str()).collect::<Vec<_>>().join(",")
        };
        let labels = fields(&object["template"]["metadata"]["labels"]);
        let labels: Vec<_> =
            labels.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
        let labels = if labels.is_empty() { "<none>".to_owned() } else { labels.join(",") };
        vec![name(object), join("name").into(), join("image").into(), labels.into()]
    }
}
