//! The registry itself: what callers hold.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kinds::custom::Custom;
use kinds::{Resource, Settings};
use meta::{
    ApiError, Call, Clock, Gvk, Gvr, ListOptions, Object, ObjectList, Reason, Reply, ResourcePath, UserInfo, Verb,
    WatchOptions, WriteOptions,
};
use serde_json::Value;
use store::{Store, StoreError};
use tokio::time::Instant;

use crate::admission::{Admission, Reader};
use crate::cache::{Cache, Feed, Storage};
use crate::custom::Converter;
use crate::list::{list, newest, parse_revision, wait_for};
use crate::resources::Resources;
use crate::selection::{Selection, check_fields};
use crate::snapshot::Snapshot;
use crate::versioned::{split, unpaged};
use crate::view;
use crate::watch::{WatchParts, WatchStream, watch};
use crate::write::{Source, Writer};

/// What a registry is made of.
pub struct RegistryConfig {
    /// Where objects are kept.
    pub store: Arc<dyn Store>,
    /// The time for stamps.
    pub clock: Arc<dyn Clock>,
    /// What rules depend on.
    pub settings: Settings,
    /// Admission plugins, in the order they run.
    pub admission: Vec<Arc<dyn Admission>>,
    /// What is served beside custom resources.
    pub resources: Resources,
    /// Turns custom objects into those of another version.
    pub converter: Arc<dyn Converter>,
}

/// Why a registry can't open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store can't be read.
    #[error("read the store")]
    Store(#[from] StoreError),
}

/// Serves objects. See the crate's documentation.
pub struct Registry {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) settings: Settings,
    pub(crate) admission: Vec<Arc<dyn Admission>>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) converter: Arc<dyn Converter>,
    feed: Feed,
    epoch: Instant,
}

impl Registry {
    /// Reads everything from the store and follows it from then on.
    pub async fn open(config: RegistryConfig) -> Result<Arc<Self>, OpenError> {
        let RegistryConfig { store, clock, settings, admission, resources, converter } = config;
        let cache = Arc::new(Cache::new(resources));
        let feed = Feed::start(store.clone(), cache.clone(), clock.clone()).await?;
        Ok(Arc::new(Self { store, clock, settings, admission, cache, converter, feed, epoch: Instant::now() }))
    }

    /// What is served now.
    pub fn resources(&self) -> Arc<Resources> {
        self.cache.resources()
    }

    /// Shows what is served, as custom resources come, change and go.
    pub fn served(&self) -> tokio::sync::watch::Receiver<Arc<Resources>> {
        self.cache.served()
    }

    /// Carries out a call for a user who may do it.
    pub async fn call(&self, user: &UserInfo, path: &ResourcePath, call: Call) -> Result<Reply, ApiError> {
        let resources = self.resources();
        let (row, storage) = &self.find(&resources, &path.gvr)?;
        let namespace = self.namespace(row, path, matches!(call, Call::List(_) | Call::DeleteCollection(..)))?;
        let name = path.name.as_deref().unwrap_or_default();
        let subresource = path.subresource.as_deref().unwrap_or_default();
        if !subresource.is_empty() && row.subresource(subresource).is_none() {
            return Err(ApiError::no_such_resource());
        }
        check_verb(row, subresource, call.verb())?;
        let writer = Writer { registry: self, user, row, storage, namespace, name, subresource };
        let warning = row.custom.as_ref().and_then(|custom| custom.deprecation.clone());
        let reply = match call {
            Call::Get { resource_version } => self.get(&writer, &resource_version).await,
            Call::List(options) => self.list(row, storage, namespace, options).await.map(Reply::List),
            Call::Create { object, options } => self.create(&writer, object, &options).await,
            Call::Update { object, options } if subresource == "scale" => {
                writer.rescale(Source::Replace(object), &options).await
            }
            Call::Patch { form, patch, options } if subresource == "scale" => {
                writer.rescale(Source::Patch(form, patch), &options).await
            }
            Call::Update { object, options } => writer.update(Source::Replace(object), &options).await,
            Call::Patch { form, patch, options } => writer.update(Source::Patch(form, patch), &options).await,
            Call::Delete(options) => writer.delete(&options).await,
            Call::DeleteCollection(which, options) => {
                let list = self.list(row, storage, namespace, which).await?;
                writer.delete_all(list, &options).await
            }
        };
        if subresource == "scale" {
            return reply;
        }
        let mut reply = self.reply(row, reply?).await?;
        if let Reply::Object { warnings, .. } = &mut reply {
            warnings.extend(warning);
        }
        Ok(reply)
    }

    /// Begins a watch.
    pub fn watch(self: &Arc<Self>, path: &ResourcePath, options: WatchOptions) -> Result<WatchStream, ApiError> {
        let resources = self.resources();
        let (row, storage) = &self.find(&resources, &path.gvr)?;
        let namespace = self.namespace(row, path, true)?;
        check_fields(row.rules().selectable(), &options.fields)?;
        let (mut fields, own) = split(row, &options.fields);
        if let Some(name) = options.name.as_deref().or(path.name.as_deref()) {
            fields.requirements.push(("metadata.name".to_owned(), name.to_owned(), true));
        }
        let selection = Selection::new(storage, row.namespaced, Some(namespace), options.labels.clone(), fields);
        let parts = WatchParts {
            cache: self.cache.clone(),
            storage: storage.clone(),
            selection,
            kind: row.gvk(),
            stopped: self.feed.stopped(),
            epoch: self.epoch,
        };
        let before = if own.is_everything() { Vec::new() } else { parts.before(&options) };
        let stream = view::events(self, row, watch(parts, &options)?);
        Ok(self.until_redefined(row, self.select_events(row, stream, own, before)))
    }

    /// One object as the cache has it; an empty namespace for cluster-scoped resources.
    pub fn get_cached(&self, gvr: &Gvr, namespace: &str, name: &str) -> Option<Arc<Object>> {
        let (_, storage) = self.find(&self.resources(), gvr).ok()?;
        storage.get(&storage.key(namespace, name))
    }

    /// All objects of a resource, as they are now; `None` for what is not served.
    pub fn snapshot(&self, gvr: &Gvr) -> Option<Snapshot> {
        let (_, storage) = self.find(&self.resources(), gvr).ok()?;
        let newest = newest(&self.cache, &storage);
        Some(Snapshot::new(storage, newest))
    }

    /// The revision that everything has reached.
    pub fn revision(&self) -> u64 {
        self.cache.revision()
    }

    /// Shows the revision that everything has reached, as it grows.
    pub fn reached(&self) -> tokio::sync::watch::Receiver<u64> {
        self.cache.reached()
    }

    /// Ends the feed and all watches. The store stays open.
    pub async fn shutdown(&self) {
        self.feed.stop().await;
    }

    /// Waits until the cache has passed a commit; if it stands still, what was committed is in the store all the same.
    pub(crate) async fn passed(&self, revision: u64) {
        if self.cache.revision() >= revision {
            return;
        }
        let mut stopped = self.feed.stopped();
        tokio::select! {
            () = self.cache.wait(revision) => {}
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
    }

    fn find(&self, resources: &Resources, gvr: &Gvr) -> Result<(Resource, Arc<Storage>), ApiError> {
        let row = resources.by_gvr(gvr).ok_or_else(ApiError::no_such_resource)?;
        Ok((row.clone(), self.cache.storage_of(row)))
    }

    fn namespace<'a>(&self, row: &Resource, path: &'a ResourcePath, all: bool) -> Result<&'a str, ApiError> {
        let namespace = path.namespace.as_deref().unwrap_or_default();
        if namespace.is_empty() && row.namespaced && !all {
            return Err(ApiError::bad_request("an empty namespace may not be set during creation"));
        }
        if !namespace.is_empty() && !row.namespaced {
            return Err(ApiError::no_such_resource());
        }
        Ok(namespace)
    }

    async fn get(&self, writer: &Writer<'_>, resource_version: &str) -> Result<Reply, ApiError> {
        if writer.subresource == "scale" {
            return writer.scale().await;
        }
        // Those that speak another kind, or stream, are answered elsewhere.
        let other = writer.row.subresource(writer.subresource).is_some_and(|own| own.kind.is_some());
        if other || matches!(writer.subresource, "log" | "proxy") {
            return Err(ApiError::no_such_resource());
        }
        if let Some(revision) = parse_revision(resource_version)? {
            wait_for(&self.cache, revision).await?;
        }
        let key = writer.storage.key(writer.namespace, writer.name);
        let object = writer.storage.get(&key);
        object.map(Reply::object).ok_or_else(|| ApiError::not_found(&writer.row.gvr(), writer.name))
    }

    async fn list(
        &self,
        row: &Resource,
        storage: &Arc<Storage>,
        namespace: &str,
        options: ListOptions,
    ) -> Result<ObjectList, ApiError> {
        check_fields(row.rules().selectable(), &options.fields)?;
        let (fields, own) = split(row, &options.fields);
        let options = if own.is_everything() { options } else { unpaged(options) };
        let selection = Selection::new(storage, row.namespaced, Some(namespace), options.labels.clone(), fields);
        let list = list(&self.cache, storage, &selection, &options).await?;
        self.select(row, list, &own).await
    }

    async fn create(&self, writer: &Writer<'_>, object: Value, options: &WriteOptions) -> Result<Reply, ApiError> {
        match (writer.row.plural, writer.subresource) {
            ("pods", "binding") => writer.bind(object, options).await,
            ("bindings", "") if writer.row.group.is_empty() => {
                let (row, storage) = &self.find(&self.resources(), &Gvr::new("", "v1", "pods"))?;
                Writer { row, storage, subresource: "binding", ..*writer }.bind(object, options).await
            }
            ("pods", "eviction") => {
                let budgets = self.find(&self.resources(), &Gvr::new("policy", "v1", "poddisruptionbudgets"))?;
                writer.evict(&object, options, (&budgets.0, &budgets.1)).await
            }
            (_, "") => writer.create(object, options).await,
            (_, _) => Err(ApiError::method_not_supported(&writer.row.gvr(), "create")),
        }
    }
}

/// Refuses what the endpoint doesn't do.
fn check_verb(row: &Resource, subresource: &str, verb: Verb) -> Result<(), ApiError> {
    let verbs = match row.subresource(subresource) {
        Some(subresource) => subresource.verbs,
        None => row.verbs,
    };
    if verbs.contains(&verb.as_str()) {
        return Ok(());
    }
    let text = "the server does not allow this method on the requested resource";
    Err(ApiError::new(Reason::MethodNotAllowed, text))
}

#[async_trait]
impl Reader for Registry {
    fn get(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Option<Arc<Object>> {
        let storage = self.cache.storage(group, resource)?;
        storage.get(&storage.key(namespace, name))
    }

    async fn wait(&self, place: (&str, &str), namespace: &str, name: &str, within: Duration) -> Option<Arc<Object>> {
        let storage = self.cache.storage(place.0, place.1)?;
        let key = storage.key(namespace, name);
        let mut changes = storage.changes();
        let comes = async {
            loop {
                if let Some(object) = storage.get(&key) {
                    return Some(object);
                }
                changes.changed().await.ok()?;
            }
        };
        tokio::time::timeout(within, comes).await.ok().flatten()
    }

    fn resource_of(&self, kind: &Gvk) -> Option<(Gvr, bool)> {
        self.resources().by_gvk(kind).map(|row| (row.gvr(), row.namespaced))
    }

    fn custom(&self, kind: &Gvk) -> Option<Arc<Custom>> {
        self.resources().by_gvk(kind)?.custom.clone()
    }

    fn list(&self, group: &str, resource: &str, namespace: &str) -> Vec<Arc<Object>> {
        let Some(storage) = self.cache.storage(group, resource) else { return Vec::new() };
        let prefix = if namespace.is_empty() { storage.prefix.clone() } else { storage.key(namespace, "").to_string() };
        let (map, _) = storage.newest();
        map.beneath(&prefix).map(|(_, object)| object.clone()).collect()
    }
}
