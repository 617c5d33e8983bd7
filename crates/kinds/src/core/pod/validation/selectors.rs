//! Label selectors within a spec.

use meta::field::{Error, Path};
use meta::names;
use serde_json::Value;

use super::Check;
use crate::field::{fields, items, text};

impl Check<'_> {
    pub(super) fn selector(&mut self, selector: &Value, path: &Path) {
        for (key, value) in fields(&selector["matchLabels"]) {
            let at = path.child("matchLabels");
            self.rules(&at, key, names::qualified(key));
            let value = value.as_str().unwrap_or_default();
            self.rules(&at, value, names::label_value(value));
        }
        for (index, requirement) in items(selector, "/matchExpressions").iter().enumerate() {
            let at = path.child("matchExpressions").index(index);
            let values = items(requirement, "/values");
            match text(requirement, "/operator") {
                "In" | "NotIn" if values.is_empty() => {
                    let why = "must be specified when `operator` is 'In' or 'NotIn'";
                    self.say(Error::required(&at.child("values"), why));
                }
                "Exists" | "DoesNotExist" if !values.is_empty() => {
                    let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                    self.say(Error::forbidden(&at.child("values"), why));
                }
                "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
                other => self.say(Error::invalid(&at.child("operator"), other, "not a valid selector operator")),
            }
            let key = text(requirement, "/key");
            self.rules(&at.child("key"), key, names::qualified(key));
            for (index, value) in values.iter().enumerate() {
                let value = value.as_str().unwrap_or_default();
                self.rules(&at.child("values").index(index), value, names::label_value(value));
            }
        }
    }
}
