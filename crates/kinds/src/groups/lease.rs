//! Lease.

use meta::field::{Error, Errors, Path};
use serde_json::Value;

use crate::age;
use crate::field::{self, number};
use crate::plain::{AGE, NAME, cell, column, name};
use crate::resource::{Column, Rules, Settings};

pub(crate) const COLUMNS: &[Column] = &[NAME, column("Holder", "string"), AGE];

pub(crate) struct Lease;

impl Rules for Lease {
    fn default(&self, object: &mut Value) {
        // Compat: both belong to coordinated leader election, whose gate is closed in v1.36.
        if let Some(spec) = object.get_mut("spec") {
            field::remove(spec, "strategy");
            field::remove(spec, "preferredHolder");
        }
    }

    fn validate(&self, object: &Value, _: &Settings) -> Errors {
        let path = Path::new("spec");
        let mut errors = Errors::new();
        if let Some(seconds) = number(object, "/spec/leaseDurationSeconds").filter(|seconds| *seconds <= 0) {
            errors.push(Error::invalid(&path.child("leaseDurationSeconds"), seconds, "must be greater than 0"));
        }
        if let Some(count) = number(object, "/spec/leaseTransitions").filter(|count| *count < 0) {
            errors.push(Error::invalid(&path.child("leaseTransitions"), count, "must be greater than or equal to 0"));
        }
        errors
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        vec![name(object), cell(object, "/spec/holderIdentity", ""), age::of(object, now)]
    }
}
