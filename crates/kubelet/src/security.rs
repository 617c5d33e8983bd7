//! From security contexts to what the runtime is told.

use std::path::Path;

use container::{Capabilities, ContainerConfig, ImageConfig, Seccomp, User};
use k8s_openapi::api::core::v1::{Container, Pod, PodSecurityContext, SeccompProfile, SecurityContext};

/// Who a container runs as: the container's settings win over the pod's.
struct Identity {
    uid: Option<i64>,
    gid: Option<i64>,
    non_root: bool,
}

fn identity(pod: Option<&PodSecurityContext>, own: Option<&SecurityContext>) -> Identity {
    Identity {
        uid: own.and_then(|own| own.run_as_user).or(pod.and_then(|pod| pod.run_as_user)),
        gid: own.and_then(|own| own.run_as_group).or(pod.and_then(|pod| pod.run_as_group)),
        non_root: own.and_then(|own| own.run_as_non_root).or(pod.and_then(|pod| pod.run_as_non_root)) == Some(true),
    }
}

/// `POD_NAMESPACE(UID)` as upstream's messages name a pod.
pub(crate) fn describe(pod: &Pod) -> String {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    format!("{}_{}({})", text(&pod.metadata.name), text(&pod.metadata.namespace), text(&pod.metadata.uid))
}

/// Whether a container may run as the user it would run as.
pub(crate) fn verify_non_root(pod: &Pod, container: &Container, image: &ImageConfig) -> Result<(), String> {
    let of_pod = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let identity = identity(of_pod, container.security_context.as_ref());
    if !identity.non_root {
        return Ok(());
    }
    let place = || format!("(pod: \"{}\", container: {})", describe(pod), container.name);
    if let Some(uid) = identity.uid {
        let root = uid == 0;
        let error = || format!("container's runAsUser breaks non-root policy {}", place());
        return if root { Err(error()) } else { Ok(()) };
    }
    let user = image.user.split(':').next().unwrap_or_default();
    match user.parse::<u32>() {
        Ok(0) => Err(format!("container has runAsNonRoot and image will run as root {}", place())),
        Ok(_) => Ok(()),
        Err(_) if user.is_empty() => Err(format!("container has runAsNonRoot and image will run as root {}", place())),
        Err(_) => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({user}), cannot verify user is non-root {}",
            place()
        )),
    }
}

/// Fills the part of a configuration that security contexts decide. `profiles` is the folder of seccomp profiles.
pub(crate) fn apply(pod: &Pod, container: &Container, profiles: &Path, config: &mut ContainerConfig) {
    let of_pod = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let own = container.security_context.as_ref();
    let identity = identity(of_pod, own);
    let narrow = |id: i64| u32::try_from(id).ok();
    let mut groups: Vec<u32> = of_pod
        .and_then(|pod| pod.supplemental_groups.as_deref())
        .unwrap_or_default()
        .iter()
        .copied()
        .filter_map(narrow)
        .collect();
    groups.extend(of_pod.and_then(|pod| pod.fs_group).and_then(narrow));
    config.user = User {
        uid: identity.uid.and_then(narrow),
        gid: identity.gid.and_then(narrow),
        name: None,
        supplementary_gids: groups,
        strict_groups: of_pod.and_then(|pod| pod.supplemental_groups_policy.as_deref()) == Some("Strict"),
    };
    config.privileged = is_privileged(container);
    let capabilities = own.and_then(|own| own.capabilities.clone()).unwrap_or_default();
    config.capabilities =
        Capabilities { add: capabilities.add.unwrap_or_default(), drop: capabilities.drop.unwrap_or_default() };
    config.read_only_rootfs = own.and_then(|own| own.read_only_root_filesystem) == Some(true);
    config.no_new_privileges = own.and_then(|own| own.allow_privilege_escalation) == Some(false);
    config.unmasked_proc = own.and_then(|own| own.proc_mount.as_deref()) == Some("Unmasked");
    let profile =
        own.and_then(|own| own.seccomp_profile.as_ref()).or(of_pod.and_then(|pod| pod.seccomp_profile.as_ref()));
    config.seccomp = if config.privileged { Seccomp::Unconfined } else { seccomp(profile, profiles) };
}

/// Whether a container asks to be privileged.
pub(crate) fn is_privileged(container: &Container) -> bool {
    container.security_context.as_ref().and_then(|own| own.privileged) == Some(true)
}

fn seccomp(profile: Option<&SeccompProfile>, profiles: &Path) -> Seccomp {
    match profile.map(|profile| (profile.type_.as_str(), profile.localhost_profile.as_deref())) {
        Some(("RuntimeDefault", _)) => Seccomp::RuntimeDefault,
        Some(("Localhost", Some(name))) => Seccomp::Localhost(profiles.join(name)),
        Some(_) | None => Seccomp::Unconfined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[track_caller]
    fn check(of_pod: Value, own: Value, image_user: &str, expected: Result<(), &str>) {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"},
            "spec": {"securityContext": of_pod, "containers": [{"name": "c", "securityContext": own}]}}))
        .unwrap();
        let image = ImageConfig { user: image_user.to_owned(), ..ImageConfig::default() };
        let container = &pod.spec.as_ref().unwrap().containers[0];
        assert_eq!(verify_non_root(&pod, container, &image), expected.map_err(str::to_owned));
    }

    #[test]
    fn non_root() {
        let strict = json!({"runAsNonRoot": true});
        check(json!({}), json!({}), "", Ok(()));
        check(strict.clone(), json!({"runAsUser": 5}), "", Ok(()));
        check(strict.clone(), json!({}), "1000:5", Ok(()));
        let place = "(pod: \"p_n(u)\", container: c)";
        check(
            strict.clone(),
            json!({"runAsUser": 0}),
            "",
            Err(&format!("container's runAsUser breaks non-root policy {place}")),
        );
        check(
            strict.clone(),
            json!({}),
            "",
            Err(&format!("container has runAsNonRoot and image will run as root {place}")),
        );
        let named = format!(
            "container has runAsNonRoot and image has non-numeric user (web), cannot verify user is non-root {place}"
        );
        check(strict.clone(), json!({}), "web", Err(&named));
        check(strict, json!({"runAsNonRoot": false}), "", Ok(()));
    }
}
