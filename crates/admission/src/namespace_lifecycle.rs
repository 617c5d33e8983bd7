//! NamespaceLifecycle: nothing new in namespaces that are missing or going, and three that never go.

use async_trait::async_trait;
use meta::{ApiError, Cause, Gvr};
use registry::{Admission, Attributes, Operation, Reader, Request};

use crate::fields::{forbidden, text};

const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

/// The plugin.
pub(crate) struct NamespaceLifecycle;

#[async_trait]
impl Admission for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    fn handles(&self, attributes: &Attributes) -> bool {
        match attributes.operation {
            Operation::Delete => attributes.is_core("namespaces"),
            Operation::Create => !attributes.namespace.is_empty(),
            Operation::Update | Operation::Connect => false,
        }
    }

    async fn mutate(&self, request: &mut Request<'_>, reader: &dyn Reader) -> Result<(), ApiError> {
        let attributes = &request.attributes;
        if attributes.operation == Operation::Delete {
            let immortal = IMMORTAL.contains(&attributes.name.as_str());
            return if immortal { Err(forbidden(request, "this namespace may not be deleted")) } else { Ok(()) };
        }
        // Compat: asking whether somebody may do something is allowed in any namespace.
        if attributes.kind.group == "authorization.k8s.io" {
            return Ok(());
        }
        let namespace = attributes.namespace.as_str();
        let Some(object) = reader.get("", "namespaces", "", namespace) else {
            return Err(ApiError::not_found(&Gvr::new("", "v1", "namespaces"), namespace));
        };
        if text(&object.value(), "/status/phase") != "Terminating" && !object.metadata.is_terminating() {
            return Ok(());
        }
        let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
        let mut error = forbidden(request, &why);
        error.details.get_or_insert_default().causes.push(Cause {
            reason: "NamespaceTerminating".to_owned(),
            message: format!("namespace {namespace} is being terminated"),
            field: "metadata.namespace".to_owned(),
        });
        Err(error)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{Cluster, outcome};

    #[tokio::test]
    async fn namespaces_have_a_life() {
        let cluster = Cluster::new([
            ("namespaces", json!({"kind": "Namespace", "metadata": {"name": "a"}})),
            ("namespaces", json!({"kind": "Namespace", "metadata": {"name": "b"}, "status": {"phase": "Terminating"}})),
        ]);
        let pod = json!({"metadata": {"name": "p"}});
        let why = "pods \"p\" is forbidden: unable to create new content in namespace b because it is being terminated";
        for (namespace, expected) in [("a", Ok(())), ("b", Err(why)), ("c", Err("namespaces \"c\" not found"))] {
            let found = outcome(&NamespaceLifecycle, &cluster, cluster.create("pods", namespace, pod.clone())).await;
            assert_eq!(found.map(|_| ()), expected.map_err(str::to_owned), "{namespace}");
        }
        let mut request = cluster.create("namespaces", "", json!({"metadata": {"name": "default"}}));
        request.attributes.operation = Operation::Delete;
        let error = outcome(&NamespaceLifecycle, &cluster, request).await.expect_err("it stays");
        assert_eq!(error, "namespaces \"default\" is forbidden: this namespace may not be deleted");
    }
}
