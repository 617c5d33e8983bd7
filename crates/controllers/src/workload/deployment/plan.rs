//! One step of a Deployment: what is done to its ReplicaSets, and what its status says.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use meta::{Object, format_time};
use serde_json::{Value, json};

use super::availability::{is_complete, is_rolling, replicas};
use super::revision::{DESIRED, REVISION, is_newest, new_set, note_revision, note_sizes, noted, revision};
use super::sizes::{self, Sizes};
use super::status;
use crate::workload::conditions::find;
use crate::workload::document::{controller_reference, items, map, normal, number, text};

/// What there is.
pub(super) struct State<'a> {
    pub(super) deployment: &'a Value,
    pub(super) object: &'a Arc<Object>,
    pub(super) sets: Vec<(Arc<Object>, Value)>,
    /// How many pods that have not finished each set has, by the set's UID.
    pub(super) running: HashMap<String, usize>,
    pub(super) now: Timestamp,
}

#[derive(Debug)]
pub(super) enum Action {
    Create(Value),
    Update { set: Value, event: Option<String> },
    Delete(Arc<Object>),
    Annotate(Value),
    Status(Value),
    Warn(&'static str, String),
}

/// A plan in the making.
struct Step<'a> {
    state: &'a State<'a>,
    /// The Deployment with what is noted on the way.
    deployment: Value,
    newest: Option<&'a Value>,
    old: Vec<&'a Value>,
    actions: Vec<Action>,
}

/// The next step, and when to look again.
pub(super) fn plan(state: &State<'_>) -> (Vec<Action>, Option<Duration>) {
    let mut sets: Vec<&Value> = state.sets.iter().map(|(_, set)| set).collect();
    sets.sort_by_key(|set| (text(set, "/metadata/creationTimestamp"), text(set, "/metadata/name")));
    let newest = sets.iter().copied().find(|set| is_newest(state.deployment, set));
    let old = sets.into_iter().filter(|set| newest.is_none_or(|newest| !std::ptr::eq(*set, newest))).collect();
    let mut step = Step { state, deployment: state.deployment.clone(), newest, old, actions: Vec::new() };
    let rolling = step.decide();
    let again = step.tell(rolling);
    (step.actions, again)
}

impl<'a> Step<'a> {
    /// Whether a rollout is under way, whose progress must be judged.
    fn decide(&mut self) -> bool {
        let spec = &self.state.deployment["spec"];
        if meta::LabelSelector::from_value(&spec["selector"]).is_ok_and(|selector| selector.is_everything()) {
            let message = "This deployment is selecting all pods. A non-empty selector is required.";
            self.actions.push(Action::Warn("SelectingAll", message.to_owned()));
            return false;
        }
        if self.state.object.metadata.is_terminating() {
            return false;
        }
        let wanted = replicas(self.state.deployment);
        let resized =
            self.all().iter().any(|set| replicas(set) > 0 && noted(set, DESIRED).is_some_and(|n| n != wanted));
        if spec["paused"] == true || resized {
            self.refresh_newest();
            let sizes = sizes::scale(self.state.deployment, self.newest, &self.old);
            self.resize_all(&sizes);
            if spec["paused"] == true {
                self.clean_up();
            }
            return false;
        }
        if is_rolling(self.state.deployment) {
            self.roll()
        } else {
            self.recreate()
        }
        true
    }

    fn all(&self) -> Vec<&'a Value> {
        self.old.iter().copied().chain(self.newest).collect()
    }

    fn roll(&mut self) {
        let size = sizes::newest(self.state.deployment, &self.all(), self.newest);
        let Some(newest) = self.newest else { return self.create(size) };
        self.refresh_newest();
        let wanted = replicas(self.state.deployment);
        let size = if replicas(newest) > wanted { wanted } else { size };
        if replicas(newest) != size {
            return self.resize(newest, size);
        }
        let sizes = sizes::roll_old(self.state.deployment, newest, &self.old);
        let done = sizes.is_empty();
        let changed: Vec<&Value> =
            self.old.iter().filter(|set| sizes.contains_key(text(set, "/metadata/name"))).copied().collect();
        for set in changed {
            self.resize(set, sizes[text(set, "/metadata/name")]);
        }
        if done {
            self.clean_up_if_complete();
        }
    }

    fn recreate(&mut self) {
        let active: Vec<&Value> = self.old.iter().filter(|set| replicas(set) > 0).copied().collect();
        if !active.is_empty() {
            return active.into_iter().for_each(|set| self.resize(set, 0));
        }
        let running = |set: &&Value| self.state.running.get(text(set, "/metadata/uid")).is_some_and(|count| *count > 0);
        if self.old.iter().any(running) {
            return;
        }
        let wanted = replicas(self.state.deployment);
        let Some(newest) = self.newest else { return self.create(wanted) };
        self.refresh_newest();
        if replicas(newest) != wanted {
            return self.resize(newest, wanted);
        }
        self.clean_up_if_complete();
    }

    fn next_revision(&self) -> i64 {
        self.old.iter().map(|set| revision(set)).max().unwrap_or(0) + 1
    }

    fn create(&mut self, size: i64) {
        let number = self.next_revision();
        let set = new_set(self.state.deployment, controller_reference(self.state.object), size, number);
        let message = format!("Created new replica set {:?}", text(&set, "/metadata/name"));
        self.actions.push(Action::Create(set));
        status::note_set(&mut self.deployment, "NewReplicaSetCreated", &message, &format_time(self.state.now));
        self.note_revision(number);
    }

    /// Carries the Deployment's annotations and revision to its newest set.
    fn refresh_newest(&mut self) {
        let Some(newest) = self.newest else { return };
        let number = self.next_revision().max(revision(newest));
        let mut set = newest.clone();
        note_revision(self.state.deployment, &mut set, number);
        set["spec"]["minReadySeconds"] = self.state.deployment["spec"]["minReadySeconds"].clone();
        if number_of(&set) == number_of(newest) {
            set["spec"]["minReadySeconds"] = newest["spec"]["minReadySeconds"].clone();
        }
        if normal(&set) != normal(newest) {
            self.actions.push(Action::Update { set, event: None });
        }
        if find(items(&self.deployment, "/status/conditions"), "Progressing").is_none() {
            let message = format!("Found new replica set {:?}", text(newest, "/metadata/name"));
            status::note_set(&mut self.deployment, "FoundNewReplicaSet", &message, &format_time(self.state.now));
        }
        self.note_revision(number);
    }

    fn note_revision(&mut self, number: i64) {
        let mut annotations = map(self.state.deployment, "/metadata/annotations");
        if annotations.insert(REVISION.into(), json!(number.to_string())) != Some(json!(number.to_string())) {
            let mut changed = self.state.deployment.clone();
            changed["metadata"]["annotations"] = json!(annotations);
            self.actions.push(Action::Annotate(changed));
        }
    }

    fn resize_all(&mut self, sizes: &Sizes) {
        for set in self.all() {
            if let Some(size) = sizes.get(text(set, "/metadata/name")) {
                self.resize(set, *size);
            }
        }
    }

    /// Gives a set its size and the notes that go with it. A set that is already to be updated is updated once.
    fn resize(&mut self, set: &Value, size: i64) {
        let before = replicas(set);
        let name = text(set, "/metadata/name");
        let same = |action: &Action| matches!(action, Action::Update { set, .. } if set["metadata"]["name"] == name);
        let mut changed = match self.actions.iter().position(same).map(|at| self.actions.remove(at)) {
            Some(Action::Update { set, .. }) => set,
            _ => set.clone(),
        };
        changed["spec"]["replicas"] = json!(size);
        note_sizes(self.state.deployment, &mut changed);
        if normal(&changed) == normal(set) {
            return;
        }
        let way = if size > before { "up" } else { "down" };
        let event = (size != before).then(|| format!("Scaled {way} replica set {name} from {before} to {size}"));
        self.actions.push(Action::Update { set: changed, event });
    }

    fn clean_up_if_complete(&mut self) {
        let now = self.state.now;
        let status = status::status(&self.deployment, self.newest, &self.all(), true, now);
        if is_complete(self.state.deployment, &status) {
            self.clean_up();
        }
    }

    /// Lets old sets go that nobody will roll back to.
    fn clean_up(&mut self) {
        let Some(limit) = self.state.deployment["spec"]["revisionHistoryLimit"].as_u64() else { return };
        let mut old: Vec<&Value> =
            self.old.iter().filter(|set| set["metadata"]["deletionTimestamp"].is_null()).copied().collect();
        let excess = old.len().saturating_sub(usize::try_from(limit).unwrap_or(usize::MAX));
        old.sort_by_key(|set| revision(set));
        for set in old.into_iter().take(excess) {
            let settled = number(set, "/metadata/generation") <= number(set, "/status/observedGeneration");
            if number(set, "/status/replicas") == 0 && replicas(set) == 0 && settled {
                let found = self.state.sets.iter().find(|(_, own)| std::ptr::eq(own, set));
                self.actions.extend(found.map(|(object, _)| Action::Delete(Arc::clone(object))));
            }
        }
    }

    fn tell(&mut self, rolling: bool) -> Option<Duration> {
        let status = status::status(&self.deployment, self.newest, &self.all(), rolling, self.state.now);
        let again = status::check_again(self.state.deployment, &status, self.state.now);
        if normal(&status) != normal(&self.state.deployment["status"]) {
            self.actions.push(Action::Status(status));
        }
        again
    }
}

fn number_of(set: &Value) -> i64 {
    number(set, "/spec/minReadySeconds")
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
