//! Ingress and IngressClass.

use meta::field::{Error, Errors, Path};
use meta::names;
use serde_json::{Value, json};

use crate::field::{self, items, text};
use crate::plain::{AGE, NAME, cell, column, keep_desired_state, name, prepare_create, prepare_update};
use crate::resource::{Column, Part, Rules, Settings};
use crate::{addresses, age};

pub(crate) const COLUMNS: &[Column] = &[
    NAME,
    column("Class", "string"),
    column("Hosts", "string"),
    column("Address", "string"),
    column("Ports", "string"),
    AGE,
];

pub(crate) const CLASS_COLUMNS: &[Column] =
    &[NAME, column("Controller", "string"), column("Parameters", "string"), AGE];

const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

pub(crate) struct Ingress;

impl Rules for Ingress {
    fn prepare_create(&self, object: &mut Value) {
        prepare_create(object);
        object["status"] = json!({"loadBalancer": {}});
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part<'_>) {
        if part == Part::Status { keep_desired_state(new, old) } else { prepare_update(new, old, part) }
    }

    fn validate(&self, object: &Value, settings: &Settings) -> Errors {
        let mut errors = Errors::new();
        let annotation = object["metadata"]["annotations"].get(CLASS_ANNOTATION).and_then(Value::as_str);
        let class = object["spec"]["ingressClassName"].as_str();
        if let Some((annotation, _)) = annotation.zip(class).filter(|(annotation, class)| annotation != class) {
            let at = Path::new("annotations").child(CLASS_ANNOTATION);
            let why = "must match `ingressClassName` when both are specified";
            errors.push(Error::invalid(&at, annotation, why));
        }
        errors.extend(self.validate_update(object, object, Part::Main, settings));
        errors
    }

    fn validate_update(&self, new: &Value, _: &Value, part: Part<'_>, _: &Settings) -> Errors {
        if part == Part::Status {
            let path = Path::new("status").child("loadBalancer").child("ingress");
            let ingress = items(new, "/status/loadBalancer/ingress");
            let ips = ingress.iter().enumerate().filter(|(_, ingress)| !text(ingress, "/ip").is_empty());
            return ips
                .flat_map(|(i, ingress)| addresses::ip(&path.index(i).child("ip"), text(ingress, "/ip")))
                .collect();
        }
        let (spec, path) = (&new["spec"], Path::new("spec"));
        let mut errors = Errors::new();
        let rules = items(spec, "/rules");
        if rules.is_empty() && spec["defaultBackend"].is_null() {
            errors.push(Error::invalid(&path, rules.to_vec(), "either `defaultBackend` or `rules` must be specified"));
        }
        if !spec["defaultBackend"].is_null() {
            errors.extend(backend(&spec["defaultBackend"], &path.child("defaultBackend")));
        }
        for (index, tls) in items(spec, "/tls").iter().enumerate() {
            for (at, host) in items(tls, "/hosts").iter().filter_map(Value::as_str).enumerate() {
                errors.extend(host_name(host, &path.child("tls").index(index).child("hosts").index(at)));
            }
        }
        for (index, rule) in rules.iter().enumerate() {
            errors.extend(one_rule(rule, &path.child("rules").index(index)));
        }
        if let Some(class) = spec["ingressClassName"].as_str() {
            let path = path.child("ingressClassName");
            errors.extend(names::subdomain(class).iter().map(|rule| Error::invalid(&path, class, rule)));
        }
        errors
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        let hosts = items(object, "/spec/rules").iter().map(|rule| text(rule, "/host")).filter(|host| !host.is_empty());
        let hosts: Vec<&str> = hosts.collect();
        let shown = match hosts.len() {
            0 => "*".to_owned(),
            count if count > 3 => format!("{} + {} more...", hosts[..3].join(","), count - 3),
            _ => hosts.join(","),
        };
        let ingress = items(object, "/status/loadBalancer/ingress").iter();
        let addresses =
            ingress.map(|own| if text(own, "/ip").is_empty() { text(own, "/hostname") } else { text(own, "/ip") });
        let annotated = object["metadata"]["annotations"].get(CLASS_ANNOTATION).and_then(Value::as_str);
        vec![
            name(object),
            cell(object, "/spec/ingressClassName", annotated.unwrap_or("<none>")),
            shown.into(),
            addresses.collect::<Vec<_>>().join(",").into(),
            if items(object, "/spec/tls").is_empty() { "80".into() } else { "80, 443".into() },
            age::of(object, now),
        ]
    }
}

fn host_name(host: &str, path: &Path) -> Errors {
    let checked = host.strip_prefix("*.").unwrap_or(host);
    names::subdomain(checked).iter().map(|rule| Error::invalid(path, host, rule)).collect()
}

fn one_rule(rule: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let host = text(rule, "/host");
    if host.parse::<std::net::IpAddr>().is_ok() {
        errors.push(Error::invalid(&path.child("host"), host, "must be a DNS name, not an IP address"));
    } else if !host.is_empty() {
        errors.extend(host_name(host, &path.child("host")));
    }
    if rule["http"].is_null() {
        return errors;
    }
    let path = path.child("http").child("paths");
    let paths = items(rule, "/http/paths");
    if paths.is_empty() {
        errors.push(Error::required(&path, ""));
    }
    for (index, own) in paths.iter().enumerate() {
        errors.extend(one_path(own, &path.index(index)));
    }
    errors
}

fn one_path(own: &Value, path: &Path) -> Errors {
    const FORBIDDEN: [&str; 5] = ["//", "/./", "/../", "%2f", "%2F"];
    let mut errors = Errors::new();
    let (kind, value) = (text(own, "/pathType"), text(own, "/path"));
    let supported = ["Exact", "ImplementationSpecific", "Prefix"];
    match kind {
        "" => errors.push(Error::required(&path.child("pathType"), "pathType must be specified")),
        "Exact" | "Prefix" => {
            if !value.starts_with('/') {
                errors.push(Error::invalid(&path.child("path"), value, "must be an absolute path"));
            }
            for part in FORBIDDEN.iter().filter(|part| value.contains(**part)) {
                let detail = format!("must not contain '{part}'");
                errors.push(Error::invalid(&path.child("path"), value, &detail));
            }
            for end in ["/..", "/."].iter().filter(|end| value.ends_with(**end)) {
                let detail = format!("cannot end with '{end}'");
                errors.push(Error::invalid(&path.child("path"), value, &detail));
            }
        }
        "ImplementationSpecific" => {
            if !value.is_empty() && !value.starts_with('/') {
                errors.push(Error::invalid(&path.child("path"), value, "must be an absolute path"));
            }
        }
        other => errors.push(Error::not_supported(&path.child("pathType"), other, &supported)),
    }
    errors.extend(backend(&own["backend"], &path.child("backend")));
    errors
}

fn backend(own: &Value, path: &Path) -> Errors {
    match (own["resource"].is_null(), own["service"].is_null()) {
        (false, false) => return vec![Error::invalid(path, "", "cannot set both resource and service backends")],
        (false, true) => {
            let missing = |part: &&str| text(&own["resource"], &format!("/{part}")).is_empty();
            let at = path.child("resource");
            return ["kind", "name"]
                .iter()
                .filter(|part| missing(part))
                .map(|part| Error::required(&at.child(part), ""))
                .collect();
        }
        (true, true) => return vec![Error::required(path, "resource or service backend is required")],
        (true, false) => {}
    }
    let (service, whole, path) = (&own["service"], path, path.child("service"));
    let mut errors = Errors::new();
    match text(service, "/name") {
        "" => errors.push(Error::required(&path.child("name"), "")),
        name => errors.extend(names::label(name).iter().map(|rule| Error::invalid(&path.child("name"), name, rule))),
    }
    let (number, name) = (service["port"]["number"].as_i64().unwrap_or(0), text(service, "/port/name"));
    match (number, name) {
        (0, "") => errors.push(Error::required(whole, "port name or number is required")),
        (0, name) => {
            let path = path.child("port").child("name");
            errors.extend(names::port_name(name).iter().map(|rule| Error::invalid(&path, name, rule)));
        }
        (_, "") => errors.extend(addresses::port(&path.child("port").child("number"), &service["port"]["number"])),
        (_, _) => errors.push(Error::invalid(whole, "", "cannot set both port name & port number")),
    }
    errors
}

pub(crate) struct IngressClass;

impl Rules for IngressClass {
    fn default(&self, object: &mut Value) {
        if let Some(parameters) = object.pointer_mut("/spec/parameters").filter(|own| own.is_object()) {
            field::default(parameters, "scope", "Cluster");
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        object["metadata"]["generation"] = json!(1);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, _: Part<'_>) {
        field::count_generation(new, old);
    }

    fn validate(&self, object: &Value, _: &Settings) -> Errors {
        const MAX: usize = 250;
        let path = Path::new("spec");
        let mut errors = Errors::new();
        let controller = text(object, "/spec/controller");
        let own = path.child("controller");
        if controller.len() > MAX {
            errors.push(Error::too_long(&own, MAX));
        }
        if controller.is_empty() {
            errors.push(Error::required(&own, ""));
        } else if !controller.split_once('/').is_some_and(|(domain, path)| !domain.is_empty() && !path.is_empty()) {
            let detail = "must be a domain-prefixed path (such as \"acme.io/foo\")";
            errors.push(Error::invalid(&own, controller, detail));
        }
        let parameters = &object["spec"]["parameters"];
        if parameters.is_null() {
            return errors;
        }
        let path = path.child("parameters");
        for field in ["kind", "name"].into_iter().filter(|field| text(parameters, &format!("/{field}")).is_empty()) {
            errors.push(Error::required(&path.child(field), ""));
        }
        let namespaced = !parameters["namespace"].is_null();
        match text(parameters, "/scope") {
            "Namespace" if !namespaced => {
                let detail = "`parameters.scope` is set to 'Namespace'";
                errors.push(Error::required(&path.child("namespace"), detail));
            }
            "Cluster" if namespaced => {
                let detail = "`parameters.scope` is set to 'Cluster'";
                errors.push(Error::forbidden(&path.child("namespace"), detail));
            }
            "Namespace" | "Cluster" => {}
            other => errors.push(Error::not_supported(&path.child("scope"), other, &["Cluster", "Namespace"])),
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, _: Part<'_>, settings: &Settings) -> Errors {
        let mut errors = self.validate(new, settings);
        if new["spec"]["controller"] != old["spec"]["controller"] {
            let path = Path::new("spec").child("controller");
            errors.push(Error::invalid(&path, new["spec"]["controller"].clone(), "field is immutable"));
        }
        errors
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        let parameters = &object["spec"]["parameters"];
        let part = |field: &str| text(parameters, &format!("/{field}")).to_owned();
        let shown = match (parameters.is_null(), part("apiGroup").as_str()) {
            (true, _) => "<none>".to_owned(),
            (false, "") => format!("{}/{}", part("kind"), part("name")),
            (false, group) => format!("{}.{group}/{}", part("kind"), part("name")),
        };
        vec![name(object), cell(object, "/spec/controller", ""), shown.into(), age::of(object, now)]
    }
}
