//! What the kinds with a pod template and a selector share.

use std::collections::BTreeMap;

use meta::LabelSelector;
use meta::field::{Error, Errors, Path};
use serde_json::{Value, json};

use crate::core::pod::label_selector;
use crate::field::{fields, items, number, text};
use crate::plain::cell;
use crate::resource::Settings;

const NOT_NEGATIVE: &str = "must be greater than or equal to 0";

/// Containers, images and selector of a workload, for `-o wide`.
pub(crate) fn cells(object: &Value) -> [Value; 3] {
    let containers = items(object, "/spec/template/spec/containers");
    let join =
        |field: &str| containers.iter().map(|c| c[field].as_str().unwrap_or_default()).collect::<Vec<_>>().join(",");
    let spelled = &object["spec"]["selector"];
    let plain = fields(spelled).next().is_some() && fields(spelled).all(|(_, value)| value.is_string());
    let selector = if plain { json!({"matchLabels": spelled}) } else { spelled.clone() };
    let selector = LabelSelector::from_value(&selector).unwrap_or_default().to_string();
    [join("name").into(), join("image").into(), cell(&json!({"selector": selector}), "/selector", "<none>")]
}

/// Numbers of a spec that must not be negative.
pub(crate) fn not_negative(spec: &Value, names: &[&str], path: &Path) -> Errors {
    let wrong = |name: &&&str| number(spec, &format!("/{name}")).is_some_and(|number| number < 0);
    names
        .iter()
        .filter(wrong)
        .map(|name| Error::invalid(&path.child(name), spec[*name].clone(), NOT_NEGATIVE))
        .collect()
}

/// A selector that is given as a LabelSelector; `kind` in small letters. The template must bear what it selects.
pub(crate) fn selector(spec: &Value, kind: &str, path: &Path) -> Errors {
    let (own, at) = (&spec["selector"], path.child("selector"));
    // Compat: of daemon sets, upstream only tells what follows from it.
    let lax = kind == "daemonset";
    if own.is_null() {
        let missing = (!lax).then(|| Error::required(&at, ""));
        return missing.into_iter().chain([unlike(spec, path)]).collect();
    }
    let mut errors = label_selector(own, &at);
    if fields(&own["matchLabels"]).next().is_none() && items(own, "/matchExpressions").is_empty() {
        errors.push(Error::invalid(&at, own.clone(), &format!("empty selector is invalid for {kind}")));
    }
    match LabelSelector::from_value(own) {
        Ok(selector) => errors.extend(bears(spec, &selector, path)),
        Err(_) if lax => {}
        Err(_) => errors.push(Error::invalid(&at, own.clone(), "invalid label selector")),
    }
    errors
}

fn unlike(spec: &Value, path: &Path) -> Error {
    let at = path.child("template").child("metadata").child("labels");
    let labels = spec["template"]["metadata"]["labels"].clone();
    Error::invalid(&at, labels, "`selector` does not match template `labels`")
}

/// Whether the template bears the labels that a selector chooses.
pub(crate) fn bears(spec: &Value, selector: &LabelSelector, path: &Path) -> Errors {
    let labels = &spec["template"]["metadata"]["labels"];
    let own: BTreeMap<String, String> =
        fields(labels).map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect();
    if selector.matches(&own) { Errors::new() } else { vec![unlike(spec, path)] }
}

/// The template itself; pods that run on and on are the only ones that such a kind makes.
pub(crate) fn template(spec: &Value, kind: &str, path: &Path, settings: &Settings) -> Errors {
    let at = path.child("template");
    let mut errors = crate::core::pod::validate_template(&spec["template"], &at, settings);
    let policy = text(spec, "/template/spec/restartPolicy");
    if policy != "Always" {
        errors.push(Error::not_supported(&at.child("spec").child("restartPolicy"), policy, &["Always"]));
    }
    if number(spec, "/template/spec/activeDeadlineSeconds").is_some() {
        let detail = format!("activeDeadlineSeconds in {kind} is not Supported");
        errors.push(Error::forbidden(&at.child("spec").child("activeDeadlineSeconds"), &detail));
    }
    errors
}

/// A selector never changes.
pub(crate) fn same_selector(new: &Value, old: &Value) -> Errors {
    if new["spec"]["selector"] == old["spec"]["selector"] {
        return Errors::new();
    }
    let path = Path::new("spec").child("selector");
    vec![Error::invalid(&path, new["spec"]["selector"].clone(), "field is immutable")]
}

/// A count or a share, for example `maxSurge`, of at most 100 %.
pub(crate) fn count_or_percent(value: &Value, path: &Path) -> Errors {
    let percent = value.as_str().and_then(|text| text.strip_suffix('%')).and_then(|text| text.parse::<i64>().ok());
    match (value, percent) {
        (Value::Null, _) => Errors::new(),
        (Value::String(_), Some(percent)) if percent > 100 => {
            vec![Error::invalid(path, value.clone(), "must not be greater than 100%")]
        }
        (Value::String(_), Some(percent)) if percent >= 0 => Errors::new(),
        (Value::Number(number), _) if number.as_i64().is_some_and(|number| number < 0) => {
            vec![Error::invalid(path, value.clone(), NOT_NEGATIVE)]
        }
        (Value::Number(_), _) => Errors::new(),
        _ => {
            let detail = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or \
                          '93%', regex used for validation is '[0-9]+%')";
            vec![Error::invalid(path, value.clone(), detail)]
        }
    }
}

/// Whether a count or share is nothing.
pub(crate) fn is_zero(value: &Value) -> bool {
    value.is_null() || *value == 0 || *value == "0%"
}
