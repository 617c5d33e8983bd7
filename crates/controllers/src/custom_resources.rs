//! Definitions of custom resources: accepts their names, establishes them, and empties them when they go.
//!
//! Upstream's API server does this by controllers of its own; so this one comes as the API server's user.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use client::{Client, Controller, Informer, Outcome, ReconcileError, Source};
use meta::{ApiError, Call, Clock, DeleteOptions, Gvr, ListOptions, Reason, ResourcePath, format_time};
use serde_json::{Value, json};

use crate::conditions::set;

const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// How long until instances that didn't go at once are looked at again.
const AGAIN: Duration = Duration::from_millis(500);

pub(crate) struct CustomResources {
    pub(crate) client: Client,
    pub(crate) definitions: Informer,
    pub(crate) clock: Arc<dyn Clock>,
}

/// Where definitions are.
pub(crate) fn definitions() -> Gvr {
    Gvr::new("apiextensions.k8s.io", "v1", "customresourcedefinitions")
}

#[async_trait]
impl Controller for CustomResources {
    fn name(&self) -> &'static str {
        "custom-resources"
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source { informer: self.definitions.clone(), keys: |object| vec![object.metadata.name.clone()] }]
    }

    async fn reconcile(&self, key: &str) -> Result<Outcome, ReconcileError> {
        let Some(object) = self.definitions.get(key) else {
            self.settle_others(key).await?;
            return Ok(Outcome::default());
        };
        if object.metadata.is_terminating() {
            return self.empty(object.value()).await;
        }
        self.settle(key).await
    }
}

impl CustomResources {
    /// A name that became free may be what another definition waits for.
    async fn settle_others(&self, gone: &str) -> Result<(), ReconcileError> {
        for other in self.definitions.list() {
            if other.metadata.name != gone && !other.metadata.is_terminating() {
                self.settle(&other.metadata.name).await?;
            }
        }
        Ok(())
    }

    async fn settle(&self, key: &str) -> Result<Outcome, ReconcileError> {
        let Some(object) = self.definitions.get(key) else { return Ok(Outcome::default()) };
        let mut definition = object.value();
        let others: Vec<Value> = self.definitions.list().iter().map(|other| other.value()).collect();
        let status = settled(&definition, &others, &format_time(self.clock.now()));
        if status == definition["status"] {
            return Ok(Outcome::default());
        }
        definition["status"] = status;
        match self.client.update_status(&definitions(), definition).await {
            Ok(object) => Ok(Outcome { again_after: None, wrote: object.revision }),
            Err(error) if error.reason == Reason::NotFound => Ok(Outcome::default()),
            Err(error) => Err(error.into()),
        }
    }

    /// Deletes the instances, then lets the definition go.
    async fn empty(&self, mut definition: Value) -> Result<Outcome, ReconcileError> {
        let finalizers = definition["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
        if !finalizers.contains(&json!(CLEANUP)) {
            return Ok(Outcome::default());
        }
        if let Some(resource) = served(&definition)
            && self.delete_instances(&resource).await? > 0
        {
            return self.tell(definition, "InstanceDeletionInProgress", "CustomResource deletion is in progress").await;
        }
        definition["metadata"]["finalizers"] = finalizers.into_iter().filter(|name| name != CLEANUP).collect();
        match self.client.update(&definitions(), definition).await {
            Err(error) if error.reason != Reason::NotFound => Err(error.into()),
            Ok(_) | Err(_) => Ok(Outcome::default()),
        }
    }

    /// How many instances are left.
    async fn delete_instances(&self, resource: &Gvr) -> Result<usize, ApiError> {
        let path = ResourcePath::collection(resource.clone(), "");
        self.client.call(&path, Call::DeleteCollection(ListOptions::default(), DeleteOptions::default())).await?;
        Ok(self.client.list(resource, "", ListOptions::default()).await?.items.len())
    }

    async fn tell(&self, mut definition: Value, reason: &str, message: &str) -> Result<Outcome, ReconcileError> {
        let mut conditions = list(&definition["status"]["conditions"]);
        set(&mut conditions, ("Terminating", true, reason, message), &format_time(self.clock.now()));
        if json!(conditions) != definition["status"]["conditions"] {
            definition["status"]["conditions"] = json!(conditions);
            self.client.update_status(&definitions(), definition).await?;
        }
        Ok(Outcome { again_after: Some(AGAIN), wrote: 0 })
    }
}

/// The resource of the first version that is served; `None` before the definition is established.
fn served(definition: &Value) -> Option<Gvr> {
    let is_true = |condition: &Value| condition["type"] == "Established" && condition["status"] == "True";
    list(&definition["status"]["conditions"]).iter().any(is_true).then_some(())?;
    let text = |pointer: &str| definition.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let versions = list(&definition["spec"]["versions"]);
    let version = versions.iter().find(|version| version["served"] == true)?;
    Some(Gvr::new(text("/spec/group"), version["name"].as_str()?, text("/spec/names/plural")))
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

/// The status that a definition should have, given all definitions there are.
fn settled(definition: &Value, all: &[Value], now: &str) -> Value {
    let used = Used::of(definition, all);
    let (wanted, mut names) = (&definition["spec"]["names"], definition["status"]["acceptedNames"].clone());
    let mut conflict = None;
    for (field, reason) in [
        ("plural", "PluralConflict"),
        ("singular", "SingularConflict"),
        ("kind", "KindConflict"),
        ("listKind", "ListKindConflict"),
    ] {
        match used.conflict(field, &wanted[field], &names[field]) {
            Some(message) => conflict = Some((reason, message)),
            None => names[field] = wanted[field].clone(),
        }
    }
    let own = list(&names["shortNames"]);
    let taken: Vec<String> = list(&wanted["shortNames"])
        .iter()
        .filter(|name| !own.contains(name))
        .filter_map(|name| used.conflict("shortNames", name, &Value::Null))
        .collect();
    match taken.as_slice() {
        [] => copy(&mut names, wanted, "shortNames"),
        [one] => conflict = Some(("ShortNamesConflict", one.clone())),
        many => conflict = Some(("ShortNamesConflict", format!("[{}]", many.join(", ")))),
    }
    copy(&mut names, wanted, "categories");
    let mut status = definition["status"].clone();
    status["acceptedNames"] = names;
    let mut conditions = list(&status["conditions"]);
    judge(&mut conditions, definition, conflict, now);
    status["conditions"] = json!(conditions);
    status
}

fn judge(conditions: &mut Vec<Value>, definition: &Value, conflict: Option<(&str, String)>, now: &str) {
    let accepted = conflict.is_none();
    match conflict {
        None => set(conditions, ("NamesAccepted", true, "NoConflicts", "no conflicts found"), now),
        Some((reason, message)) => set(conditions, ("NamesAccepted", false, reason, &message), now),
    }
    let established = conditions.iter().any(|own| own["type"] == "Established" && own["status"] == "True");
    if !established {
        let condition = if accepted {
            ("Established", true, "InitialNamesAccepted", "the initial names have been accepted")
        } else {
            ("Established", false, "NotAccepted", "not all names are accepted")
        };
        set(conditions, condition, now);
    }
    let group = definition["spec"]["group"].as_str().unwrap_or_default();
    if group.ends_with(".k8s.io") || group.ends_with(".kubernetes.io") {
        let annotation =
            definition["metadata"]["annotations"]["api-approved.kubernetes.io"].as_str().unwrap_or_default();
        let (status, reason) = if annotation.contains("://") {
            (true, "ApprovedAnnotation")
        } else if annotation.starts_with("unapproved") {
            (false, "UnapprovedAnnotation")
        } else {
            (false, "MissingAnnotation")
        };
        let message = format!("approved in {annotation}");
        let message = if status { message.as_str() } else { "not approved" };
        set(conditions, ("KubernetesAPIApprovalPolicyConformant", status, reason, message), now);
    }
}

fn copy(target: &mut Value, source: &Value, field: &str) {
    match source.get(field).filter(|value| !value.is_null()) {
        Some(value) => target[field] = value.clone(),
        None => {
            target.as_object_mut().map(|target| target.remove(field));
        }
    }
}

/// The names that a group's definitions have.
struct Used {
    resources: BTreeSet<String>,
    kinds: BTreeSet<String>,
}

impl Used {
    fn of(definition: &Value, all: &[Value]) -> Self {
        let mut used = Self { resources: BTreeSet::new(), kinds: BTreeSet::new() };
        let same_group = |other: &&Value| other["spec"]["group"] == definition["spec"]["group"];
        for names in all.iter().filter(same_group).map(|other| &other["status"]["acceptedNames"]) {
            let text = |field: &str| names[field].as_str().map(str::to_owned);
            used.resources.extend(["plural", "singular"].into_iter().filter_map(text));
            used.resources.extend(list(&names["shortNames"]).iter().filter_map(Value::as_str).map(str::to_owned));
            used.kinds.extend(["kind", "listKind"].into_iter().filter_map(text));
        }
        used
    }

    fn conflict(&self, field: &str, wanted: &Value, own: &Value) -> Option<String> {
        let names = if matches!(field, "kind" | "listKind") { &self.kinds } else { &self.resources };
        let name = wanted.as_str()?;
        (wanted != own && names.contains(name)).then(|| format!("{name:?} is already in use"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-01-01T00:00:00Z";

    fn definition(name: &str, plural: &str, kind: &str, accepted: Value) -> Value {
        json!({"metadata": {"name": name}, "spec": {"group": "a.b",
            "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List")}},
            "status": {"acceptedNames": accepted, "conditions": null}})
    }

    fn check(definition: &Value, all: &[Value], expected: &[(&str, &str, &str)]) {
        let status = settled(definition, all, NOW);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let found: Vec<_> = list(&status["conditions"])
            .iter()
            .map(|own| (text(&own["type"]), text(&own["status"]), text(&own["reason"])))
            .collect();
        let expected: Vec<_> =
            expected.iter().map(|(a, b, c)| ((*a).to_owned(), (*b).to_owned(), (*c).to_owned())).collect();
        assert_eq!(found, expected);
        let again = json!({"metadata": definition["metadata"], "spec": definition["spec"], "status": status});
        assert_eq!(settled(&again, all, "2027-01-01T00:00:00Z"), again["status"], "twice changes nothing");
    }

    #[test]
    fn names_are_accepted_once() {
        let first = definition("x.a.b", "xs", "X", json!({"plural": "", "kind": ""}));
        check(
            &first,
            std::slice::from_ref(&first),
            &[("NamesAccepted", "True", "NoConflicts"), ("Established", "True", "InitialNamesAccepted")],
        );
        let mut taken = first.clone();
        taken["status"] = settled(&first, std::slice::from_ref(&first), NOW);
        let second = definition("y.a.b", "ys", "X", json!({"plural": "", "kind": ""}));
        check(
            &second,
            &[taken, second.clone()],
            &[("NamesAccepted", "False", "ListKindConflict"), ("Established", "False", "NotAccepted")],
        );
    }
}
