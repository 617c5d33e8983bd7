//! Resources that are a second view on another one's objects: events.k8s.io on the core group's events.

use std::sync::Arc;

use kinds::Resource;
use meta::{Object, ObjectList, Reply, WatchEvent, WatchKind};
use serde_json::{Value, json};

/// Whether a resource's objects are stored as another one's.
pub(crate) fn is_view(row: &Resource) -> bool {
    row.storage != (row.group, row.plural)
}

/// The document of a stored object as the resource shows it.
pub(crate) fn document(row: &Resource, object: &Object) -> Value {
    let mut value = object.value();
    if is_view(row) {
        show(row, &mut value);
    }
    value
}

/// The form in which the resource's document is stored.
pub(crate) fn stored(row: &Resource, value: &Value) -> Value {
    let mut stored = value.clone();
    row.rules.to_stored(&mut stored);
    stored
}

/// An answer as the resource shows it.
pub(crate) fn reply(row: &Resource, reply: Reply) -> Reply {
    if !is_view(row) {
        return reply;
    }
    match reply {
        Reply::Object { object: stored, created, warnings } => {
            Reply::Object { object: object(row, &stored), created, warnings }
        }
        Reply::List(list) => {
            let items = list.items.iter().map(|stored| object(row, stored)).collect();
            Reply::List(ObjectList { items, ..list })
        }
        Reply::Status(status) => Reply::Status(status),
    }
}

/// An event of a watch as the resource shows it.
pub(crate) fn event(row: &Resource, event: WatchEvent) -> WatchEvent {
    if !is_view(row) || event.kind == WatchKind::Bookmark {
        return event;
    }
    WatchEvent { object: object(row, &event.object), ..event }
}

fn object(row: &Resource, stored: &Object) -> Arc<Object> {
    let shown = Object::from_value(&document(row, stored)).expect("a view keeps the metadata of a stored object");
    Arc::new(shown.with_fields(stored.fields().to_vec()))
}

fn show(row: &Resource, value: &mut Value) {
    row.rules.in_own_form(value);
    let gvk = row.gvk();
    if let Some(fields) = value.as_object_mut() {
        fields.insert("kind".to_owned(), json!(gvk.kind));
        fields.insert("apiVersion".to_owned(), json!(gvk.api_version()));
    }
}
