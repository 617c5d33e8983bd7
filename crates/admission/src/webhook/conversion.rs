//! Objects of custom resources in another version, as their webhook makes them.

use std::time::Duration;

use async_trait::async_trait;
use registry::{Converter, Reader};
use serde_json::{Value, json};

use super::Caller;
use crate::fields::text;

/// Compat: upstream waits so long.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Asks the webhooks of definitions.
#[derive(Clone, Debug)]
pub struct WebhookConverter(Caller);

impl WebhookConverter {
    /// One that calls so.
    pub fn new(caller: Caller) -> Self {
        Self(caller)
    }
}

#[async_trait]
impl Converter for WebhookConverter {
    async fn convert(
        &self,
        webhook: &Value,
        objects: Vec<Value>,
        api_version: &str,
        reader: &dyn Reader,
    ) -> Result<Vec<Value>, String> {
        let uid = uuid();
        let known = webhook["conversionReviewVersions"].as_array().into_iter().flatten();
        let version =
            known.filter_map(Value::as_str).find(|version| matches!(*version, "v1" | "v1beta1")).unwrap_or("v1");
        let review = json!({
            "kind": "ConversionReview", "apiVersion": format!("apiextensions.k8s.io/{version}"),
            "request": {"uid": uid, "desiredAPIVersion": api_version, "objects": objects},
        });
        let answer = self.0.post(&webhook["clientConfig"], &review, TIMEOUT, reader).await?;
        let response = &answer["response"];
        if text(response, "/uid") != uid {
            return Err(format!(
                "invalid ConversionReview response: expected response.uid={uid:?}, got {:?}",
                text(response, "/uid")
            ));
        }
        if response["result"]["status"] != "Success" {
            return Err(text(response, "/result/message").to_owned());
        }
        let mut converted = response["convertedObjects"].as_array().cloned().unwrap_or_default();
        for (new, old) in converted.iter_mut().zip(&objects) {
            check(new, old, api_version)?;
        }
        Ok(converted)
    }
}

/// A webhook may change an object, not what it is: of metadata only labels and annotations.
fn check(new: &mut Value, old: &Value, api_version: &str) -> Result<(), String> {
    if new["apiVersion"] != api_version {
        return Err(format!("response has apiVersion {:?}, expected {api_version:?}", text(new, "/apiVersion")));
    }
    for field in ["name", "namespace", "uid"] {
        if new["metadata"][field] != old["metadata"][field] {
            return Err(format!("metadata.{field} mismatch"));
        }
    }
    let mut metadata = old["metadata"].clone();
    for field in ["labels", "annotations"] {
        match new["metadata"].get(field).filter(|value| value.as_object().is_some_and(|map| !map.is_empty())) {
            Some(value) => metadata[field] = value.clone(),
            None => {
                metadata.as_object_mut().map(|metadata| metadata.remove(field));
            }
        }
    }
    new["metadata"] = metadata;
    Ok(())
}

/// A random identity.
pub(super) fn uuid() -> String {
    use rand::Rng;
    let bytes: [u8; 16] = rand::rng().random();
    let number = u128::from_be_bytes(bytes) & !(0xf000 << 64) & !(0xc << 60) | 0x4000 << 64 | 0x8 << 60;
    let hex = format!("{number:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}
