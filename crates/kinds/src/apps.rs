//! The group `apps`.

use serde_json::{Value, json};

use crate::age;
use crate::field::{self, number};
use crate::plain::{
    AGE, Desired, NAME, NAME_AND_AGE, SCALE, STATUS, cell, column, name, prepare_create, prepare_update, resource, wide,
};
use crate::resource::{Column, Part, Resource, Rules};

/// The group's resources.
pub(crate) fn all() -> Vec<Resource> {
    let workload = |kind, plural, singular, short_names| Resource {
        short_names,
        categories: &["all"],
        subresources: &[SCALE, STATUS],
        rules: &Desired,
        ..resource("apps", kind, plural, singular)
    };
    vec![
        Resource {
            columns: NAME_AND_AGE,
            ..resource("apps", "ControllerRevision", "controllerrevisions", "controllerrevision")
        },
        Resource { subresources: &[STATUS], ..workload("DaemonSet", "daemonsets", "daemonset", &["ds"]) },
        Resource {
            columns: DEPLOYMENT,
            rules: &Deployment,
            ..workload("Deployment", "deployments", "deployment", &["deploy"])
        },
        Resource {
            columns: REPLICA_SET,
            rules: &ReplicaSet,
            ..workload("ReplicaSet", "replicasets", "replicaset", &["rs"])
        },
        workload("StatefulSet", "statefulsets", "statefulset", &["sts"]),
    ]
}

const DEPLOYMENT: &[Column] = &[
    NAME,
    column("Ready", "string"),
    column("Up-to-date", "string"),
    column("Available", "string"),
    AGE,
    wide("Containers"),
    wide("Images"),
    wide("Selector"),
];

const REPLICA_SET: &[Column] = &[
    NAME,
    column("Desired", "integer"),
    column("Current", "integer"),
    column("Ready", "integer"),
    AGE,
    wide("Containers"),
    wide("Images"),
    wide("Selector"),
];

struct Deployment;

impl Rules for Deployment {
    fn default(&self, object: &mut Value) {
        let spec = field::child(object, "spec");
        field::default(spec, "replicas", 1);
        field::default(spec, "revisionHistoryLimit", 10);
        field::default(spec, "progressDeadlineSeconds", 600);
        let strategy = field::child(spec, "strategy");
        field::default(strategy, "type", "RollingUpdate");
        if strategy["type"] == "RollingUpdate" {
            let rolling = field::child(strategy, "rollingUpdate");
            field::default(rolling, "maxUnavailable", "25%");
            field::default(rolling, "maxSurge", "25%");
        }
        crate::core::pod::default_template(field::child(spec, "template"));
    }

    fn prepare_create(&self, object: &mut Value) {
        prepare_create(object);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part<'_>) {
        prepare_update(new, old, part);
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        let status = |name: &str| number(object, &format!("/status/{name}")).unwrap_or(0);
        let desired = number(object, "/spec/replicas").unwrap_or(0);
        let mut row = vec![
            name(object),
            json!(format!("{}/{desired}", status("readyReplicas"))),
            json!(status("updatedReplicas").to_string()),
            json!(status("availableReplicas").to_string()),
            age::of(object, now),
        ];
        row.extend(template_cells(object));
        row
    }
}

struct ReplicaSet;

impl Rules for ReplicaSet {
    fn default(&self, object: &mut Value) {
        let spec = field::child(object, "spec");
        field::default(spec, "replicas", 1);
        crate::core::pod::default_template(field::child(spec, "template"));
    }

    fn prepare_create(&self, object: &mut Value) {
        prepare_create(object);
        object["status"] = json!({"replicas": 0});
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part<'_>) {
        prepare_update(new, old, part);
    }

    fn selectable(&self) -> &'static [&'static str] {
        &["status.replicas"]
    }

    fn fields(&self, object: &Value) -> Vec<(String, String)> {
        vec![("status.replicas".to_owned(), number(object, "/status/replicas").unwrap_or(0).to_string())]
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        let count = |pointer: &str| json!(number(object, pointer).unwrap_or(0));
        let mut row = vec![
            name(object),
            count("/spec/replicas"),
            count("/status/replicas"),
            count("/status/readyReplicas"),
            age::of(object, now),
        ];
        row.extend(template_cells(object));
        row
    }
}

/// Containers, images and selector of a workload, for `-o wide`.
fn template_cells(object: &Value) -> [Value; 3] {
    let containers = field::items(object, "/spec/template/spec/containers");
    let join =
        |field: &str| containers.iter().map(|c| c[field].as_str().unwrap_or_default()).collect::<Vec<_>>().join(",");
    let selector = meta::LabelSelector::from_value(&object["spec"]["selector"]).unwrap_or_default().to_string();
    [join("name").into(), join("image").into(), cell(&json!({"selector": selector}), "/selector", "<none>")]
}
