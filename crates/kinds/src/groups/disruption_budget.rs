//! PodDisruptionBudget.

use meta::field::{Error, Errors, Path};
use serde_json::{Value, json};

use crate::age;
use crate::apps::template::{count_or_percent, not_negative};
use crate::core::pod::label_selector;
use crate::field;
use crate::plain::{AGE, Desired, NAME, column, name};
use crate::resource::{Column, Part, Rules, Settings};

pub(crate) const COLUMNS: &[Column] = &[
    NAME,
    column("Min Available", "string"),
    column("Max Unavailable", "string"),
    column("Allowed Disruptions", "integer"),
    AGE,
];

pub(crate) struct DisruptionBudget;

impl Rules for DisruptionBudget {
    fn prepare_create(&self, object: &mut Value) {
        Desired.prepare_create(object);
        object["status"] =
            json!({"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0});
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part<'_>) {
        Desired.prepare_update(new, old, part);
    }

    /// Compat: upstream forgets the rules of names here; only those of every path hold.
    fn validate_name(&self, name: &str) -> Vec<String> {
        meta::names::path_segment(name)
    }

    fn validate(&self, object: &Value, _: &Settings) -> Errors {
        let (spec, path) = (&object["spec"], Path::new("spec"));
        let mut errors = Errors::new();
        if !spec["minAvailable"].is_null() && !spec["maxUnavailable"].is_null() {
            let why = "minAvailable and maxUnavailable cannot be both set";
            errors.push(Error::invalid(&path, spec.clone(), why));
        }
        for bound in ["minAvailable", "maxUnavailable"] {
            errors.extend(count_or_percent(&spec[bound], &path.child(bound)));
        }
        errors.extend(label_selector(&spec["selector"], &path.child("selector")));
        let known = ["AlwaysAllow", "IfHealthyBudget"];
        let policy = spec.get("unhealthyPodEvictionPolicy").and_then(Value::as_str);
        if let Some(policy) = policy.filter(|policy| !known.contains(policy)) {
            errors.push(Error::not_supported(&path.child("unhealthyPodEvictionPolicy"), policy, &known));
        }
        errors
    }

    fn validate_update(&self, new: &Value, _: &Value, part: Part<'_>, settings: &Settings) -> Errors {
        if part == Part::Status {
            let counts = ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"];
            return not_negative(&new["status"], &counts, &Path::new("status"));
        }
        self.validate(new, settings)
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        let bound = |field: &str| match &object["spec"][field] {
            Value::String(text) => json!(text),
            Value::Number(number) => json!(number.to_string()),
            _ => json!("N/A"),
        };
        let allowed = field::number(object, "/status/disruptionsAllowed").unwrap_or(0);
        vec![name(object), bound("minAvailable"), bound("maxUnavailable"), json!(allowed), age::of(object, now)]
    }
}
