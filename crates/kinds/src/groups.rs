//! Groups with few kinds, or kinds without rules of their own.

use serde_json::{Value, json};

use crate::age;
use crate::field::{self, text};
use crate::plain::{AGE, Desired, NAME, STATUS, cell, column, name, resource};
use crate::resource::{Column, Part, Resource, Rules};

/// The groups' resources.
pub(crate) fn all() -> Vec<Resource> {
    let cluster = |resource: Resource| Resource { namespaced: false, ..resource };
    vec![
        Resource { columns: LEASE, rules: &Lease, ..resource("coordination.k8s.io", "Lease", "leases", "lease") },
        Resource {
            short_names: &["ev"],
            storage: ("", "events"),
            columns: crate::core::event::COLUMNS,
            rules: &crate::core::event::Event::NEW,
            ..resource("events.k8s.io", "Event", "events", "event")
        },
        cluster(resource("node.k8s.io", "RuntimeClass", "runtimeclasses", "runtimeclass")),
        Resource {
            short_names: &["pdb"],
            subresources: &[STATUS],
            columns: BUDGET,
            rules: &DisruptionBudget,
            ..resource("policy", "PodDisruptionBudget", "poddisruptionbudgets", "poddisruptionbudget")
        },
        cluster(Resource {
            short_names: &["pc"],
            columns: PRIORITY_CLASS,
            rules: &PriorityClass,
            ..resource("scheduling.k8s.io", "PriorityClass", "priorityclasses", "priorityclass")
        }),
    ]
}

const LEASE: &[Column] = &[NAME, column("Holder", "string"), AGE];

struct Lease;

impl Rules for Lease {
    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        vec![name(object), cell(object, "/spec/holderIdentity", ""), age::of(object, now)]
    }
}

const BUDGET: &[Column] = &[
    NAME,
    column("Min Available", "string"),
    column("Max Unavailable", "string"),
    column("Allowed Disruptions", "integer"),
    AGE,
];

struct DisruptionBudget;

impl Rules for DisruptionBudget {
    fn prepare_create(&self, object: &mut Value) {
        Desired.prepare_create(object);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part<'_>) {
        Desired.prepare_update(new, old, part);
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

const PRIORITY_CLASS: &[Column] =
    &[NAME, column("Value", "integer"), column("Global-Default", "boolean"), AGE, column("PreemptionPolicy", "string")];

struct PriorityClass;

impl Rules for PriorityClass {
    fn default(&self, object: &mut Value) {
        field::default(object, "preemptionPolicy", "PreemptLowerPriority");
        field::default(object, "value", 0);
    }

    fn prepare_create(&self, object: &mut Value) {
        object["metadata"]["generation"] = json!(1);
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        let global = object["globalDefault"].as_bool().unwrap_or(false);
        vec![
            name(object),
            object["value"].clone(),
            json!(global),
            age::of(object, now),
            text(object, "/preemptionPolicy").into(),
        ]
    }
}
