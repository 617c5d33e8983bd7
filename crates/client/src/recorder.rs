//! Events about objects, as upstream's recorder writes them: the same event again counts up the one that is there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use meta::{Gvr, Object, ResourcePath, format_micro_time, format_time};
use serde_json::{Value, json};

use crate::api::Client;

/// How many different events are remembered for counting.
const REMEMBERED: usize = 4096;

/// What an event is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Subject {
    /// Its group and version.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its namespace; empty for cluster-scoped objects.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its revision.
    pub resource_version: String,
    /// A part of it, for example `spec.containers{web}`.
    pub field_path: String,
}

impl Subject {
    /// An object as a whole.
    pub fn of(object: &Object) -> Self {
        Self {
            api_version: object.api_version().to_owned(),
            kind: object.kind().to_owned(),
            namespace: object.metadata.namespace.clone(),
            name: object.metadata.name.clone(),
            uid: object.metadata.uid.clone(),
            resource_version: object.resource_version(),
            field_path: String::new(),
        }
    }

    /// The part of it.
    #[must_use]
    pub fn part(mut self, field_path: impl Into<String>) -> Self {
        self.field_path = field_path.into();
        self
    }
}

/// What makes two events the same: subject's UID and part, type, reason, message.
type Sameness = (String, String, &'static str, String, String);

#[derive(Clone, Debug)]
struct Seen {
    name: String,
    count: u64,
}

/// Writes events for one component. Cheap to clone. Writing never holds the caller up, and a failure is only logged.
#[derive(Clone)]
pub struct Recorder {
    client: Client,
    component: Arc<str>,
    host: Arc<str>,
    /// What the component was doing. Compat: upstream's components that say this write the newer form of events.
    action: Option<&'static str>,
    clock: Arc<dyn meta::Clock>,
    seen: Arc<Mutex<HashMap<Sameness, Seen>>>,
}

impl Recorder {
    /// A recorder for a component, for example `kubelet` on a host; the host may be empty.
    pub fn new(client: Client, component: &str, host: &str, clock: Arc<dyn meta::Clock>) -> Self {
        Self { client, component: component.into(), host: host.into(), action: None, clock, seen: Arc::default() }
    }

    /// The same, saying what it was doing, for example `Binding`: its events have the newer form.
    #[must_use]
    pub fn doing(&self, action: &'static str) -> Self {
        Self { action: Some(action), ..self.clone() }
    }

    /// Something went as it should.
    pub fn normal(&self, subject: &Subject, reason: &str, message: impl Into<String>) {
        self.record(subject, "Normal", reason, message.into());
    }

    /// Something went wrong.
    pub fn warning(&self, subject: &Subject, reason: &str, message: impl Into<String>) {
        self.record(subject, "Warning", reason, message.into());
    }

    fn record(&self, subject: &Subject, kind: &'static str, reason: &str, message: String) {
        let recorder = self.clone();
        let (subject, reason) = (subject.clone(), reason.to_owned());
        // Events are best effort: the task ends by itself, and nobody waits for it.
        tokio::spawn(async move {
            if let Err(error) = recorder.write(&subject, kind, &reason, message).await {
                tracing::debug!(%reason, name = %subject.name, %error, "an event could not be written");
            }
        });
    }

    async fn write(
        &self,
        subject: &Subject,
        kind: &'static str,
        reason: &str,
        message: String,
    ) -> Result<(), meta::ApiError> {
        let namespace = if subject.namespace.is_empty() { "default" } else { &subject.namespace };
        let events = Gvr::new("", "v1", "events");
        let now = self.clock.now();
        let same = (subject.uid.clone(), subject.field_path.clone(), kind, reason.to_owned(), message.clone());
        if let Some(Seen { name, count }) = self.count(&same) {
            let path = ResourcePath::object(events.clone(), namespace, &name);
            let patch = match self.action {
                Some(_) => json!({"series": {"count": count, "lastObservedTime": format_micro_time(now)}}),
                None => json!({"count": count, "lastTimestamp": format_time(now)}),
            };
            match self.client.merge(&path, &patch).await {
                Err(error) if error.reason == meta::Reason::NotFound => {}
                other => return other.map(drop),
            }
        }
        let name = format!("{}.{:x}", subject.name, now.as_nanosecond());
        self.remember(same, &name);
        let event = self.event(subject, namespace, &name, kind, reason, &message);
        self.client.create(&events, namespace, event).await.map(drop)
    }

    fn event(&self, subject: &Subject, namespace: &str, name: &str, kind: &str, reason: &str, message: &str) -> Value {
        let now = self.clock.now();
        let mut involved = json!({
            "kind": subject.kind, "name": subject.name, "uid": subject.uid,
            "apiVersion": subject.api_version, "resourceVersion": subject.resource_version,
        });
        let optional = [("namespace", &subject.namespace), ("fieldPath", &subject.field_path)];
        for (field, text) in optional.into_iter().filter(|(_, text)| !text.is_empty()) {
            involved[field] = json!(text);
        }
        let mut event = json!({
            "kind": "Event", "apiVersion": "v1",
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": involved,
            "type": kind, "reason": reason, "message": message,
            "source": {}, "reportingComponent": *self.component, "reportingInstance": *self.host,
            "firstTimestamp": null, "lastTimestamp": null,
        });
        if let Some(action) = self.action {
            event["action"] = json!(action);
            event["eventTime"] = json!(format_micro_time(now));
            event["reportingInstance"] = json!(format!("{}-{}", self.component, self.host).trim_end_matches('-'));
            return event;
        }
        event["source"] = json!({"component": *self.component});
        if !self.host.is_empty() {
            event["source"]["host"] = json!(*self.host);
        }
        for field in ["firstTimestamp", "lastTimestamp"] {
            event[field] = json!(format_time(now));
        }
        event["count"] = json!(1);
        event
    }

    fn count(&self, same: &Sameness) -> Option<Seen> {
        let mut seen = self.seen.lock().expect("no holder of this lock can panic");
        let event = seen.get_mut(same)?;
        event.count += 1;
        Some(event.clone())
    }

    fn remember(&self, same: Sameness, name: &str) {
        let mut seen = self.seen.lock().expect("no holder of this lock can panic");
        if seen.len() >= REMEMBERED {
            seen.clear();
        }
        seen.insert(same, Seen { name: name.to_owned(), count: 1 });
    }
}
