//! ServiceCIDR: a range that services get addresses from.

use meta::field::{Error, Errors, Path};
use serde_json::Value;

use crate::field::items;
use crate::plain::{AGE, NAME, column, keep_desired_state, name, prepare_create, prepare_update};
use crate::resource::{Column, Part, Rules, Settings};
use crate::{addresses, age};

pub(crate) const COLUMNS: &[Column] = &[NAME, column("CIDRs", "string"), AGE];

pub(crate) struct ServiceCidr;

impl Rules for ServiceCidr {
    fn prepare_create(&self, object: &mut Value) {
        prepare_create(object);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part<'_>) {
        if part == Part::Status { keep_desired_state(new, old) } else { prepare_update(new, old, part) }
    }

    fn validate(&self, object: &Value, _: &Settings) -> Errors {
        let path = Path::new("spec").child("cidrs");
        let cidrs = items(object, "/spec/cidrs");
        if cidrs.is_empty() {
            return vec![Error::required(&path, "at least one CIDR required")];
        }
        if cidrs.len() > 2 {
            return vec![Error::invalid(&path, cidrs.to_vec(), "may only hold up to 2 values")];
        }
        let texts: Vec<&str> = cidrs.iter().filter_map(Value::as_str).collect();
        let mut errors = Errors::new();
        for (index, text) in texts.iter().enumerate() {
            errors.extend(addresses::cidr(&path.index(index), text));
        }
        let families: Vec<bool> = texts.iter().map(|text| text.contains(':')).collect();
        if errors.is_empty() && families.len() == 2 && families[0] == families[1] {
            let detail = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
            errors.push(Error::invalid(&path, cidrs.to_vec(), detail));
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, _: Part<'_>, _: &Settings) -> Errors {
        let (cidrs, before) = (items(new, "/spec/cidrs"), items(old, "/spec/cidrs"));
        let path = Path::new("spec").child("cidrs");
        let mut errors = Errors::new();
        for (index, cidr) in before.iter().enumerate() {
            if cidrs.get(index) != Some(cidr) {
                let value = cidrs.get(index).cloned().unwrap_or_default();
                errors.push(Error::invalid(&path.index(index), value, "field is immutable"));
            }
        }
        errors
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        let cidrs: Vec<&str> = items(object, "/spec/cidrs").iter().filter_map(Value::as_str).collect();
        vec![name(object), cidrs.join(",").into(), age::of(object, now)]
    }
}
