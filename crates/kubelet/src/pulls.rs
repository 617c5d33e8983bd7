//! Images for containers: present or pulled, by policy.

use std::sync::Arc;

use container::images::Reference;
use container::{Image, ImageError};
use k8s_openapi::api::core::v1::{Container, ImageVolumeSource, Pod};

use crate::cluster::Cluster;
use crate::events::PodEvents;
use crate::lifecycle::Role;

/// Why there is no image: the waiting state's reason and message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PullError {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// When an image is asked for in its registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    Always,
    IfNotPresent,
    Never,
}

impl Policy {
    fn parse(text: Option<&str>) -> Self {
        match text {
            Some("Always") => Self::Always,
            Some("Never") => Self::Never,
            Some(_) | None => Self::IfNotPresent,
        }
    }
}

/// An image that a container needs: its own, or that of a volume.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    name: &'a str,
    policy: Policy,
    role: Role,
    container: &'a Container,
}

impl<'a> Wanted<'a> {
    /// The one that it runs.
    pub(crate) fn own(role: Role, container: &'a Container) -> Self {
        let name = container.image.as_deref().unwrap_or_default();
        Self { name, policy: Policy::parse(container.image_pull_policy.as_deref()), role, container }
    }

    /// The one that a volume shows.
    pub(crate) fn shown(role: Role, container: &'a Container, volume: &'a ImageVolumeSource) -> Self {
        let name = volume.reference.as_deref().unwrap_or_default();
        Self { name, policy: Policy::parse(volume.pull_policy.as_deref()), role, container }
    }
}

/// Finds or pulls an image.
pub(crate) async fn ensure(
    images: &container::Images,
    cluster: &Cluster,
    pod: &Pod,
    wanted: Wanted<'_>,
    events: &PodEvents,
) -> Result<Image, PullError> {
    let Wanted { name, policy, role, container } = wanted;
    let reference = Reference::parse(name).map_err(|error| {
        let message = format!("Failed to apply default image tag \"{name}\": {error}");
        events.container_warning(role, &container.name, "InspectFailed", message.clone());
        PullError { reason: "InvalidImageName", message }
    })?;
    let present = images.resolve(name).ok().flatten();
    match (policy, &present) {
        (Policy::IfNotPresent | Policy::Never, Some(image)) => {
            let text = format!("Container image \"{name}\" already present on machine and can be accessed by the pod");
            events.container_normal(role, &container.name, "Pulled", text);
            return Ok(image.clone());
        }
        (Policy::Never, None) => {
            let message = format!("Container image \"{name}\" is not present with pull policy of Never");
            events.container_warning(role, &container.name, "ErrImageNeverPull", message.clone());
            return Err(PullError { reason: "ErrImageNeverPull", message });
        }
        (Policy::Always, _) | (Policy::IfNotPresent, None) => {}
    }
    events.container_normal(role, &container.name, "Pulling", format!("Pulling image \"{name}\""));
    let began = tokio::time::Instant::now();
    let credentials = cluster.credentials(pod, reference.registry()).await;
    match images.pull(name, credentials, Arc::new(|_| {})).await {
        Ok(image) => {
            let took = format!("{}ms", began.elapsed().as_millis());
            let size = image.size;
            let text = format!(
                "Successfully pulled image \"{name}\" in {took} ({took} including waiting). Image size: {size} bytes."
            );
            events.container_normal(role, &container.name, "Pulled", text);
            Ok(image)
        }
        // An image that was brought here by hand must start where no registry can be reached. What a registry refuses stays refused.
        Err(ImageError::Network { registry, message }) if present.is_some() => {
            let text = format!(
                "Container image \"{name}\" already present on machine; {registry} cannot be reached: {message}"
            );
            events.container_normal(role, &container.name, "Pulled", text);
            present.ok_or(PullError { reason: "ErrImagePull", message })
        }
        Err(error) => {
            let text = pull_text(name, &error);
            events.container_warning(
                role,
                &container.name,
                "Failed",
                format!("Failed to pull image \"{name}\": {text}"),
            );
            events.container_warning(role, &container.name, "Failed", "Error: ErrImagePull");
            Err(PullError { reason: "ErrImagePull", message: text })
        }
    }
}

fn pull_text(name: &str, error: &ImageError) -> String {
    format!("failed to pull and unpack image \"{name}\": {error}")
}

/// What a failed pull is called while the next attempt has to wait.
pub(crate) fn backing_off(image: &str, previous: &str) -> (String, String) {
    ("ImagePullBackOff".to_owned(), format!("Back-off pulling image \"{image}\": ErrImagePull: {previous}"))
}
