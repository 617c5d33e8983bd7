//! LimitRange.

use std::collections::BTreeSet;

use meta::Quantity;
use meta::field::{Error, Errors, Path};
use meta::names;
use serde_json::Value;

use super::pod::{may_overcommit, resource_name};
use crate::field::{child, fields, items, items_mut, text};
use crate::plain::Plain;
use crate::resource::{Rules, Settings};

const TYPES: [&str; 3] = ["Pod", "Container", "PersistentVolumeClaim"];

pub(crate) struct LimitRange;

impl Rules for LimitRange {
    fn default(&self, object: &mut Value) {
        let Some(spec) = object.get_mut("spec") else { return };
        for limit in items_mut(spec, "limits").filter(|limit| limit["type"] == "Container") {
            fill(limit, "max", "default");
            fill(limit, "default", "defaultRequest");
            fill(limit, "min", "defaultRequest");
        }
    }

    fn validate(&self, object: &Value, _: &Settings) -> Errors {
        let mut errors = Errors::new();
        let mut seen = BTreeSet::new();
        for (index, limit) in items(object, "/spec/limits").iter().enumerate() {
            let (path, kind) = (Path::new("spec").child("limits").index(index), text(limit, "/type"));
            errors.extend(of_type(kind, &path.child("type")));
            if !seen.insert(kind) {
                errors.push(Error::duplicate(&path.child("type"), kind));
            }
            Item { limit, path: &path, errors: &mut errors }.check(kind);
        }
        errors
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        Plain.row(object, now)
    }
}

/// Takes amounts over that are not given elsewhere.
fn fill(limit: &mut Value, from: &str, to: &str) {
    let amounts: Vec<_> = fields(&limit[from]).map(|(name, amount)| (name.clone(), amount.clone())).collect();
    for (name, amount) in amounts {
        crate::field::default(child(limit, to), &name, amount);
    }
}

fn of_type(kind: &str, path: &Path) -> Errors {
    let rules = names::qualified(kind);
    if rules.is_empty() && !kind.contains('/') && !TYPES.contains(&kind) {
        return vec![Error::invalid(path, kind, "must be a standard limit type or fully qualified")];
    }
    rules.iter().map(|rule| Error::invalid(path, kind, rule)).collect()
}

/// One limit of a range, and what is wrong with it.
struct Item<'a> {
    limit: &'a Value,
    path: &'a Path,
    errors: &'a mut Errors,
}

impl Item<'_> {
    fn check(&mut self, kind: &str) {
        let of_container = matches!(kind, "Pod" | "Container");
        let named = |list: &str, errors: &mut Errors| {
            for (name, _) in fields(&self.limit[list]) {
                errors.extend(resource_name(name, of_container, &self.path.child(list).key(name)));
            }
        };
        named("max", self.errors);
        named("min", self.errors);
        if kind != "Pod" {
            named("default", self.errors);
            named("defaultRequest", self.errors);
        }
        let has = |list: &str| fields(&self.limit[list]).next().is_some();
        for list in ["default", "defaultRequest"].into_iter().filter(|list| kind == "Pod" && has(list)) {
            let why = "may not be specified when `type` is 'Pod'";
            self.errors.push(Error::forbidden(&self.path.child(list), why));
        }
        let bounds_storage = ["min", "max"].iter().any(|list| !self.limit[*list]["storage"].is_null());
        if kind == "PersistentVolumeClaim" && !bounds_storage {
            let why = "either minimum or maximum storage value is required, but neither was provided";
            self.errors.push(Error::required(&self.path.child("limits"), why));
        }
        named("maxLimitRequestRatio", self.errors);
        let lists = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];
        let lists = lists.into_iter().filter(|list| kind != "Pod" || !list.starts_with("default"));
        let names: BTreeSet<_> = lists.flat_map(|list| fields(&self.limit[list]).map(|(name, _)| name)).collect();
        for name in names {
            self.amounts(name, kind);
        }
    }

    /// Whether the amounts of one resource go together.
    fn amounts(&mut self, name: &str, kind: &str) {
        let amount = |list: &str| {
            let given = kind != "Pod" || !list.starts_with("default");
            self.limit[list].get(name).filter(|_| given).and_then(Value::as_str)?.parse::<Quantity>().ok()
        };
        let (min, max, ratio) = (amount("min"), amount("max"), amount("maxLimitRequestRatio"));
        let (limit, request) = (amount("default"), amount("defaultRequest"));
        let mut order =
            |low: (&str, Option<Quantity>), high: (&str, Option<Quantity>), list: &str, told: Option<Quantity>| {
                if let (Some(small), Some(large), Some(told)) = (low.1, high.1, told)
                    && small > large
                {
                    let why = format!("{} value {small} is greater than {} value {large}", low.0, high.0);
                    self.errors.push(Error::invalid(&self.path.child(list).key(name), told.to_string(), &why));
                }
            };
        order(("min", min), ("max", max), "min", min);
        order(("min", min), ("default request", request), "defaultRequest", request);
        order(("default request", request), ("max", max), "defaultRequest", request);
        order(("default request", request), ("default limit", limit), "defaultRequest", request);
        // Compat: these two tell the bound as the value.
        order(("min", min), ("default", limit), "default", min);
        order(("default", limit), ("max", max), "default", max);
        if let Some(ratio) = ratio {
            self.ratio(name, ratio, min.zip(max));
        }
        if let (Some(limit), Some(request)) = (limit, request)
            && !may_overcommit(name)
            && limit != request
        {
            let why = format!("default value {limit} must equal to defaultRequest value {request} in {name}");
            self.errors.push(Error::invalid(&self.path.child("defaultRequest").key(name), request.to_string(), &why));
        }
    }

    fn ratio(&mut self, name: &str, ratio: Quantity, bounds: Option<(Quantity, Quantity)>) {
        let path = self.path.child("maxLimitRequestRatio").key(name);
        if ratio < Quantity::units(1) {
            self.errors.push(Error::invalid(&path, ratio.to_string(), &format!("ratio {ratio} is less than 1")));
        }
        let float = |quantity: Quantity| quantity.milli_value() as f64 / 1000.0;
        if let Some((min, max)) = bounds
            && float(ratio) > float(max) / float(min)
        {
            let why = format!("ratio {ratio} is greater than max/min = {:.6}", float(max) / float(min));
            self.errors.push(Error::invalid(&path, ratio.to_string(), &why));
        }
    }
}
