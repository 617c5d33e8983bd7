//! The steps of a pod's life that take time, each a job of its actor. They decide nothing.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use container::{NamespaceMode, Namespaces, SandboxConfig};
use k8s_openapi::api::core::v1::{ContainerPort, Pod, PodStatus};
use meta::Object;
use net::{PublishedPort, Transport};
use serde_json::Value;

use crate::kubelet::Shared;
use crate::launch::{Launched, Refusal, labels};
use crate::resize::ByContainer;
use crate::volumes::{MountedVolumes, VolumeError};
use crate::{cgroups, hosts};

/// How a job ended.
#[derive(Debug)]
pub(crate) enum Done {
    Volumes(Result<MountedVolumes, VolumeError>),
    Refreshed(Result<(), VolumeError>),
    Resized { applied: ByContainer, result: Result<(), String> },
    Sandbox(Result<Sandboxed, String>),
    Launched(String, Result<Box<Launched>, Refusal>),
    Hook { container: String, id: String, result: Result<(), String> },
    Stopped { container: String, hook_failure: Option<String> },
    SandboxStopped,
    Finished,
}

/// A sandbox with its network.
#[derive(Clone, Debug)]
pub(crate) struct Sandboxed {
    pub(crate) id: String,
    pub(crate) netns: PathBuf,
    pub(crate) ips: Vec<IpAddr>,
}

/// Makes a sandbox, in place of one that was lost, and connects it.
pub(crate) async fn sandbox(
    shared: Arc<Shared>,
    pod: Arc<Pod>,
    id: String,
    lost: Option<String>,
) -> Result<Sandboxed, String> {
    let config = &shared.config;
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    if let Some(lost) = lost {
        config.runtime.remove_sandbox(&lost).await.map_err(|error| error.to_string())?;
    }
    let sandbox = sandbox_config(&shared, &pod, &uid, &id)?;
    let on_host = is_on_host(&pod);
    let made = config.runtime.run_sandbox(sandbox).await.map_err(|error| error.to_string())?;
    let ips = if on_host {
        vec![config.node_ip]
    } else {
        let attached = async {
            config.network.detach(&uid).await?;
            let address = config.network.attach(&uid, &made.netns).await?;
            config.network.publish(&uid, host_ports(&pod)).await.map(|()| address)
        };
        match attached.await {
            Ok(address) => vec![IpAddr::V4(address)],
            Err(error) => {
                if let Err(error) = config.runtime.remove_sandbox(&id).await {
                    tracing::warn!(sandbox = %id, %error, "remove a sandbox without a network");
                }
                return Err(format!("failed to setup network for sandbox \"{id}\": {error}"));
            }
        }
    };
    Ok(Sandboxed { id, netns: made.netns, ips })
}

/// The ports of the node that a pod asks for.
fn host_ports(pod: &Pod) -> Vec<PublishedPort> {
    let published = |port: &ContainerPort| {
        let host = port.host_ip.as_deref().and_then(|ip| ip.parse().ok()).filter(|ip: &Ipv4Addr| !ip.is_unspecified());
        Some(PublishedPort {
            host,
            transport: Transport::named(port.protocol.as_deref().unwrap_or("TCP"))?,
            port: u16::try_from(port.host_port?).ok().filter(|number| *number != 0)?,
            target: u16::try_from(port.container_port).ok()?,
        })
    };
    let spec = pod.spec.as_ref();
    let sidecars = spec.and_then(|spec| spec.init_containers.as_deref()).unwrap_or_default().iter();
    let sidecars = sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let containers = spec.map(|spec| spec.containers.as_slice()).unwrap_or_default().iter().chain(sidecars);
    containers.flat_map(|container| container.ports.iter().flatten()).filter_map(published).collect()
}

/// Whether a pod lives in its node's network.
pub(crate) fn is_on_host(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true)
}

fn sandbox_config(shared: &Shared, pod: &Pod, uid: &str, id: &str) -> Result<SandboxConfig, String> {
    let config = &shared.config;
    let spec = pod.spec.clone().unwrap_or_default();
    // Who asks for users of his own is not run as the node's.
    if spec.host_users == Some(false) {
        return Err("can't set `spec.hostUsers: false`, runtime does not support user namespaces".to_owned());
    }
    let host = |wanted: Option<bool>| {
        if wanted == Some(true) { NamespaceMode::Host } else { NamespaceMode::Sandbox }
    };
    let on_host = spec.host_network == Some(true);
    let node_network = config.netns.clone().map_or(NamespaceMode::Host, NamespaceMode::Path);
    let pid = match (spec.host_pid, spec.share_process_namespace) {
        (Some(true), _) => NamespaceMode::Host,
        (_, Some(true)) => NamespaceMode::Sandbox,
        (_, _) => NamespaceMode::Container,
    };
    let names = hosts::names(pod, &config.cluster_domain)?;
    let sysctls = spec.security_context.and_then(|context| context.sysctls).unwrap_or_default();
    Ok(SandboxConfig {
        id: id.to_owned(),
        name: pod.metadata.name.clone().unwrap_or_default(),
        labels: labels(uid, pod, &config.node_name),
        // A node in a namespace of its own has a name of its own too, which the machine's isn't.
        hostname: if on_host { config.node_name.clone() } else { names.kernel },
        namespaces: Namespaces {
            network: if on_host { node_network } else { NamespaceMode::Sandbox },
            ipc: host(spec.host_ipc),
            uts: host(Some(on_host && config.netns.is_none())),
            pid,
        },
        sysctls: sysctls.into_iter().map(|sysctl| (sysctl.name, sysctl.value)).collect(),
        cgroup_parent: cgroups::pod_cgroup(&config.cluster_id, &config.node_name, pod),
        resources: cgroups::pod_resources(pod),
        ..SandboxConfig::default()
    })
}

/// Ends what is left in a sandbox, takes it off the network and gives its volumes back.
pub(crate) async fn stop_sandbox(shared: Arc<Shared>, uid: String, id: String) {
    if let Err(error) = shared.config.runtime.stop_sandbox(&id).await {
        tracing::warn!(sandbox = %id, %error, "stop a sandbox");
    }
    if let Err(error) = shared.config.network.detach(&uid).await {
        tracing::warn!(pod = %uid, %error, "detach a pod from the network");
    }
    // What lies in the volumes of a pod that is over is of no use to anybody, and the node may need the room.
    if let Err(error) = shared.volumes.tear_down_all(&uid) {
        tracing::warn!(pod = %uid, %error, "remove the volumes of a pod that is over");
    }
}

/// What is left of a pod that is to go.
pub(crate) struct Remains {
    pub(crate) object: Arc<Object>,
    pub(crate) pod: Arc<Pod>,
    pub(crate) sandbox: Option<String>,
    /// The last status; `None` if the object is gone.
    pub(crate) status: Option<PodStatus>,
}

/// Gives everything back, then deletes the object. Repeats what fails: a pod must not leave the API before its
/// processes are gone.
pub(crate) async fn finish(shared: Arc<Shared>, remains: Remains) {
    const AGAIN: Duration = Duration::from_secs(1);
    let uid = &remains.object.metadata.uid;
    loop {
        match give_back(&shared, &remains).await {
            Ok(()) => return,
            Err(error) => tracing::warn!(pod = %uid, %error, "remove a pod; trying again"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn give_back(shared: &Shared, remains: &Remains) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let uid = &remains.object.metadata.uid;
    if let Some(sandbox) = &remains.sandbox {
        shared.config.runtime.remove_sandbox(sandbox).await.map_err(|error| text(&error))?;
    }
    shared.config.network.detach(uid).await.map_err(|error| text(&error))?;
    shared.volumes.tear_down_all(uid).map_err(|error| text(&error))?;
    remove_folder(&shared.pod_folder(&remains.pod))?;
    if let Some(status) = &remains.status {
        let old = remains.object.value().get("status").cloned().unwrap_or(Value::Null);
        shared.cluster.write_status(&remains.object, &old, status).await.map_err(|error| text(&error))?;
        shared.cluster.delete(&remains.object).await.map_err(|error| text(&error))?;
    }
    remove_folder(&shared.log_folder(&remains.pod))
}

fn remove_folder(folder: &std::path::Path) -> Result<(), String> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("remove {}: {error}", folder.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
