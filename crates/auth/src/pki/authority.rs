//! A certificate authority, and what it issues.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::{PkiError, files};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// How long an authority is valid.
const AUTHORITY_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// How long what it issues is valid.
pub(super) const LEAF_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);

/// What a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A server that is reached by these names and addresses.
    Server {
        /// The common name.
        name: String,
        /// DNS names.
        hosts: Vec<String>,
        /// Addresses.
        addresses: Vec<IpAddr>,
    },
    /// A user of the API.
    Client {
        /// The user's name.
        user: String,
        /// The groups; two at most.
        groups: Vec<String>,
    },
}

/// A certificate with its key. Not `Debug`: the key must not end in a log.
pub struct Leaf {
    /// The certificate.
    pub certificate: CertificateDer<'static>,
    /// The same as PEM.
    pub certificate_pem: String,
    /// Its key as PEM (PKCS#8).
    pub key_pem: String,
    /// From when on a new one should take its place: two thirds of its life.
    pub renew_at: Timestamp,
    key: KeyPair,
}

impl Leaf {
    /// Its key, for rustls.
    pub fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }
}

/// A certificate authority.
#[derive(Debug)]
pub struct Authority {
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Reads `FILE.crt` and `FILE.key` or makes them.
    pub(super) fn open(folder: &Path, file: &str, name: &str, now: Timestamp) -> Result<Self, PkiError> {
        let (certificate_path, key_path) = (folder.join(format!("{file}.crt")), folder.join(format!("{file}.key")));
        let existing = files::read(&certificate_path)?;
        if existing.is_some() && files::read(&key_path)?.is_none() {
            return Err(PkiError::NoKey(key_path));
        }
        let key = files::key(&key_path)?;
        let certificate_pem = match existing {
            Some(pem) => pem,
            None => {
                let pem = self_signed(name, &key, now)?;
                files::write(&certificate_path, &pem)?;
                pem
            }
        };
        let broken = |why: String| PkiError::Broken { path: certificate_path.clone(), why };
        let certificate =
            CertificateDer::from_pem_slice(certificate_pem.as_bytes()).map_err(|error| broken(error.to_string()))?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(|error| broken(error.to_string()))?;
        Ok(Self { certificate, certificate_pem, issuer })
    }

    /// Its own certificate, for kubeconfigs and `kube-root-ca.crt`.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Its own certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    pub(super) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    /// A new key with a certificate, valid for a year.
    pub fn issue(&self, purpose: &Purpose, now: Timestamp) -> Result<Leaf, PkiError> {
        let subject = purpose.name();
        let failed = |error: rcgen::Error| PkiError::Issue { subject: subject.to_owned(), why: error.to_string() };
        let params = purpose.params(now).map_err(|why| PkiError::Issue { subject: subject.to_owned(), why })?;
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        Ok(Leaf {
            certificate: certificate.der().clone(),
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            renew_at: now + LEAF_LIFE * 2 / 3,
            key,
        })
    }
}

impl Purpose {
    fn name(&self) -> &str {
        match self {
            Self::Server { name, .. } => name,
            Self::Client { user, .. } => user,
        }
    }

    fn params(&self, now: Timestamp) -> Result<CertificateParams, String> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        valid_for(&mut params, now, LEAF_LIFE);
        match self {
            Self::Server { hosts, addresses, .. } => {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
                for host in hosts {
                    let host = host.as_str().try_into().map_err(|error| format!("{host}: {error}"))?;
                    params.subject_alt_names.push(SanType::DnsName(host));
                }
                params.subject_alt_names.extend(addresses.iter().copied().map(SanType::IpAddress));
            }
            Self::Client { groups, .. } => {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
                // The library keeps one value a type, so the second organization goes by the type's number.
                let types = [DnType::OrganizationName, DnType::CustomDnType(vec![2, 5, 4, 10])];
                if groups.len() > types.len() {
                    return Err(format!("a certificate holds at most {} groups", types.len()));
                }
                for (kind, group) in types.into_iter().zip(groups) {
                    params.distinguished_name.push(kind, group.as_str());
                }
            }
        }
        params.distinguished_name.push(DnType::CommonName, self.name());
        Ok(params)
    }
}

fn self_signed(name: &str, key: &KeyPair, now: Timestamp) -> Result<String, PkiError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid_for(&mut params, now, AUTHORITY_LIFE);
    let certificate = params
        .self_signed(key)
        .map_err(|error| PkiError::Issue { subject: name.to_owned(), why: error.to_string() })?;
    Ok(certificate.pem())
}

/// From a day ago, for clocks that go behind.
fn valid_for(params: &mut CertificateParams, now: Timestamp, life: Duration) {
    let now = Duration::from_secs(u64::try_from(now.as_second()).unwrap_or_default());
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(DAY);
    params.not_after = epoch + now + life;
}
