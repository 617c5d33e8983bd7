//! ComponentStatus: how the parts of the control plane are. Nothing of it is stored.

use serde_json::{Value, json};

use crate::plain::{NAME, column, name};
use crate::resource::{Column, Rules};

pub(crate) const COLUMNS: &[Column] =
    &[NAME, column("Status", "string"), column("Message", "string"), column("Error", "string")];

pub(crate) struct ComponentStatus;

impl Rules for ComponentStatus {
    fn deprecation(&self) -> Option<&'static str> {
        Some("v1 ComponentStatus is deprecated in v1.19+")
    }

    fn row(&self, object: &Value, _now: i64) -> Vec<Value> {
        let conditions = object["conditions"].as_array().into_iter().flatten();
        let healthy = conditions.into_iter().find(|condition| condition["type"] == "Healthy");
        let status = match healthy.and_then(|condition| condition["status"].as_str()) {
            Some("True") => "Healthy",
            Some("False") => "Unhealthy",
            _ => "Unknown",
        };
        let text = |field: &str| healthy.and_then(|condition| condition[field].as_str()).unwrap_or_default();
        vec![name(object), json!(status), json!(text("message")), json!(text("error"))]
    }
}
