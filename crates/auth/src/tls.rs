//! The server's side of TLS: certificates that renew themselves, and clients that may show one.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use meta::{Clock, UserInfo};
use rustls::client::ResolvesClientCert;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::certificate;
use crate::pki::{Authority, Pki, PkiError, Purpose};

/// What cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate cannot be made.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The library refuses a certificate or setting.
    #[error("setting up TLS: {0}")]
    Tls(String),
}

/// What a connection's certificate says about who is there. Found once a connection.
#[derive(Clone, Debug)]
pub enum Peer {
    /// No certificate was shown.
    Nobody,
    /// A valid one was shown.
    Known(Arc<UserInfo>),
    /// One was shown that does not count: expired, of another authority, without a name.
    Refused,
}

/// Checks certificates of clients against the cluster's authority.
///
/// The handshake takes any certificate whose key the client holds, and [`Self::peer`] judges it: a client with an expired
/// one is answered `Unauthorized`, as upstream does, and not cut off.
#[derive(Debug)]
pub struct PeerVerifier {
    chain: Arc<dyn ClientCertVerifier>,
}

impl PeerVerifier {
    /// Trusts the cluster's authority.
    pub fn new(pki: &Pki) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        roots.add(pki.cluster.certificate().clone()).map_err(|error| TlsError::Tls(error.to_string()))?;
        let chain = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
            .allow_unauthenticated()
            .build()
            .map_err(|error| TlsError::Tls(error.to_string()))?;
        Ok(Self { chain })
    }

    /// Who shows this chain, the client's own certificate first.
    pub fn peer(&self, chain: &[CertificateDer<'_>], now: Timestamp) -> Peer {
        let Some((own, others)) = chain.split_first() else { return Peer::Nobody };
        let since_1970 = std::time::Duration::from_secs(u64::try_from(now.as_second()).unwrap_or_default());
        let verified = self.chain.verify_client_cert(own, others, UnixTime::since_unix_epoch(since_1970));
        match verified.ok().and_then(|_| certificate::user(own)) {
            Some(user) => Peer::Known(Arc::new(user)),
            None => Peer::Refused,
        }
    }
}

impl ClientCertVerifier for PeerVerifier {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// A certificate of our own, renewed by the first handshake after two thirds of its life.
struct Renewed {
    pki: Arc<Pki>,
    authority: fn(&Pki) -> &Authority,
    purpose: Purpose,
    clock: Arc<dyn Clock>,
    current: Mutex<(Timestamp, Arc<CertifiedKey>)>,
}

impl Renewed {
    fn new(
        pki: Arc<Pki>,
        authority: fn(&Pki) -> &Authority,
        purpose: Purpose,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, TlsError> {
        let current = Mutex::new(issue(authority(&pki), &purpose, clock.now())?);
        Ok(Self { pki, authority, purpose, clock, current })
    }

    fn current(&self) -> Arc<CertifiedKey> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        if now >= current.0 {
            match issue((self.authority)(&self.pki), &self.purpose, now) {
                Ok(renewed) => *current = renewed,
                Err(error) => tracing::error!(%error, purpose = ?self.purpose, "renewing a certificate"),
            }
        }
        Arc::clone(&current.1)
    }
}

impl std::fmt::Debug for Renewed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Renewed").field("purpose", &self.purpose).finish_non_exhaustive()
    }
}

/// The certificate that a server shows.
#[derive(Debug)]
pub struct ServerCertificate(Renewed);

impl ServerCertificate {
    /// Issues the first.
    pub fn new(pki: Arc<Pki>, purpose: Purpose, clock: Arc<dyn Clock>) -> Result<Self, TlsError> {
        Renewed::new(pki, |pki| &pki.cluster, purpose, clock).map(Self)
    }
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.current())
    }
}

/// The certificate that the API server shows to those who answer in its place: it may tell them who is asking.
#[derive(Debug)]
pub struct FrontProxyCertificate(Renewed);

impl FrontProxyCertificate {
    /// The name in it.
    pub const NAME: &str = "front-proxy-client";

    /// Issues the first.
    pub fn new(pki: Arc<Pki>, clock: Arc<dyn Clock>) -> Result<Self, TlsError> {
        let purpose = Purpose::Client { user: Self::NAME.to_owned(), groups: Vec::new() };
        Renewed::new(pki, |pki| &pki.front_proxy, purpose, clock).map(Self)
    }
}

impl ResolvesClientCert for FrontProxyCertificate {
    fn resolve(&self, _issuers: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.current())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn issue(authority: &Authority, purpose: &Purpose, now: Timestamp) -> Result<(Timestamp, Arc<CertifiedKey>), TlsError> {
    let leaf = authority.issue(purpose, now)?;
    let key = CertifiedKey::from_der(vec![leaf.certificate.clone()], leaf.key(), &provider());
    Ok((leaf.renew_at, Arc::new(key.map_err(|error| TlsError::Tls(error.to_string()))?)))
}

/// A server that offers HTTP/2 and HTTP/1.1, and asks clients for a certificate without insisting.
pub fn server_config(peers: Arc<PeerVerifier>, certificate: Arc<ServerCertificate>) -> Result<ServerConfig, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Tls(error.to_string()))?;
    let mut config = builder.with_client_cert_verifier(peers).with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(default_provider())
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
