//! Starting one container: image, configuration, runtime.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use container::{ContainerConfig, Image, Mount};
use k8s_openapi::api::core::v1::{Container, Pod, Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tokio_util::sync::CancellationToken;

use crate::env::{self, Sources};
use crate::events::PodEvents;
use crate::kubelet::Shared;
use crate::lifecycle::Role;
use crate::pulls::{PullError, Wanted};
use crate::volumes::MountedVolumes;
use crate::{cgroups, hosts, pulls, security, volumes};

/// What the labels and annotations of the runtime's records are called.
pub(crate) mod keys {
    pub(crate) const NAME: &str = "io.kubernetes.pod.name";
    pub(crate) const NAMESPACE: &str = "io.kubernetes.pod.namespace";
    pub(crate) const UID: &str = "io.kubernetes.pod.uid";
    pub(crate) const CONTAINER: &str = "io.kubernetes.container.name";
    pub(crate) const NODE: &str = "minke.node";
    pub(crate) const ATTEMPT: &str = "io.kubernetes.container.restartCount";
    pub(crate) const MESSAGE_FILE: &str = "minke.termination-message";
    pub(crate) const MESSAGE_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
    pub(crate) const IMAGE: &str = "minke.image";
}

/// A container to be started.
pub(crate) struct Launch {
    pub(crate) shared: Arc<Shared>,
    pub(crate) events: PodEvents,
    pub(crate) pod: Arc<Pod>,
    pub(crate) role: Role,
    pub(crate) container: Container,
    pub(crate) sandbox_id: String,
    pub(crate) attempt: i32,
    pub(crate) ips: Vec<IpAddr>,
    pub(crate) volumes: MountedVolumes,
    /// The PID namespace of the container that an ephemeral one looks into.
    pub(crate) pid_namespace: Option<PathBuf>,
}

/// A container that was started.
#[derive(Clone, Debug)]
pub(crate) struct Launched {
    pub(crate) config: ContainerConfig,
    pub(crate) image: String,
    pub(crate) image_id: String,
}

/// Why a container was not started.
#[derive(Clone, Debug)]
pub(crate) enum Refusal {
    /// It waits: reason and message.
    Waiting(String, String),
    /// It was made, and its program could not be executed.
    Dead(Box<Launched>, String),
    /// This sandbox of it has lost its shim; the container is not to blame.
    Lost(String),
}

/// Pulls the image, makes the container and starts it.
pub(crate) async fn launch(launch: Launch, cancel: CancellationToken) -> Result<Launched, Refusal> {
    let Launch { shared, events, role, container, .. } = &launch;
    let image = tokio::select! {
        image = fetch(&launch) => image,
        // The pod ends: nobody waits for the image any more.
        () = cancel.cancelled() => {
            return Err(Refusal::Waiting("ContainerCreating".to_owned(), String::new()));
        }
    };
    let image = image.map_err(|error| {
        events.container_warning(*role, &container.name, "Failed", format!("Error: {}", error.reason));
        Refusal::Waiting(error.reason.to_owned(), error.message)
    })?;
    let config = configuration(&launch, &image).await.map_err(|message| {
        events.container_warning(*role, &container.name, "Failed", format!("Error: {message}"));
        Refusal::Waiting("CreateContainerConfigError".to_owned(), message)
    })?;
    let launched = Launched {
        image: container.image.as_deref().map(|name| image_name(name, &image)).unwrap_or_default(),
        image_id: image.digests.first().cloned().unwrap_or_else(|| image.id.to_string()),
        config: config.clone(),
    };
    let runtime = &shared.config.runtime;
    let id = config.id.clone();
    let created = runtime.create_container(config).await;
    if created.is_ok() {
        events.container_normal(*role, &container.name, "Created", "Container created");
    }
    let started = match created {
        Ok(()) => runtime.start_container(&id).await.map(drop),
        Err(error) => Err(error),
    };
    let Err(error) = started else {
        events.container_normal(*role, &container.name, "Started", "Container started");
        return Ok(launched);
    };
    use container::Error::{ContainerNotFound, Lost, SandboxNotFound};
    if matches!(error, Lost(_) | SandboxNotFound(_) | ContainerNotFound(_)) {
        return Err(Refusal::Lost(launch.sandbox_id));
    }
    let text = error_text(&error);
    events.container_warning(*role, &container.name, "Failed", format!("Error: {text}"));
    if let Err(error) = runtime.remove_container(&id).await {
        tracing::debug!(container = %id, %error, "remove a container that could not be started");
    }
    Err(match error {
        container::Error::CommandNotFound(..) | container::Error::CommandNotExecutable(..) => {
            Refusal::Dead(Box::new(launched), text)
        }
        _ => Refusal::Waiting("CreateContainerError".to_owned(), text),
    })
}

/// The image of a container, after those of the volumes that it mounts.
async fn fetch(launch: &Launch) -> Result<Image, PullError> {
    let Launch { shared, events, role, container, pod, .. } = launch;
    let ensure = async |wanted| pulls::ensure(&shared.config.images, &shared.cluster, pod, wanted, events).await;
    let own = ensure(Wanted::own(*role, container)).await?;
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        let mounted = container.volume_mounts.iter().flatten().any(|mount| mount.name == volume.name);
        let (Some(source), Some(place), true) = (&volume.image, launch.volumes.get(&volume.name), mounted) else {
            continue;
        };
        let image = ensure(Wanted::shown(*role, container, source)).await?;
        volumes::show_image(&image.layers, &place.path).map_err(|error| {
            let message = format!("failed to mount image volume {:?}: {error}", volume.name);
            PullError { reason: "CreateContainerError", message }
        })?;
    }
    Ok(own)
}

fn error_text(error: &container::Error) -> String {
    match error {
        container::Error::CommandNotFound(..) | container::Error::CommandNotExecutable(..) => format!(
            "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create \
             failed: unable to start container process: error during container init: {error}"
        ),
        other => other.to_string(),
    }
}

/// The image's name in a status: the tag that was asked for, completed.
fn image_name(asked: &str, image: &Image) -> String {
    let full = container::images::Reference::parse(asked).ok().and_then(|reference| reference.tagged());
    full.filter(|full| image.tags.contains(full))
        .or_else(|| image.tags.first().cloned())
        .unwrap_or_else(|| asked.to_owned())
}

async fn configuration(launch: &Launch, image: &Image) -> Result<ContainerConfig, String> {
    let Launch { shared, pod, container, .. } = launch;
    security::verify_non_root(pod, container, &image.config)?;
    let sources = sources(launch).await?;
    let env = env::environment(pod, container, &sources)?;
    let known: BTreeMap<_, _> = env.iter().cloned().collect();
    let expand = |words: &Option<Vec<String>>| -> Vec<String> {
        words.iter().flatten().map(|word| env::expand(word, |name| known.get(name).cloned())).collect()
    };
    let mounts = shared.volumes.mounts_for(pod, container, &env, &launch.volumes);
    let mut mounts = mounts.map_err(|error| error.message)?;
    let folder = shared.pod_folder(pod);
    let message_file = own_files(launch, &folder, &mut mounts)?;
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    let mut config = ContainerConfig {
        id: random_id(),
        sandbox_id: launch.sandbox_id.clone(),
        name: container.name.clone(),
        image: image.id.clone(),
        command: expand(&container.command),
        args: expand(&container.args),
        env,
        working_dir: container.working_dir.clone().filter(|folder| !folder.is_empty()),
        mounts,
        resources: cgroups::container_resources(pod, container),
        oom_score_adj: cgroups::oom_score_adj(pod, container, shared.machine.memory),
        tty: container.tty == Some(true),
        stdin: container.stdin == Some(true),
        pid_namespace: launch.pid_namespace.clone(),
        stdin_once: container.stdin_once == Some(true),
        log_path: shared.log_folder(pod).join(&container.name).join(format!("{}.log", launch.attempt)),
        labels: labels(&uid, pod, &shared.config.node_name),
        annotations: BTreeMap::from([
            (keys::ATTEMPT.to_owned(), launch.attempt.to_string()),
            (keys::MESSAGE_FILE.to_owned(), message_file.display().to_string()),
            (
                keys::MESSAGE_POLICY.to_owned(),
                container.termination_message_policy.clone().unwrap_or_else(|| "File".to_owned()),
            ),
            (keys::IMAGE.to_owned(), container.image.clone().unwrap_or_default()),
        ]),
        ..ContainerConfig::default()
    };
    config.labels.insert(keys::CONTAINER.to_owned(), container.name.clone());
    security::apply(pod, container, &shared.config.data_dir.join("seccomp"), &mut config);
    Ok(config)
}

/// The labels of a sandbox, and with the container's name those of a container.
pub(crate) fn labels(uid: &str, pod: &Pod, node: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        (keys::NAME.to_owned(), pod.metadata.name.clone().unwrap_or_default()),
        (keys::NAMESPACE.to_owned(), pod.metadata.namespace.clone().unwrap_or_default()),
        (keys::UID.to_owned(), uid.to_owned()),
        (keys::NODE.to_owned(), node.to_owned()),
    ])
}

/// Sixty-four hex digits.
pub(crate) fn random_id() -> String {
    hex::encode(rand::random::<[u8; 32]>())
}

async fn sources(launch: &Launch) -> Result<Sources, String> {
    let Launch { shared, pod, container, ips, .. } = launch;
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let (config_maps, secrets) = env::references(container);
    let mut sources = Sources {
        services: shared.cluster.services(namespace),
        pod_ips: ips.clone(),
        host_ips: vec![shared.config.node_ip],
        allocatable_cpu: shared.machine.cpu(),
        allocatable_memory: meta::Quantity::bytes(shared.machine.memory),
        ..Sources::default()
    };
    let is_master = |service: &Service| service.metadata.name.as_deref() == Some("kubernetes");
    if let Some(address) = shared.config.service_address.filter(|_| !sources.services.iter().any(is_master)) {
        sources.services.push(master(address));
    }
    for name in config_maps {
        let data = shared.cluster.config_map(namespace, &name).await.map_err(|error| error.to_string())?;
        sources.config_maps.insert(name, data);
    }
    for name in secrets {
        let data = shared.cluster.secret(namespace, &name).await.map_err(|error| error.to_string())?;
        sources.secrets.insert(name, data);
    }
    Ok(sources)
}

/// The service of the API itself, as long as nobody has made it yet.
fn master(address: SocketAddr) -> Service {
    let port = ServicePort { name: Some("https".to_owned()), port: address.port().into(), ..ServicePort::default() };
    let metadata = ObjectMeta {
        name: Some("kubernetes".to_owned()),
        namespace: Some("default".to_owned()),
        ..ObjectMeta::default()
    };
    let spec =
        ServiceSpec { cluster_ip: Some(address.ip().to_string()), ports: Some(vec![port]), ..ServiceSpec::default() };
    Service { metadata, spec: Some(spec), status: None }
}

/// Writes `/etc/hosts`, `/etc/resolv.conf`, `/etc/hostname` and the file for last words, and mounts them where the
/// container mounts nothing of its own. Gives the path of the last.
fn own_files(launch: &Launch, folder: &Path, mounts: &mut Vec<Mount>) -> Result<PathBuf, String> {
    let Launch { shared, pod, container, ips, .. } = launch;
    let host_network = pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true);
    let names = hosts::names(pod, &shared.config.cluster_domain)?;
    let hosts_text = if host_network {
        hosts::host_network_hosts_file(pod, &std::fs::read_to_string("/etc/hosts").unwrap_or_default())
    } else {
        hosts::hosts_file(pod, &names, ips)
    };
    let host = hosts::Resolver::parse(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default());
    let resolver = hosts::resolver(pod, &shared.config.cluster_dns, &shared.config.cluster_domain, &host);
    let message = folder.join("containers").join(&container.name).join(hex::encode(rand::random::<[u8; 4]>()));
    let termination = container.termination_message_path.clone().filter(|path| !path.is_empty());
    let termination = termination.unwrap_or_else(|| "/dev/termination-log".to_owned());
    let files = [
        (folder.join("etc-hosts"), hosts_text, "/etc/hosts"),
        (folder.join("resolv.conf"), resolver.text(), "/etc/resolv.conf"),
        (folder.join("hostname"), format!("{}\n", names.kernel), "/etc/hostname"),
        (message.clone(), String::new(), termination.as_str()),
    ];
    for (file, text, destination) in files {
        if mounts.iter().any(|mount| mount.destination == Path::new(destination)) {
            continue;
        }
        write(&file, &text).map_err(|error| format!("write {}: {error}", file.display()))?;
        mounts.push(Mount { source: file, destination: destination.into(), ..Mount::default() });
    }
    open_to_all(&message);
    Ok(message)
}

/// Any user of the container may write its last words.
fn open_to_all(file: &Path) {
    use std::os::unix::fs::PermissionsExt;
    if let Err(error) = std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o666)) {
        tracing::debug!(file = %file.display(), %error, "set permissions");
    }
}

fn write(file: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    // In place, since running containers have this very file mounted.
    std::fs::write(file, text)
}
