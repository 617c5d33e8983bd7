//! What pods have beyond other objects: binding to a node.

use std::sync::Arc;

use meta::{ApiError, Object, Reply, Status, WriteOptions, format_time};
use serde_json::{Value, json};
use store::{Expect, Revision};

use super::fields::{child, metadata, put, text};
use super::{Failure, Writer};
use crate::admission::{Operation, Request};

/// So often it is tried again when the pod changes meanwhile.
const ATTEMPTS: usize = 16;

impl Writer<'_> {
    /// Binds a pod to the node that the Binding names.
    pub(crate) async fn bind(&self, binding: Value, options: &WriteOptions) -> Result<Reply, ApiError> {
        let own = text(&binding, "/metadata/name");
        let name = if self.name.is_empty() { own } else { self.name }.to_owned();
        if !own.is_empty() && own != name {
            let text = format!("the name of the object ({own}) does not match the name on the URL ({name})");
            return Err(ApiError::bad_request(text));
        }
        let attributes = self.attributes(Operation::Create, &name, options.dry_run);
        let mut request = Request::new(attributes, binding, None);
        self.mutate(&mut request).await?;
        self.admit(&request).await?;
        for _ in 0..ATTEMPTS {
            let old = self.storage.get(&self.key(&name)).ok_or_else(|| self.not_found(&name))?;
            match self.attempt_bind(&old, &request.object, options).await {
                Ok(()) => return Ok(Reply::Status(Status { code: 201, ..Status::success(None) })),
                Err(Failure::Api(error)) => return Err(error),
                Err(Failure::Stale | Failure::Taken) => {}
            }
        }
        Err(ApiError::modified(&self.row.gvr(), &name))
    }

    async fn attempt_bind(&self, old: &Arc<Object>, binding: &Value, options: &WriteOptions) -> Result<(), Failure> {
        let name = old.metadata.name.as_str();
        let conflict = |why: String| {
            // Compat: upstream blames the binding, not the pod.
            let mut gvr = self.row.gvr();
            gvr.resource = "pods/binding".to_owned();
            ApiError::conflict(&gvr, name, &why)
        };
        let mut pod = old.value();
        check_target(binding)?;
        let uid = text(binding, "/metadata/uid");
        if !uid.is_empty() && uid != old.metadata.uid {
            let own = &old.metadata.uid;
            let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {own}");
            return Err(ApiError::conflict(&self.row.gvr(), name, &why).into());
        }
        if old.metadata.is_terminating() {
            return Err(conflict(format!("pod {name} is being deleted, cannot be assigned to a host")).into());
        }
        let node = text(&pod, "/spec/nodeName");
        if !node.is_empty() {
            return Err(conflict(format!("pod {name} is already assigned to node {node:?}")).into());
        }
        if pod.pointer("/spec/schedulingGates").and_then(Value::as_array).is_some_and(|gates| !gates.is_empty()) {
            return Err(conflict(format!("pod {name} has non-empty .spec.schedulingGates")).into());
        }
        assign(&mut pod, binding, &format_time(self.registry.clock.now()));
        if !options.dry_run {
            self.put(self.key(name), &pod, Expect::Revision(Revision(old.revision))).await?;
        }
        Ok(())
    }
}

fn check_target(binding: &Value) -> Result<(), ApiError> {
    let path = meta::field::Path::new("target");
    let error = if !matches!(text(binding, "/target/kind"), "" | "Node") {
        let kind = text(binding, "/target/kind");
        meta::field::Error::not_supported(&path.child("kind"), kind, &["Node", "<empty>"])
    } else if text(binding, "/target/name").is_empty() {
        meta::field::Error::required(&path.child("name"), "")
    } else {
        return Ok(());
    };
    Err(ApiError::invalid(&meta::Gvk::new("", "v1", "Binding"), text(binding, "/metadata/name"), &[error]))
}

/// Puts the pod on the binding's node.
fn assign(pod: &mut Value, binding: &Value, now: &str) {
    child(pod, "spec").insert("nodeName".to_owned(), json!(text(binding, "/target/name")));
    for field in ["annotations", "labels"] {
        let Some(more) = binding.pointer(&format!("/metadata/{field}")).and_then(Value::as_object) else { continue };
        let mut own = metadata(pod).remove(field).unwrap_or_else(|| json!({}));
        if let Some(own) = own.as_object_mut() {
            own.extend(more.iter().map(|(key, value)| (key.clone(), value.clone())));
        }
        put(metadata(pod), field, Some(own).filter(|own| *own != json!({})));
    }
    let generation = pod.pointer("/metadata/generation").cloned();
    let status = child(pod, "status");
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    let Some(conditions) = conditions.as_array_mut() else { return };
    let mut scheduled =
        json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now});
    if let Some(generation) = generation {
        scheduled["observedGeneration"] = generation;
    }
    match conditions.iter_mut().find(|condition| text(condition, "/type") == "PodScheduled") {
        Some(condition) => *condition = scheduled,
        None => conditions.push(scheduled),
    }
}
