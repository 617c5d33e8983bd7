//! Who gets what: pods from the watch and events from the runtime go to the actor of their UID.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use client::Informer;
use container::{ContainerState, Event, Runtime};
use k8s_openapi::api::core::v1::Pod;
use meta::{FieldSelector, LabelSelector, Object};
use tokio::sync::{broadcast, mpsc};
use tokio::task::{Id, JoinError, JoinSet};

use crate::actor::{Actor, Message};
use crate::cluster::core;
use crate::kubelet::Shared;
use crate::launch::keys;
use crate::recovery::{Found, find, parse_sandbox_id};

/// So many messages may wait for an actor.
const MAILBOX: usize = 256;
/// What processes of a pod that nobody knows any more get.
const ORPHAN_GRACE: Duration = Duration::from_secs(2);

/// The actors and who they are for.
struct Dispatcher {
    shared: Arc<Shared>,
    informer: Informer,
    actors: BTreeMap<String, mpsc::Sender<Message>>,
    tasks: JoinSet<()>,
    owners: BTreeMap<Id, String>,
}

/// Runs the node's pods for as long as it is polled; containers outlive it. `orders` are for the actor of a UID.
pub(crate) async fn run(shared: Arc<Shared>, mut orders: mpsc::Receiver<(String, Message)>) {
    let mut runtime = shared.config.runtime.events();
    let fields = FieldSelector::equal("spec.nodeName", &shared.config.node_name);
    let informer = Informer::selected(shared.config.client.clone(), core("pods"), LabelSelector::default(), fields);
    shared.cluster.services.wait_synced().await;
    informer.wait_synced().await;
    remove_unstarted(&*shared.config.runtime, &shared.config.node_name).await;
    let mut found = find(shared.config.runtime.list(), &shared.config.node_name);
    let mut changes = informer.subscribe();
    let mut dispatcher =
        Dispatcher { shared, informer, actors: BTreeMap::new(), tasks: JoinSet::new(), owners: BTreeMap::new() };
    let there = dispatcher.informer.list();
    dispatcher.shared.pods.expect(there.iter().map(|object| object.metadata.uid.clone()).collect());
    for object in there {
        let known = found.remove(&object.metadata.uid);
        dispatcher.spawn(object, known);
    }
    let mut orphans = JoinSet::new();
    for (uid, orphan) in found {
        orphans.spawn(remove_orphan(Arc::clone(&dispatcher.shared), uid, orphan));
    }
    loop {
        tokio::select! {
            Some(object) = changes.next() => dispatcher.take_object(object).await,
            Some((uid, message)) = orders.recv() => dispatcher.tell(&uid, message).await,
            event = runtime.recv() => match event {
                Ok(event) => dispatcher.take_event(event).await,
                Err(broadcast::error::RecvError::Lagged(_)) => dispatcher.tell_all(&Message::Resync).await,
                Err(broadcast::error::RecvError::Closed) => return,
            },
            Some(ended) = dispatcher.tasks.join_next_with_id(), if !dispatcher.tasks.is_empty() => {
                dispatcher.take_end(ended.map(|(id, ())| id));
            }
            Some(_) = orphans.join_next(), if !orphans.is_empty() => {}
        }
    }
}

/// What was made and not seen starting when the process died may start yet: another instance will take its place.
async fn remove_unstarted(runtime: &dyn Runtime, node: &str) {
    let sandboxes = runtime.list().into_iter();
    let of_node = sandboxes.filter(|sandbox| sandbox.config.labels.get(keys::NODE).is_some_and(|label| label == node));
    for container in of_node.flat_map(|sandbox| sandbox.containers) {
        let id = &container.config.id;
        if container.state == ContainerState::Created
            && let Err(error) = runtime.remove_container(id).await
        {
            tracing::warn!(container = %id, %error, "remove a container that was not started");
        }
    }
}

impl Dispatcher {
    async fn take_object(&mut self, object: Arc<Object>) {
        let uid = object.metadata.uid.clone();
        let current = self.informer.get(&object.metadata.key());
        match current.filter(|current| current.metadata.uid == uid) {
            Some(current) if self.actors.contains_key(&uid) => self.tell(&uid, Message::Object(current)).await,
            Some(current) => self.spawn(current, None),
            None => self.tell(&uid, Message::Gone).await,
        }
    }

    async fn take_event(&mut self, event: Event) {
        let sandbox = match &event {
            Event::ContainerStarted { sandbox_id, .. }
            | Event::ContainerExited { sandbox_id, .. }
            | Event::SandboxLost { sandbox_id } => sandbox_id.clone(),
        };
        if let Some((uid, _)) = parse_sandbox_id(&sandbox) {
            self.tell(uid, Message::Runtime(event)).await;
        }
    }

    async fn tell(&mut self, uid: &str, message: Message) {
        if let Some(actor) = self.actors.get(uid) {
            // An actor that has just ended needs nothing any more.
            let _ = actor.send(message).await;
        }
    }

    async fn tell_all(&mut self, message: &Message) {
        for actor in self.actors.values() {
            let _ = actor.send(message.clone()).await;
        }
    }

    fn spawn(&mut self, object: Arc<Object>, found: Option<Found>) {
        let uid = object.metadata.uid.clone();
        let pod = match object.view::<Pod>() {
            Ok(pod) => pod,
            Err(error) => {
                tracing::error!(pod = %object.metadata.key(), %error, "read a pod");
                self.shared.pods.remove(&uid);
                return;
            }
        };
        let (sender, mailbox) = mpsc::channel(MAILBOX);
        let shared = Arc::clone(&self.shared);
        let task = self.tasks.spawn(async move { Actor::new(shared, object, pod, found, mailbox).run().await });
        self.owners.insert(task.id(), uid.clone());
        self.actors.insert(uid, sender);
    }

    /// An actor has ended: with its pod, or by a panic, after which another one takes over.
    fn take_end(&mut self, ended: Result<Id, JoinError>) {
        let (id, panicked) = match ended {
            Ok(id) => (id, false),
            Err(error) => (error.id(), error.is_panic()),
        };
        let Some(uid) = self.owners.remove(&id) else { return };
        self.actors.remove(&uid);
        let handle = self.shared.pods.by_uid(&uid);
        self.shared.pods.remove(&uid);
        if let Some(handle) = handle.filter(|_| panicked) {
            tracing::error!(pod = %handle.object.metadata.key(), "a pod's actor panicked; it starts anew");
            let key = handle.object.metadata.key();
            let object = self.informer.get(&key).filter(|object| object.metadata.uid == uid);
            let found = find(self.shared.config.runtime.list(), &self.shared.config.node_name).remove(&uid);
            self.spawn(object.unwrap_or_else(|| Arc::clone(&handle.object)), found);
        }
    }
}

/// Ends what runs of a pod that the API does not know, with a small grace, and removes all of it.
pub(crate) async fn remove_orphan(shared: Arc<Shared>, uid: String, found: Found) {
    let runtime = &shared.config.runtime;
    let mut events = runtime.events();
    let running = || {
        let running = found.containers.values().map(|container| container.current.config.id.clone());
        let alive = |id: &String| {
            runtime.status(id).is_some_and(|status| matches!(status.state, ContainerState::Running { .. }))
        };
        running.filter(alive).collect::<Vec<_>>()
    };
    let signal = async |id: String| {
        if let Err(error) = runtime.signal_container(&id, nix::libc::SIGTERM).await {
            tracing::debug!(container = %id, %error, "signal an orphan");
        }
    };
    let wait = async {
        while !running().is_empty() {
            if let Err(broadcast::error::RecvError::Closed) = events.recv().await {
                return;
            }
        }
    };
    // Whoever is left after the grace is killed with the sandbox.
    let both = futures::future::join(futures::future::join_all(running().into_iter().map(signal)), wait);
    let _ = tokio::time::timeout(ORPHAN_GRACE, both).await;
    let id = &found.sandbox.sandbox.id;
    if let Err(error) = runtime.remove_sandbox(id).await {
        tracing::warn!(sandbox = %id, %error, "remove an orphan's sandbox");
    }
    if let Err(error) = shared.config.network.detach(&uid).await {
        tracing::warn!(pod = %uid, %error, "detach an orphan from the network");
    }
}
