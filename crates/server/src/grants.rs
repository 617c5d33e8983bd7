//! Nobody grants what they don't hold: writes of roles and bindings, requests for certificates and approvals of them, on their
//! way into the registry.

use std::sync::Arc;

use async_trait::async_trait;
use auth::rbac::{Escalation, Rbac, RoleRef, Rule};
use auth::{Attributes, Authorizer, MASTERS};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use meta::{ApiError, UserInfo};
use registry::{Admission, Operation, Reader, Request};
use serde::de::DeserializeOwned;
use serde_json::Value;

const RBAC: &str = "rbac.authorization.k8s.io";
const CERTIFICATES: &str = "certificates.k8s.io";
/// Signs certificates of users.
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

/// Checks what a write would grant.
pub struct Grants {
    /// What everyone holds.
    pub rbac: Arc<Rbac>,
    /// Decides who may `escalate`, `bind` and `approve`.
    pub authorizer: Arc<dyn Authorizer>,
}

#[async_trait]
impl Admission for Grants {
    fn name(&self) -> &'static str {
        "Grants"
    }

    fn handles(&self, attributes: &registry::Attributes) -> bool {
        let writes = matches!(attributes.operation, Operation::Create | Operation::Update);
        match attributes.resource.group.as_str() {
            RBAC => writes,
            CERTIFICATES => match attributes.subresource.as_str() {
                "" => attributes.operation == Operation::Create,
                "approval" | "status" => writes,
                _ => false,
            },
            _ => false,
        }
    }

    async fn validate(&self, request: &Request<'_>, _reader: &dyn Reader) -> Result<(), ApiError> {
        let attributes = &request.attributes;
        if attributes.resource.group == CERTIFICATES {
            return if attributes.subresource.is_empty() { check_subject(request) } else { self.check_signer(request) };
        }
        if request.old.is_some_and(|old| only_collects(&request.object, old)) {
            return Ok(());
        }
        let escalation = Escalation {
            user: &attributes.user,
            authorizer: &*self.authorizer,
            rbac: &self.rbac,
            namespace: &attributes.namespace,
            name: &attributes.name,
        };
        match attributes.resource.resource.as_str() {
            "roles" | "clusterroles" => {
                let rules: Vec<Rule> = read(&request.object["rules"])?;
                let aggregates = |object: &Value| object["aggregationRule"].is_object();
                let aggregating = aggregates(&request.object) || request.old.is_some_and(aggregates);
                escalation.check_role(&rules, aggregating)
            }
            _ => escalation.check_binding(&read::<RoleRef>(&request.object["roleRef"])?),
        }
    }
}

impl Grants {
    /// Compat: upstream's CertificateApproval and CertificateSigning plugins.
    fn check_signer(&self, request: &Request<'_>) -> Result<(), ApiError> {
        let attributes = &request.attributes;
        // As it is stored: the request can't name another signer for its own approval.
        let before = request.old.unwrap_or(&Value::Null);
        let signer = before["spec"]["signerName"].as_str().unwrap_or_default();
        let verb = match attributes.subresource.as_str() {
            "approval" => "approve",
            _ if request.object["status"]["certificate"] == before["status"]["certificate"]
                && request.object["status"]["conditions"] == before["status"]["conditions"] =>
            {
                return Ok(());
            }
            _ => "sign",
        };
        if self.may(&attributes.user, verb, signer) {
            return Ok(());
        }
        let why = format!("user not permitted to {verb} requests with signerName {signer:?}");
        Err(ApiError::forbidden(&attributes.resource, &attributes.name, &why))
    }

    /// A signer is named in full, or with all others of its domain.
    fn may(&self, user: &UserInfo, verb: &str, signer: &str) -> bool {
        let domain = format!("{}/*", signer.split('/').next().unwrap_or_default());
        [signer, &domain].into_iter().any(|name| {
            let attributes = Attributes::resource(user, verb, CERTIFICATES, "signers").at("", name);
            self.authorizer.authorize(&attributes).allowed()
        })
    }
}

/// Compat: upstream's CertificateSubjectRestriction plugin.
fn check_subject(request: &Request<'_>) -> Result<(), ApiError> {
    let (attributes, spec) = (&request.attributes, &request.object["spec"]);
    if attributes.resource.resource != "certificatesigningrequests" || spec["signerName"] != CLIENT_SIGNER {
        return Ok(());
    }
    let refuse = |why: &str| Err(ApiError::forbidden(&attributes.resource, &attributes.name, why));
    let pem = STANDARD.decode(spec["request"].as_str().unwrap_or_default()).unwrap_or_default();
    match auth::pki::organizations(&pem) {
        Err(why) => refuse(&format!("failed to parse CSR: {why}")),
        Ok(groups) if groups.iter().any(|group| group == MASTERS) => {
            refuse(&format!("use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed"))
        }
        Ok(_) => Ok(()),
    }
}

fn read<T: DeserializeOwned + Default>(value: &Value) -> Result<T, ApiError> {
    let read = serde_json::from_value::<Option<T>>(value.clone());
    read.map(Option::unwrap_or_default).map_err(|error| ApiError::bad_request(error.to_string()))
}

/// Whether an update changes only what the garbage collector writes.
fn only_collects(new: &Value, old: &Value) -> bool {
    let rest = |object: &Value| {
        let mut object = object.clone();
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            for name in ["ownerReferences", "finalizers", "managedFields", "resourceVersion"] {
                metadata.remove(name);
            }
        }
        object
    };
    rest(new) == rest(old)
}

#[cfg(test)]
mod tests {
    use auth::Masters;
    use meta::{Gvk, Gvr};
    use serde_json::json;

    use super::*;

    fn request<'a>(resource: (&str, &str), subresource: &str, object: Value, old: Option<&'a Value>) -> Request<'a> {
        let attributes = registry::Attributes {
            user: UserInfo::new("ann", &[]),
            resource: Gvr::new(resource.0, "v1", resource.1),
            kind: Gvk::new(resource.0, "v1", "X"),
            namespace: String::new(),
            name: "a".to_owned(),
            subresource: subresource.to_owned(),
            operation: if old.is_some() { Operation::Update } else { Operation::Create },
            dry_run: false,
        };
        Request::new(attributes, object, old)
    }

    // Subjects O=dev, O=system:masters, CN=a and O=dev, CN=a.
    const MASTER: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIdU1JR1ZBZ0VBTURNeEREQUtCZ05WQkFvTUEyUmxkakVYTUJV\
        R0ExVUVDZ3dPYzNsemRHVnRPbTFoYzNSbApjbk14Q2pBSUJnTlZCQU1NQVdFd1dUQVRCZ2NxaGtqT1BRSUJCZ2dxaGtqT1BRTUJC\
        d05DQUFTNTR4ZjBweGw4CmpoTE5OcVRoME5wa3RTUElteTk1Vkh6bXdXWTQ0M2xSNGRrczIrbVZJN1h5RVQ5YUE2WUEyTE0vZmVo\
        UkM1ZlQKQnJQL0xQN3labWJYb0FBd0NnWUlLb1pJemowRUF3SURTQUF3UlFJaEFLOTNvVzcxRU8raS8vaHBDZUpMeDRxSgppOVhW\
        SVkraWlqWkV0dXNLYVFlSkFpQWJLNUhmdzZBQWZwRTRIYnFLcFl3ckpiNlpsaWh6ak9TaG16bUNCNXE1CmR3PT0KLS0tLS1FTkQg\
        Q0VSVElGSUNBVEUgUkVRVUVTVC0tLS0tCg==";
    const USER: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIVU1Id0NBUUF3R2pFTU1Bb0dBMVVFQ2d3RFpHVjJNUW93Q0FZ\
        RFZRUUREQUZoTUZrd0V3WUhLb1pJemowQwpBUVlJS29aSXpqMERBUWNEUWdBRWhLQW14c0ZZSkptV1kwWDFMR0hMZkdmQlVBMXUx\
        bnExM0lmUnR1c21TNjBBCnUxaS80NFdhaGV3SjBJbDk3NFdOaXFpbExSN3JXSVUyeXhpbm5vYXlYNkFBTUFvR0NDcUdTTTQ5QkFN\
        Q0EwZ0EKTUVVQ0lBWkdqcCtSTTRXdmxJc2dYS0xxTHE5L1ZPbmhGa1lESmxZMXQzcTNmZHJ4QWlFQTltejF2SG9GY0RQcgprVEFO\
        QW82Ty9rbWhIQmJIUzFGUURKMlNPTC9lY0FrPQotLS0tLUVORCBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0K";

    struct Nothing;

    #[async_trait]
    impl Reader for Nothing {
        fn get(&self, _: &str, _: &str, _: &str, _: &str) -> Option<Arc<meta::Object>> {
            None
        }

        async fn wait(&self, _: (&str, &str), _: &str, _: &str, _: std::time::Duration) -> Option<Arc<meta::Object>> {
            None
        }

        fn list(&self, _: &str, _: &str, _: &str) -> Vec<Arc<meta::Object>> {
            Vec::new()
        }
    }

    #[tokio::test]
    async fn nobody_grants_what_they_do_not_hold() {
        let grants = Grants { rbac: Arc::default(), authorizer: Arc::new(Masters) };
        let rule = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"]}]);
        let role = json!({"metadata": {"name": "a"}, "rules": rule});
        let check = async |request: Request<'_>, code: Option<u16>| {
            let handled = grants.handles(&request.attributes);
            let found = if handled { grants.validate(&request, &Nothing).await.err() } else { None };
            let found = found.map(|error| error.code());
            assert_eq!(found, code, "{:?}", request.attributes.resource);
        };
        check(request((RBAC, "clusterroles"), "", role.clone(), None), Some(403)).await;
        check(request((RBAC, "clusterroles"), "", json!({"rules": null}), None), None).await;
        let collected = json!({"metadata": {"name": "a", "finalizers": ["x"]}, "rules": rule});
        check(request((RBAC, "clusterroles"), "", collected, Some(&role)), None).await;
        let binding = json!({"roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "none"}});
        check(request((RBAC, "clusterrolebindings"), "", binding, None), Some(404)).await;
        let asked = |signer: &str, pem: &str| {
            let csr = json!({"spec": {"signerName": signer, "request": pem}});
            request((CERTIFICATES, "certificatesigningrequests"), "", csr, None)
        };
        check(asked(CLIENT_SIGNER, MASTER), Some(403)).await;
        check(asked(CLIENT_SIGNER, USER), None).await;
        check(asked("example.com/a", MASTER), None).await;
        let csr = json!({"spec": {"signerName": "example.com/a"}});
        check(request((CERTIFICATES, "certificatesigningrequests"), "approval", csr.clone(), Some(&csr)), Some(403))
            .await;
        let mut masters = request((CERTIFICATES, "certificatesigningrequests"), "approval", csr.clone(), Some(&csr));
        masters.attributes.user = UserInfo::new("root", &["system:masters"]);
        check(masters, None).await;
    }
}
