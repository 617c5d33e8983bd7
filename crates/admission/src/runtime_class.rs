//! RuntimeClass: a pod's class exists, and brings its overhead and where it can run.

use async_trait::async_trait;
use meta::ApiError;
use registry::{Admission, Attributes, Operation, Reader, Request};
use serde_json::{Value, json};

use crate::fields::{child, forbidden, items, list, text};

/// The plugin.
pub(crate) struct RuntimeClass;

#[async_trait]
impl Admission for RuntimeClass {
    fn name(&self) -> &'static str {
        "RuntimeClass"
    }

    fn handles(&self, attributes: &Attributes) -> bool {
        attributes.operation == Operation::Create && attributes.is_core("pods")
    }

    async fn mutate(&self, request: &mut Request<'_>, reader: &dyn Reader) -> Result<(), ApiError> {
        let name = text(&request.object, "/spec/runtimeClassName").to_owned();
        let overhead = request.object.pointer("/spec/overhead").filter(|own| **own != json!({})).cloned();
        if name.is_empty() {
            let why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
            return if overhead.is_some() { Err(forbidden(request, why)) } else { Ok(()) };
        }
        let Some(class) = reader.get("node.k8s.io", "runtimeclasses", "", &name) else {
            return Err(forbidden(request, &format!("pod rejected: RuntimeClass {name:?} not found")));
        };
        let class = class.value();
        match (class.pointer("/overhead/podFixed"), overhead) {
            (Some(fixed), Some(own)) if *fixed != own => {
                let why = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";
                return Err(forbidden(request, why));
            }
            (Some(fixed), _) => {
                child(&mut request.object, "spec").insert("overhead".to_owned(), fixed.clone());
            }
            (None, Some(_)) => {
                let why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
                return Err(forbidden(request, why));
            }
            (None, None) => {}
        }
        schedule(request, &class)
    }
}

fn schedule(request: &mut Request<'_>, class: &Value) -> Result<(), ApiError> {
    let selector = class.pointer("/scheduling/nodeSelector").and_then(Value::as_object);
    for (key, value) in selector.into_iter().flatten() {
        child(&mut request.object, "spec");
        let own = child(&mut request.object["spec"], "nodeSelector");
        if own.get(key).is_some_and(|own| own != value) {
            let why = format!("conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}", text(value, ""));
            return Err(forbidden(request, &why));
        }
        own.insert(key.clone(), value.clone());
    }
    let more: Vec<Value> = items(class, "/scheduling/tolerations").cloned().collect();
    for toleration in more {
        let own = list(&mut request.object["spec"], "tolerations");
        if !own.contains(&toleration) {
            own.push(toleration);
        }
    }
    Ok(())
}
