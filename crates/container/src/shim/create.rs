//! The worker that makes one container. It is a forked copy of the shim: what libcontainer does to its caller happens
//! here and ends here.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use rustix::fs::OFlags;

use super::confine::Confinement;
use super::launch::Launcher;
use super::report::{Report, Reporter};
use super::rootfs::{Detached, Stage, adopt, make_folders};
use super::spec::{self, Device, Facts};
use super::users::{self, Identity};
use crate::cgroup::{DeviceRule, Hierarchies};
use crate::config::{MountKind, SandboxConfig, Seccomp};
use crate::error::{Error, Result};
use crate::records::{self, ContainerRecord};

/// Devices that libcontainer makes in every container, and those that any container may use: null, zero, full, random,
/// urandom, tty, ptmx and its terminals.
const DEVICES: [(u32, Option<u32>); 8] =
    [(1, Some(3)), (1, Some(5)), (1, Some(7)), (1, Some(8)), (1, Some(9)), (5, Some(0)), (5, Some(2)), (136, None)];

/// libcontainer's name for the one container in its folder.
pub(super) const OCI_ID: &str = "c";

/// What the worker gets from the shim.
pub(super) struct Job<'a> {
    /// The container's folder.
    pub(super) folder: &'a Path,
    pub(super) sandbox: &'a SandboxConfig,
    pub(super) hierarchies: &'a Hierarchies,
    pub(super) shm: Option<&'a OwnedFd>,
    pub(super) pod_init: Option<u32>,
    /// Descriptors of mount sources, by number.
    pub(super) sources: Vec<RawFd>,
    /// Standard input, output and error; empty with a terminal.
    pub(super) stdio: Vec<RawFd>,
}

/// libcontainer's folder within the container's.
pub(super) fn oci_folder(folder: &Path) -> PathBuf {
    folder.join("oci")
}

/// Makes the container and reports its pid. Runs in the forked worker.
pub(super) fn run(job: &Job<'_>, reporter: &Reporter) -> Result<()> {
    let record: ContainerRecord = records::read(job.folder, records::CONTAINER)?;
    let config = &record.config;
    set_oom_score(config.oom_score_adj);
    let devices = find_devices(&record)?;
    limit(job, &record, &devices)?;

    let trees = detach_sources(job, &record)?;
    let shm = job.shm.map(Detached::root_of).transpose()?;
    let stage_folder = job.folder.join("stage");
    fs::create_dir_all(&stage_folder).map_err(Error::io(format!("making {}", stage_folder.display())))?;
    let stage = Stage::new(&stage_folder)?;
    let rootfs = stage.overlay(&record.layers, &record.writable)?;
    let shm = shm.map(|tree| stage.place("shm", &tree, None)).transpose()?;
    let binds = place_all(&stage, &record, &trees)?;
    drop(trees);

    let root = rustix::fs::open(&rootfs, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, rustix::fs::Mode::empty())
        .map_err(Error::io("opening the root file system"))?;
    let identity = users::resolve(&root, &config.user, &record.image.user)?;
    make_folders(&root, Path::new(&spec::working_dir(&record)), (identity.uid, identity.gid))?;
    drop(root);
    give_stdio(&job.stdio, &identity);

    let facts = Facts {
        sandbox: job.sandbox,
        rootfs: &rootfs,
        identity: &identity,
        shm: shm.as_deref(),
        binds: &binds,
        pod_init: job.pod_init,
        devices: &devices,
        cgroups: &job.hierarchies.group(&record.cgroup).views(),
    };
    records::write(job.folder, records::SPEC, &spec::spec(&record, &facts))?;
    build(job, &record, reporter)
}

fn build(job: &Job<'_>, record: &ContainerRecord, reporter: &Reporter) -> Result<()> {
    let failed = |e: libcontainer::error::LibcontainerError| Error::Container(chain(&e));
    let mut builder = ContainerBuilder::new(OCI_ID.to_owned(), SyscallType::default())
        .with_executor(Launcher { report: reporter.as_raw(), confinement: confinement(job.folder, record)? })
        .with_root_path(oci_folder(job.folder))
        .map_err(failed)?;
    let console = record.config.tty.then(|| listen_for_console(job.folder)).transpose()?;
    if console.is_some() {
        builder = builder.with_console_socket(Some(job.folder.join(CONSOLE)));
    }
    for (index, fd) in adopt(&job.stdio).into_iter().enumerate() {
        builder = match index {
            0 => builder.with_stdin(fd),
            1 => builder.with_stdout(fd),
            _ => builder.with_stderr(fd),
        };
    }
    let container =
        builder.as_init(job.folder).with_systemd(false).with_detach(true).as_sibling(true).build().map_err(failed)?;
    let pid = container.pid().ok_or_else(|| Error::Container("the new container has no process".to_owned()))?;
    let pid = u32::try_from(pid.as_raw()).map_err(|_| Error::Container("pid out of range".to_owned()))?;
    // libcontainer leaves out hierarchies without a controller. Joining any is slow, but not soon after another.
    job.hierarchies.group(&record.cgroup).join_named(pid)?;
    let master = console.map(|listener| receive_console(&listener)).transpose()?;
    reporter.send(&Report::Process { pid }, master.as_ref().map(std::os::fd::AsFd::as_fd));
    Ok(())
}

/// What a process of the container gives up before it becomes its program.
pub(super) fn confinement(folder: &Path, record: &ContainerRecord) -> Result<Confinement> {
    let path = folder.join(records::FILTER);
    let filter = match fs::read(&path) {
        Ok(program) => Some(program),
        Err(e) if e.kind() == ErrorKind::NotFound && !needs_filter(record) => None,
        Err(e) => return Err(Error::io(format!("reading {}", path.display()))(e)),
    };
    let no_new_privileges = record.config.no_new_privileges;
    Ok(Confinement { capabilities: record.capabilities.clone(), no_new_privileges, filter })
}

/// A filter that got lost must not pass for none.
fn needs_filter(record: &ContainerRecord) -> bool {
    !record.config.privileged && record.config.seccomp != Seccomp::Unconfined
}

/// An error and its causes, each said once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let next = inner.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = inner.source();
    }
    text
}

const CONSOLE: &str = "console.sock";

fn listen_for_console(folder: &Path) -> Result<UnixListener> {
    // Bound by a short name: a path of a socket has 108 bytes.
    let doing = || format!("making {CONSOLE} in {}", folder.display());
    let directory = rustix::fs::open(folder, OFlags::PATH | OFlags::CLOEXEC, rustix::fs::Mode::empty())
        .map_err(Error::io(doing()))?;
    let path = format!("/proc/self/fd/{}/{CONSOLE}", directory.as_raw_fd());
    UnixListener::bind(path).map_err(Error::io(doing()))
}

/// libcontainer's init has connected and sent by now.
fn receive_console(listener: &UnixListener) -> Result<OwnedFd> {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
    let (connection, _) = listener.accept().map_err(Error::io("receiving the terminal"))?;
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 256];
    rustix::net::recvmsg(
        &connection,
        &mut [std::io::IoSliceMut::new(&mut bytes)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )
    .map_err(Error::io("receiving the terminal"))?;
    ancillary
        .drain()
        .find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        })
        .ok_or_else(|| Error::Container("the new container sent no terminal".to_owned()))
}

/// Lowering needs CAP_SYS_RESOURCE; without it the process keeps what it inherited.
pub(super) fn set_oom_score(value: i32) {
    if let Ok(mut file) = fs::File::options().write(true).open("/proc/self/oom_score_adj") {
        let _ = file.write_all(value.to_string().as_bytes());
    }
}

fn limit(job: &Job<'_>, record: &ContainerRecord, devices: &[Device]) -> Result<()> {
    let group = job.hierarchies.group(&record.cgroup);
    group.create()?;
    group.apply(&record.config.resources)?;
    let rules = if record.config.privileged { vec![DeviceRule::all()] } else { device_rules(devices) };
    group.allow_devices(&rules)
}

fn device_rules(devices: &[Device]) -> Vec<DeviceRule> {
    // Nodes of any device may be made, but only the listed ones opened.
    let mut rules = vec![DeviceRule::new(true, None, None, "m"), DeviceRule::new(false, None, None, "m")];
    rules.extend(DEVICES.iter().map(|(major, minor)| DeviceRule::new(true, Some(*major), *minor, "rwm")));
    rules.extend(devices.iter().map(|d| DeviceRule::new(d.character, Some(d.major), Some(d.minor), &d.permissions)));
    rules
}

fn find_devices(record: &ContainerRecord) -> Result<Vec<Device>> {
    let mut devices = if record.config.privileged { spec::host_devices() } else { Vec::new() };
    for mapping in &record.config.devices {
        let found = spec::look_up(mapping).map_err(Error::io(format!("device {}", mapping.host_path.display())))?;
        devices.retain(|d: &Device| d.path != found.path);
        devices.push(found);
    }
    Ok(devices)
}

fn detach_sources(job: &Job<'_>, record: &ContainerRecord) -> Result<Vec<Detached>> {
    let sources = adopt(&job.sources);
    let requests = record.config.mounts.iter().filter(|m| m.kind == MountKind::Bind);
    requests.zip(&sources).map(|(request, source)| Detached::clone_of(source, &request.source)).collect()
}

fn place_all(stage: &Stage, record: &ContainerRecord, trees: &[Detached]) -> Result<Vec<PathBuf>> {
    let requests = record.config.mounts.iter().filter(|m| m.kind == MountKind::Bind);
    requests
        .zip(trees)
        .enumerate()
        .map(|(index, (request, tree))| stage.place(&format!("m{index}"), tree, Some(request)))
        .collect()
}

/// A program that opens `/dev/stdout` anew needs to own the pipe.
fn give_stdio(stdio: &[RawFd], identity: &Identity) {
    for fd in stdio {
        // SAFETY: a plain system call; a refusal (like on /dev/null) changes nothing.
        unsafe {
            let mut stat: libc::stat = std::mem::zeroed();
            if libc::fstat(*fd, &mut stat) == 0 && stat.st_mode & libc::S_IFMT == libc::S_IFIFO {
                libc::fchown(*fd, identity.uid, identity.gid);
            }
        }
    }
}
