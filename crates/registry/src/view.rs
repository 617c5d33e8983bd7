//! Objects in the form of the resource that shows them: events.k8s.io on the core group's events, and the versions of a custom
//! resource on the one that is stored.

use std::sync::Arc;

use futures::StreamExt;
use kinds::Resource;
use kinds::custom::{Conversion, Custom};
use meta::{ApiError, Object, ObjectList, Reply, WatchEvent, WatchKind};
use serde_json::{Value, json};

use crate::registry::Registry;
use crate::watch::WatchStream;

/// Whether a built-in resource's objects are stored as another one's, or as another version's.
pub(crate) fn is_view(row: &Resource) -> bool {
    row.storage != (row.group, row.plural) || row.rules().stored_version().is_some()
}

/// Whether a stored object may look otherwise than its resource shows it.
fn differs(row: &Resource, object: &Object) -> bool {
    match &row.custom {
        Some(custom) => object.revision <= custom.since || object.api_version() != row.gvk().api_version(),
        None => is_view(row),
    }
}

impl Registry {
    /// The document of a stored object as the resource shows it.
    pub(crate) async fn document(&self, row: &Resource, object: &Object) -> Result<Value, ApiError> {
        let value = object.value();
        if !differs(row, object) {
            return Ok(value);
        }
        let mut shown = self.show(row, vec![value]).await?;
        shown.pop().ok_or_else(|| ApiError::internal("a conversion lost its object"))
    }

    /// The form in which the resource's document is stored.
    pub(crate) async fn stored(&self, row: &Resource, value: &Value) -> Result<Value, ApiError> {
        let mut stored = value.clone();
        match &row.custom {
            None => row.rules.to_stored(&mut stored),
            Some(custom) if custom.is_stored(row.version) => {}
            Some(custom) => {
                let version = format!("{}/{}", row.group, custom.storage_version);
                let mut converted = self.converted(row, custom, vec![stored], &version).await?;
                stored = converted.pop().ok_or_else(|| ApiError::internal("a conversion lost its object"))?;
            }
        }
        Ok(stored)
    }

    /// Objects as the resource shows them.
    pub(crate) async fn shown(&self, row: &Resource, objects: Vec<Arc<Object>>) -> Result<Vec<Arc<Object>>, ApiError> {
        let documents = objects.iter().filter(|object| differs(row, object)).map(|object| object.value()).collect();
        let mut documents = self.show(row, documents).await?.into_iter();
        let shown = objects.into_iter().map(|object| {
            if !differs(row, &object) {
                return Ok(object);
            }
            let document = documents.next().ok_or_else(|| ApiError::internal("a conversion lost an object"))?;
            let shown = Object::from_value(&document).map_err(ApiError::internal)?;
            Ok(Arc::new(shown.with_fields(object.fields().to_vec())))
        });
        shown.collect()
    }

    /// An answer as the resource shows it.
    pub(crate) async fn reply(&self, row: &Resource, reply: Reply) -> Result<Reply, ApiError> {
        match reply {
            Reply::Object { object, created, warnings } if differs(row, &object) => {
                let object = self.shown(row, vec![object]).await?.pop();
                let object = object.ok_or_else(|| ApiError::internal("a conversion lost its object"))?;
                Ok(Reply::Object { object, created, warnings })
            }
            Reply::List(list) if list.items.iter().any(|object| differs(row, object)) => {
                let items = self.shown(row, list.items).await?;
                Ok(Reply::List(ObjectList { items, ..list }))
            }
            reply @ (Reply::Object { .. } | Reply::List(_) | Reply::Status(_)) => Ok(reply),
        }
    }

    async fn show(&self, row: &Resource, mut documents: Vec<Value>) -> Result<Vec<Value>, ApiError> {
        let Some(custom) = &row.custom else {
            documents.iter_mut().for_each(|document| show_view(row, document));
            return Ok(documents);
        };
        let shown = self.converted(row, custom, documents, &row.gvk().api_version()).await?;
        Ok(shown.into_iter().map(|document| custom.read(document)).collect())
    }

    /// Custom objects in another version.
    async fn converted(
        &self,
        row: &Resource,
        custom: &Custom,
        mut documents: Vec<Value>,
        version: &str,
    ) -> Result<Vec<Value>, ApiError> {
        let webhook = match &custom.conversion {
            Conversion::None => {
                documents.iter_mut().for_each(|document| document["apiVersion"] = json!(version));
                return Ok(documents);
            }
            Conversion::Webhook(webhook) => webhook,
        };
        let other = |document: &&Value| document["apiVersion"] != version;
        let asked: Vec<Value> = documents.iter().filter(other).cloned().collect();
        if asked.is_empty() {
            return Ok(documents);
        }
        let count = asked.len();
        let converted = self.converter.convert(webhook, asked, version, self).await;
        let mut converted = converted
            .map_err(|error| {
                let stored = documents
                    .iter()
                    .find(other)
                    .map_or("", |document| document["apiVersion"].as_str().unwrap_or_default());
                let from = format!("{stored}, Kind={}", row.kind);
                ApiError::internal(format!("conversion webhook for {from} failed: {error}"))
            })?
            .into_iter();
        if converted.len() != count {
            return Err(ApiError::internal("a conversion webhook answered another number of objects"));
        }
        for document in documents.iter_mut().filter(|document| document["apiVersion"] != version) {
            if let Some(new) = converted.next() {
                *document = new;
            }
        }
        Ok(documents)
    }
}

/// The events of a watch as the resource shows them.
pub(crate) fn events(registry: &Arc<Registry>, row: &Resource, stream: WatchStream) -> WatchStream {
    if row.custom.is_none() && !is_view(row) {
        return stream;
    }
    let (registry, row) = (registry.clone(), row.clone());
    WatchStream::new(stream.then(move |event| {
        let (registry, row) = (registry.clone(), row.clone());
        async move {
            let event: WatchEvent = event?;
            if event.kind == WatchKind::Bookmark || !differs(&row, &event.object) {
                return Ok(event);
            }
            let object = registry.shown(&row, vec![event.object]).await?.pop();
            let object = object.ok_or_else(|| ApiError::internal("a conversion lost its object"))?;
            Ok(WatchEvent { object, ..event })
        }
    }))
}

fn show_view(row: &Resource, value: &mut Value) {
    row.rules.in_own_form(value);
    let gvk = row.gvk();
    if let Some(fields) = value.as_object_mut() {
        fields.insert("kind".to_owned(), json!(gvk.kind));
        fields.insert("apiVersion".to_owned(), json!(gvk.api_version()));
    }
}
