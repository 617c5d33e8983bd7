//! How a webhook is reached, as definitions and webhook configurations say it.

use meta::field::{Error, Errors, Path};
use meta::names::{label_1035, subdomain};
use serde_json::{Value, json};

use crate::field::text;

/// What is wrong with a `clientConfig`.
pub(crate) fn client_config(config: &Value, path: &Path) -> Errors {
    let (by_url, by_service) = (!config["url"].is_null(), config["service"].is_object());
    let mut errors = match (by_url, by_service) {
        (true, false) => url(text(config, "/url"), &path.child("url")),
        (false, true) => service(&config["service"], &path.child("service")),
        (true, true) | (false, false) => vec![Error::required(path, "exactly one of url or service is required")],
    };
    let authority = text(config, "/caBundle");
    if !authority.is_empty() && !has_certificate(authority) {
        let why = "unable to load root certificates: unable to parse bytes as PEM block";
        errors.push(Error::invalid(&path.child("caBundle"), authority, why));
    }
    errors
}

/// What is wrong with the versions of reviews that a webhook takes; `missing` is said of an empty list.
pub(crate) fn review_versions(versions: &[Value], missing: &str, path: &Path) -> Errors {
    if versions.is_empty() {
        return vec![Error::required(path, missing)];
    }
    let mut errors = Errors::new();
    for (index, version) in versions.iter().enumerate() {
        let name = version.as_str().unwrap_or_default();
        if versions[..index].contains(version) {
            errors.push(Error::invalid(&path.index(index), name, "duplicate version"));
            continue;
        }
        errors.extend(label_1035(name).iter().map(|why| Error::invalid(&path.index(index), name, why)));
    }
    if !versions.iter().any(|version| version == "v1" || version == "v1beta1") {
        errors.push(Error::invalid(path, json!(versions), "must include at least one of v1, v1beta1"));
    }
    errors
}

/// Whether the base64 of a PEM file holds something that looks like a certificate.
fn has_certificate(authority: &str) -> bool {
    use base64::Engine;
    let bytes = base64::engine::general_purpose::STANDARD.decode(authority).unwrap_or_default();
    String::from_utf8_lossy(&bytes).contains("-----BEGIN CERTIFICATE-----")
}

fn url(url: &str, path: &Path) -> Errors {
    const FORM: &str = "; desired format: https://host[/path]";
    let mut errors = Errors::new();
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    if scheme != "https" {
        errors.push(Error::invalid(path, scheme, &format!("'https' is the only allowed URL scheme{FORM}")));
    }
    let (before, fragment) = rest.split_once('#').map_or((rest, None), |(rest, fragment)| (rest, Some(fragment)));
    let (before, query) = before.split_once('?').map_or((before, None), |(rest, query)| (rest, Some(query)));
    let host = before.split('/').next().unwrap_or_default();
    let (user, host) = host.rsplit_once('@').map_or((None, host), |(user, host)| (Some(user), host));
    if host.is_empty() || scheme.is_empty() {
        errors.push(Error::invalid(path, "", &format!("host must be specified{FORM}")));
    }
    if let Some(user) = user {
        errors.push(Error::invalid(path, user, "user information is not permitted in the URL"));
    }
    if let Some(fragment) = fragment.filter(|text| !text.is_empty()) {
        errors.push(Error::invalid(path, fragment, "fragments are not permitted in the URL"));
    }
    if let Some(query) = query.filter(|text| !text.is_empty()) {
        errors.push(Error::invalid(path, query, "query parameters are not permitted in the URL"));
    }
    errors
}

fn service(service: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    for field in ["name", "namespace"] {
        if text(service, &format!("/{field}")).is_empty() {
            errors.push(Error::required(&path.child(field), ""));
        }
    }
    let port = service["port"].as_i64().unwrap_or(443);
    if !(1..=65535).contains(&port) {
        let why = "port is not valid: must be between 1 and 65535, inclusive";
        errors.push(Error::invalid(&path.child("port"), port, why));
    }
    errors.extend(service_path(text(service, "/path"), &path.child("path")));
    errors
}

fn service_path(text: &str, path: &Path) -> Errors {
    let mut errors = Errors::new();
    match text {
        "" | "/" => return errors,
        "//" => return vec![Error::invalid(path, text, "segment[0] may not be empty")],
        _ => {}
    }
    if !text.starts_with('/') {
        errors.push(Error::invalid(path, text, "must start with a '/'"));
    }
    let steps = text.get(1..).unwrap_or_default();
    for (index, step) in steps.strip_suffix('/').unwrap_or(steps).split('/').enumerate() {
        if step.is_empty() {
            errors.push(Error::invalid(path, text, &format!("segment[{index}] may not be empty")));
            continue;
        }
        errors
            .extend(subdomain(step).iter().map(|why| Error::invalid(path, text, &format!("segment[{index}]: {why}"))));
    }
    errors
}
