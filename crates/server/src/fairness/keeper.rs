//! Keeps the levels and schemas that every cluster has, and tells of each schema whether its level is there.

use std::sync::Arc;

use async_trait::async_trait;
use client::{Client, Controller, Informer, Outcome, ReconcileError, Source};
use futures::stream::{self, StreamExt, TryStreamExt};
use meta::{ApiError, Clock, Object, Reason};
use registry::Registry;
use serde_json::{Value, json};

use super::bootstrap::{self, AUTOUPDATE, Firmness};
use super::{LEVELS, SCHEMAS, gvr, items};

/// So many writes at a time: they share the store's syncs.
const PARALLEL: usize = 32;

/// The controller of both kinds.
pub struct Fairness {
    registry: Arc<Registry>,
    client: Client,
    clock: Arc<dyn Clock>,
    schemas: Informer,
    levels: Informer,
}

#[derive(Clone, Debug, PartialEq)]
enum Action {
    Nothing,
    Create(Value),
    Update(Value),
}

impl Fairness {
    /// Makes what every cluster has; it is there when this returns.
    pub async fn open(registry: &Arc<Registry>, client: &Client, clock: &Arc<dyn Clock>) -> Result<Self, ApiError> {
        let informer = |resource| Informer::new(client.clone(), gvr(resource));
        let fairness = Self {
            registry: Arc::clone(registry),
            client: client.clone(),
            clock: Arc::clone(clock),
            schemas: informer(SCHEMAS),
            levels: informer(LEVELS),
        };
        let ensure = |(resource, firmness, object): (&'static str, Firmness, Value)| {
            let fairness = &fairness;
            async move { fairness.ensure(resource, firmness, object).await.map(drop) }
        };
        stream::iter(bootstrap::all()).map(Ok).try_for_each_concurrent(PARALLEL, ensure).await?;
        Ok(fairness)
    }

    fn stored(&self, resource: &str, name: &str) -> Option<Value> {
        self.registry.get_cached(&gvr(resource), "", name).map(|object| object.value())
    }

    async fn ensure(&self, resource: &str, firmness: Firmness, wanted: Value) -> Result<u64, ApiError> {
        let name = wanted["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let done = match plan(self.stored(resource, &name).as_ref(), firmness, wanted) {
            Action::Nothing => return Ok(0),
            Action::Create(object) => self.client.create(&gvr(resource), "", object).await,
            Action::Update(object) => self.client.update(&gvr(resource), object).await,
        };
        match done {
            Ok(object) => Ok(object.revision),
            Err(error) if error.reason == Reason::AlreadyExists => Ok(0),
            Err(error) => Err(error),
        }
    }

    async fn tell(&self, name: &str) -> Result<u64, ApiError> {
        let Some(schema) = self.stored(SCHEMAS, name) else { return Ok(0) };
        let level = schema["spec"]["priorityLevelConfiguration"]["name"].as_str().unwrap_or_default();
        let now = self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let Some(told) = told(&schema, self.stored(LEVELS, level).is_some(), &now) else { return Ok(0) };
        match self.client.update_status(&gvr(SCHEMAS), told).await {
            Ok(object) => Ok(object.revision),
            Err(error) if error.reason == Reason::NotFound => Ok(0),
            Err(error) => Err(error),
        }
    }
}

/// What becomes of an object that every cluster has. Compat: what nobody has marked is ours until somebody changes it.
fn plan(stored: Option<&Value>, firmness: Firmness, wanted: Value) -> Action {
    let Some(stored) = stored else { return Action::Create(wanted) };
    let ours = match stored["metadata"]["annotations"][AUTOUPDATE].as_str() {
        Some(mark) => mark == "true",
        None => stored["metadata"]["generation"] == 1,
    };
    if !ours && firmness == Firmness::Suggested || filled(&stored["spec"]) == filled(&wanted["spec"]) {
        return Action::Nothing;
    }
    let mut new = stored.clone();
    new["spec"] = wanted["spec"].clone();
    Action::Update(new)
}

/// A value without its empty fields.
fn filled(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(_, value)| !value.is_null());
            fields.map(|(name, value)| (name.clone(), filled(value))).collect::<serde_json::Map<_, _>>().into()
        }
        Value::Array(list) => list.iter().map(filled).collect::<Vec<_>>().into(),
        other => other.clone(),
    }
}

/// The schema with the condition `Dangling` in its status; `None` where it is there already.
fn told(schema: &Value, is_there: bool, now: &str) -> Option<Value> {
    let level = schema["spec"]["priorityLevelConfiguration"]["name"].as_str().unwrap_or_default();
    let (status, reason, end) = if is_there {
        ("False", "Found", "and it exists")
    } else {
        ("True", "NotFound", "but there is no such object")
    };
    let message = format!("This FlowSchema references the PriorityLevelConfiguration object named {level:?} {end}");
    let mut conditions: Vec<Value> = items(&schema["status"]["conditions"]).cloned().collect();
    let known = conditions.iter().position(|own| own["type"] == "Dangling");
    let old = known.map(|index| conditions.remove(index)).unwrap_or_default();
    if old["status"] == status && old["reason"] == reason && old["message"] == message.as_str() {
        return None;
    }
    let since = if old["status"] == status { old["lastTransitionTime"].clone() } else { json!(now) };
    conditions.push(json!({
        "type": "Dangling", "status": status, "lastTransitionTime": since, "reason": reason, "message": message,
    }));
    let mut told = schema.clone();
    told["status"]["conditions"] = conditions.into();
    Some(told)
}

#[async_trait]
impl Controller for Fairness {
    fn name(&self) -> &'static str {
        "priority-and-fairness"
    }

    fn sources(&self) -> Vec<Source> {
        let source =
            |informer: &Informer| Source { informer: informer.clone(), keys: |own| vec![own.metadata.name.clone()] };
        vec![source(&self.schemas), source(&self.levels)]
    }

    /// `RESOURCE/NAME`, of a level also of the schemas that refer to it.
    fn keys(&self, source: &Source, object: &Object) -> Vec<String> {
        let (resource, name) = (source.informer.gvr().resource.as_str(), object.metadata.name.as_str());
        let refers = |schema: &Arc<Object>| schema.value()["spec"]["priorityLevelConfiguration"]["name"] == name;
        let referring = if resource == LEVELS { self.schemas.list() } else { Vec::new() };
        let referring = referring.iter().filter(|schema| refers(schema));
        let referring = referring.map(|schema| format!("{SCHEMAS}/{}", schema.metadata.name));
        std::iter::once(format!("{resource}/{name}")).chain(referring).collect()
    }

    async fn reconcile(&self, key: &str) -> Result<Outcome, ReconcileError> {
        let (resource, name) = key.split_once('/').unwrap_or_default();
        let own = bootstrap::all()
            .into_iter()
            .find(|(own, _, object)| *own == resource && object["metadata"]["name"] == name);
        let mut wrote = 0;
        if let Some((resource, firmness, object)) = own {
            wrote = self.ensure(resource, firmness, object).await?;
        }
        if resource == SCHEMAS {
            wrote = wrote.max(self.tell(name).await?);
        }
        Ok(Outcome { again_after: None, wrote })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_users_took_over_is_theirs() {
        let wanted = || bootstrap::all().remove(2).2;
        let check = |change: &dyn Fn(&mut Value), firmness: Firmness, expected: bool| {
            let mut stored = wanted();
            stored["metadata"]["generation"] = json!(2);
            change(&mut stored);
            let updated = matches!(plan(Some(&stored), firmness, wanted()), Action::Update(_));
            assert_eq!(updated, expected, "{stored}");
        };
        let other = |stored: &mut Value| stored["spec"]["limited"]["nominalConcurrencyShares"] = json!(1);
        let unmarked = |stored: &mut Value| {
            stored["spec"]["type"] = json!("x");
            stored["metadata"]["annotations"] = Value::Null;
        };
        check(&|_| {}, Firmness::Suggested, false);
        check(&|stored| stored["spec"]["exempt"] = Value::Null, Firmness::Suggested, false);
        check(&other, Firmness::Suggested, true);
        check(&unmarked, Firmness::Suggested, false);
        check(&unmarked, Firmness::Mandatory, true);
        assert!(matches!(plan(None, Firmness::Suggested, wanted()), Action::Create(_)));
    }

    #[test]
    fn a_schema_tells_whether_its_level_is_there() {
        let schema = json!({"spec": {"priorityLevelConfiguration": {"name": "x"}}, "status": {"conditions": null}});
        let missing = told(&schema, false, "1").expect("it is new");
        let expected =
            "This FlowSchema references the PriorityLevelConfiguration object named \"x\" but there is no such object";
        assert_eq!(missing["status"]["conditions"][0]["message"], expected);
        assert_eq!(told(&missing, false, "2"), None);
        let found = told(&missing, true, "3").expect("it changed");
        let condition = &found["status"]["conditions"][0];
        assert_eq!((&condition["status"], &condition["lastTransitionTime"]), (&json!("False"), &json!("3")));
    }
}
