//! JSON Web Tokens with ES256, in their compact form.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use rcgen::{KeyPair, PublicKeyData};
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, UnparsedPublicKey};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A key that cannot sign.
#[derive(Debug, thiserror::Error)]
#[error("the service-account key cannot sign: {0}")]
pub struct SignerError(String);

/// One key, named as upstream names it: by the digest of its public half.
pub struct Signer {
    key: EcdsaKeyPair,
    /// Uncompressed point: 4, x, y.
    public: Vec<u8>,
    id: String,
    random: SystemRandom,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: String,
}

impl Signer {
    /// With a P-256 key.
    pub fn new(key: &KeyPair) -> Result<Self, SignerError> {
        let random = SystemRandom::new();
        let id = BASE64.encode(digest(&SHA256, &key.subject_public_key_info()));
        let public = key.public_key_raw().to_vec();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.serialized_der(), &random)
            .map_err(|error| SignerError(error.to_string()))?;
        Ok(Self { key, public, id, random })
    }

    /// The public half as a key set.
    pub(super) fn jwks(&self) -> Value {
        let coordinates = self.public.get(1..).unwrap_or_default();
        let (x, y) = coordinates.split_at(coordinates.len() / 2);
        json!({"keys": [{
            "use": "sig", "kty": "EC", "kid": self.id, "crv": "P-256", "alg": "ES256",
            "x": BASE64.encode(x), "y": BASE64.encode(y),
        }]})
    }

    pub(super) fn sign(&self, claims: &impl Serialize) -> Result<String, SignerError> {
        let header = json!({"alg": "ES256", "kid": self.id}).to_string();
        let claims = serde_json::to_vec(claims).map_err(|error| SignerError(error.to_string()))?;
        let content = format!("{}.{}", BASE64.encode(header), BASE64.encode(claims));
        let signature =
            self.key.sign(&self.random, content.as_bytes()).map_err(|_| SignerError("no randomness".to_owned()))?;
        Ok(format!("{content}.{}", BASE64.encode(signature)))
    }

    /// The claims, if the signature holds.
    pub(super) fn verify<T: DeserializeOwned>(&self, token: &str) -> Result<T, String> {
        let invalid = || "invalid signature".to_owned();
        let (content, signature) = token.rsplit_once('.').ok_or_else(invalid)?;
        let (header, claims) = content.split_once('.').ok_or_else(invalid)?;
        let header: Header = decode(header).ok_or_else(invalid)?;
        if header.alg != "ES256" {
            return Err(invalid());
        }
        if !header.kid.is_empty() && header.kid != self.id {
            return Err("invalid signature, no keys found".to_owned());
        }
        let signature = BASE64.decode(signature).map_err(|_| invalid())?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.public)
            .verify(content.as_bytes(), &signature)
            .map_err(|_| invalid())?;
        decode(claims).ok_or_else(invalid)
    }
}

/// The claims, whoever signed them. To be believed in nothing but where to look next.
pub(super) fn unverified<T: DeserializeOwned>(token: &str) -> Option<T> {
    let mut parts = token.split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() { None } else { decode(claims) }
}

fn decode<T: DeserializeOwned>(part: &str) -> Option<T> {
    serde_json::from_slice(&BASE64.decode(part).ok()?).ok()
}
