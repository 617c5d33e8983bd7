//! What a resource is: its names and scope, and the rules of its objects.

use std::sync::Arc;

use meta::field::Errors;
use meta::{Gvk, Gvr};
use serde_json::Value;

use crate::custom::Custom;

/// A column of the table that `kubectl get` prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// The heading, for example `Restarts`.
    pub name: &'static str,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub kind: &'static str,
    /// `name` for the object's name, else mostly empty.
    pub format: &'static str,
    /// 0 for columns that are always shown, 1 for those of `-o wide`.
    pub priority: i32,
}

/// A further endpoint beneath an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subresource {
    /// For example `status`.
    pub name: &'static str,
    /// The kind that it speaks, where that is not the resource's own: (group, version, kind), for example `Scale`.
    pub kind: Option<(&'static str, &'static str, &'static str)>,
    /// As discovery lists them.
    pub verbs: &'static [&'static str],
}

/// A resource that the API serves. Built-in ones come from [`crate::all`].
#[derive(Clone)]
pub struct Resource {
    /// `""` for the core group.
    pub group: &'static str,
    /// The version that is served and stored.
    pub version: &'static str,
    /// For example `Pod`.
    pub kind: &'static str,
    /// For example `pods`.
    pub plural: &'static str,
    /// For example `pod`.
    pub singular: &'static str,
    /// For example `po`.
    pub short_names: &'static [&'static str],
    /// For example `all`.
    pub categories: &'static [&'static str],
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// As discovery lists them; reviews have only `create`.
    pub verbs: &'static [&'static str],
    /// Further endpoints.
    pub subresources: &'static [Subresource],
    /// Columns of the table.
    pub columns: &'static [Column],
    /// Where objects are stored, as (group, resource): differs from the resource's own for a second view on the same
    /// objects (events.k8s.io on core events).
    pub storage: (&'static str, &'static str),
    /// What holds for its objects; ask [`Resource::rules`].
    pub rules: &'static dyn Rules,
    /// Set where a CustomResourceDefinition made the resource: it brings the rules.
    pub custom: Option<Arc<Custom>>,
}

impl Resource {
    /// Group, version and kind.
    pub fn gvk(&self) -> Gvk {
        Gvk::new(self.group, self.version, self.kind)
    }

    /// The kind as refusals name it: that of the stored form.
    pub fn told_kind(&self) -> Gvk {
        Gvk::new(self.storage.0, self.version, self.kind)
    }

    /// Group, version and resource.
    pub fn gvr(&self) -> Gvr {
        Gvr::new(self.group, self.version, self.plural)
    }

    /// What holds for its objects.
    pub fn rules(&self) -> &dyn Rules {
        match &self.custom {
            Some(custom) => &**custom,
            None => self.rules,
        }
    }

    /// The subresource of this name.
    pub fn subresource(&self, name: &str) -> Option<&'static Subresource> {
        self.subresources.iter().find(|subresource| subresource.name == name)
    }
}

/// Which part of an object an update goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// The object itself: everything but what belongs to subresources.
    Main,
    /// `status`.
    Status,
    /// Another subresource that takes the whole object, for example `resize` or `ephemeralcontainers`.
    Other(&'a str),
}

/// Options of the server that rules depend on.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Whether containers may be privileged.
    pub allow_privileged: bool,
}

/// The rules of a kind's objects: pure, on documents that were pruned by schema. The registry has already filled and
/// checked the generic metadata (name, namespace, uid, creationTimestamp, labels, owner references).
///
/// The defaults suit a kind with neither defaults nor checks of its own.
pub trait Rules: Send + Sync {
    /// Fills what the user left out, as upstream's defaulting does. Runs on every object that comes in, and must change
    /// nothing the second time.
    fn default(&self, _object: &mut Value) {}

    /// Before an object is made: drops what users may not set (status), sets what only the server knows. `generation` is
    /// set to 1 here by kinds that count it.
    fn prepare_create(&self, _object: &mut Value) {}

    /// Notes who makes an object, where the kind keeps that.
    fn note_creator(&self, _object: &mut Value, _user: &meta::UserInfo) {}

    /// Stamps what an update changed with the time, after [`Rules::prepare_update`].
    fn stamp_update(&self, _new: &mut Value, _old: &Value, _now: &str) {}

    /// What is wrong with an object's name, in upstream's words. By default a name is a DNS subdomain.
    fn validate_name(&self, name: &str) -> Vec<String> {
        meta::names::subdomain(name)
    }

    /// What is wrong with a new object.
    fn validate(&self, _object: &Value, _settings: &Settings) -> Errors {
        Errors::new()
    }

    /// Before an update: puts back from `old` what this part may not change (`status` for [`Part::Main`], everything
    /// else for [`Part::Status`]), counts `generation` up when the desired state changed.
    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part<'_>) {
        keep_other_part(new, old, part);
    }

    /// What is wrong with an update. By default: what [`Rules::validate`] finds.
    fn validate_update(&self, new: &Value, _old: &Value, _part: Part<'_>, settings: &Settings) -> Errors {
        self.validate(new, settings)
    }

    /// The form in which an object that came in is stored, where a resource is a second view on another one's objects.
    fn to_stored(&self, _object: &mut Value) {}

    /// Back from the stored form.
    fn in_own_form(&self, _object: &mut Value) {}

    /// The version in whose form objects are stored, where that is another one.
    fn stored_version(&self) -> Option<&'static str> {
        None
    }

    /// The names that field selectors may ask for, besides metadata.name and metadata.namespace.
    fn selectable(&self) -> &'static [&'static str] {
        &[]
    }

    /// The values of those.
    fn fields(&self, _object: &Value) -> Vec<(String, String)> {
        Vec::new()
    }

    /// The stored form's name of a selectable field, where a resource is a second view on another one's objects.
    fn stored_field<'a>(&self, name: &'a str) -> &'a str {
        name
    }

    /// The cells of the table's row, as many as there are columns. `now` is in seconds since 1970, for ages.
    fn row(&self, object: &Value, now: i64) -> Vec<Value>;

    /// Seconds that a deletion without its own wish waits (30 for pods); `None`: the kind has no graceful deletion.
    fn grace_period(&self, _object: &Value) -> Option<i64> {
        None
    }

    /// Before an object is deleted for the first time: what the kind notes on it, a finalizer of its own for example.
    fn prepare_delete(&self, _object: &mut Value, _now: &str) {}

    /// What every client that asks for the kind should be warned of.
    fn deprecation(&self) -> Option<&'static str> {
        None
    }

    /// What a client that writes this should be warned of; `old` is what was there.
    fn warnings(&self, _object: &Value, _old: Option<&Value>) -> Vec<String> {
        Vec::new()
    }

    /// What a client that deletes an object this way should be warned of.
    fn delete_warnings(&self, _options: &meta::DeleteOptions) -> Vec<String> {
        Vec::new()
    }

    /// What becomes of dependents if the deleter doesn't say.
    fn default_propagation(&self) -> meta::Propagation {
        meta::Propagation::Background
    }
}

/// The usual split of an object: a status update changes `status` and metadata; any other leaves `status` as it was.
pub fn keep_other_part(new: &mut Value, old: &Value, part: Part<'_>) {
    match part {
        Part::Main => restore(new, old, "status"),
        Part::Status => {
            let (status, metadata) = (new.get("status").cloned(), new.get("metadata").cloned());
            *new = old.clone();
            put(new, "status", status);
            put(new, "metadata", metadata);
        }
        Part::Other(_) => {}
    }
}

/// The strict form of a status update: it changes `status` alone, and who manages its fields.
pub(crate) fn keep_all_but_status(new: &mut Value, old: &Value) {
    let status = new.get("status").cloned();
    let managed = new.pointer("/metadata/managedFields").cloned();
    let revision = new.pointer("/metadata/resourceVersion").cloned();
    *new = old.clone();
    put(new, "status", status);
    put(&mut new["metadata"], "managedFields", managed);
    put(&mut new["metadata"], "resourceVersion", revision);
}

fn restore(new: &mut Value, old: &Value, field: &str) {
    put(new, field, old.get(field).cloned());
}

fn put(object: &mut Value, field: &str, value: Option<Value>) {
    let Some(fields) = object.as_object_mut() else { return };
    match value {
        Some(value) => fields.insert(field.to_owned(), value),
        None => fields.remove(field),
    };
}
