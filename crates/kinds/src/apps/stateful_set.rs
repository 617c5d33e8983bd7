//! StatefulSet.

use meta::field::{Error, Errors, Path};
use meta::names;
use serde_json::{Value, json};

use super::template;
use crate::age;
use crate::field::{self, items, items_mut, number, text};
use crate::plain::{AGE, NAME, column, name, prepare_create, prepare_update, wide};
use crate::resource::{Column, Part, Rules, Settings};

pub(super) const COLUMNS: &[Column] = &[NAME, column("Ready", "string"), AGE, wide("Containers"), wide("Images")];

pub(super) struct StatefulSet;

/// The fields of a spec that may change.
const CHANGEABLE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

impl Rules for StatefulSet {
    fn default(&self, object: &mut Value) {
        let spec = field::child(object, "spec");
        field::default(spec, "podManagementPolicy", "OrderedReady");
        field::default(spec, "replicas", 1);
        field::default(spec, "revisionHistoryLimit", 10);
        let strategy = field::child(spec, "updateStrategy");
        if text(strategy, "/type").is_empty() {
            strategy["type"] = json!("RollingUpdate");
            field::child(strategy, "rollingUpdate");
        }
        if strategy["type"] == "RollingUpdate" && strategy["rollingUpdate"].is_object() {
            let rolling = field::child(strategy, "rollingUpdate");
            field::default(rolling, "partition", 0);
        }
        let retention = field::child(spec, "persistentVolumeClaimRetentionPolicy");
        field::default(retention, "whenDeleted", "Retain");
        field::default(retention, "whenScaled", "Retain");
        for claim in items_mut(spec, "volumeClaimTemplates") {
            field::default(claim, "kind", "PersistentVolumeClaim");
            field::default(claim, "apiVersion", "v1");
            field::default(field::child(claim, "spec"), "volumeMode", "Filesystem");
            field::default(field::child(claim, "status"), "phase", "Pending");
        }
        crate::core::pod::default_template(field::child(spec, "template"));
    }

    fn prepare_create(&self, object: &mut Value) {
        prepare_create(object);
        object["status"] = json!({"replicas": 0, "availableReplicas": 0});
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part<'_>) {
        prepare_update(new, old, part);
    }

    fn validate_name(&self, name: &str) -> Vec<String> {
        names::label(name)
    }

    fn validate(&self, object: &Value, settings: &Settings) -> Errors {
        let (spec, path) = (&object["spec"], Path::new("spec"));
        let mut errors = Errors::new();
        let policy = text(spec, "/podManagementPolicy");
        if !["OrderedReady", "Parallel"].contains(&policy) {
            let detail = "must be 'OrderedReady' or 'Parallel'";
            errors.push(Error::invalid(&path.child("podManagementPolicy"), policy, detail));
        }
        errors.extend(strategy(&spec["updateStrategy"], &path.child("updateStrategy")));
        for when in ["whenDeleted", "whenScaled"] {
            let policy = text(spec, &format!("/persistentVolumeClaimRetentionPolicy/{when}"));
            if !["Retain", "Delete"].contains(&policy) {
                let at = path.child("persistentVolumeClaimRetentionPolicy").child(when);
                errors.push(Error::not_supported_as_listed(&at, policy, &["Retain", "Delete"]));
            }
        }
        errors.extend(template::not_negative(spec, &["replicas", "minReadySeconds"], &path));
        if number(spec, "/ordinals/start").is_some_and(|start| start < 0) {
            let detail = "must be greater than or equal to 0";
            errors.push(Error::invalid(&path.child("ordinals.start"), spec["ordinals"]["start"].clone(), detail));
        }
        for (index, claim) in items(spec, "/volumeClaimTemplates").iter().enumerate() {
            let at = path.child("volumeClaimTemplates").index(index).child("spec");
            errors.extend(crate::core::volume::check_claim(&claim["spec"], &at));
        }
        let service = text(spec, "/serviceName");
        if !service.is_empty() {
            let at = path.child("serviceName");
            errors.extend(names::label(service).iter().map(|rule| Error::invalid(&at, service, rule)));
        }
        errors.extend(template::selector(spec, "statefulset", &path));
        let with_claims = json!({"template": with_claims(spec)});
        errors.extend(template::template(&with_claims, "StatefulSet", &path, settings));
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, part: Part<'_>, settings: &Settings) -> Errors {
        if part == Part::Status {
            return Errors::new();
        }
        let mut errors = self.validate(new, settings);
        let fixed = |object: &Value| -> Vec<(String, Value)> {
            let kept = field::fields(&object["spec"]).filter(|(name, _)| !CHANGEABLE.contains(&name.as_str()));
            kept.map(|(name, value)| (name.clone(), value.clone())).collect()
        };
        if fixed(new) != fixed(old) {
            let detail = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                          'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
                          'minReadySeconds' are forbidden";
            errors.push(Error::forbidden(&Path::new("spec"), detail));
        }
        errors
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        let (ready, wanted) = (number(object, "/status/readyReplicas"), number(object, "/spec/replicas"));
        let mut row =
            vec![name(object), format!("{}/{}", ready.unwrap_or(0), wanted.unwrap_or(0)).into(), age::of(object, now)];
        let [containers, images, _] = template::cells(object);
        row.extend([containers, images]);
        row
    }
}

/// The template with the volumes that the controller adds for claims.
fn with_claims(spec: &Value) -> Value {
    let mut template = spec["template"].clone();
    let claims = items(spec, "/volumeClaimTemplates");
    if claims.is_empty() {
        return template;
    }
    let named = |volume: &Value| claims.iter().any(|claim| claim["metadata"]["name"] == volume["name"]);
    let volume = |claim: &Value| {
        let name = &claim["metadata"]["name"];
        json!({"name": name, "persistentVolumeClaim": {"claimName": name}})
    };
    let others = items(&template, "/spec/volumes").iter().filter(|volume| !named(volume)).cloned();
    template["spec"]["volumes"] = claims.iter().map(volume).chain(others.collect::<Vec<_>>()).collect();
    template
}

fn strategy(strategy: &Value, path: &Path) -> Errors {
    let rolling = &strategy["rollingUpdate"];
    match text(strategy, "/type") {
        "OnDelete" if rolling.is_null() => Errors::new(),
        "OnDelete" => {
            let detail = "only allowed for updateStrategy 'RollingUpdate'";
            vec![Error::invalid(&path.child("rollingUpdate"), rolling.clone(), detail)]
        }
        "RollingUpdate" => {
            let path = path.child("rollingUpdate");
            let mut errors = template::not_negative(rolling, &["partition"], &path);
            errors.extend(template::count_or_percent(&rolling["maxUnavailable"], &path.child("maxUnavailable")));
            if !rolling["maxUnavailable"].is_null() && template::is_zero(&rolling["maxUnavailable"]) {
                let value = rolling["maxUnavailable"].clone();
                errors.push(Error::invalid(&path.child("maxUnavailable"), value, "cannot be 0"));
            }
            errors
        }
        _ => vec![Error::invalid(path, strategy.clone(), "must be 'RollingUpdate' or 'OnDelete'")],
    }
}
