//! The cluster as informers show it, with what was decided and isn't seen yet.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use meta::{Object, ObjectError};
use serde_json::Value;

use crate::cluster::Cluster;
use crate::cycle::refusal;
use crate::node::NodeInfo;
use crate::plugins::Events;
use crate::pod::PodInfo;
use crate::selectors::Labels;

/// Pods name it in `schedulerName`.
pub(crate) const NAME: &str = "default-scheduler";

/// Where a pod stands.
#[derive(Clone, Debug)]
enum Tracked {
    /// It needs a node.
    Waiting(Arc<PodInfo>),
    /// A binding to this node is under way.
    Assumed(Arc<PodInfo>, String),
    /// It is on a node.
    Placed(Arc<PodInfo>),
}

impl Tracked {
    fn pod(&self) -> &Arc<PodInfo> {
        match self {
            Self::Waiting(pod) | Self::Assumed(pod, _) | Self::Placed(pod) => pod,
        }
    }
}

/// What becomes of a pod's place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It stays where it is.
    Same,
    /// It is to be tried; its priority.
    Try(i32),
    /// It needs no node any more.
    Never,
}

/// What a change means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Effect {
    /// What others may have waited for.
    pub(crate) events: Events,
    /// The one node where that happened; empty if it may be more.
    pub(crate) node: String,
    pub(crate) turn: Turn,
}

impl Effect {
    fn of(events: Events, turn: Turn) -> Self {
        Self { events, node: String::new(), turn }
    }
}

/// The state.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) cluster: Cluster,
    pods: HashMap<String, Tracked>,
}

fn lives(object: &Object) -> bool {
    !matches!(object.field("status.phase"), Some("Succeeded" | "Failed"))
}

fn is_ours(object: &Object) -> bool {
    matches!(object.field("spec.schedulerName"), Some(NAME))
}

impl State {
    /// A pod that needs a node.
    pub(crate) fn waiting(&self, key: &str) -> Option<Arc<PodInfo>> {
        match self.pods.get(key)? {
            Tracked::Waiting(pod) => Some(Arc::clone(pod)),
            Tracked::Assumed(..) | Tracked::Placed(_) => None,
        }
    }

    /// Every pod that is known.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.pods.keys().cloned().collect()
    }

    /// Takes over what became of a pod; `None` if it is gone.
    pub(crate) fn pod(&mut self, key: &str, object: Option<&Arc<Object>>) -> Result<Effect, ObjectError> {
        let same = |object: &Object| self.pods.get(key).is_none_or(|old| old.pod().uid() == object.metadata.uid);
        let Some(object) = object.filter(|object| lives(object)) else { return Ok(self.gone(key)) };
        let before = if same(object) { Events::default() } else { self.gone(key).events };
        let pod = Arc::new(PodInfo::read(object)?);
        let mut effect = if pod.node.is_empty() { self.unplaced(key, pod) } else { self.placed(key, pod) };
        if !before.is_empty() {
            effect = Effect::of(effect.events.or(before), effect.turn);
        }
        Ok(effect)
    }

    fn gone(&mut self, key: &str) -> Effect {
        let (pod, node) = match self.pods.remove(key) {
            None => return Effect::of(Events::default(), Turn::Never),
            Some(Tracked::Waiting(pod)) => return Effect::of(self.forget_nomination(pod.uid()), Turn::Never),
            Some(Tracked::Assumed(pod, node)) => (pod, node),
            Some(Tracked::Placed(pod)) => (Arc::clone(&pod), pod.node.clone()),
        };
        self.cluster.remove(pod.uid(), &node);
        Effect { events: Events::POD_GONE, node, turn: Turn::Never }
    }

    fn forget_nomination(&mut self, uid: &str) -> Events {
        if self.cluster.nominated.remove(uid).is_some() { Events::POD_GONE } else { Events::default() }
    }

    fn placed(&mut self, key: &str, pod: Arc<PodInfo>) -> Effect {
        let mut events = match self.pods.get(key) {
            Some(Tracked::Placed(old)) if old.labels() == pod.labels() => Events::default(),
            Some(Tracked::Waiting(_) | Tracked::Assumed(..) | Tracked::Placed(_)) | None => Events::POD_ASSIGNED,
        };
        let mut place = pod.node.clone();
        match self.pods.get(key).cloned() {
            Some(Tracked::Assumed(old, node)) if node != pod.node => {
                self.cluster.remove(old.uid(), &node);
                events = events.or(Events::POD_GONE);
                place = String::new();
            }
            Some(Tracked::Placed(old)) if old.requests != pod.requests => events = events.or(Events::POD_GONE),
            _ => {}
        }
        self.cluster.nominated.remove(pod.uid());
        self.cluster.add(Arc::clone(&pod), &pod.node);
        self.pods.insert(key.to_owned(), Tracked::Placed(pod));
        Effect { events, node: place, turn: Turn::Never }
    }

    fn unplaced(&mut self, key: &str, pod: Arc<PodInfo>) -> Effect {
        let none = Events::default();
        if !is_ours(&pod.object) || pod.is_terminating() {
            return self.gone(key);
        }
        let old = match self.pods.get(key) {
            // What we decided holds until the binding is over.
            Some(Tracked::Assumed(..)) => return Effect::of(none, Turn::Same),
            Some(Tracked::Waiting(old) | Tracked::Placed(old)) => Some(Arc::clone(old)),
            None => None,
        };
        let wanted = |pod: &PodInfo| (pod.object.metadata.generation, pod.labels().clone(), pod.gates.len());
        let same = old.is_some_and(|old| wanted(&old) == wanted(&pod));
        let mut events = none;
        if pod.nominated.is_empty() {
            events = self.forget_nomination(pod.uid());
        } else {
            self.cluster.nominated.insert(pod.uid().to_owned(), Arc::clone(&pod));
        }
        let turn = match (pod.gates.is_empty(), same) {
            (false, _) => Turn::Never,
            (true, true) => Turn::Same,
            (true, false) => Turn::Try(pod.priority),
        };
        self.pods.insert(key.to_owned(), Tracked::Waiting(pod));
        Effect::of(events, turn)
    }

    /// Whether something that happened on one node could help a pod that waits: that node takes it, or would without some other pods.
    /// A pod that looks at other pods, or shares claims with them, may be helped from anywhere.
    pub(crate) fn could_help(&self, key: &str, node: &str) -> bool {
        let Some(Tracked::Waiting(pod)) = self.pods.get(key) else { return true };
        let looks_around = !pod.spread.is_empty() || !pod.pods.near.is_empty() || !pod.pods.far.is_empty();
        let looks_around = looks_around || !pod.claims.is_empty();
        let takes = || refusal(pod, &self.cluster, node).is_none_or(|refusal| refusal.resolvable);
        node.is_empty() || looks_around || takes()
    }

    /// From now on a pod counts where it will be bound.
    pub(crate) fn assume(&mut self, pod: &Arc<PodInfo>, node: &str) {
        self.cluster.nominated.remove(pod.uid());
        self.cluster.add(Arc::clone(pod), node);
        self.pods.insert(pod.key(), Tracked::Assumed(Arc::clone(pod), node.to_owned()));
    }

    /// The binding of a pod failed; whether it waits again.
    pub(crate) fn give_up(&mut self, pod: &Arc<PodInfo>) -> bool {
        let Some(Tracked::Assumed(assumed, node)) = self.pods.get(&pod.key()).cloned() else { return false };
        if assumed.uid() != pod.uid() {
            return false;
        }
        self.cluster.remove(pod.uid(), &node);
        self.pods.insert(pod.key(), Tracked::Waiting(Arc::clone(pod)));
        true
    }

    /// From now on room on a node is kept for a pod.
    pub(crate) fn nominate(&mut self, pod: &Arc<PodInfo>, node: &str) {
        let mut nominated = PodInfo::clone(pod);
        node.clone_into(&mut nominated.nominated);
        let nominated = Arc::new(nominated);
        self.cluster.nominated.insert(pod.uid().to_owned(), Arc::clone(&nominated));
        self.pods.insert(pod.key(), Tracked::Waiting(nominated));
    }

    /// Takes over what became of a node; `None` if it is gone.
    pub(crate) fn node(&mut self, name: &str, object: Option<&Arc<Object>>) -> Result<Events, ObjectError> {
        let old = self.cluster.nodes.get(name).cloned();
        let Some(object) = object else {
            let Some(old) = old else { return Ok(Events::default()) };
            // Its pods are still there until somebody deletes them.
            let mut rest = NodeInfo::default();
            rest.keep_pods(&old);
            if rest.count() == 0 {
                self.cluster.nodes.remove(name);
            } else {
                self.cluster.nodes.insert(name.to_owned(), Arc::new(rest));
            }
            return Ok(Events::default());
        };
        let mut node = NodeInfo::read(object)?;
        let mut events = Events::default();
        match &old {
            Some(old) if !old.name.is_empty() => {
                let changes = [
                    (old.labels != node.labels, Events::NODE_LABELS),
                    (old.taints != node.taints || old.unschedulable != node.unschedulable, Events::NODE_TAINTS),
                    (old.allocatable != node.allocatable, Events::NODE_ALLOCATABLE),
                ];
                for (_, event) in changes.into_iter().filter(|(changed, _)| *changed) {
                    events = events.or(event);
                }
            }
            Some(_) | None => events = Events::NODE_ADDED,
        }
        if let Some(old) = &old {
            node.keep_pods(old);
        }
        self.cluster.nodes.insert(name.to_owned(), Arc::new(node));
        Ok(events)
    }

    /// Takes over what became of anything else.
    pub(crate) fn other(&mut self, kind: &str, key: &str, object: Option<&Arc<Object>>) -> Result<Events, ObjectError> {
        let volumes = &mut self.cluster.volumes;
        match (kind, object) {
            ("Service", object) => {
                let selector = object.map(|object| object.value()["spec"]["selector"].clone()).unwrap_or_default();
                let labels: Labels = serde_json::from_value(selector).unwrap_or_default();
                let services = Arc::make_mut(&mut self.cluster.services);
                if labels.is_empty() {
                    services.remove(key)
                } else {
                    services.insert(key.to_owned(), labels)
                };
                return Ok(Events::default());
            }
            ("Namespace", Some(object)) => {
                let labels = object.metadata.labels.clone();
                let same = self.cluster.namespaces.get(key) == Some(&labels);
                self.cluster.namespaces.insert(key.to_owned(), labels);
                return Ok(if same { Events::default() } else { Events::NAMESPACE });
            }
            ("Namespace", None) => {
                self.cluster.namespaces.remove(key);
                return Ok(Events::NAMESPACE);
            }
            ("PersistentVolumeClaim", Some(object)) => {
                volumes.claims.insert(key.to_owned(), Arc::new(object.view()?));
            }
            ("PersistentVolumeClaim", None) => drop(volumes.claims.remove(key)),
            ("PersistentVolume", Some(object)) => {
                volumes.volumes.insert(key.to_owned(), Arc::new(object.view()?));
            }
            ("PersistentVolume", None) => drop(volumes.volumes.remove(key)),
            ("CSINode", object) => {
                let limits = object.map(|object| limits(&object.value())).unwrap_or_default();
                if limits.is_empty() {
                    volumes.limits.remove(key)
                } else {
                    volumes.limits.insert(key.to_owned(), limits)
                };
            }
            (_, Some(object)) => drop(volumes.classes.insert(key.to_owned(), Arc::new(object.view()?))),
            (_, None) => drop(volumes.classes.remove(key)),
        }
        Ok(Events::VOLUMES)
    }
}

/// How many volumes of each driver a CSINode's node takes.
fn limits(node: &Value) -> BTreeMap<String, i64> {
    let drivers = node["spec"]["drivers"].as_array().into_iter().flatten();
    let limit = |driver: &Value| {
        let most = driver["allocatable"]["count"].as_i64()?;
        Some((driver["name"].as_str()?.to_owned(), most))
    };
    drivers.filter_map(limit).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(spec: Value, phase: &str) -> Arc<Object> {
        let metadata = json!({"name": "p", "namespace": "n", "uid": "u", "generation": 1});
        let value = json!({"kind": "Pod", "metadata": metadata, "spec": spec, "status": {"phase": phase}});
        let fields =
            vec![("spec.schedulerName".to_owned(), NAME.to_owned()), ("status.phase".to_owned(), phase.to_owned())];
        Arc::new(Object::from_value(&value).expect("an object").with_fields(fields))
    }

    #[test]
    fn a_pod_counts_once_on_its_way_to_its_node() {
        let mut state = State::default();
        let count = |state: &State| state.cluster.nodes.get("a").map_or(0, |node| node.count());
        let waiting = object(json!({}), "Pending");
        let effect = state.pod("n/p", Some(&waiting)).expect("a pod");
        assert_eq!(effect.turn, Turn::Try(0));
        assert_eq!(state.pod("n/p", Some(&waiting)).expect("a pod").turn, Turn::Same);
        let pod = state.waiting("n/p").expect("it waits");
        state.assume(&pod, "a");
        assert_eq!((count(&state), state.waiting("n/p").is_some()), (1, false));
        state.pod("n/p", Some(&waiting)).expect("a pod");
        assert_eq!(count(&state), 1, "an older state of it changes nothing");
        assert!(state.give_up(&pod) && count(&state) == 0);
        state.assume(&pod, "a");
        let placed = object(json!({"nodeName": "a"}), "Running");
        assert_eq!(state.pod("n/p", Some(&placed)).expect("a pod").events, Events::POD_ASSIGNED);
        assert_eq!(count(&state), 1);
        let ended = object(json!({"nodeName": "a"}), "Succeeded");
        assert_eq!(state.pod("n/p", Some(&ended)).expect("a pod").events, Events::POD_GONE);
        assert_eq!(count(&state), 0);
    }

    #[test]
    fn what_happens_on_a_node_helps_those_whom_it_would_take() {
        let mut state = State::default();
        let mut check = |node: Value, expected: bool| {
            let wants = json!({"nodeSelector": {"disk": "fast"},
                "containers": [{"name": "c", "resources": {"requests": {"cpu": "2"}}}]});
            state.pod("n/p", Some(&object(wants, "Pending"))).expect("a pod");
            state.node("a", Some(&Arc::new(Object::from_value(&node).expect("an object")))).expect("a node");
            assert_eq!(state.could_help("n/p", "a"), expected, "{node}");
        };
        let node = |disk: &str, cpu: &str, spec: Value| {
            let amounts = json!({"cpu": cpu, "pods": "9"});
            let metadata = json!({"name": "a", "labels": {"disk": disk}});
            json!({"kind": "Node", "metadata": metadata, "spec": spec, "status": {"allocatable": amounts}})
        };
        check(node("fast", "2", json!({})), true);
        check(node("slow", "2", json!({})), false);
        check(node("fast", "1", json!({})), false);
        check(node("fast", "2", json!({"taints": [{"key": "k", "effect": "NoSchedule"}]})), false);
    }

    #[test]
    fn a_gated_pod_waits_for_its_gates() {
        let mut state = State::default();
        let gated = object(json!({"schedulingGates": [{"name": "g"}]}), "Pending");
        assert_eq!(state.pod("n/p", Some(&gated)).expect("a pod").turn, Turn::Never);
        assert_eq!(state.pod("n/p", Some(&object(json!({}), "Pending"))).expect("a pod").turn, Turn::Try(0));
    }
}
