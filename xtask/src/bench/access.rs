//! Where an API is and how to come in, from a kubeconfig.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use base64::Engine;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use serde_yaml_ng::Value;

/// What a connection needs.
#[derive(Clone)]
pub(crate) struct Access {
    pub(crate) address: String,
    pub(crate) tls: Arc<ClientConfig>,
    pub(crate) token: Option<String>,
}

/// Reads the first cluster and the first user of a kubeconfig.
pub(crate) fn read(path: &Path) -> anyhow::Result<Access> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let config: Value = serde_yaml_ng::from_str(&text).with_context(|| format!("understand {}", path.display()))?;
    let server = config["clusters"][0]["cluster"]["server"].as_str().context("the kubeconfig has no server")?;
    let user = &config["users"][0]["user"];
    let data = |field: &str| user[field].as_str().map(|text| base64::engine::general_purpose::STANDARD.decode(text));
    let tls = match (data("client-certificate-data").transpose()?, data("client-key-data").transpose()?) {
        (Some(certificate), Some(key)) => {
            let chain = CertificateDer::pem_slice_iter(&certificate).collect::<Result<_, _>>();
            let key = PrivateKeyDer::from_pem_slice(&key).context("understand the client's key")?;
            builder().with_client_auth_cert(chain.context("understand the client's certificate")?, key)?
        }
        _ => anonymous(),
    };
    Ok(Access {
        address: server.trim_start_matches("https://").to_owned(),
        tls: Arc::new(tls),
        token: user["token"].as_str().map(str::to_owned),
    })
}

/// TLS for one who shows no certificate.
pub(crate) fn anonymous() -> ClientConfig {
    builder().with_no_client_auth()
}

fn builder() -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let config = config.expect("ring offers the default versions");
    config.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider)))
}

/// Trusts every server: a measurement goes to a cluster that this program has just booted.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
