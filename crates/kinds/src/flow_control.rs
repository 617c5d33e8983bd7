//! The group `flowcontrol.apiserver.k8s.io`: which requests share a queue, and how many of them run at once.

use meta::field::{Error, Errors, Path};
use meta::names;
use serde_json::{Value, json};

use crate::age;
use crate::field::{self, items, number, text};
use crate::plain::{AGE, NAME, STATUS, cell, column, name, prepare_create, prepare_update, resource};
use crate::resource::{Column, Part, Resource, Rules, Settings};

/// The group's resources.
pub(crate) fn all() -> Vec<Resource> {
    let own = |kind, plural, singular| Resource {
        namespaced: false,
        subresources: &[STATUS],
        ..resource("flowcontrol.apiserver.k8s.io", kind, plural, singular)
    };
    vec![
        Resource { columns: FLOW, rules: &FlowSchema, ..own("FlowSchema", "flowschemas", "flowschema") },
        Resource {
            columns: LEVEL,
            rules: &PriorityLevel,
            ..own("PriorityLevelConfiguration", "prioritylevelconfigurations", "prioritylevelconfiguration")
        },
    ]
}

const EXEMPT: &str = "exempt";
const MAX_PRECEDENCE: i64 = 10_000;
const MAX_QUEUES: i64 = 10_000_000;
const VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];

const FLOW: &[Column] = &[
    NAME,
    column("PriorityLevel", "string"),
    column("MatchingPrecedence", "string"),
    column("DistinguisherMethod", "string"),
    AGE,
    column("MissingPL", "string"),
];

struct FlowSchema;

impl Rules for FlowSchema {
    fn default(&self, object: &mut Value) {
        default_number(field::child(object, "spec"), "matchingPrecedence", 1000);
    }

    fn validate_name(&self, name: &str) -> Vec<String> {
        names::subdomain(name)
    }

    fn prepare_create(&self, object: &mut Value) {
        prepare_create(object);
        object["status"] = json!({});
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part<'_>) {
        prepare_update(new, old, part);
    }

    fn validate(&self, object: &Value, _: &Settings) -> Errors {
        let path = Path::new("spec");
        let mut errors = precedence(object, &path.child("matchingPrecedence"));
        let method = text(object, "/spec/distinguisherMethod/type");
        if object["spec"]["distinguisherMethod"].is_object() && !matches!(method, "ByUser" | "ByNamespace") {
            let at = path.child("distinguisherMethod").child("type");
            errors.push(Error::not_supported(&at, method, &["ByNamespace", "ByUser"]));
        }
        let at = path.child("priorityLevelConfiguration").child("name");
        match text(object, "/spec/priorityLevelConfiguration/name") {
            "" => errors.push(Error::required(&at, "must reference a priority level")),
            name => errors.extend(names::subdomain(name).iter().map(|why| Error::invalid(&at, name, why))),
        }
        for (index, rule) in items(object, "/spec/rules").iter().enumerate() {
            check_rule(rule, &path.child("rules").index(index), &mut errors);
        }
        errors.extend(conditions(object));
        errors
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        let dangling = items(object, "/status/conditions").iter().find(|condition| condition["type"] == "Dangling");
        vec![
            name(object),
            cell(object, "/spec/priorityLevelConfiguration/name", ""),
            object["spec"]["matchingPrecedence"].clone(),
            cell(object, "/spec/distinguisherMethod/type", "<none>"),
            age::of(object, now),
            dangling.map_or_else(|| json!("?"), |condition| condition["status"].clone()),
        ]
    }
}

fn precedence(object: &Value, path: &Path) -> Errors {
    let precedence = number(object, "/spec/matchingPrecedence").unwrap_or(0);
    let mut errors = Errors::new();
    if precedence <= 0 {
        errors.push(Error::invalid(path, precedence, "must be a positive value"));
    }
    if precedence > MAX_PRECEDENCE {
        errors.push(Error::invalid(path, precedence, &format!("must not be greater than {MAX_PRECEDENCE}")));
    }
    if precedence == 1 && text(object, "/metadata/name") != EXEMPT {
        errors.push(Error::invalid(path, precedence, "only the schema named 'exempt' may have matchingPrecedence 1"));
    }
    errors
}

fn check_rule(rule: &Value, path: &Path, errors: &mut Errors) {
    let subjects = items(rule, "/subjects");
    if subjects.is_empty() {
        errors.push(Error::required(&path.child("subjects"), "subjects must contain at least one value"));
    }
    for (index, subject) in subjects.iter().enumerate() {
        check_subject(subject, &path.child("subjects").index(index), errors);
    }
    let (resources, paths) = (items(rule, "/resourceRules"), items(rule, "/nonResourceRules"));
    if resources.is_empty() && paths.is_empty() {
        errors.push(Error::required(path, "at least one of resourceRules and nonResourceRules has to be non-empty"));
    }
    for (index, rule) in resources.iter().enumerate() {
        check_resource_rule(rule, &path.child("resourceRules").index(index), errors);
    }
    for (index, rule) in paths.iter().enumerate() {
        let path = path.child("nonResourceRules").index(index);
        check_verbs(rule, &path, errors);
        let lack = Some("nonResourceURLs must contain at least one value");
        check_list(rule, &path, ("nonResourceURLs", "non-resource URLs"), lack, errors);
    }
}

/// The kinds of subjects, and the field that each one uses.
const SUBJECTS: [(&str, &str); 3] = [("Group", "group"), ("ServiceAccount", "serviceAccount"), ("User", "user")];

fn check_subject(subject: &Value, path: &Path, errors: &mut Errors) {
    let kind = text(subject, "/kind");
    let Some((_, own)) = SUBJECTS.iter().find(|(known, _)| *known == kind) else {
        errors.push(Error::not_supported(&path.child("kind"), kind, &SUBJECTS.map(|(kind, _)| kind)));
        return;
    };
    let at = path.child(own);
    if subject[own].is_null() {
        errors.push(Error::required(&at, &format!("{own} is required when subject kind is '{kind}'")));
    } else {
        if text(&subject[own], "/name").is_empty() {
            errors.push(Error::required(&at.child("name"), ""));
        }
        if kind == "ServiceAccount" && text(&subject[own], "/namespace").is_empty() {
            errors.push(Error::required(&at.child("namespace"), "must specify namespace for service account"));
        }
    }
    for (other, field) in SUBJECTS {
        if other != kind && !subject[field].is_null() {
            let why = format!("{field} is forbidden when subject kind is not '{other}'");
            errors.push(Error::forbidden(&path.child(field), &why));
        }
    }
}

fn check_resource_rule(rule: &Value, path: &Path, errors: &mut Errors) {
    check_verbs(rule, path, errors);
    let lack = "resource rules must supply at least one api group";
    check_list(rule, path, ("apiGroups", "api groups"), Some(lack), errors);
    let lack = "resource rules must supply at least one resource";
    check_list(rule, path, ("resources", "resources"), Some(lack), errors);
    let lack = "resource rules that are not cluster scoped must supply at least one namespace";
    let cluster = rule["clusterScope"] == true;
    check_list(rule, path, ("namespaces", "namespaces"), (!cluster).then_some(lack), errors);
}

fn check_verbs(rule: &Value, path: &Path, errors: &mut Errors) {
    check_list(rule, path, ("verbs", "verbs"), Some("verbs must contain at least one value"), errors);
    let verbs = items(rule, "/verbs");
    let known = |verb: &Value| verb.as_str().is_some_and(|verb| verb == "*" || VERBS.contains(&verb));
    if !verbs.iter().all(known) {
        errors.push(Error::not_supported(&path.child("verbs"), rule["verbs"].clone(), VERBS));
    }
}

/// A list where `*` stands alone; `lack` says what is wrong with an empty one.
fn check_list(rule: &Value, path: &Path, (list, what): (&str, &str), lack: Option<&str>, errors: &mut Errors) {
    let found = rule[list].as_array().map_or(&[][..], Vec::as_slice);
    if found.is_empty()
        && let Some(lack) = lack
    {
        errors.push(Error::required(&path.child(list), lack));
    }
    if found.len() > 1 && found.contains(&json!("*")) {
        let why = format!("if '*' is present, must not specify other {what}");
        errors.push(Error::invalid(&path.child(list), rule[list].clone(), &why));
    }
}

fn conditions(object: &Value) -> Errors {
    let path = Path::new("status").child("conditions");
    let mut errors = Errors::new();
    let all = items(object, "/status/conditions");
    for (index, condition) in all.iter().enumerate() {
        let at = path.index(index).child("type");
        let kind = text(condition, "/type");
        if all[..index].iter().any(|before| text(before, "/type") == kind) {
            errors.push(Error::duplicate(&at, kind));
        }
        if kind.is_empty() {
            errors.push(Error::required(&at, ""));
        }
    }
    errors
}

const LEVEL: &[Column] = &[
    NAME,
    column("Type", "string"),
    column("NominalConcurrencyShares", "string"),
    column("Queues", "string"),
    column("HandSize", "string"),
    column("QueueLengthLimit", "string"),
    AGE,
];

struct PriorityLevel;

impl Rules for PriorityLevel {
    fn default(&self, object: &mut Value) {
        let spec = field::child(object, "spec");
        if let Some(exempt) = spec.get_mut("exempt").filter(|exempt| exempt.is_object()) {
            field::default(exempt, "nominalConcurrencyShares", 0);
            field::default(exempt, "lendablePercent", 0);
        }
        if let Some(limited) = spec.get_mut("limited").filter(|limited| limited.is_object()) {
            field::default(limited, "nominalConcurrencyShares", 30);
            field::default(limited, "lendablePercent", 0);
            if let Some(queuing) = limited.pointer_mut("/limitResponse/queuing").filter(|queuing| queuing.is_object()) {
                default_number(queuing, "handSize", 8);
                default_number(queuing, "queues", 64);
                default_number(queuing, "queueLengthLimit", 50);
            }
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        prepare_create(object);
        object["status"] = json!({});
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part<'_>) {
        prepare_update(new, old, part);
    }

    fn validate(&self, object: &Value, _: &Settings) -> Errors {
        let (spec, path) = (&object["spec"], Path::new("spec"));
        let mut errors = Errors::new();
        let kind = text(spec, "/type");
        if (text(object, "/metadata/name") == EXEMPT) != (kind == "Exempt") {
            let why = "must be 'Exempt' if and only if `name` is 'exempt'";
            errors.push(Error::invalid(&path.child("type"), kind, why));
        }
        match kind {
            "Exempt" => {
                if !spec["limited"].is_null() {
                    errors.push(Error::forbidden(&path.child("limited"), "must be nil if the type is not Limited"));
                }
                check_shares(&spec["exempt"], &path.child("exempt"), &mut errors);
            }
            "Limited" => {
                if !spec["exempt"].is_null() {
                    errors.push(Error::forbidden(&path.child("exempt"), "must be nil if the type is Limited"));
                }
                check_limited(&spec["limited"], &path.child("limited"), &mut errors);
            }
            "" => errors.push(Error::required(&path.child("type"), "")),
            other => errors.push(Error::not_supported(&path.child("type"), other, &["Exempt", "Limited"])),
        }
        errors.extend(conditions(object));
        errors
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        let or_none = |pointer: &str| object.pointer(pointer).cloned().unwrap_or_else(|| json!("<none>"));
        vec![
            name(object),
            cell(object, "/spec/type", ""),
            or_none("/spec/limited/nominalConcurrencyShares"),
            or_none("/spec/limited/limitResponse/queuing/queues"),
            or_none("/spec/limited/limitResponse/queuing/handSize"),
            or_none("/spec/limited/limitResponse/queuing/queueLengthLimit"),
            age::of(object, now),
        ]
    }
}

fn check_shares(level: &Value, path: &Path, errors: &mut Errors) {
    if let Some(shares) = number(level, "/nominalConcurrencyShares").filter(|shares| *shares < 0) {
        let at = path.child("nominalConcurrencyShares");
        errors.push(Error::invalid(&at, shares, "must be a non-negative integer"));
    }
    if let Some(percent) = number(level, "/lendablePercent").filter(|percent| !(0..=100).contains(percent)) {
        errors.push(Error::invalid(&path.child("lendablePercent"), percent, "must be between 0 and 100, inclusive"));
    }
}

fn check_limited(limited: &Value, path: &Path, errors: &mut Errors) {
    if limited.is_null() {
        errors.push(Error::required(path, "must not be empty when type is Limited"));
        return;
    }
    check_shares(limited, path, errors);
    if let Some(percent) = number(limited, "/borrowingLimitPercent").filter(|percent| *percent < 0) {
        let at = path.child("borrowingLimitPercent");
        errors.push(Error::invalid(&at, percent, "if specified, must be a non-negative integer"));
    }
    let (response, path) = (&limited["limitResponse"], path.child("limitResponse"));
    let queuing = &response["queuing"];
    match text(response, "/type") {
        "Reject" if !queuing.is_null() => {
            let why = "must be nil if limited.limitResponse.type is not Limited";
            errors.push(Error::forbidden(&path.child("queuing"), why));
        }
        "Reject" => {}
        "Queue" if queuing.is_null() => {
            let why = "must not be empty if limited.limitResponse.type is Limited";
            errors.push(Error::required(&path.child("queuing"), why));
        }
        "Queue" => check_queuing(queuing, &path.child("queuing"), errors),
        "" => errors.push(Error::required(&path.child("type"), "")),
        other => errors.push(Error::not_supported(&path.child("type"), other, &["Queue", "Reject"])),
    }
}

fn check_queuing(queuing: &Value, path: &Path, errors: &mut Errors) {
    let of = |name: &str| number(queuing, &format!("/{name}")).unwrap_or(0);
    for name in ["queueLengthLimit", "queues", "handSize"] {
        if of(name) <= 0 {
            errors.push(Error::invalid(&path.child(name), of(name), "must be positive"));
        }
    }
    let (queues, hand) = (of("queues"), of("handSize"));
    if queues > MAX_QUEUES {
        let why = format!("must not be greater than {MAX_QUEUES}");
        errors.push(Error::invalid(&path.child("queues"), queues, &why));
    }
    if hand > queues {
        let why = format!("should not be greater than queues ({queues})");
        errors.push(Error::invalid(&path.child("handSize"), hand, &why));
    }
}

/// Zero counts as unset.
fn default_number(object: &mut Value, name: &str, value: i64) {
    if object[name].as_i64().unwrap_or(0) == 0 {
        object[name] = json!(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Settings = Settings { allow_privileged: true };

    #[test]
    fn flow_schemas_are_checked() {
        let check = |name: &str, spec: Value, expected: &[&str]| {
            let mut object = json!({"metadata": {"name": name}, "spec": spec});
            FlowSchema.default(&mut object);
            let found: Vec<String> =
                FlowSchema.validate(&object, &SETTINGS).iter().map(|error| error.path.as_str().to_owned()).collect();
            assert_eq!(found, expected, "{object}");
        };
        let level = json!({"name": "a"});
        check("a", json!({"priorityLevelConfiguration": level}), &[]);
        check("a", json!({}), &["spec.priorityLevelConfiguration.name"]);
        let first = json!({"priorityLevelConfiguration": level, "matchingPrecedence": 1});
        check("a", first.clone(), &["spec.matchingPrecedence"]);
        check("exempt", first, &[]);
        let subjects = json!([{"kind": "User", "user": {"name": "x"}, "group": {"name": "y"}}]);
        let rule = json!({"subjects": subjects, "resourceRules": [{"verbs": ["get"], "apiGroups": ["*", "x"], "resources": ["*"]}]});
        check(
            "a",
            json!({"priorityLevelConfiguration": level, "rules": [rule]}),
            &[
                "spec.rules[0].subjects[0].group",
                "spec.rules[0].resourceRules[0].apiGroups",
                "spec.rules[0].resourceRules[0].namespaces",
            ],
        );
    }

    #[test]
    fn levels_are_checked() {
        let check = |spec: Value, expected: &[&str]| {
            let mut object = json!({"metadata": {"name": "a"}, "spec": spec});
            PriorityLevel.default(&mut object);
            let found: Vec<String> =
                PriorityLevel.validate(&object, &SETTINGS).iter().map(|error| error.path.as_str().to_owned()).collect();
            assert_eq!(found, expected, "{object}");
        };
        check(json!({"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}}), &[]);
        check(json!({"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": {}}}}), &[]);
        check(json!({"type": "Limited"}), &["spec.limited"]);
        check(json!({"type": "Exempt"}), &["spec.type"]);
        let queuing = json!({"queues": 2, "handSize": 3});
        check(
            json!({"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": queuing}}}),
            &["spec.limited.limitResponse.queuing.handSize"],
        );
    }
}
