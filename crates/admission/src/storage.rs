//! DefaultStorageClass and StorageObjectInUseProtection: claims get a class, and claims and volumes outlive their users.

use std::sync::Arc;

use async_trait::async_trait;
use meta::{ApiError, Object};
use registry::{Admission, Attributes, Operation, Reader, Request};
use serde_json::{Value, json};

use crate::fields::{child, items, list};

/// The first plugin.
pub(crate) struct DefaultStorageClass;

#[async_trait]
impl Admission for DefaultStorageClass {
    fn name(&self) -> &'static str {
        "DefaultStorageClass"
    }

    fn handles(&self, attributes: &Attributes) -> bool {
        attributes.operation == Operation::Create && attributes.is_core("persistentvolumeclaims")
    }

    async fn mutate(&self, request: &mut Request<'_>, reader: &dyn Reader) -> Result<(), ApiError> {
        let claim = &mut request.object;
        let annotations = claim.pointer("/metadata/annotations");
        let old_form = annotations.and_then(|all| all.get("volume.beta.kubernetes.io/storage-class")).is_some();
        let own = claim.pointer("/spec/storageClassName").is_some_and(|class| !class.is_null());
        if !old_form
            && !own
            && let Some(class) = default_class(reader)
        {
            child(claim, "spec").insert("storageClassName".to_owned(), json!(class.metadata.name));
        }
        Ok(())
    }
}

/// The newest of those that say so; of several as new the first by name.
fn default_class(reader: &dyn Reader) -> Option<Arc<Object>> {
    const DEFAULT: [&str; 2] =
        ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
    let is_default = |class: &Arc<Object>| {
        let value = class.value();
        let annotations = value.pointer("/metadata/annotations");
        DEFAULT.iter().any(|name| annotations.and_then(|all| all.get(*name)).and_then(Value::as_str) == Some("true"))
    };
    let classes = reader.list("storage.k8s.io", "storageclasses", "");
    classes.into_iter().filter(is_default).min_by(|a, b| {
        let newest = b.metadata.creation_timestamp.cmp(&a.metadata.creation_timestamp);
        newest.then_with(|| a.metadata.name.cmp(&b.metadata.name))
    })
}

/// The second plugin.
pub(crate) struct ObjectInUseProtection;

#[async_trait]
impl Admission for ObjectInUseProtection {
    fn name(&self) -> &'static str {
        "StorageObjectInUseProtection"
    }

    fn handles(&self, attributes: &Attributes) -> bool {
        let ours = attributes.is_core("persistentvolumeclaims") || attributes.is_core("persistentvolumes");
        attributes.operation == Operation::Create && ours
    }

    async fn mutate(&self, request: &mut Request<'_>, _reader: &dyn Reader) -> Result<(), ApiError> {
        let finalizer = if request.attributes.is_core("persistentvolumes") {
            "kubernetes.io/pv-protection"
        } else {
            "kubernetes.io/pvc-protection"
        };
        if !items(&request.object, "/metadata/finalizers").any(|own| own == finalizer) {
            child(&mut request.object, "metadata");
            list(&mut request.object["metadata"], "finalizers").push(json!(finalizer));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Cluster, outcome};

    #[tokio::test]
    async fn a_claim_without_a_class_gets_the_newest_default() {
        let class = |name: &str, at: &str, default: &str| {
            let annotations = json!({"storageclass.kubernetes.io/is-default-class": default});
            let metadata = json!({"name": name, "creationTimestamp": at, "annotations": annotations});
            ("storageclasses", json!({"kind": "StorageClass", "metadata": metadata}))
        };
        let cluster = Cluster::new([
            class("old", "2026-01-01T00:00:00Z", "true"),
            class("new", "2026-02-01T00:00:00Z", "true"),
            class("other", "2026-03-01T00:00:00Z", "false"),
        ]);
        for (spec, expected) in
            [(json!({}), "new"), (json!({"storageClassName": ""}), ""), (json!({"storageClassName": "x"}), "x")]
        {
            let claim = json!({"metadata": {"name": "c"}, "spec": spec});
            let request = cluster.create("persistentvolumeclaims", "a", claim);
            let made = outcome(&DefaultStorageClass, &cluster, request).await.expect("a claim");
            assert_eq!(made["spec"]["storageClassName"], expected);
            let request = cluster.create("persistentvolumeclaims", "a", made);
            let made = outcome(&ObjectInUseProtection, &cluster, request).await.expect("a claim");
            assert_eq!(made["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
        }
    }
}
