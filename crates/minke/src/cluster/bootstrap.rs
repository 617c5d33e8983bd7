//! What every cluster has from its first start: namespaces, roles, classes, the API's own service.

use auth::pki::Pki;
use auth::tls::FrontProxyCertificate;
use meta::{ApiError, Call, Gvr, Reason, ResourcePath, UserInfo, WriteOptions};
use registry::Registry;
use serde_json::{Value, json};

/// The name of what [`authentication`] tells.
pub(super) const AUTHENTICATION: &str = "extension-apiserver-authentication";

/// Makes what isn't there yet, and brings roles up to date.
pub(super) async fn run(registry: &Registry) -> Result<(), ApiError> {
    let user = UserInfo::new("system:apiserver", &["system:masters"]);
    for (resource, namespace, object) in objects() {
        let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        if registry.get_cached(&resource, namespace, name).is_some() {
            continue;
        }
        let path = ResourcePath::collection(resource, namespace);
        match registry.call(&user, &path, Call::Create { object, options: WriteOptions::default() }).await {
            Err(error) if error.reason != Reason::AlreadyExists => return Err(error),
            Ok(_) | Err(_) => {}
        }
    }
    auth::rbac::ensure(|path, call| {
        let user = user.clone();
        async move { registry.call(&user, &path, call).await }
    })
    .await
}

fn objects() -> Vec<(Gvr, &'static str, Value)> {
    let mut objects = Vec::new();
    for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        let namespace = json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name}});
        objects.push((Gvr::new("", "v1", "namespaces"), "", namespace));
    }
    for (name, value, description) in [
        (
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
        (
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
    ] {
        let class = json!({
            "kind": "PriorityClass", "apiVersion": "scheduling.k8s.io/v1", "metadata": {"name": name}, "value": value,
            "description": description, "preemptionPolicy": "PreemptLowerPriority",
        });
        objects.push((Gvr::new("scheduling.k8s.io", "v1", "priorityclasses"), "", class));
    }
    let class = json!({
        "kind": "StorageClass", "apiVersion": "storage.k8s.io/v1",
        "metadata": {"name": "local", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": controllers::PROVISIONER, "reclaimPolicy": "Delete", "volumeBindingMode": "WaitForFirstConsumer",
    });
    objects.push((Gvr::new("storage.k8s.io", "v1", "storageclasses"), "", class));
    let range = json!({
        "kind": "ServiceCIDR", "apiVersion": "networking.k8s.io/v1", "metadata": {"name": "kubernetes"},
        "spec": {"cidrs": [kinds::DEFAULT_SERVICE_CIDR]},
    });
    objects.push((Gvr::new("networking.k8s.io", "v1", "servicecidrs"), "", range));
    objects
}

/// The services that the cluster itself provides.
pub(super) fn services() -> Vec<(Gvr, Value)> {
    let api = json!({
        "kind": "Service", "apiVersion": "v1",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {
            "type": "ClusterIP", "clusterIP": super::control_plane::SERVICE_IP,
            "clusterIPs": [super::control_plane::SERVICE_IP], "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}],
        },
    });
    let names = json!({
        "kind": "Service", "apiVersion": "v1",
        "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": {
            "k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS",
        }},
        "spec": {
            "type": "ClusterIP", "clusterIP": super::node::DNS, "clusterIPs": [super::node::DNS],
            "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": super::node::DNS_PORT},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": super::node::DNS_PORT},
            ],
        },
    });
    let services = || Gvr::new("", "v1", "services");
    vec![(services(), api), (services(), names)]
}

/// What tells aggregated API servers whom to trust: clients by their certificates, and us when we say who is asking.
pub(super) fn authentication(pki: &Pki) -> (Gvr, Value) {
    let data = json!({
        "client-ca-file": pki.cluster.certificate_pem(),
        "requestheader-client-ca-file": pki.front_proxy.certificate_pem(),
        "requestheader-allowed-names": json!([FrontProxyCertificate::NAME]).to_string(),
        "requestheader-username-headers": r#"["X-Remote-User"]"#,
        "requestheader-uid-headers": r#"["X-Remote-Uid"]"#,
        "requestheader-group-headers": r#"["X-Remote-Group"]"#,
        "requestheader-extra-headers-prefix": r#"["X-Remote-Extra-"]"#,
    });
    let metadata = json!({"name": AUTHENTICATION, "namespace": "kube-system"});
    let object = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": data});
    (Gvr::new("", "v1", "configmaps"), object)
}
