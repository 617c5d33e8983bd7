//! How the parts of the control plane are, as `componentstatuses` tells it: they live in this process, so they are well while it
//! answers.

use std::sync::Arc;

use meta::{ApiError, Call, Object, ObjectList, Reply, ResourcePath};
use serde_json::json;

const COMPONENTS: [&str; 3] = ["controller-manager", "etcd-0", "scheduler"];

/// The answer to a read of components; `None` for other resources.
pub(crate) fn answer(path: &ResourcePath, call: &Call) -> Option<Result<Reply, ApiError>> {
    if !path.gvr.group.is_empty() || path.gvr.resource != "componentstatuses" {
        return None;
    }
    match (call, &path.name) {
        (Call::Get { .. }, Some(name)) => {
            let known = COMPONENTS.iter().find(|own| *own == name);
            let missing = || ApiError::not_found(&meta::Gvr::new("", "v1", "componentstatus"), name);
            Some(known.ok_or_else(missing).and_then(|name| component(name)).map(|object| Reply::Object {
                object,
                created: false,
                warnings: Vec::new(),
            }))
        }
        (Call::List(options), None) => {
            let all: Result<Vec<_>, _> = COMPONENTS.iter().map(|name| component(name)).collect();
            Some(all.map(|mut items| {
                items.retain(|item| options.labels.matches(&item.metadata.labels) && options.fields.matches(item));
                Reply::List(ObjectList { revision: 0, items, continue_token: String::new(), remaining: None })
            }))
        }
        _ => None,
    }
}

fn component(name: &str) -> Result<Arc<Object>, ApiError> {
    let value = json!({
        "kind": "ComponentStatus", "apiVersion": "v1",
        "metadata": {"name": name},
        "conditions": [{"type": "Healthy", "status": "True", "message": "ok"}],
    });
    Object::from_value(&value).map(Arc::new).map_err(ApiError::internal)
}

#[cfg(test)]
mod tests {
    use meta::{Gvr, ListOptions};

    use super::*;

    #[test]
    fn components_are_read_and_nothing_else() {
        let gvr = Gvr::new("", "v1", "componentstatuses");
        let all = ResourcePath { gvr: gvr.clone(), namespace: None, name: None, subresource: None };
        let Some(Ok(Reply::List(list))) = answer(&all, &Call::List(ListOptions::default())) else { panic!("a list") };
        assert_eq!(list.items.len(), 3);
        let one = ResourcePath { name: Some("nobody".to_owned()), ..all };
        let get = Call::Get { resource_version: String::new() };
        let error = answer(&one, &get).expect("an answer").expect_err("it is unknown");
        assert_eq!(error.message, "componentstatus \"nobody\" not found");
        let other = ResourcePath { gvr: Gvr::new("", "v1", "pods"), ..one };
        assert!(answer(&other, &get).is_none());
    }
}
