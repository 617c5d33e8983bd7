//! The group `certificates.k8s.io`: requests for certificates, their approval and their outcome.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use meta::UserInfo;
use meta::field::{Error, Errors, Path};
use meta::names;
use serde_json::{Value, json};

use crate::age;
use crate::field::{self, items, number, text};
use crate::plain::{AGE, NAME, READ_WRITE, STATUS, cell, column, name, resource};
use crate::resource::{Column, Part, Resource, Rules, Settings, Subresource};

/// The group's resources.
pub(crate) fn all() -> Vec<Resource> {
    vec![Resource {
        namespaced: false,
        short_names: &["csr"],
        subresources: &[Subresource { name: "approval", kind: None, verbs: READ_WRITE }, STATUS],
        columns: COLUMNS,
        rules: &Request,
        ..resource(
            "certificates.k8s.io",
            "CertificateSigningRequest",
            "certificatesigningrequests",
            "certificatesigningrequest",
        )
    }]
}

const COLUMNS: &[Column] = &[
    NAME,
    AGE,
    column("SignerName", "string"),
    column("Requestor", "string"),
    column("RequestedDuration", "string"),
    column("Condition", "string"),
];

const USAGES: &[&str] = &[
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

/// Conditions that are the approver's alone.
const APPROVAL: [&str; 2] = ["Approved", "Denied"];
/// Conditions that stay once they are there.
const FINAL: [&str; 3] = ["Approved", "Denied", "Failed"];
/// The shortest time that may be asked for.
const MIN_SECONDS: i64 = 600;

struct Request;

impl Rules for Request {
    fn validate_name(&self, _name: &str) -> Vec<String> {
        Vec::new()
    }

    fn note_creator(&self, object: &mut Value, user: &UserInfo) {
        let spec = field::child(object, "spec");
        for name in ["username", "uid", "groups", "extra"] {
            field::remove(spec, name);
        }
        let who = json!(user);
        for (name, value) in field::fields(&who) {
            spec[name.as_str()] = value.clone();
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        object["status"] = json!({});
    }

    fn validate(&self, object: &Value, _: &Settings) -> Errors {
        let (spec, path) = (&object["spec"], Path::new("spec"));
        let mut errors = Errors::new();
        if !is_request(text(spec, "/request")) {
            let why = "PEM block type must be CERTIFICATE REQUEST";
            errors.push(Error::invalid(&path.child("request"), spec["request"].clone(), why));
        }
        let usages = items(spec, "/usages");
        if usages.is_empty() {
            errors.push(Error::required(&path.child("usages"), ""));
        }
        for (index, usage) in usages.iter().enumerate() {
            let at = path.child("usages").index(index);
            if !usage.as_str().is_some_and(|usage| USAGES.contains(&usage)) {
                errors.push(Error::not_supported(&at, usage.clone(), USAGES));
            }
            if usages[..index].contains(usage) {
                errors.push(Error::duplicate(&at, usage.clone()));
            }
        }
        errors.extend(check_signer(text(spec, "/signerName"), &path.child("signerName")));
        if let Some(seconds) = number(spec, "/expirationSeconds").filter(|seconds| *seconds < MIN_SECONDS) {
            let why = "may not specify a duration less than 600 seconds (10 minutes)";
            errors.push(Error::invalid(&path.child("expirationSeconds"), seconds, why));
        }
        errors.extend(check_conditions(object));
        errors.extend(check_certificate(object));
        errors
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part<'_>) {
        new["spec"] = old["spec"].clone();
        match part {
            Part::Main => new["status"] = old["status"].clone(),
            Part::Status => keep_approval(new, old),
            Part::Other(_) => {
                let conditions = new.pointer("/status/conditions").cloned();
                new["status"] = if old["status"].is_null() { json!({}) } else { old["status"].clone() };
                match conditions {
                    Some(conditions) => new["status"]["conditions"] = conditions,
                    None => field::remove(&mut new["status"], "conditions"),
                }
            }
        }
    }

    fn stamp_update(&self, new: &mut Value, old: &Value, now: &str) {
        let before = items(old, "/status/conditions");
        for condition in field::items_mut(field::child(new, "status"), "conditions") {
            if text(condition, "/lastUpdateTime").is_empty() {
                condition["lastUpdateTime"] = json!(now);
            }
            if text(condition, "/lastTransitionTime").is_empty() {
                let same = before.iter().find(|own| ["type", "status"].iter().all(|name| own[name] == condition[name]));
                let since = same.map(|own| text(own, "/lastTransitionTime")).filter(|since| !since.is_empty());
                condition["lastTransitionTime"] = json!(since.unwrap_or(now));
            }
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, part: Part<'_>, settings: &Settings) -> Errors {
        let mut errors = self.validate(new, settings);
        let path = Path::new("status").child("conditions");
        for kind in FINAL {
            let (before, now) = (of_type(old, kind), of_type(new, kind));
            if now.len() < before.len() {
                let why = format!("updates may not remove a condition of type {kind:?}");
                errors.push(Error::forbidden(&path, &why));
            } else if APPROVAL.contains(&kind) && part != Part::Other("approval") && now != before {
                let did = if now.len() > before.len() { "add" } else { "modify" };
                errors.push(Error::forbidden(&path, &format!("updates may not {did} a condition of type {kind:?}")));
            }
        }
        let (before, now) = (text(old, "/status/certificate"), text(new, "/status/certificate"));
        if before != now {
            let path = Path::new("status").child("certificate");
            if part != Part::Status {
                errors.push(Error::forbidden(&path, "updates may not set certificate content"));
            } else if !before.is_empty() {
                errors.push(Error::forbidden(&path, "updates may not modify existing certificate content"));
            }
        }
        errors
    }

    fn selectable(&self) -> &'static [&'static str] {
        &["spec.signerName"]
    }

    fn fields(&self, object: &Value) -> Vec<(String, String)> {
        vec![("spec.signerName".to_owned(), text(object, "/spec/signerName").to_owned())]
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        let duration = number(object, "/spec/expirationSeconds").map(age::human_duration);
        vec![
            name(object),
            age::of(object, now),
            cell(object, "/spec/signerName", "<none>"),
            cell(object, "/spec/username", ""),
            duration.unwrap_or_else(|| "<none>".to_owned()).into(),
            state(object).into(),
        ]
    }
}

fn of_type<'a>(object: &'a Value, kind: &str) -> Vec<&'a Value> {
    items(object, "/status/conditions").iter().filter(|condition| condition["type"] == kind).collect()
}

fn state(object: &Value) -> String {
    let has = |kind: &str| !of_type(object, kind).is_empty();
    let approval = match (has("Denied"), has("Approved")) {
        (true, _) => "Denied",
        (false, true) => "Approved",
        (false, false) => "Pending",
    };
    let failed = if has("Failed") { ",Failed" } else { "" };
    let issued = if text(object, "/status/certificate").is_empty() { "" } else { ",Issued" };
    format!("{approval}{failed}{issued}")
}

/// Compat: a status that brings as many approvals as there were brings the old ones.
fn keep_approval(new: &mut Value, old: &Value) {
    for kind in APPROVAL {
        let mut before = of_type(old, kind).into_iter();
        if before.len() != of_type(new, kind).len() {
            continue;
        }
        for condition in field::items_mut(field::child(new, "status"), "conditions") {
            if condition["type"] == kind
                && let Some(own) = before.next()
            {
                *condition = own.clone();
            }
        }
    }
}

fn blocks(encoded: &str) -> Option<Vec<String>> {
    let pem = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let begin = pem.lines().filter_map(|line| line.trim().strip_prefix("-----BEGIN "));
    Some(begin.map(|rest| rest.trim_end_matches('-').to_owned()).collect())
}

fn is_request(encoded: &str) -> bool {
    let first = blocks(encoded).and_then(|blocks| blocks.into_iter().next());
    first.is_some_and(|kind| kind == "CERTIFICATE REQUEST" || kind == "NEW CERTIFICATE REQUEST")
}

fn check_certificate(object: &Value) -> Option<Error> {
    let encoded = text(object, "/status/certificate");
    if encoded.is_empty() {
        return None;
    }
    let why = match blocks(encoded).unwrap_or_default() {
        none if none.is_empty() => "must contain at least one CERTIFICATE PEM block".to_owned(),
        all => {
            let other = all.into_iter().find(|kind| kind != "CERTIFICATE")?;
            format!("only CERTIFICATE PEM blocks are allowed, found {other:?}")
        }
    };
    Some(Error::invalid(&Path::new("status").child("certificate"), "<certificate data>", &why))
}

fn check_signer(signer: &str, path: &Path) -> Errors {
    if signer.is_empty() {
        return vec![Error::required(path, "")];
    }
    if signer == "kubernetes.io/legacy-unknown" {
        return vec![Error::invalid(path, signer, "the legacy signerName is not allowed via this API version")];
    }
    let invalid = |why: &str| Error::invalid(path, signer, why);
    let Some((domain, rest)) = signer.split_once('/').filter(|(_, rest)| !rest.contains('/')) else {
        return vec![invalid("must be a fully qualified domain and path of the form 'example.com/signer-name'")];
    };
    let mut errors: Errors = names::subdomain(domain).iter().map(|why| invalid(why)).collect();
    if !domain.contains('.') {
        errors.push(invalid("should be a domain with at least two segments separated by dots"));
    }
    errors.extend(rest.split('.').flat_map(names::label).map(|why| invalid(&why)));
    errors
}

fn check_conditions(object: &Value) -> Errors {
    let path = Path::new("status").child("conditions");
    let all = items(object, "/status/conditions");
    let mut errors = Errors::new();
    for (index, condition) in all.iter().enumerate() {
        let (at, kind) = (path.index(index), text(condition, "/type"));
        if kind.is_empty() {
            errors.push(Error::required(&at.child("type"), ""));
        }
        let allowed: &[&str] = if FINAL.contains(&kind) { &["True"] } else { &["False", "True", "Unknown"] };
        match text(condition, "/status") {
            "" => errors.push(Error::required(&at.child("status"), "")),
            status if !allowed.contains(&status) => {
                errors.push(Error::not_supported(&at.child("status"), status, allowed));
            }
            _ => {}
        }
        let earlier = |other: &str| all[..index].iter().any(|own| own["type"] == other);
        if APPROVAL.contains(&kind) && APPROVAL.iter().any(|other| *other != kind && earlier(other)) {
            errors.push(Error::invalid(&path, kind, "Approved and Denied conditions are mutually exclusive"));
        }
        if earlier(kind) {
            errors.push(Error::duplicate(&at.child("type"), kind));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Settings = Settings { allow_privileged: true };

    fn request(conditions: Value) -> Value {
        let pem = STANDARD.encode("-----BEGIN CERTIFICATE REQUEST-----\nAA==\n-----END CERTIFICATE REQUEST-----\n");
        let spec = json!({"request": pem, "usages": ["client auth"], "signerName": "example.com/a"});
        json!({"metadata": {"name": "a"}, "spec": spec, "status": {"conditions": conditions}})
    }

    #[test]
    fn only_the_approval_approves() {
        let approved = json!([{"type": "Approved", "status": "True"}]);
        let check = |part: Part<'_>, expected: &[&str]| {
            let (mut new, old) = (request(approved.clone()), request(json!([])));
            Request.prepare_update(&mut new, &old, part);
            Request.stamp_update(&mut new, &old, "2026-01-01T00:00:00Z");
            let errors = Request.validate_update(&new, &old, part, &SETTINGS);
            let found: Vec<&str> = errors.iter().map(|error| error.path.as_str()).collect();
            assert_eq!(found, expected, "{new}");
        };
        check(Part::Other("approval"), &[]);
        check(Part::Main, &[]);
        check(Part::Status, &["status.conditions"]);
    }

    #[test]
    fn requests_are_checked() {
        let check = |field: &str, value: Value, expected: &[&str]| {
            let mut object = request(json!([]));
            object["spec"][field] = value;
            let errors = Request.validate(&object, &SETTINGS);
            let found: Vec<&str> = errors.iter().map(|error| error.path.as_str()).collect();
            assert_eq!(found, expected, "{field}");
        };
        check("username", json!("x"), &[]);
        check("request", json!("AAAA"), &["spec.request"]);
        check("usages", json!([]), &["spec.usages"]);
        check("usages", json!(["client auth", "client auth", "x"]), &["spec.usages[1]", "spec.usages[2]"]);
        check("signerName", json!("a"), &["spec.signerName"]);
        check("expirationSeconds", json!(10), &["spec.expirationSeconds"]);
    }

    #[test]
    fn who_asks_is_noted_by_the_server() {
        let mut object = request(json!([]));
        object["spec"]["username"] = json!("somebody else");
        Request.note_creator(&mut object, &UserInfo::new("me", &["us"]));
        assert_eq!(object["spec"]["username"], "me");
        assert_eq!(object["spec"]["groups"], json!(["us", "system:authenticated"]));
    }
}
