//! What objects cost a namespace's ResourceQuotas: which quota a write is charged to, and what a quota's status says.
//!
//! Pure: the registry charges a quota in the commit of the object itself, the quota controller counts anew what is there.

mod pod;
mod scopes;
mod usage;

use std::collections::{BTreeMap, BTreeSet};

use meta::Quantity;
use serde_json::{Map, Value, json};

use crate::field::{fields, text};

pub use pod::needs;
pub(crate) use pod::of_containers;
pub use usage::covers;

/// Amounts by the name of what is counted.
pub type Amounts = BTreeMap<String, Quantity>;

/// A resource as quotas see it: group and plural.
pub type Counted<'a> = (&'a str, &'a str);

/// Reads a list of amounts.
fn amounts(value: &Value) -> Amounts {
    let read = |amount: &Value| match amount {
        Value::String(text) => text.parse().ok(),
        other => other.to_string().parse().ok(),
    };
    fields(value).filter_map(|(name, amount)| Some((name.clone(), read(amount)?))).collect()
}

fn document(amounts: &Amounts) -> Value {
    Value::Object(amounts.iter().map(|(name, amount)| (name.clone(), json!(amount.to_string()))).collect::<Map<_, _>>())
}

/// As refusals show them: `cpu=1,pods=2`.
fn show(amounts: &Amounts) -> String {
    let pairs: Vec<String> = amounts.iter().map(|(name, amount)| format!("{name}={amount}")).collect();
    pairs.join(",")
}

fn only(amounts: &Amounts, names: impl Fn(&str) -> bool) -> Amounts {
    amounts.iter().filter(|(name, _)| names(name)).map(|(name, amount)| (name.clone(), *amount)).collect()
}

/// Whether a write can cost anything: creations, and those changes that upstream's evaluators look at.
pub fn is_charged(resource: Counted<'_>, subresource: &str, new: &Value, old: Option<&Value>) -> bool {
    let deadline = |pod: &Value| pod["spec"]["activeDeadlineSeconds"].as_i64().is_some();
    match (resource, subresource, old) {
        (_, "", None) => true,
        (("", "services" | "persistentvolumeclaims") | ("resource.k8s.io", "resourceclaims"), "", Some(_)) => true,
        (("", "pods"), "", Some(old)) => deadline(old) != deadline(new),
        (("", "pods"), "resize", Some(_)) => true,
        _ => false,
    }
}

/// The status of a quota after a write that it is about; `None` if the write costs it nothing. The error says why the write can't be.
///
/// `now` is in seconds since 1970.
pub fn charge(
    quota: &Value,
    resource: Counted<'_>,
    new: &Value,
    old: Option<&Value>,
    now: i64,
) -> Result<Option<Value>, String> {
    let (hard, used) = (amounts(&quota["status"]["hard"]), amounts(&quota["status"]["used"]));
    let restricted: BTreeSet<&str> = hard.keys().map(String::as_str).filter(|name| covers(resource, name)).collect();
    if restricted.is_empty() || !scopes::matches(quota, resource, new) {
        return Ok(None);
    }
    let name = text(quota, "/metadata/name");
    if resource == ("", "pods") {
        pod::must_specify(&restricted, new).map_err(|why| format!("failed quota: {name}: {why}"))?;
    }
    if !restricted.iter().all(|name| used.contains_key(*name)) {
        let list: Vec<&str> = restricted.into_iter().collect();
        return Err(format!("status unknown for quota: {name}, resources: {}", list.join(",")));
    }
    let cost = usage::of(resource, new, now);
    let negative: Vec<&str> =
        cost.iter().filter(|(_, amount)| amount.is_negative()).map(|(name, _)| name.as_str()).collect();
    if !negative.is_empty() {
        return Err(format!("quota usage is negative for resource(s): {}", negative.join(",")));
    }
    let before = match old {
        Some(old) if scopes::matches(quota, resource, old) => usage::of(resource, old, now),
        _ => Amounts::new(),
    };
    let more = |(name, amount): (String, Quantity)| {
        let rest = before.get(&name).map_or(amount, |before| amount - *before);
        (!rest.is_zero() && !rest.is_negative()).then_some((name, rest))
    };
    let requested: Amounts = cost.into_iter().filter_map(more).filter(|(name, _)| hard.contains_key(name)).collect();
    if requested.is_empty() {
        return Ok(None);
    }
    let sum = |name: &str| used.get(name).copied().unwrap_or(Quantity::ZERO) + requested[name];
    let exceeded: BTreeSet<&str> =
        requested.keys().map(String::as_str).filter(|name| sum(name) > hard[*name]).collect();
    if !exceeded.is_empty() {
        let part = |amounts: &Amounts| show(&only(amounts, |name| exceeded.contains(name)));
        return Err(format!(
            "exceeded quota: {name}, requested: {}, used: {}, limited: {}",
            part(&requested),
            part(&used),
            part(&hard)
        ));
    }
    let mut total = used.clone();
    total.extend(requested.keys().map(|name| (name.clone(), sum(name))));
    Ok(Some(json!({"hard": document(&hard), "used": document(&total)})))
}

/// The resources whose objects a quota counts, of those that are served.
pub fn counts<'a>(quota: &Value, served: impl Iterator<Item = Counted<'a>>) -> Vec<Counted<'a>> {
    let hard = amounts(&quota["spec"]["hard"]);
    served.filter(|resource| hard.keys().any(|name| covers(*resource, name))).collect()
}

/// What the status of a quota should be, with all objects of its namespace that it counts; `None` if it is so already.
pub fn recount(quota: &Value, objects: &[(Counted<'_>, Value)], now: i64) -> Option<Value> {
    let hard = amounts(&quota["spec"]["hard"]);
    let known = amounts(&quota["status"]["used"]);
    // What nobody counts keeps what was said of it.
    let mut used = only(&known, |name| hard.contains_key(name));
    for name in hard.keys().filter(|name| usage::is_counted(name)) {
        used.insert(name.clone(), Quantity::ZERO);
    }
    for (resource, object) in objects {
        if scopes::matches(quota, *resource, object) {
            for (name, amount) in usage::of(*resource, object, now) {
                if hard.contains_key(&name) && covers(*resource, &name) {
                    let sum = used.get(&name).copied().unwrap_or(Quantity::ZERO) + amount;
                    used.insert(name, sum);
                }
            }
        }
    }
    let same = amounts(&quota["status"]["hard"]) == hard && known == used && quota["status"]["used"].is_object();
    (!same).then(|| json!({"hard": document(&hard), "used": document(&used)}))
}

#[cfg(test)]
mod tests;
