//! ServiceAccount.

use serde_json::Value;

use crate::age;
use crate::plain::name;
use crate::resource::Rules;

pub(crate) struct ServiceAccount;

impl Rules for ServiceAccount {
    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        vec![name(object), age::of(object, now)]
    }
}
