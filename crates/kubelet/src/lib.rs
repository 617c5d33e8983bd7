//! The kubelet: makes the pods that are bound to a node run there, and tells the API how they are.
//!
//! [`Kubelet`] follows the node's pods and runs one actor per pod UID. An actor decides by a pure function
//! ([`lifecycle::plan`]) from what is wanted and what was observed, carries the actions out through the container
//! runtime, the network and the volumes, and writes the pod's status at once. Nothing is polled: pods come from a watch,
//! exits from the runtime's events, and the only timers are probes, back-offs and deadlines.
//!
//! A restart of the process is the normal path: everything needed to go on stands in the runtime's records (labels and
//! annotations of sandboxes and containers) and in the API.
//!
//! This crate does not know stores, servers or services' rules.

mod access;
mod actor;
mod admission;
mod begin;
mod cgroups;
mod checkpoint;
mod cluster;
mod conditions;
mod dispatch;
mod env;
mod events;
mod eviction;
mod handler;
mod health;
mod hooks;
mod hosts;
mod kubelet;
mod launch;
mod lifecycle;
pub mod logs;
mod node;
mod observe;
mod pods;
mod port_forward;
mod pressure;
mod probes;
mod pulls;
mod recovery;
mod requests;
mod resize;
mod security;
mod serve;
mod spdy;
mod spdy_stream;
mod status;
mod steps;
mod stream;
mod summary;
mod termination;
mod usage;
pub mod volumes;

pub use eviction::Thresholds;
pub use kubelet::{Kubelet, KubeletConfig, KubeletError};
pub use pods::{ContainerHandle, Instance, PodHandle, Pods};
