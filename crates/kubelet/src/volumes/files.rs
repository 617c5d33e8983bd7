//! Volumes whose files come from the API: `configMap`, `secret`, `downwardAPI` and `projected`, which joins them.

use std::fs;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::KeyToPath;
use k8s_openapi::api::core::v1::{
    ConfigMap, ConfigMapProjection, ConfigMapVolumeSource, DownwardAPIVolumeFile, Pod, Secret, SecretProjection,
    SecretVolumeSource, ServiceAccountTokenProjection, Volume as Spec, VolumeProjection,
};
use meta::{ApiError, Gvr, Reason};
use serde_json::json;

use super::payload::{self, DEFAULT_MODE, File, Keys, Payload};
use super::{Mounted, Volume, VolumeContext, VolumeError, atomic, ownership, tmpfs};
use crate::env;

/// The four kinds of volumes.
pub(super) enum Files {
    ConfigMap,
    Secret,
    DownwardApi,
    Projected,
}

#[async_trait]
impl Volume for Files {
    fn kind(&self) -> &'static str {
        match self {
            Self::ConfigMap => "configMap",
            Self::Secret => "secret",
            Self::DownwardApi => "downwardAPI",
            Self::Projected => "projected",
        }
    }

    fn answers(&self, volume: &Spec) -> bool {
        match self {
            Self::ConfigMap => volume.config_map.is_some(),
            Self::Secret => volume.secret.is_some(),
            Self::DownwardApi => volume.downward_api.is_some(),
            Self::Projected => volume.projected.is_some(),
        }
    }

    async fn set_up(&self, cx: &VolumeContext, pod: &Pod, volume: &Spec) -> Result<Mounted, VolumeError> {
        let source = Source { cx, pod };
        let payload = self.payload(&source, volume).await.map_err(|why| VolumeError::set_up(&volume.name, why))?;
        let write = || {
            fs::create_dir_all(&cx.folder)?;
            // What may be secret stays in memory.
            if !tmpfs::is_mounted(&cx.folder) {
                tmpfs::mount(&cx.folder, None)?;
                fs::set_permissions(&cx.folder, std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
                ownership::give(&cx.folder, ownership::group(pod))?;
            }
            atomic::write(&cx.folder, &payload, ownership::group(pod))
        };
        write().map_err(|error| VolumeError::set_up(&volume.name, error))?;
        Ok(Mounted { path: cx.folder.clone(), readonly: false })
    }
}

impl Files {
    async fn payload(&self, from: &Source<'_>, volume: &Spec) -> Result<Payload, String> {
        match self {
            Self::ConfigMap => {
                let ConfigMapVolumeSource { default_mode, items, name, optional } =
                    volume.config_map.clone().unwrap_or_default();
                from.config_map(&name, items.as_deref(), default_mode, optional).await
            }
            Self::Secret => {
                let SecretVolumeSource { default_mode, items, optional, secret_name } =
                    volume.secret.clone().unwrap_or_default();
                from.secret(&secret_name.unwrap_or_default(), items.as_deref(), default_mode, optional).await
            }
            Self::DownwardApi => {
                let source = volume.downward_api.clone().unwrap_or_default();
                from.downward(source.items.as_deref().unwrap_or_default(), source.default_mode)
            }
            Self::Projected => {
                let source = volume.projected.clone().unwrap_or_default();
                let mut joined = Payload::new();
                for part in source.sources.unwrap_or_default() {
                    joined.extend(from.projection(part, source.default_mode).await?);
                }
                Ok(joined)
            }
        }
    }
}

/// Where content comes from.
struct Source<'a> {
    cx: &'a VolumeContext,
    pod: &'a Pod,
}

impl Source<'_> {
    fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or_default()
    }

    async fn projection(&self, part: VolumeProjection, mode: Option<i32>) -> Result<Payload, String> {
        if let Some(ConfigMapProjection { items, name, optional }) = part.config_map {
            return self.config_map(&name, items.as_deref(), mode, optional).await;
        }
        if let Some(SecretProjection { items, name, optional }) = part.secret {
            return self.secret(&name, items.as_deref(), mode, optional).await;
        }
        if let Some(source) = part.downward_api {
            return self.downward(source.items.as_deref().unwrap_or_default(), mode);
        }
        if let Some(source) = part.service_account_token {
            return self.token(source, mode).await;
        }
        Err("this kind of projection is not supported".to_owned())
    }

    async fn config_map(
        &self,
        name: &str,
        items: Option<&[KeyToPath]>,
        mode: Option<i32>,
        optional: Option<bool>,
    ) -> Result<Payload, String> {
        let optional = optional == Some(true);
        let object = self.object::<ConfigMap>("configmaps", name, optional).await?;
        let keys = object.map(payload::config_map_keys).unwrap_or_default();
        self.place(keys, items, mode, optional, "config")
    }

    async fn secret(
        &self,
        name: &str,
        items: Option<&[KeyToPath]>,
        mode: Option<i32>,
        optional: Option<bool>,
    ) -> Result<Payload, String> {
        let optional = optional == Some(true);
        let object = self.object::<Secret>("secrets", name, optional).await?;
        let keys = object.map(payload::secret_keys).unwrap_or_default();
        self.place(keys, items, mode, optional, "secret")
    }

    fn place(
        &self,
        keys: Keys,
        items: Option<&[KeyToPath]>,
        mode: Option<i32>,
        optional: bool,
        what: &str,
    ) -> Result<Payload, String> {
        payload::project(keys, items, mode.unwrap_or(DEFAULT_MODE), optional, what)
    }

    async fn object<T: serde::de::DeserializeOwned>(
        &self,
        resource: &str,
        name: &str,
        optional: bool,
    ) -> Result<Option<T>, String> {
        match self.cx.client.get(&Gvr::new("", "v1", resource), self.namespace(), name).await {
            Ok(object) => object.view().map(Some).map_err(|error| error.to_string()),
            Err(ApiError { reason: Reason::NotFound, .. }) if optional => Ok(None),
            // Compat: upstream names the kind in the singular here, not the resource.
            Err(ApiError { reason: Reason::NotFound, .. }) => {
                Err(format!("{} {name:?} not found", &resource[..resource.len() - 1]))
            }
            Err(error) => Err(error.to_string()),
        }
    }

    fn downward(&self, items: &[DownwardAPIVolumeFile], mode: Option<i32>) -> Result<Payload, String> {
        let mut payload = Payload::new();
        for item in items {
            let text = match (&item.field_ref, &item.resource_field_ref) {
                (Some(field), _) => env::field_value(self.pod, &field.field_path)?,
                (None, Some(resource)) => env::resource_value(self.pod, resource, &self.cx.allocatable)?,
                (None, None) => String::new(),
            };
            let mode = item.mode.or(mode).unwrap_or(DEFAULT_MODE).cast_unsigned();
            payload.insert(item.path.clone(), File { bytes: text.into_bytes(), mode, owner: None });
        }
        Ok(payload)
    }

    async fn token(&self, source: ServiceAccountTokenProjection, mode: Option<i32>) -> Result<Payload, String> {
        let spec = self.pod.spec.as_ref();
        let account = spec.and_then(|spec| spec.service_account_name.clone()).unwrap_or_else(|| "default".to_owned());
        let request = json!({
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "spec": {
                "audiences": source.audience.filter(|audience| !audience.is_empty()).map(|audience| vec![audience]).unwrap_or_default(),
                "expirationSeconds": source.expiration_seconds.unwrap_or(3600),
                "boundObjectRef": {
                    "kind": "Pod", "apiVersion": "v1",
                    "name": self.pod.metadata.name, "uid": self.pod.metadata.uid,
                },
            },
        });
        let path = meta::ResourcePath::object(Gvr::new("", "v1", "serviceaccounts"), self.namespace(), &account);
        let answer = self.cx.client.create_at(&path.subresource("token"), request).await;
        let answer = answer.map_err(|error| format!("failed to fetch token: {error}"))?.value();
        let token = answer.pointer("/status/token").and_then(|token| token.as_str()).unwrap_or_default();
        // Compat: a token that is not the whole world's to read: with a group, or a user that all containers share.
        let owner = env::shared_user(self.pod);
        let narrow = owner.is_some() || ownership::group(self.pod).is_some();
        let mode = if narrow { 0o600 } else { mode.unwrap_or(DEFAULT_MODE).cast_unsigned() };
        Ok([(source.path, File { bytes: token.as_bytes().to_vec(), mode, owner })].into())
    }
}
