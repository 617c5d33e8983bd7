//! An APIService for everything that is served here: for built-in groups from the start, for custom resources as their definitions
//! come and go.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use client::{Client, Controller, Informer, Outcome, ReconcileError, Source};
use futures::stream::{self, StreamExt, TryStreamExt};
use meta::{ApiError, DeleteOptions, GroupVersion, Gvr, Object, Reason};
use registry::Registry;
use serde_json::{Value, json};

use super::api_services;
use super::priority::Priority;
use crate::metrics;

/// Who looks after an APIService: `onstart` for us at the start only, `true` for us always. Others are their users'.
const LABEL: &str = "kube-aggregator.kubernetes.io/automanaged";

/// So many writes at a time: they share the store's syncs.
const PARALLEL: usize = 32;

/// The controller of local APIServices.
pub struct Registration {
    registry: Arc<Registry>,
    client: Client,
    api_services: Informer,
    definitions: Informer,
    /// Names that were not looked after yet since the start.
    begun: Mutex<BTreeSet<String>>,
}

/// How an APIService should be looked after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Care {
    /// Made and brought up to date when we start.
    OnStart,
    /// Always.
    Always,
    /// Made where nobody else has one: the group has another server that may take our place.
    Offered,
}

#[derive(Clone, Debug, PartialEq)]
enum Action {
    Nothing,
    Create(Value),
    Update(Value),
    Delete,
}

impl Registration {
    /// Registers what is built in; it is there when this returns.
    pub async fn open(registry: &Arc<Registry>, client: &Client) -> Result<Self, ApiError> {
        let wanted = built_in();
        let stored = registry.snapshot(&api_services());
        let stored = stored.iter().flat_map(registry::Snapshot::iter);
        let on_start = stored.filter(|own| own.metadata.labels.get(LABEL).is_some_and(|care| care == "onstart"));
        let own = wanted.iter().map(name).chain(on_start.map(|own| own.metadata.name.clone()));
        let names: BTreeSet<String> = own.collect();
        let definitions = Gvr::new("apiextensions.k8s.io", "v1", "customresourcedefinitions");
        let registration = Self {
            registry: Arc::clone(registry),
            client: client.clone(),
            api_services: Informer::new(client.clone(), api_services()),
            definitions: Informer::new(client.clone(), definitions),
            begun: Mutex::new(names.clone()),
        };
        let one = |name: String| {
            let registration = &registration;
            async move { registration.sync(&name).await.map(drop) }
        };
        stream::iter(names).map(Ok).try_for_each_concurrent(PARALLEL, one).await?;
        Ok(registration)
    }

    /// What there should be of this name.
    fn wanted(&self, wanted: &str) -> Option<(GroupVersion, Care)> {
        let built_in = built_in().into_iter().find(|gv| name(gv) == wanted);
        if let Some(gv) = built_in {
            let care = if gv.group == metrics::GROUP { Care::Offered } else { Care::OnStart };
            return Some((gv, care));
        }
        let (version, group) = wanted.split_once('.')?;
        let is_served = self.definitions.list().iter().any(|definition| serves(definition, group, version));
        is_served.then(|| (GroupVersion::new(group, version), Care::Always))
    }

    async fn sync(&self, name: &str) -> Result<u64, ApiError> {
        let first = self.begun.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        let stored = self.registry.get_cached(&api_services(), "", name).map(|object| object.value());
        let wanted = self.wanted(name).map(|(gv, care)| (object(&gv, care), care));
        let done = match plan(stored.as_ref(), wanted, first) {
            Action::Nothing => return Ok(0),
            Action::Create(object) => self.client.create(&api_services(), "", object).await,
            Action::Update(object) => self.client.update(&api_services(), object).await,
            Action::Delete => match self.client.delete(&api_services(), "", name, DeleteOptions::default()).await {
                Ok(()) => return Ok(0),
                Err(error) => Err(error),
            },
        };
        match done {
            Ok(object) => Ok(object.revision),
            Err(error) if matches!(error.reason, Reason::AlreadyExists | Reason::NotFound) => Ok(0),
            Err(error) => Err(error),
        }
    }
}

/// The groups and versions of the program itself.
fn built_in() -> Vec<GroupVersion> {
    let (own, ..) = super::API_SERVICES;
    let rows = kinds::all().iter().filter(|row| row.group != own);
    let mut all: Vec<GroupVersion> = rows.map(|row| GroupVersion::new(row.group, row.version)).collect();
    all.push(GroupVersion::new(metrics::GROUP, metrics::VERSION));
    all.sort();
    all.dedup();
    all
}

fn name(gv: &GroupVersion) -> String {
    format!("{}.{}", gv.version, gv.group)
}

/// Whether a definition's resources are served in a version.
fn serves(definition: &Object, group: &str, version: &str) -> bool {
    let value = definition.value();
    let list = |pointer: &str| value.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    let mut established = list("/status/conditions").filter(|own| own["type"] == "Established");
    value["spec"]["group"] == group
        && established.any(|own| own["status"] == "True")
        && list("/spec/versions").any(|own| own["name"] == version && own["served"] == true)
}

fn object(gv: &GroupVersion, care: Care) -> Value {
    let priority = Priority::local(gv);
    let mut object = json!({
        "kind": "APIService", "apiVersion": "apiregistration.k8s.io/v1", "metadata": {"name": name(gv)},
        "spec": {
            "group": gv.group, "version": gv.version,
            "groupPriorityMinimum": priority.group, "versionPriority": priority.version,
        },
    });
    let label = match care {
        Care::OnStart => "onstart",
        Care::Always => "true",
        Care::Offered => return object,
    };
    object["metadata"]["labels"] = json!({LABEL: label});
    object
}

/// Compat: upstream's table of who looks after what; what carries no label is its user's.
fn plan(stored: Option<&Value>, wanted: Option<(Value, Care)>, first: bool) -> Action {
    let label = |object: &Value| object["metadata"]["labels"][LABEL].as_str().map(str::to_owned);
    let Some(stored) = stored else {
        return match wanted {
            Some((object, Care::Always | Care::Offered)) => Action::Create(object),
            Some((object, Care::OnStart)) if first => Action::Create(object),
            Some((_, Care::OnStart)) | None => Action::Nothing,
        };
    };
    let ours = match label(stored).as_deref() {
        Some("true") => true,
        Some("onstart") => first,
        _ => false,
    };
    match wanted {
        _ if !ours => Action::Nothing,
        None => Action::Delete,
        Some((object, _)) if same(stored, &object) && label(stored) == label(&object) => Action::Nothing,
        Some((object, _)) => {
            let mut new = stored.clone();
            new["spec"] = object["spec"].clone();
            new["metadata"]["labels"][LABEL] = object["metadata"]["labels"][LABEL].clone();
            Action::Update(new)
        }
    }
}

/// Whether what is stored says the same; fields that are empty are left out or not.
fn same(stored: &Value, wanted: &Value) -> bool {
    let filled = |spec: &Value| {
        let fields = spec.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null() && *value != "");
        fields.map(|(name, value)| (name.clone(), value.clone())).collect::<Vec<_>>()
    };
    filled(&stored["spec"]) == filled(&wanted["spec"])
}

#[async_trait]
impl Controller for Registration {
    fn name(&self) -> &'static str {
        "api-service-registration"
    }

    fn sources(&self) -> Vec<Source> {
        let versions = |definition: &Object| {
            let value = definition.value();
            let group = value["spec"]["group"].as_str().unwrap_or_default().to_owned();
            let versions = value["spec"]["versions"].as_array().cloned().unwrap_or_default();
            let names = versions.iter().filter_map(|version| version["name"].as_str());
            names.map(|version| format!("{version}.{group}")).collect()
        };
        let own = |service: &Object| vec![service.metadata.name.clone()];
        vec![
            Source { informer: self.api_services.clone(), keys: own },
            Source { informer: self.definitions.clone(), keys: versions },
        ]
    }

    async fn reconcile(&self, key: &str) -> Result<Outcome, ReconcileError> {
        let wrote = self.sync(key).await?;
        Ok(Outcome { again_after: None, wrote })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_apiservice_has_somebody_who_looks_after_it() {
        let gv = GroupVersion::new("apps", "v1");
        let check = |stored: Option<Value>, care: Option<Care>, first: bool, expected: &str| {
            let wanted = care.map(|care| (object(&gv, care), care));
            let found = match plan(stored.as_ref(), wanted, first) {
                Action::Nothing => "nothing",
                Action::Create(_) => "create",
                Action::Update(_) => "update",
                Action::Delete => "delete",
            };
            assert_eq!(found, expected, "{stored:?} {care:?} {first}");
        };
        let of = |care: Care| object(&gv, care);
        let changed = |care: Care| {
            let mut object = object(&gv, care);
            object["spec"]["versionPriority"] = json!(1);
            Some(object)
        };
        check(None, None, true, "nothing");
        check(None, Some(Care::OnStart), true, "create");
        check(None, Some(Care::OnStart), false, "nothing");
        check(None, Some(Care::Always), false, "create");
        check(None, Some(Care::Offered), false, "create");
        check(changed(Care::Offered), Some(Care::Offered), true, "nothing");
        check(changed(Care::OnStart), Some(Care::OnStart), true, "update");
        check(changed(Care::OnStart), Some(Care::OnStart), false, "nothing");
        check(changed(Care::Always), Some(Care::Always), false, "update");
        check(Some(of(Care::OnStart)), Some(Care::OnStart), true, "nothing");
        check(Some(of(Care::OnStart)), None, true, "delete");
        check(Some(of(Care::OnStart)), None, false, "nothing");
        check(Some(of(Care::Always)), None, false, "delete");
        check(Some(of(Care::Offered)), None, true, "nothing");
    }
}
