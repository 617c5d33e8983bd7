//! Job.

use meta::field::{Error, Errors, Path};
use meta::{DeleteOptions, LabelSelector, Propagation, parse_time};
use serde_json::{Value, json};

use super::policies;
use crate::age;
use crate::field::{self, fields, items, number, text};
use crate::plain::{AGE, NAME, column, name, prepare_update, wide};
use crate::resource::{Column, Part, Rules, Settings};

pub(crate) const COLUMNS: &[Column] = &[
    NAME,
    column("Status", "string"),
    column("Completions", "string"),
    column("Duration", "string"),
    AGE,
    wide("Containers"),
    wide("Images"),
    wide("Selector"),
];

const UID: [&str; 2] = ["batch.kubernetes.io/controller-uid", "controller-uid"];
const JOB: [&str; 2] = ["batch.kubernetes.io/job-name", "job-name"];

/// At most so many indexes may run at once.
const MAX_PARALLEL: i64 = 100_000;

/// From so many completions on, limits of each index have bounds.
const MANY: i64 = 100_000;

pub(crate) struct Job;

/// What a job's spec leaves out, also in the template of a CronJob.
pub(super) fn default_spec(spec: &mut Value) {
    if spec["completions"].is_null() && spec["parallelism"].is_null() {
        field::default(spec, "completions", 1);
    }
    field::default(spec, "parallelism", 1);
    let limit = if spec["backoffLimitPerIndex"].is_null() { 6 } else { i32::MAX };
    field::default(spec, "backoffLimit", limit);
    field::default(spec, "completionMode", "NonIndexed");
    field::default(spec, "suspend", false);
    let replaced = if spec["podFailurePolicy"].is_null() { "TerminatingOrFailed" } else { "Failed" };
    field::default(spec, "podReplacementPolicy", replaced);
    field::default(spec, "manualSelector", false);
    default_in_cron_job(spec);
}

/// The part of it that holds in templates as well.
pub(super) fn default_in_cron_job(spec: &mut Value) {
    crate::core::pod::default_template(field::child(spec, "template"));
    for rule in spec.pointer_mut("/podFailurePolicy/rules").and_then(Value::as_array_mut).into_iter().flatten() {
        for pattern in field::items_mut(rule, "onPodConditions") {
            field::default(pattern, "status", "True");
        }
    }
}

impl Rules for Job {
    fn default(&self, object: &mut Value) {
        default_spec(field::child(object, "spec"));
        let labels = object["spec"]["template"]["metadata"]["labels"].clone();
        let own = &object["metadata"]["labels"];
        if labels.is_object() && own.as_object().is_none_or(serde_json::Map::is_empty) {
            object["metadata"]["labels"] = labels;
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        object["metadata"]["generation"] = json!(1);
        object["status"] = json!({});
        if object["spec"]["manualSelector"] != true {
            generate_selector(object);
        }
        self.default(object);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part<'_>) {
        prepare_update(new, old, part);
    }

    fn validate(&self, object: &Value, settings: &Settings) -> Errors {
        let mut errors = generated_labels(object);
        errors.extend(spec(&object["spec"], &Path::new("spec"), true, settings));
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, part: Part<'_>, settings: &Settings) -> Errors {
        if part == Part::Status {
            return status_change(&new["status"], &old["status"]);
        }
        let mut errors = spec(&new["spec"], &Path::new("spec"), true, settings);
        errors.extend(change(&new["spec"], &old["spec"]));
        errors
    }

    fn selectable(&self) -> &'static [&'static str] {
        &["status.successful"]
    }

    fn fields(&self, object: &Value) -> Vec<(String, String)> {
        let succeeded = number(object, "/status/succeeded").unwrap_or(0);
        vec![("status.successful".to_owned(), succeeded.to_string())]
    }

    // Compat: batch/v1 leaves the pods behind, and warns of it.
    fn default_propagation(&self) -> Propagation {
        Propagation::Orphan
    }

    fn delete_warnings(&self, options: &DeleteOptions) -> Vec<String> {
        const PRESERVED: &str = "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background \
                                 to remove them or set propagationPolicy=Orphan to suppress this warning";
        if options.propagation.is_none() { vec![PRESERVED.to_owned()] } else { Vec::new() }
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        let succeeded = number(object, "/status/succeeded").unwrap_or(0);
        let completions = match (number(object, "/spec/completions"), number(object, "/spec/parallelism").unwrap_or(0))
        {
            (Some(wanted), _) => format!("{succeeded}/{wanted}"),
            (None, parallelism) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
            (None, _) => format!("{succeeded}/1"),
        };
        let mut row =
            vec![name(object), phase(object).into(), completions.into(), duration(object, now), age::of(object, now)];
        row.extend(wide_cells(&object["spec"]));
        row
    }
}

/// Containers, images and selector.
pub(super) fn wide_cells(spec: &Value) -> [Value; 3] {
    let containers = items(spec, "/template/spec/containers");
    let join =
        |field: &str| containers.iter().map(|c| c[field].as_str().unwrap_or_default()).collect::<Vec<_>>().join(",");
    let selector = LabelSelector::from_value(&spec["selector"]).unwrap_or_default().to_string();
    let selector = if selector.is_empty() { "<none>".to_owned() } else { selector };
    [join("name").into(), join("image").into(), selector.into()]
}

fn has(status: &Value, kind: &str) -> bool {
    items(status, "/conditions").iter().any(|own| own["type"] == kind && own["status"] == "True")
}

fn phase(object: &Value) -> &'static str {
    let is = |kind: &str| has(&object["status"], kind);
    match () {
        () if is("Complete") => "Complete",
        () if is("Failed") => "Failed",
        () if !text(object, "/metadata/deletionTimestamp").is_empty() => "Terminating",
        () if is("Suspended") => "Suspended",
        () if is("FailureTarget") => "FailureTarget",
        () if is("SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    }
}

fn duration(object: &Value, now: i64) -> Value {
    let at = |pointer: &str| parse_time(text(object, pointer)).map(jiff::Timestamp::as_second);
    match (at("/status/startTime"), at("/status/completionTime")) {
        (None, _) => "".into(),
        (Some(start), end) => age::human_duration(end.unwrap_or(now) - start).into(),
    }
}

/// Its pods carry the job's own UID, and that is what it selects.
fn generate_selector(object: &mut Value) {
    let (uid, own) = (object["metadata"]["uid"].clone(), object["metadata"]["name"].clone());
    let template = field::child(field::child(object, "spec"), "template");
    let labels = field::child(field::child(template, "metadata"), "labels");
    for (keys, value) in [(JOB, &own), (UID, &uid)] {
        for key in keys {
            labels[key] = value.clone();
        }
    }
    if object["spec"]["selector"].is_null() {
        object["spec"]["selector"] = json!({"matchLabels": {UID[0]: uid}});
    }
}

/// Whether the generated labels are all there.
fn generated_labels(object: &Value) -> Errors {
    let spec = &object["spec"];
    if spec["manualSelector"] == true {
        return Errors::new();
    }
    let own = &object["metadata"]["uid"];
    let selector = LabelSelector::from_value(&spec["selector"]).unwrap_or_default();
    let labels = fields(&spec["template"]["metadata"]["labels"]);
    let wanted = labels.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect();
    let keyed = selector
        .requirements
        .iter()
        .any(|part| UID.contains(&part.key.as_str()) && part.values.iter().any(|uid| own == uid));
    if !keyed || !selector.matches(&wanted) {
        let path = Path::new("spec").child("selector");
        return vec![Error::invalid(&path, spec["selector"].clone(), "`selector` not auto-generated")];
    }
    Errors::new()
}

/// What is wrong with a job's spec; `selected`: it has a selector already.
pub(super) fn spec(spec: &Value, path: &Path, selected: bool, settings: &Settings) -> Errors {
    let mut errors = Errors::new();
    for name in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        if let Some(value) = number(spec, &format!("/{name}")).filter(|value| *value < 0) {
            errors.push(Error::invalid(&path.child(name), value, "must be greater than or equal to 0"));
        }
    }
    if selected {
        errors.extend(selector(spec, path));
    }
    errors.extend(managed_by(spec, path));
    errors.extend(modes(spec, path));
    errors.extend(crate::core::pod::validate_template(&spec["template"], &path.child("template"), settings));
    errors.extend(template(spec, path));
    errors.extend(policies::failure(spec, path));
    errors.extend(policies::success(spec, path));
    errors.extend(policies::replacement(spec, path));
    errors
}

fn managed_by(spec: &Value, path: &Path) -> Errors {
    let path = path.child("managedBy");
    match spec["managedBy"].as_str() {
        None => Errors::new(),
        Some(name) if name.len() > 63 => vec![Error::too_long(&path, 63)],
        Some(name) if !name.contains('/') => {
            let rule = "must be a domain-prefixed path (such as \"acme.io/foo\")";
            vec![Error::invalid(&path, name, rule)]
        }
        Some(_) => Errors::new(),
    }
}

fn selector(spec: &Value, path: &Path) -> Errors {
    if spec["selector"].is_null() {
        return vec![Error::required(&path.child("selector"), "")];
    }
    let labels = fields(&spec["template"]["metadata"]["labels"]);
    let labels = labels.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect();
    match LabelSelector::from_value(&spec["selector"]) {
        Ok(selector) if selector.matches(&labels) => Errors::new(),
        Ok(_) | Err(_) => {
            let path = path.child("template").child("metadata").child("labels");
            let labels = spec["template"]["metadata"]["labels"].clone();
            vec![Error::invalid(&path, labels, "`selector` does not match template `labels`")]
        }
    }
}

fn modes(spec: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let mode = text(spec, "/completionMode");
    let value = |name: &str| number(spec, &format!("/{name}"));
    if value("maxFailedIndexes").is_some() && value("backoffLimitPerIndex").is_none() {
        errors.push(Error::required(&path.child("backoffLimitPerIndex"), "when maxFailedIndexes is specified"));
    }
    match mode {
        "" | "NonIndexed" => {
            for name in ["backoffLimitPerIndex", "maxFailedIndexes"] {
                if let Some(value) = value(name) {
                    errors.push(Error::invalid(&path.child(name), value, "requires indexed completion mode"));
                }
            }
            if !spec["successPolicy"].is_null() {
                let policy = spec["successPolicy"].clone();
                errors.push(Error::invalid(&path.child("successPolicy"), policy, "requires indexed completion mode"));
            }
        }
        "Indexed" => errors.extend(indexed(spec, path)),
        other => errors.push(Error::not_supported_as_listed(
            &path.child("completionMode"),
            other,
            &["NonIndexed", "Indexed"],
        )),
    }
    errors
}

fn indexed(spec: &Value, path: &Path) -> Errors {
    let value = |name: &str| number(spec, &format!("/{name}"));
    let Some(completions) = value("completions") else {
        return vec![Error::required(&path.child("completions"), "when completion mode is Indexed")];
    };
    let mut errors = Errors::new();
    if let Some(parallel) = value("parallelism").filter(|parallel| *parallel > MAX_PARALLEL) {
        let rule = format!("must be less than or equal to {MAX_PARALLEL} when completion mode is Indexed");
        errors.push(Error::invalid(&path.child("parallelism"), parallel, &rule));
    }
    let most = value("maxFailedIndexes");
    if let Some(most) = most.filter(|most| *most > completions) {
        let rule = "must be less than or equal to completions";
        errors.push(Error::invalid(&path.child("maxFailedIndexes"), most, rule));
    }
    if completions > MANY && value("backoffLimitPerIndex").is_some() && most.is_none() {
        let rule = format!("must be specified when completions is above {MANY}");
        errors.push(Error::required(&path.child("maxFailedIndexes"), &rule));
    }
    errors
}

fn template(spec: &Value, path: &Path) -> Errors {
    let path = path.child("template").child("spec").child("restartPolicy");
    match text(spec, "/template/spec/restartPolicy") {
        "OnFailure" if !spec["podFailurePolicy"].is_null() => {
            vec![Error::invalid(&path, "OnFailure", "only \"Never\" is supported when podFailurePolicy is specified")]
        }
        "OnFailure" | "Never" => Errors::new(),
        // Compat: what is no policy at all was told with the template.
        "Always" => vec![Error::required(&path, "valid values: \"OnFailure\", \"Never\"")],
        _ => Errors::new(),
    }
}

/// What may not change.
fn change(new: &Value, old: &Value) -> Errors {
    const IMMUTABLE: &str = "field is immutable";
    let path = Path::new("spec");
    let mut errors = Errors::new();
    let elastic = new["completionMode"] == "Indexed" && !new["completions"].is_null() && !old["completions"].is_null();
    if new["completions"] != old["completions"] {
        let path = path.child("completions");
        if !elastic {
            errors.push(Error::invalid(&path, new["completions"].clone(), IMMUTABLE));
        } else if new["completions"] != new["parallelism"] {
            let rule = "can only be modified in tandem with spec.parallelism";
            errors.push(Error::invalid(&path, new["completions"].clone(), rule));
        }
    }
    for name in ["selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"]
    {
        if new[name] != old[name] {
            errors.push(Error::invalid(&path.child(name), new[name].clone(), IMMUTABLE));
        }
    }
    let fixed = if old["suspend"] == true { without_scheduling(&new["template"]) } else { new["template"].clone() };
    let before = if old["suspend"] == true { without_scheduling(&old["template"]) } else { old["template"].clone() };
    if fixed != before {
        errors.push(Error::invalid(&path.child("template"), new["template"].clone(), IMMUTABLE));
    }
    errors
}

// Compat: a suspended job may be moved to other nodes, and its containers may ask for other amounts.
fn without_scheduling(template: &Value) -> Value {
    let mut fixed = template.clone();
    for (part, names) in [
        ("metadata", &["labels", "annotations"][..]),
        ("spec", &["nodeSelector", "tolerations", "schedulingGates"][..]),
    ] {
        names.iter().for_each(|name| field::remove(&mut fixed[part], name));
    }
    let spec = &mut fixed["spec"];
    if let Some(affinity) = spec.get_mut("affinity") {
        field::remove(affinity, "nodeAffinity");
        if affinity.as_object().is_some_and(serde_json::Map::is_empty) {
            field::remove(spec, "affinity");
        }
    }
    for list in ["containers", "initContainers"] {
        field::items_mut(spec, list).for_each(|container| field::remove(container, "resources"));
    }
    fixed
}

/// What a status may not say.
fn status_change(new: &Value, old: &Value) -> Errors {
    let path = Path::new("status");
    let mut errors = Errors::new();
    for counter in ["active", "succeeded", "failed"] {
        if let Some(value) = number(new, &format!("/{counter}")).filter(|value| *value < 0) {
            errors.push(Error::invalid(&path.child(counter), value, "must be greater than or equal to 0"));
        }
    }
    let conditions = path.child("conditions");
    for kind in ["Failed", "Complete"] {
        if has(old, kind) && !has(new, kind) {
            let rule = format!("cannot disable the terminal {kind}=True condition");
            errors.push(Error::invalid(&conditions, new["conditions"].clone(), &rule));
        }
    }
    if has(new, "Complete") && has(new, "Failed") {
        let rule = "cannot set Complete=True and Failed=true conditions";
        errors.push(Error::invalid(&conditions, new["conditions"].clone(), rule));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(spec: Value) -> Value {
        let mut spec = spec;
        field::default(
            &mut spec,
            "template",
            json!({"spec": {"containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never"}}),
        );
        let mut job = json!({"metadata": {"name": "j", "uid": "u"}, "spec": spec});
        Job.default(&mut job);
        Job.prepare_create(&mut job);
        job
    }

    fn check(errors: Errors, expected: &[&str]) {
        let found: Vec<String> = errors.iter().map(Error::to_string).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_job_selects_what_it_makes() {
        let made = job(json!({}));
        assert_eq!(made["spec"]["selector"]["matchLabels"]["batch.kubernetes.io/controller-uid"], "u");
        assert_eq!(made["spec"]["template"]["metadata"]["labels"]["job-name"], "j");
        assert_eq!((&made["spec"]["completions"], &made["spec"]["backoffLimit"]), (&json!(1), &json!(6)));
        let settings = Settings { allow_privileged: true };
        check(Job.validate(&made, &settings), &[]);
    }

    #[test]
    fn wrong_jobs_are_refused() {
        let settings = Settings { allow_privileged: true };
        let always = json!({"spec": {"containers": [{"name": "c", "image": "i"}], "restartPolicy": "Always"}});
        let text = "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"";
        check(Job.validate(&job(json!({"template": always})), &settings), &[text]);
        let text = "spec.completions: Required value: when completion mode is Indexed";
        check(Job.validate(&job(json!({"completionMode": "Indexed", "parallelism": 1})), &settings), &[text]);
        let (old, new) = (job(json!({"completions": 1})), job(json!({"completions": 2})));
        let text = "spec.completions: Invalid value: 2: field is immutable";
        check(Job.validate_update(&new, &old, Part::Main, &settings), &[text]);
        check(Job.validate_update(&new, &old, Part::Status, &settings), &[]);
    }
}
