//! Makes the claims of generic ephemeral volumes: each is its pod's own, and goes with it by garbage collection.

use async_trait::async_trait;
use client::{Client, Controller, Informer, Outcome, ReconcileError, Recorder, Source, Subject};
use meta::{Gvr, Object, Reason};
use serde_json::{Value, json};

/// The controller.
pub(crate) struct EphemeralVolumes {
    pub(crate) client: Client,
    pub(crate) recorder: Recorder,
    pub(crate) pods: Informer,
    pub(crate) claims: Informer,
}

fn claims() -> Gvr {
    Gvr::new("", "v1", "persistentvolumeclaims")
}

/// The claims that a pod's volumes are templates of: the volume's name, the claim.
fn wanted(pod: &Value) -> Vec<(String, Value)> {
    let metadata = &pod["metadata"];
    let name = metadata["name"].as_str().unwrap_or_default();
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    let claim = |volume: &Value| {
        let template = volume.get("ephemeral").filter(|source| !source.is_null())?.get("volumeClaimTemplate")?;
        let volume = volume["name"].as_str()?;
        let claim = json!({
            "kind": "PersistentVolumeClaim", "apiVersion": "v1",
            "metadata": {
                "name": format!("{name}-{volume}"),
                "namespace": metadata["namespace"],
                "labels": template["metadata"]["labels"],
                "annotations": template["metadata"]["annotations"],
                "ownerReferences": [{
                    "apiVersion": "v1", "kind": "Pod", "name": name, "uid": metadata["uid"],
                    "controller": true, "blockOwnerDeletion": true,
                }],
            },
            "spec": template["spec"],
        });
        Some((volume.to_owned(), claim))
    };
    volumes.filter_map(claim).collect()
}

/// Compat: a claim of the same name that is somebody else's is never used.
fn check_owner(claim: &Object, pod: &Object) -> Result<(), String> {
    let is_own = claim.metadata.controller().is_some_and(|owner| owner.uid == pod.metadata.uid);
    let (space, claim, pod) = (&pod.metadata.namespace, &claim.metadata.name, &pod.metadata.name);
    let text = || format!("PVC {space}/{claim} was not created for pod {space}/{pod} (pod is not owner)");
    if is_own { Ok(()) } else { Err(text()) }
}

impl EphemeralVolumes {
    /// The revision of what was written, or why the claim can't be had.
    async fn bring(&self, pod: &Object, claim: Value) -> Result<u64, String> {
        let namespace = &pod.metadata.namespace;
        let name = claim["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        if let Some(there) = self.claims.get(&format!("{namespace}/{name}")) {
            return check_owner(&there, pod).map(|()| 0);
        }
        match self.client.create(&claims(), namespace, claim).await {
            Ok(made) => Ok(made.revision),
            // The informer will show it.
            Err(error) if error.reason == Reason::AlreadyExists => Ok(0),
            Err(error) => Err(format!("create PVC {name}: {error}")),
        }
    }
}

#[async_trait]
impl Controller for EphemeralVolumes {
    fn name(&self) -> &'static str {
        "ephemeral-volume"
    }

    fn sources(&self) -> Vec<Source> {
        let owner = |claim: &Object| {
            let owner = claim.metadata.controller().filter(|owner| owner.kind == "Pod");
            owner.map(|owner| format!("{}/{}", claim.metadata.namespace, owner.name)).into_iter().collect()
        };
        vec![
            Source { informer: self.pods.clone(), keys: |pod| vec![pod.metadata.key()] },
            Source { informer: self.claims.clone(), keys: owner },
        ]
    }

    async fn reconcile(&self, key: &str) -> Result<Outcome, ReconcileError> {
        let Some(pod) = self.pods.get(key).filter(|pod| !pod.metadata.is_terminating()) else {
            return Ok(Outcome::default());
        };
        let mut wrote = 0;
        for (volume, claim) in wanted(&pod.value()) {
            match self.bring(&pod, claim).await {
                Ok(revision) => wrote = wrote.max(revision),
                Err(error) => {
                    let subject = Subject { kind: "Pod".to_owned(), api_version: "v1".to_owned(), ..Subject::of(&pod) };
                    self.recorder.warning(&subject, "FailedBinding", format!("ephemeral volume {volume}: {error}"));
                    let text = format!("pod {key}, ephemeral volume {volume}: {error}");
                    return Err(ReconcileError::Other(text));
                }
            }
        }
        Ok(Outcome { again_after: None, wrote })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_for_each_template() {
        let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"accessModes": ["ReadWriteOnce"]}});
        let pod = json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u"},
            "spec": {"volumes": [{"name": "plain", "emptyDir": {}}, {"name": "own", "ephemeral": {"volumeClaimTemplate": template}}]},
        });
        let wanted = wanted(&pod);
        let [(volume, claim)] = wanted.as_slice() else { panic!("one claim: {wanted:?}") };
        assert_eq!((volume.as_str(), &claim["metadata"]["name"]), ("own", &json!("p-own")));
        assert_eq!(claim["metadata"]["labels"], json!({"a": "b"}));
        assert_eq!(claim["spec"], template["spec"]);
        assert_eq!(claim["metadata"]["ownerReferences"][0]["uid"], "u");
    }
}
