//! TaintNodesByCondition: a new node takes no pods until it is known to be ready.

use async_trait::async_trait;
use meta::ApiError;
use registry::{Admission, Attributes, Operation, Reader, Request};
use serde_json::{Value, json};

use crate::fields::{child, items, list, text};

const NOT_READY: &str = "node.kubernetes.io/not-ready";

/// The plugin.
pub(crate) struct TaintNodesByCondition;

#[async_trait]
impl Admission for TaintNodesByCondition {
    fn name(&self) -> &'static str {
        "TaintNodesByCondition"
    }

    fn handles(&self, attributes: &Attributes) -> bool {
        attributes.operation == Operation::Create && attributes.is_core("nodes")
    }

    async fn mutate(&self, request: &mut Request<'_>, _reader: &dyn Reader) -> Result<(), ApiError> {
        let same = |taint: &Value| text(taint, "/key") == NOT_READY && text(taint, "/effect") == "NoSchedule";
        if !items(&request.object, "/spec/taints").any(same) {
            child(&mut request.object, "spec");
            list(&mut request.object["spec"], "taints").push(json!({"key": NOT_READY, "effect": "NoSchedule"}));
        }
        Ok(())
    }
}
