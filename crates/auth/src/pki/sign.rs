//! Certificates for those who ask by a CertificateSigningRequest: what each of upstream's signers lets through.

use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DnType, DnValue, ExtendedKeyUsagePurpose as Extended, IsCa,
    KeyUsagePurpose as Usage, SanType,
};
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509CertificationRequest};

use super::authority::{Authority, LEAF_LIFE};

/// Clocks may go behind by so much; short certificates are not made longer by it.
const BACKDATE: Duration = Duration::from_secs(5 * 60);
const SHORT: Duration = Duration::from_secs(8 * 3600);
const SHORTEST: Duration = Duration::from_secs(10 * 60);

const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SigningRequest {
    /// The signer's name.
    pub signer: String,
    /// The request, PEM.
    pub pem: String,
    /// For example `client auth`.
    pub usages: Vec<String>,
    /// How long it should be valid.
    pub expiration: Option<Duration>,
}

impl Authority {
    /// Signs a request. `None` where the signer is somebody else's; an error says why this one refuses.
    pub fn sign(&self, request: &SigningRequest, now: Timestamp) -> Option<Result<String, String>> {
        let known = [CLIENT, KUBELET_CLIENT, KUBELET_SERVING].contains(&request.signer.as_str());
        known.then(|| {
            let mut asked =
                CertificateSigningRequestParams::from_pem(&request.pem).map_err(|error| error.to_string())?;
            check(&request.signer, &asked.params, &request.usages)?;
            let life = request.expiration.map_or(LEAF_LIFE, |wanted| wanted.clamp(SHORTEST, LEAF_LIFE));
            asked.params.is_ca = IsCa::ExplicitNoCa;
            asked.params.key_usages = request.usages.iter().filter_map(|usage| plain(usage)).collect();
            asked.params.extended_key_usages = request.usages.iter().filter_map(|usage| extended(usage)).collect();
            asked.params.use_authority_key_identifier_extension = true;
            let since_epoch = Duration::from_secs(u64::try_from(now.as_second()).unwrap_or_default());
            let backdate = if life < SHORT { Duration::ZERO } else { BACKDATE };
            let epoch = rcgen::date_time_ymd(1970, 1, 1);
            asked.params.not_before = epoch + since_epoch.saturating_sub(backdate);
            asked.params.not_after = epoch + since_epoch.saturating_sub(backdate) + life;
            asked.signed_by(self.issuer()).map(|certificate| certificate.pem()).map_err(|error| error.to_string())
        })
    }
}

/// The organizations that a request (PEM) names: the groups of whoever would hold the certificate.
pub fn organizations(pem: &[u8]) -> Result<Vec<String>, String> {
    let der = CertificateSigningRequestDer::from_pem_slice(pem).map_err(|error| error.to_string())?;
    let (_, request) = X509CertificationRequest::from_der(&der).map_err(|error| error.to_string())?;
    let subject = &request.certification_request_info.subject;
    Ok(subject.iter_organization().filter_map(|group| group.as_str().ok()).map(str::to_owned).collect())
}

/// Whether a signer lets a request through, in upstream's words.
fn check(signer: &str, asked: &CertificateParams, usages: &[String]) -> Result<(), String> {
    let optional = ["digital signature", "key encipherment"];
    if signer == CLIENT {
        let allowed = |usage: &&String| *usage == "client auth" || optional.contains(&usage.as_str());
        if let Some(usage) = usages.iter().find(|usage| !allowed(usage)) {
            return Err(format!("invalid usage for client certificate: {usage}"));
        }
        let has = usages.iter().any(|usage| usage == "client auth");
        return if has { Ok(()) } else { Err("missing required usage for client certificate: client auth".to_owned()) };
    }
    check_kubelet(signer == KUBELET_SERVING, asked, usages)
}

fn check_kubelet(serving: bool, asked: &CertificateParams, usages: &[String]) -> Result<(), String> {
    let subject = |kind: &DnType| asked.distinguished_name.get(kind).map(value).unwrap_or_default();
    let hosts = |name: &SanType| matches!(name, SanType::DnsName(_) | SanType::IpAddress(_));
    let names = &asked.subject_alt_names;
    let why = if subject(&DnType::OrganizationName) != "system:nodes" {
        "subject organization is not system:nodes"
    } else if serving && !names.iter().any(hosts) {
        "DNS or IP subjectAltName is required"
    } else if !serving && names.iter().any(|name| matches!(name, SanType::DnsName(_))) {
        "DNS subjectAltNames are not allowed"
    } else if names.iter().any(|name| matches!(name, SanType::Rfc822Name(_))) {
        "Email subjectAltNames are not allowed"
    } else if !serving && names.iter().any(|name| matches!(name, SanType::IpAddress(_))) {
        "IP subjectAltNames are not allowed"
    } else if names.iter().any(|name| matches!(name, SanType::URI(_))) {
        "URI subjectAltNames are not allowed"
    } else if !subject(&DnType::CommonName).starts_with("system:node:") {
        "subject common name does not begin with system:node:"
    } else {
        let own = if serving { "server auth" } else { "client auth" };
        let mut required = vec!["digital signature", "key encipherment", own];
        let mut given: Vec<&str> = usages.iter().map(String::as_str).collect();
        given.sort_unstable();
        required.sort_unstable();
        let without_rsa: Vec<&str> = required.iter().copied().filter(|usage| *usage != "key encipherment").collect();
        if given == required || given == without_rsa {
            return Ok(());
        }
        return Err(format!("usages did not match [{}]", required.join(" ")));
    };
    Err(why.to_owned())
}

fn value(value: &DnValue) -> String {
    match value {
        DnValue::Utf8String(text) => text.clone(),
        DnValue::PrintableString(text) => text.as_str().to_owned(),
        DnValue::Ia5String(text) => text.as_str().to_owned(),
        DnValue::TeletexString(text) => text.as_str().to_owned(),
        _ => String::new(),
    }
}

fn plain(usage: &str) -> Option<Usage> {
    Some(match usage {
        "digital signature" | "signing" => Usage::DigitalSignature,
        "content commitment" => Usage::ContentCommitment,
        "key encipherment" => Usage::KeyEncipherment,
        "key agreement" => Usage::KeyAgreement,
        "data encipherment" => Usage::DataEncipherment,
        _ => return None,
    })
}

fn extended(usage: &str) -> Option<Extended> {
    Some(match usage {
        "client auth" => Extended::ClientAuth,
        "server auth" => Extended::ServerAuth,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use rcgen::KeyPair;

    use super::super::Pki;
    use super::*;

    fn request(subject: &[(DnType, &str)]) -> String {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        subject.iter().for_each(|(kind, value)| params.distinguished_name.push(kind.clone(), *value));
        let key = KeyPair::generate().expect("a key");
        params.serialize_request(&key).expect("a request").pem().expect("as PEM")
    }

    #[test]
    fn a_request_names_its_organizations() {
        let again = DnType::CustomDnType(vec![2, 5, 4, 10]);
        let pem = request(&[(DnType::OrganizationName, "a"), (again, "system:masters"), (DnType::CommonName, "c")]);
        assert_eq!(organizations(pem.as_bytes()), Ok(vec!["a".to_owned(), "system:masters".to_owned()]));
        assert!(organizations(b"nothing").is_err());
    }

    #[test]
    fn signers_refuse_what_is_not_theirs() {
        let folder = tempfile::tempdir().expect("a folder");
        let now = "2026-01-01T00:00:00Z".parse().expect("a time");
        let pki = Pki::open(folder.path(), now).expect("authorities");
        let check = |signer: &str, subject: &[(DnType, &str)], usages: &[&str], expected: Option<Result<(), &str>>| {
            let usages = usages.iter().map(|usage| (*usage).to_owned()).collect();
            let asked = SigningRequest { signer: signer.to_owned(), pem: request(subject), usages, expiration: None };
            let found = pki.cluster.sign(&asked, now);
            let outcome = found.as_ref().map(|found| found.as_ref().map(|_| ()).map_err(String::as_str));
            assert_eq!(outcome, expected, "{asked:?}");
        };
        let someone = [(DnType::CommonName, "someone")];
        check("example.com/own", &someone, &["client auth"], None);
        check(CLIENT, &someone, &["client auth"], Some(Ok(())));
        check(
            CLIENT,
            &someone,
            &["key encipherment"],
            Some(Err("missing required usage for client certificate: client auth")),
        );
        check(CLIENT, &someone, &["server auth"], Some(Err("invalid usage for client certificate: server auth")));
        let usages = ["digital signature", "client auth"];
        check(KUBELET_CLIENT, &someone, &usages, Some(Err("subject organization is not system:nodes")));
        let node = [(DnType::OrganizationName, "system:nodes"), (DnType::CommonName, "system:node:a")];
        check(KUBELET_CLIENT, &node, &usages, Some(Ok(())));
        check(KUBELET_SERVING, &node, &usages, Some(Err("DNS or IP subjectAltName is required")));
    }
}
