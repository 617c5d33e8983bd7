//! Containers on one machine: images, sandboxes, processes.
//!
//! [`Images`] keeps images and their unpacked layers. [`Shims`] is the [`Runtime`] that runs them: each sandbox has a
//! [`shim`], our own binary executed again, which holds the sandbox's namespaces, is the parent of its processes,
//! writes their logs and records their exits, and outlives the daemon. Everything that has to be known after a `kill
//! -9` of the daemon stands in the run folder.
//!
//! This crate knows nothing of pods, services or Kubernetes; its shapes follow CRI because that is what a kubelet
//! needs.

mod capabilities;
pub mod cgroup;
mod clock;
mod config;
mod error;
#[cfg(feature = "testing")]
pub mod fake;
pub mod images;
mod protocol;
mod records;
mod runtime;
mod seccomp;
pub mod shim;
mod shims;
#[cfg(feature = "testing")]
pub mod suite;

pub use config::{
    Capabilities, ContainerConfig, DeviceMapping, ExecConfig, Mount, MountKind, NamespaceMode, Namespaces, Propagation,
    Resources, SandboxConfig, Seccomp, User,
};
pub use error::{Error, Result};
pub use images::{Image, ImageConfig, ImageError, ImageId, Images};
pub use runtime::{
    ContainerState, ContainerStatus, Event, Events, ExecOutput, Exit, ExitStatus, Input, Output, ProcessUser, Resizer,
    Runtime, Sandbox, SandboxState, SandboxStatus, Session, Started, Stats,
};
pub use shims::{Shims, ShimsConfig};
