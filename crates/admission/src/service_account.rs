//! ServiceAccount: every pod runs as one, and finds its token where clients look for it.

use std::time::Duration;

use async_trait::async_trait;
use meta::{ApiError, Object};
use rand::Rng;
use registry::{Admission, Attributes, Operation, Reader, Request};
use serde_json::{Value, json};

use crate::fields::{child, forbidden, items, list, text};

const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
const MIRROR: &str = "kubernetes.io/config.mirror";
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// The default account of a new namespace is about to come: upstream waits about so long.
const DEFAULT_COMES: Duration = Duration::from_secs(2);

/// The plugin.
pub(crate) struct ServiceAccount;

#[async_trait]
impl Admission for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }

    fn handles(&self, attributes: &Attributes) -> bool {
        attributes.operation == Operation::Create && attributes.is_core("pods")
    }

    async fn mutate(&self, request: &mut Request<'_>, reader: &dyn Reader) -> Result<(), ApiError> {
        let pod = &request.object;
        if pod.pointer("/metadata/annotations").is_some_and(|annotations| annotations.get(MIRROR).is_some()) {
            return check_mirror(request);
        }
        let name = match text(pod, "/spec/serviceAccountName") {
            "" => "default",
            name => name,
        }
        .to_owned();
        let namespace = request.attributes.namespace.clone();
        let account = match name.as_str() {
            "default" => reader.wait(("", "serviceaccounts"), &namespace, &name, DEFAULT_COMES).await,
            name => reader.get("", "serviceaccounts", &namespace, name),
        };
        let Some(account) = account else {
            let why = format!("error looking up service account {namespace}/{name}: serviceaccount {name:?} not found");
            return Err(forbidden(request, &why));
        };
        let pod = &mut request.object;
        let spec = child(pod, "spec");
        spec.insert("serviceAccountName".to_owned(), json!(name));
        spec.insert("serviceAccount".to_owned(), json!(name));
        fill(pod, &account);
        Ok(())
    }
}

fn check_mirror(request: &Request<'_>) -> Result<(), ApiError> {
    let pod = &request.object;
    if !text(pod, "/spec/serviceAccountName").is_empty() {
        return Err(forbidden(request, "a mirror pod may not reference service accounts"));
    }
    let token =
        |volume: &Value| items(volume, "/projected/sources").any(|source| source.get("serviceAccountToken").is_some());
    if items(pod, "/spec/volumes").any(token) {
        return Err(forbidden(request, "a mirror pod may not use ServiceAccountToken volume projections"));
    }
    Ok(())
}

fn fill(pod: &mut Value, account: &Object) {
    let account = account.value();
    let wish = |object: &Value, pointer: &str| object.pointer(pointer).and_then(Value::as_bool);
    let automount = wish(pod, "/spec/automountServiceAccountToken")
        .or_else(|| wish(&account, "/automountServiceAccountToken"))
        .unwrap_or(true);
    if automount {
        mount_token(&mut pod["spec"]);
    }
    let secrets: Vec<Value> = items(&account, "/imagePullSecrets").cloned().collect();
    if items(pod, "/spec/imagePullSecrets").next().is_none() && !secrets.is_empty() {
        child(pod, "spec").insert("imagePullSecrets".to_owned(), json!(secrets));
    }
}

/// Mounts the token into all containers that have nothing at its place.
fn mount_token(spec: &mut Value) {
    let own = items(spec, "/volumes").map(|volume| text(volume, "/name")).find(|name| name.starts_with(VOLUME_PREFIX));
    let existing = own.map(str::to_owned);
    let volume = existing.clone().unwrap_or_else(volume_name);
    let mount = json!({"name": volume, "readOnly": true, "mountPath": MOUNT_PATH});
    let mut needed = false;
    for containers in ["initContainers", "containers"] {
        let Some(containers) = spec.get_mut(containers).and_then(Value::as_array_mut) else { continue };
        for container in containers {
            if !items(container, "/volumeMounts").any(|mount| text(mount, "/mountPath") == MOUNT_PATH) {
                list(container, "volumeMounts").push(mount.clone());
                needed = true;
            }
        }
    }
    if needed && existing.is_none() {
        list(spec, "volumes").push(token_volume(&volume));
    }
}

fn volume_name() -> String {
    let mut random = rand::rng();
    let suffix = (0..5).map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())]));
    VOLUME_PREFIX.chars().chain(suffix).collect()
}

/// The token, the cluster's certificate and the namespace.
fn token_volume(name: &str) -> Value {
    json!({"name": name, "projected": {"defaultMode": 0o644, "sources": [
        // Compat: the odd seven seconds tell kubelets' own tokens from others.
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [
            {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
    ]}})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Cluster, outcome};

    fn account(name: &str, more: Value) -> (&'static str, Value) {
        let mut value = json!({"kind": "ServiceAccount", "metadata": {"name": name, "namespace": "a"}});
        value.as_object_mut().expect("an object").extend(more.as_object().expect("fields").clone());
        ("serviceaccounts", value)
    }

    #[tokio::test]
    async fn pods_get_an_account_and_its_token() {
        let cluster = Cluster::new([
            account("default", json!({"imagePullSecrets": [{"name": "s"}]})),
            account("quiet", json!({"automountServiceAccountToken": false})),
        ]);
        let pod = |spec: Value| cluster.create("pods", "a", json!({"metadata": {"name": "p"}, "spec": spec}));
        let made =
            outcome(&ServiceAccount, &cluster, pod(json!({"containers": [{"name": "c"}]}))).await.expect("a pod");
        let spec = &made["spec"];
        let volume = spec["volumes"][0]["name"].as_str().expect("a volume");
        assert!(volume.starts_with(VOLUME_PREFIX) && volume.len() == VOLUME_PREFIX.len() + 5, "{volume}");
        assert_eq!(
            spec["containers"][0]["volumeMounts"][0],
            json!({"name": volume, "readOnly": true, "mountPath": MOUNT_PATH})
        );
        assert_eq!(
            (&spec["serviceAccountName"], &spec["imagePullSecrets"]),
            (&json!("default"), &json!([{"name": "s"}]))
        );
        let quiet = json!({"serviceAccountName": "quiet", "containers": [{"name": "c"}]});
        let made = outcome(&ServiceAccount, &cluster, pod(quiet)).await.expect("a pod");
        assert_eq!(made["spec"].get("volumes"), None);
        let error =
            outcome(&ServiceAccount, &cluster, pod(json!({"serviceAccountName": "x"}))).await.expect_err("missing");
        let text = "pods \"p\" is forbidden: error looking up service account a/x: serviceaccount \"x\" not found";
        assert_eq!(error, text);
    }
}
