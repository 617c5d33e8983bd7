//! A call on the API and its answer, without a transport: what HTTP requests become and what components in the process
//! send.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::gvk::Gvr;
use crate::object::Object;
use crate::selector::{FieldSelector, LabelSelector};
use crate::status::Status;

/// What a call is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ResourcePath {
    /// The endpoint.
    pub gvr: Gvr,
    /// `None` for cluster-scoped resources and for calls across all namespaces.
    pub namespace: Option<String>,
    /// `None` for calls on a collection.
    pub name: Option<String>,
    /// For example `status`.
    pub subresource: Option<String>,
}

impl ResourcePath {
    /// A collection; an empty namespace means all of them, or none for cluster-scoped resources.
    pub fn collection(gvr: Gvr, namespace: &str) -> Self {
        let namespace = (!namespace.is_empty()).then(|| namespace.to_owned());
        Self { gvr, namespace, name: None, subresource: None }
    }

    /// One object; an empty namespace for cluster-scoped resources.
    pub fn object(gvr: Gvr, namespace: &str, name: &str) -> Self {
        Self { name: Some(name.to_owned()), ..Self::collection(gvr, namespace) }
    }

    /// The same with a subresource.
    #[must_use]
    pub fn subresource(mut self, name: &str) -> Self {
        self.subresource = Some(name.to_owned());
        self
    }
}

/// The verbs that authorization and discovery know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are upstream's verbs")]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
}

impl Verb {
    /// The verb as rules spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }
}

/// How `resourceVersion` of a list is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceVersionMatch {
    /// Exactly that revision.
    Exact,
    /// That one or any later.
    NotOlderThan,
}

/// Which objects, and how many.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// By labels.
    pub labels: LabelSelector,
    /// By fields.
    pub fields: FieldSelector,
    /// At most so many; 0 for all.
    pub limit: u64,
    /// Where the last page ended.
    pub continue_token: String,
    /// As the client wrote it; empty for the newest.
    pub resource_version: String,
    /// How that is meant.
    pub resource_version_match: Option<ResourceVersionMatch>,
}

/// From when on to watch, and what.
#[derive(Clone, Debug, Default)]
pub struct WatchOptions {
    /// By labels.
    pub labels: LabelSelector,
    /// By fields.
    pub fields: FieldSelector,
    /// Empty or `0`: begin with what is there; else changes after this revision.
    pub resource_version: String,
    /// How that is meant; only together with `send_initial_events`.
    pub resource_version_match: Option<ResourceVersionMatch>,
    /// Whether bookmarks are welcome.
    pub bookmarks: bool,
    /// Begin with what is there, then a bookmark that says so.
    pub send_initial_events: Option<bool>,
    /// Only this object: a watch on its path.
    pub name: Option<String>,
}

/// What to do with unknown and duplicate fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum FieldValidation {
    /// Drop them silently.
    Ignore,
    /// Drop them and warn.
    #[default]
    Warn,
    /// Refuse the request.
    Strict,
}

/// How to carry out a write.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// Decide everything, keep nothing.
    pub dry_run: bool,
    /// Who owns the fields that are set.
    pub field_manager: String,
    /// What to do with unknown and duplicate fields.
    pub field_validation: FieldValidation,
    /// Server-side apply: take fields over from other managers.
    pub force: bool,
}

/// What becomes of dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    /// They lose this owner and stay.
    Orphan,
    /// The owner goes first.
    Background,
    /// They go first.
    Foreground,
}

/// What must hold for a deletion to happen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Preconditions {
    /// The object's UID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The object's revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<String>,
}

/// How to delete.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    /// Seconds; 0 is at once.
    pub grace_period_seconds: Option<i64>,
    /// What must hold.
    pub preconditions: Preconditions,
    /// What becomes of dependents; by default as the kind says.
    pub propagation: Option<Propagation>,
    /// Decide everything, keep nothing.
    pub dry_run: bool,
}

/// The forms of a patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchType {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Merged by the lists' keys.
    StrategicMerge,
    /// Server-side apply, a JSON document.
    Apply,
}

/// A call on a [`ResourcePath`]; watches stand apart, since they answer with a stream.
#[derive(Clone, Debug)]
pub enum Call {
    /// Read one object.
    Get {
        /// As the client wrote it; empty for the newest.
        resource_version: String,
    },
    /// Read a collection.
    List(ListOptions),
    /// Make an object, or post to a subresource (binding, eviction, token).
    Create {
        /// The object.
        object: Value,
        /// How.
        options: WriteOptions,
    },
    /// Replace an object.
    Update {
        /// The object.
        object: Value,
        /// How.
        options: WriteOptions,
    },
    /// Change an object.
    Patch {
        /// The patch's form.
        form: PatchType,
        /// The patch.
        patch: Bytes,
        /// How.
        options: WriteOptions,
    },
    /// Delete an object.
    Delete(DeleteOptions),
    /// Delete what a list would show.
    DeleteCollection(ListOptions, DeleteOptions),
}

impl Call {
    /// The verb that authorization asks for.
    pub fn verb(&self) -> Verb {
        match self {
            Self::Get { .. } => Verb::Get,
            Self::List(_) => Verb::List,
            Self::Create { .. } => Verb::Create,
            Self::Update { .. } => Verb::Update,
            Self::Patch { .. } => Verb::Patch,
            Self::Delete(_) => Verb::Delete,
            Self::DeleteCollection(..) => Verb::DeleteCollection,
        }
    }
}

/// A list of objects at one revision.
#[derive(Clone, Debug, Default)]
pub struct ObjectList {
    /// The revision of the snapshot.
    pub revision: u64,
    /// The objects, by key.
    pub items: Vec<Arc<Object>>,
    /// Where the next page begins; empty at the end.
    pub continue_token: String,
    /// How many come after this page, where that is known.
    pub remaining: Option<u64>,
}

/// The answer to a [`Call`].
#[derive(Clone, Debug)]
pub enum Reply {
    /// An object.
    Object {
        /// The object as it is now.
        object: Arc<Object>,
        /// Whether the call made it.
        created: bool,
        /// What the client should be warned of.
        warnings: Vec<String>,
    },
    /// A list.
    List(ObjectList),
    /// A deletion's success.
    Status(Status),
}

impl Reply {
    /// An object that was there.
    pub fn object(object: Arc<Object>) -> Self {
        Self::Object { object, created: false, warnings: Vec::new() }
    }
}

/// What happened to a watched object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchKind {
    /// It is there now, or matches now.
    Added,
    /// It changed.
    Modified,
    /// It is gone, or no longer matches.
    Deleted,
    /// Nothing happened; the object holds only kind, apiVersion and the revision reached.
    Bookmark,
}

impl WatchKind {
    /// The event's type on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
            Self::Bookmark => "BOOKMARK",
        }
    }
}

/// One event of a watch.
#[derive(Clone, Debug)]
pub struct WatchEvent {
    /// What happened.
    pub kind: WatchKind,
    /// The object after it; of a deleted one the last state, at the revision of the deletion.
    pub object: Arc<Object>,
}
