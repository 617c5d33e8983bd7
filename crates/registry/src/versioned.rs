//! Lists and watches of custom resources: what selectors ask of a version's own fields, and watches that end with what they
//! were opened on.
//!
//! Only a version's form has its fields, so objects are selected by them after they were brought into that form. Such a list comes
//! in one page.

use std::collections::HashSet;
use std::sync::Arc;

use futures::{StreamExt, stream};
use kinds::Resource;
use meta::{ApiError, FieldSelector, ListOptions, Object, ObjectList, WatchEvent, WatchKind};

use crate::registry::Registry;
use crate::watch::WatchStream;

/// What the stored form can tell, and what only the version's own form can.
pub(crate) fn split(row: &Resource, fields: &FieldSelector) -> (FieldSelector, FieldSelector) {
    if row.custom.is_none() {
        let mut fields = fields.clone();
        for (name, _, _) in &mut fields.requirements {
            *name = row.rules.stored_field(name).to_owned();
        }
        return (fields, FieldSelector::default());
    }
    let own = |(name, _, _): &(String, String, bool)| !matches!(name.as_str(), "metadata.name" | "metadata.namespace");
    let (own, common) = fields.requirements.iter().cloned().partition(own);
    (FieldSelector { requirements: common }, FieldSelector { requirements: own })
}

/// Options that list everything in one page.
pub(crate) fn unpaged(options: ListOptions) -> ListOptions {
    ListOptions { limit: 0, continue_token: String::new(), ..options }
}

fn selects(row: &Resource, fields: &FieldSelector, object: &Object) -> bool {
    let own = row.rules().fields(&object.value());
    let value = |name: &str| own.iter().find(|(own, _)| own == name).map_or("", |(_, value)| value.as_str());
    fields.requirements.iter().all(|(name, wanted, equal)| (value(name) == wanted) == *equal)
}

impl Registry {
    /// Those objects of a list that a version's own fields select, in that version's form.
    pub(crate) async fn select(
        &self,
        row: &Resource,
        list: ObjectList,
        fields: &FieldSelector,
    ) -> Result<ObjectList, ApiError> {
        if fields.is_everything() {
            return Ok(list);
        }
        let mut items = self.shown(row, list.items).await?;
        items.retain(|object| selects(row, fields, object));
        Ok(ObjectList { items, ..list })
    }

    /// A watch that shows only objects that a version's own fields select; `before` are the objects that were there when it
    /// begins, if it doesn't begin with them.
    pub(crate) fn select_events(
        self: &Arc<Self>,
        row: &Resource,
        events: WatchStream,
        fields: FieldSelector,
        before: Vec<Arc<Object>>,
    ) -> WatchStream {
        if fields.is_everything() {
            return events;
        }
        let (registry, row) = (self.clone(), row.clone());
        let begin = async move {
            let list = ObjectList { items: before, ..ObjectList::default() };
            let shown = registry.select(&row, list, &fields).await.map(|list| list.items).unwrap_or_default();
            let seen = shown.iter().map(|object| object.metadata.uid.clone()).collect();
            let mut filter = Filter { row, fields, seen };
            events.filter_map(move |event| std::future::ready(filter.pass(event)))
        };
        WatchStream::new(stream::once(begin).flatten())
    }

    /// A watch that ends when its resource goes, or is defined otherwise.
    pub(crate) fn until_redefined(&self, row: &Resource, events: WatchStream) -> WatchStream {
        let Some(custom) = row.custom.clone() else { return events };
        let (mut served, gvr) = (self.served(), row.gvr());
        let redefined = async move {
            let same = |own: &Resource| {
                own.custom.as_ref().is_some_and(|own| own.uid == custom.uid && own.since == custom.since)
            };
            // It closes with the registry, and all watches with it.
            let _ = served.wait_for(|resources| !resources.by_gvr(&gvr).is_some_and(same)).await;
        };
        WatchStream::new(events.take_until(Box::pin(redefined)))
    }
}

struct Filter {
    row: Resource,
    fields: FieldSelector,
    /// The UIDs of the objects that the watcher knows.
    seen: HashSet<String>,
}

impl Filter {
    fn pass(&mut self, event: Result<WatchEvent, ApiError>) -> Option<Result<WatchEvent, ApiError>> {
        let event = match event {
            Ok(event) if event.kind != WatchKind::Bookmark => event,
            other => return Some(other),
        };
        let uid = event.object.metadata.uid.clone();
        let matches = event.kind != WatchKind::Deleted && selects(&self.row, &self.fields, &event.object);
        let kind = match (matches, self.seen.contains(&uid)) {
            (true, false) => WatchKind::Added,
            (true, true) => WatchKind::Modified,
            (false, true) => WatchKind::Deleted,
            (false, false) => return None,
        };
        if matches {
            self.seen.insert(uid)
        } else {
            self.seen.remove(&uid)
        };
        Some(Ok(WatchEvent { kind, ..event }))
    }
}
