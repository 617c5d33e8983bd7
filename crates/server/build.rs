//! Writes down what the API's documentation says of types and fields, from the schemas that k8s-openapi has of them: one
//! compressed table, so that the program neither holds nor builds those schemas.

use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// Adds types of one module, and all that they refer to.
macro_rules! add {
    ($generator:ident, $module:path, $($kind:ident)+) => {{
        use $module as module;
        $($generator.subschema_for::<module::$kind>();)+
    }};
}

fn add_kinds(generator: &mut SchemaGenerator) {
    add!(
        generator, k8s_openapi::api::admissionregistration::v1,
        MutatingAdmissionPolicy MutatingAdmissionPolicyBinding MutatingWebhookConfiguration
        ValidatingAdmissionPolicy ValidatingAdmissionPolicyBinding ValidatingWebhookConfiguration
    );
    add!(
        generator, k8s_openapi::api::admissionregistration::v1alpha1,
        MutatingAdmissionPolicy MutatingAdmissionPolicyBinding
    );
    add!(
        generator, k8s_openapi::api::admissionregistration::v1beta1,
        MutatingAdmissionPolicy MutatingAdmissionPolicyBinding
    );
    add!(generator, k8s_openapi::api::apiserverinternal::v1alpha1, StorageVersion);
    add!(generator, k8s_openapi::api::apps::v1, ControllerRevision DaemonSet Deployment ReplicaSet StatefulSet);
    add!(generator, k8s_openapi::api::authentication::v1, SelfSubjectReview TokenRequest TokenReview);
    add!(
        generator, k8s_openapi::api::authorization::v1,
        LocalSubjectAccessReview SelfSubjectAccessReview SelfSubjectRulesReview SubjectAccessReview
    );
    add!(generator, k8s_openapi::api::autoscaling::v1, HorizontalPodAutoscaler Scale);
    add!(generator, k8s_openapi::api::autoscaling::v2, HorizontalPodAutoscaler);
    add!(generator, k8s_openapi::api::batch::v1, CronJob Job);
    add!(generator, k8s_openapi::api::certificates::v1, CertificateSigningRequest);
    add!(generator, k8s_openapi::api::certificates::v1alpha1, ClusterTrustBundle);
    add!(generator, k8s_openapi::api::certificates::v1beta1, ClusterTrustBundle PodCertificateRequest);
    add!(generator, k8s_openapi::api::coordination::v1, Lease);
    add!(generator, k8s_openapi::api::coordination::v1alpha2, LeaseCandidate);
    add!(generator, k8s_openapi::api::coordination::v1beta1, LeaseCandidate);
    add!(
        generator, k8s_openapi::api::core::v1,
        Binding ComponentStatus ConfigMap Endpoints Event LimitRange Namespace Node PersistentVolume
        PersistentVolumeClaim Pod PodTemplate ReplicationController ResourceQuota Secret Service ServiceAccount
    );
    add!(generator, k8s_openapi::api::discovery::v1, EndpointSlice);
    add!(generator, k8s_openapi::api::events::v1, Event);
    add!(generator, k8s_openapi::api::flowcontrol::v1, FlowSchema PriorityLevelConfiguration);
    add!(generator, k8s_openapi::api::networking::v1, IPAddress Ingress IngressClass NetworkPolicy ServiceCIDR);
    add!(generator, k8s_openapi::api::networking::v1beta1, IPAddress ServiceCIDR);
    add!(generator, k8s_openapi::api::node::v1, RuntimeClass);
    add!(generator, k8s_openapi::api::policy::v1, Eviction PodDisruptionBudget);
    add!(generator, k8s_openapi::api::rbac::v1, ClusterRole ClusterRoleBinding Role RoleBinding);
    add!(generator, k8s_openapi::api::resource::v1, DeviceClass ResourceClaim ResourceClaimTemplate ResourceSlice);
    add!(generator, k8s_openapi::api::resource::v1alpha3, DeviceTaintRule ResourcePoolStatusRequest);
    add!(generator, k8s_openapi::api::resource::v1beta1, DeviceClass ResourceClaim ResourceClaimTemplate ResourceSlice);
    add!(
        generator, k8s_openapi::api::resource::v1beta2,
        DeviceClass DeviceTaintRule ResourceClaim ResourceClaimTemplate ResourceSlice
    );
    add!(generator, k8s_openapi::api::scheduling::v1, PriorityClass);
    add!(generator, k8s_openapi::api::scheduling::v1alpha2, PodGroup Workload);
    add!(
        generator, k8s_openapi::api::storage::v1,
        CSIDriver CSINode CSIStorageCapacity StorageClass VolumeAttachment VolumeAttributesClass
    );
    add!(generator, k8s_openapi::api::storage::v1beta1, VolumeAttributesClass);
    add!(generator, k8s_openapi::api::storagemigration::v1beta1, StorageVersionMigration);
    add!(generator, k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1, CustomResourceDefinition);
    add!(generator, k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1, APIService);
    add!(generator, k8s_openapi::apimachinery::pkg::apis::meta::v1, APIResourceList DeleteOptions Status);
}

/// `{"TYPE": ["description", {"FIELD": "description"}]}`
fn table(definitions: &Map<String, Value>) -> Map<String, Value> {
    let text = |schema: &Value| schema["description"].as_str().map(str::to_owned);
    let described = |(name, schema): (&String, &Value)| {
        let fields = schema["properties"].as_object().into_iter().flatten();
        let fields: Map<String, Value> =
            fields.filter_map(|(name, schema)| Some((name.clone(), Value::String(text(schema)?)))).collect();
        (name.clone(), json!([text(schema).unwrap_or_default(), fields]))
    };
    definitions.iter().map(described).collect()
}

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let mut generator = SchemaSettings::default().into_generator();
    add_kinds(&mut generator);
    let table = table(generator.definitions());
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(Value::Object(table).to_string().as_bytes()).expect("writing to memory cannot fail");
    let bytes = encoder.finish().expect("writing to memory cannot fail");
    let folder = std::env::var_os("OUT_DIR").expect("cargo names the folder");
    std::fs::write(Path::new(&folder).join("descriptions.json.z"), bytes).expect("cargo made the folder");
}
