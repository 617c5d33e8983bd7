//! Brings a cluster's roles and bindings up to the bootstrap policy, through the API itself.

use std::collections::{BTreeMap, BTreeSet};

use futures::stream::{self, StreamExt, TryStreamExt};
use meta::{ApiError, Call, DeleteOptions, Gvr, ListOptions, Reason, Reply, ResourcePath, WriteOptions};
use serde_json::{Value, json};

use super::bootstrap::{self, Action, Expected};

/// So many calls at a time: they share the store's syncs.
const PARALLEL: usize = 64;

/// Another writer may be faster so often.
const ATTEMPTS: usize = 5;

/// Existing objects by resource, namespace and name.
type Existing = BTreeMap<(&'static str, String, String), Value>;

/// Carries out [`bootstrap::plan`] for the whole policy. `call` makes a call on the API, as a user that may do it all.
pub async fn ensure<F, R>(call: F) -> Result<(), ApiError>
where
    F: Fn(ResourcePath, Call) -> R + Sync,
    R: Future<Output = Result<Reply, ApiError>> + Send,
{
    let policy = bootstrap::all();
    ensure_namespaces(&call, &policy).await?;
    let existing = list(&call).await?;
    let one = |expected: Expected| {
        let key = (expected.resource, expected.namespace.clone(), expected.name.clone());
        ensure_one(&call, existing.get(&key).cloned(), expected)
    };
    stream::iter(policy).map(Ok).try_for_each_concurrent(PARALLEL, one).await
}

fn gvr(resource: &str) -> Gvr {
    Gvr::new("rbac.authorization.k8s.io", "v1", resource)
}

async fn ensure_namespaces<F, R>(call: &F, policy: &[Expected]) -> Result<(), ApiError>
where
    F: Fn(ResourcePath, Call) -> R,
    R: Future<Output = Result<Reply, ApiError>>,
{
    let names: BTreeSet<&str> = policy.iter().map(|expected| expected.namespace.as_str()).collect();
    for name in names.into_iter().filter(|name| !name.is_empty()) {
        let object = json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name}});
        let path = ResourcePath::collection(Gvr::new("", "v1", "namespaces"), "");
        match call(path, Call::Create { object, options: WriteOptions::default() }).await {
            Err(error) if error.reason != Reason::AlreadyExists => return Err(error),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}

async fn list<F, R>(call: &F) -> Result<Existing, ApiError>
where
    F: Fn(ResourcePath, Call) -> R,
    R: Future<Output = Result<Reply, ApiError>>,
{
    let mut existing = Existing::new();
    for resource in ["clusterroles", "clusterrolebindings", "roles", "rolebindings"] {
        let path = ResourcePath::collection(gvr(resource), "");
        let Reply::List(list) = call(path, Call::List(ListOptions::default())).await? else { continue };
        for object in list.items {
            let key = (resource, object.metadata.namespace.clone(), object.metadata.name.clone());
            existing.insert(key, object.value());
        }
    }
    Ok(existing)
}

async fn ensure_one<F, R>(call: &F, mut existing: Option<Value>, expected: Expected) -> Result<(), ApiError>
where
    F: Fn(ResourcePath, Call) -> R,
    R: Future<Output = Result<Reply, ApiError>>,
{
    let Expected { resource, namespace, name, object } = expected;
    let here = || ResourcePath::object(gvr(resource), &namespace, &name);
    let create = |object: Value| {
        let options = WriteOptions::default();
        call(ResourcePath::collection(gvr(resource), &namespace), Call::Create { object, options })
    };
    for attempt in 1.. {
        let done = match bootstrap::plan(existing.as_ref(), &object) {
            Action::Nothing => return Ok(()),
            Action::Create(object) => create(object).await,
            Action::Update(object) => call(here(), Call::Update { object, options: WriteOptions::default() }).await,
            Action::Recreate(object) => match call(here(), Call::Delete(DeleteOptions::default())).await {
                Ok(_) => create(object).await,
                Err(error) => Err(error),
            },
        };
        match done {
            Ok(_) => return Ok(()),
            Err(error) if attempt < ATTEMPTS && was_faster(&error) => {
                existing = get(call, here()).await?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether another writer changed the object meanwhile.
fn was_faster(error: &ApiError) -> bool {
    matches!(error.reason, Reason::Conflict | Reason::AlreadyExists | Reason::NotFound)
}

async fn get<F, R>(call: &F, path: ResourcePath) -> Result<Option<Value>, ApiError>
where
    F: Fn(ResourcePath, Call) -> R,
    R: Future<Output = Result<Reply, ApiError>>,
{
    match call(path, Call::Get { resource_version: String::new() }).await {
        Ok(Reply::Object { object, .. }) => Ok(Some(object.value())),
        Ok(Reply::List(_) | Reply::Status(_)) => Ok(None),
        Err(error) if error.reason == Reason::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    use meta::{Object, ObjectList, Status};

    use super::*;

    /// As much of an API as this needs; every first update of an object loses against another writer.
    #[derive(Default)]
    struct Api {
        objects: Mutex<BTreeMap<String, Value>>,
        updated: Mutex<BTreeSet<String>>,
        writes: Mutex<usize>,
    }

    fn key(gvr: &Gvr, namespace: Option<&str>, name: &str) -> String {
        format!("{}/{}/{name}", gvr.resource, namespace.unwrap_or_default())
    }

    impl Api {
        fn call(&self, path: ResourcePath, call: Call) -> Result<Reply, ApiError> {
            let mut objects = self.objects.lock().expect("one thread");
            let ResourcePath { gvr, namespace, name, .. } = path;
            let own = key(&gvr, namespace.as_deref(), name.as_deref().unwrap_or_default());
            let object = |value: &Value| Reply::object(Arc::new(Object::from_value(value).expect("an object")));
            match call {
                Call::Get { .. } => objects.get(&own).map(object).ok_or_else(|| ApiError::not_found(&gvr, &own)),
                Call::List(_) => {
                    let own = objects.iter().filter(|(key, _)| key.starts_with(&format!("{}/", gvr.resource)));
                    let items = own.map(|(_, value)| Arc::new(Object::from_value(value).expect("an object")));
                    Ok(Reply::List(ObjectList { items: items.collect(), ..ObjectList::default() }))
                }
                Call::Create { object: value, .. } => {
                    let own = key(&gvr, namespace.as_deref(), value["metadata"]["name"].as_str().expect("a name"));
                    if objects.contains_key(&own) {
                        return Err(ApiError::already_exists(&gvr, &own));
                    }
                    *self.writes.lock().expect("one thread") += 1;
                    Ok(object(objects.entry(own).or_insert(value)))
                }
                Call::Update { object: value, .. } => {
                    if self.updated.lock().expect("one thread").insert(own.clone()) {
                        return Err(ApiError::modified(&gvr, &own));
                    }
                    *self.writes.lock().expect("one thread") += 1;
                    objects.insert(own, value.clone());
                    Ok(object(&value))
                }
                Call::Delete(_) => objects
                    .remove(&own)
                    .map(|_| Reply::Status(Status::success(None)))
                    .ok_or_else(|| ApiError::not_found(&gvr, &own)),
                other => panic!("{other:?} is not needed"),
            }
        }

        async fn ensure(&self) -> usize {
            *self.writes.lock().expect("one thread") = 0;
            ensure(|path, call| async move { self.call(path, call) }).await.expect("the policy");
            *self.writes.lock().expect("one thread")
        }
    }

    #[test]
    fn a_start_writes_what_is_missing_and_nothing_else() {
        futures::executor::block_on(async {
            let api = Api::default();
            let all = bootstrap::all().len();
            assert_eq!(api.ensure().await, all + 2, "with the two namespaces of roles");
            assert_eq!(api.ensure().await, 0);
            let change = |key: &str, change: &dyn Fn(&mut Value)| {
                change(api.objects.lock().expect("one thread").get_mut(key).expect(key));
            };
            change("clusterroles//view", &|role| role["aggregationRule"] = Value::Null);
            change("clusterrolebindings//system:discovery", &|it| it["roleRef"]["name"] = json!("x"));
            api.objects.lock().expect("one thread").remove("roles/kube-system/system:controller:token-cleaner");
            assert_eq!(api.ensure().await, 3);
            assert_eq!(api.ensure().await, 0);
        });
    }
}
