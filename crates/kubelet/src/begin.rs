//! How an actor begins: the first look at its object, at what the runtime still has of the pod, and at the room on the node.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use crate::actor::Actor;
use crate::admission::{Allocatable, Refused, admit};
use crate::eviction;
use crate::launch::{Launched, keys};
use crate::lifecycle::SandboxPhase;
use crate::observe::instance;
use crate::recovery::Found;
use crate::resize::with;
use crate::steps::{Sandboxed, is_on_host};

impl Actor {
    /// The first look at the object and at what the runtime still has.
    pub(crate) fn begin(&mut self, found: Option<Found>) {
        let status = self.pod.status.clone().unwrap_or_default();
        self.frozen = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
        self.observed.over = self.frozen;
        let now = self.shared.config.clock.now();
        self.facts.start_time = Some(status.start_time.map_or(now, |time| time.0));
        self.set_deadline();
        let known = found.is_some();
        if let Some(found) = found {
            self.recover(found);
        } else if !self.frozen {
            // The records are lost, for example by a restart of the machine: counting goes on.
            let all = [&status.init_container_statuses, &status.container_statuses];
            for old in all.into_iter().flatten().flatten().filter(|old| old.container_id.is_some()) {
                self.tracks.entry(old.name.clone()).or_default().next_attempt = old.restart_count + 1;
            }
        }
        self.begin_resizing(known);
        self.take_deletion();
        if !known && !self.frozen && !self.observed.deleted {
            self.admit();
        }
    }

    /// What the node has, and the other pods that have some of it.
    pub(crate) fn neighbourhood(&self) -> (Allocatable, Vec<Pod>) {
        let config = &self.shared.config;
        let node = Allocatable {
            cpu: self.shared.machine.cpu(),
            memory: meta::Quantity::bytes(self.shared.machine.memory),
            pods: config.max_pods,
            allow_privileged: config.allow_privileged,
            // Profiles are not put into force, whatever the kernel has.
            app_armor: false,
        };
        let uid = &self.object.metadata.uid;
        (node, self.shared.pods.list().iter().filter(|pod| pod.uid != *uid).filter_map(running).collect())
    }

    fn admit(&mut self) {
        let (node, others) = self.neighbourhood();
        let short = eviction::refuse(&self.shared.pressures.now(), &self.pod);
        match short.map_or_else(|| admit(&self.pod, &others, node), |message| Err(Refused::evicted(&message))) {
            Ok(()) => {}
            Err(Refused::Ignored(text)) => {
                self.events.warning("FailedValidation", text);
                self.ignored = true;
            }
            Err(Refused::Failed { reason, message }) => {
                self.events.warning(&reason, message.trim_start_matches("Pod was rejected: "));
                self.facts.failed = Some((reason, message));
                self.observed.over = true;
            }
        }
    }

    fn recover(&mut self, found: Found) {
        let uid = &self.object.metadata.uid;
        let address = self.shared.config.network.address(uid).map(std::net::IpAddr::V4);
        let on_host = is_on_host(&self.pod).then_some(self.shared.config.node_ip);
        self.sandbox_attempt = found.attempt;
        let ips: Vec<_> = on_host.or(address).into_iter().collect();
        self.facts.ips = ips.clone();
        let sandbox = &found.sandbox.sandbox;
        self.sandbox = Some(Sandboxed { id: sandbox.id.clone(), netns: sandbox.netns.clone(), ips });
        // Where no container was started yet, nobody knows how far the network had come: nothing is lost by another sandbox.
        let whole = found.ready && (on_host.is_some() || !found.containers.is_empty());
        self.observed.sandbox = if whole { SandboxPhase::Ready } else { SandboxPhase::Absent };
        for (name, recovered) in found.containers {
            let track = self.tracks.entry(name.clone()).or_default();
            track.next_attempt = recovered.attempt + 1;
            track.hook_done = true;
            if let Some(previous) = recovered.previous {
                track.previous = Some(instance(&previous.config, previous.state));
                let record = self.record(&previous.config, previous.state);
                self.facts.containers.entry(name.clone()).or_default().previous = Some(record);
            }
            self.facts.containers.entry(name.clone()).or_default().restart_count = recovered.attempt;
            let config = recovered.current.config;
            let launched = Launched {
                image: config.annotations.get(keys::IMAGE).cloned().unwrap_or_default(),
                image_id: config.image.to_string(),
                config,
            };
            self.take_instance(&name, launched, recovered.current.state);
            self.follow_up(&name);
        }
    }
}

/// A pod of the directory that still holds its resources, with those that it holds.
fn running(pod: &Arc<crate::pods::PodHandle>) -> Option<Pod> {
    let phase = pod.pod.status.as_ref().and_then(|status| status.phase.as_deref());
    (!matches!(phase, Some("Succeeded" | "Failed"))).then(|| with(&pod.pod, &pod.granted))
}
