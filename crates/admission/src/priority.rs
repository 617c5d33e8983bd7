//! Priority: a pod's class becomes a number.

use async_trait::async_trait;
use meta::ApiError;
use registry::{Admission, Attributes, Operation, Reader, Request};
use serde_json::{Value, json};

use crate::fields::{child, forbidden, text};

const GROUP: &str = "scheduling.k8s.io";

/// What upstream ships.
const SYSTEM: [(&str, i64); 2] = [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

/// The plugin.
pub(crate) struct Priority;

struct Class {
    name: String,
    value: i64,
    preemption: String,
}

#[async_trait]
impl Admission for Priority {
    fn name(&self) -> &'static str {
        "Priority"
    }

    fn handles(&self, attributes: &Attributes) -> bool {
        let classes = attributes.resource.group == GROUP && attributes.resource.resource == "priorityclasses";
        attributes.operation != Operation::Delete && (attributes.is_core("pods") || classes)
    }

    async fn mutate(&self, request: &mut Request<'_>, reader: &dyn Reader) -> Result<(), ApiError> {
        match (request.attributes.operation, request.old) {
            _ if !request.attributes.is_core("pods") => Ok(()),
            (Operation::Create, _) => assign(request, reader),
            (_, Some(old)) => {
                for field in ["priority", "preemptionPolicy"] {
                    let spec = child(&mut request.object, "spec");
                    let own = old.get("spec").and_then(|spec| spec.get(field));
                    if let (None, Some(own)) = (spec.get(field), own) {
                        spec.insert(field.to_owned(), own.clone());
                    }
                }
                Ok(())
            }
            (_, None) => Ok(()),
        }
    }

    async fn validate(&self, request: &Request<'_>, reader: &dyn Reader) -> Result<(), ApiError> {
        let wants_default = request.object.get("globalDefault").and_then(Value::as_bool) == Some(true);
        if request.attributes.is_core("pods") || !wants_default {
            return Ok(());
        }
        match default_class(reader) {
            Some(class) if class.name != text(&request.object, "/metadata/name") => {
                let why =
                    format!("PriorityClass {} is already marked as default. Only one default can exist", class.name);
                Err(forbidden(request, &why))
            }
            Some(_) | None => Ok(()),
        }
    }
}

fn assign(request: &mut Request<'_>, reader: &dyn Reader) -> Result<(), ApiError> {
    let name = text(&request.object, "/spec/priorityClassName").to_owned();
    let class = if name.is_empty() { default_class(reader) } else { named_class(reader, &name) };
    let class = match class {
        Some(class) => class,
        None if name.is_empty() => Class { name, value: 0, preemption: "PreemptLowerPriority".to_owned() },
        None => return Err(forbidden(request, &format!("no PriorityClass with name {name} was found"))),
    };
    let own = request.object.pointer("/spec/priority").and_then(Value::as_i64);
    if let Some(own) = own.filter(|own| *own != class.value) {
        let why = format!(
            "the integer value of priority ({own}) must not be provided in pod spec; priority admission controller computed \
             {} from the given PriorityClass name",
            class.value
        );
        return Err(forbidden(request, &why));
    }
    let own = text(&request.object, "/spec/preemptionPolicy");
    if !own.is_empty() && own != class.preemption {
        let why = format!(
            "the string value of PreemptionPolicy ({own}) must not be provided in pod spec; priority admission controller \
             computed {} from the given PriorityClass name",
            class.preemption
        );
        return Err(forbidden(request, &why));
    }
    let spec = child(&mut request.object, "spec");
    if !class.name.is_empty() {
        spec.insert("priorityClassName".to_owned(), json!(class.name));
    }
    spec.insert("priority".to_owned(), json!(class.value));
    spec.insert("preemptionPolicy".to_owned(), json!(class.preemption));
    Ok(())
}

fn class(object: &Value) -> Class {
    let preemption = match text(object, "/preemptionPolicy") {
        "" => "PreemptLowerPriority",
        policy => policy,
    };
    Class {
        name: text(object, "/metadata/name").to_owned(),
        value: object.get("value").and_then(Value::as_i64).unwrap_or(0),
        preemption: preemption.to_owned(),
    }
}

fn named_class(reader: &dyn Reader, name: &str) -> Option<Class> {
    if let Some(object) = reader.get(GROUP, "priorityclasses", "", name) {
        return Some(class(&object.value()));
    }
    let (name, value) = SYSTEM.into_iter().find(|(own, _)| *own == name)?;
    Some(Class { name: name.to_owned(), value, preemption: "PreemptLowerPriority".to_owned() })
}

/// Of several defaults (a race can make them) the lowest.
fn default_class(reader: &dyn Reader) -> Option<Class> {
    let classes = reader.list(GROUP, "priorityclasses", "");
    let values = classes.iter().map(|object| object.value());
    let defaults = values.filter(|value| value.get("globalDefault").and_then(Value::as_bool) == Some(true));
    defaults.map(|value| class(&value)).min_by_key(|class| class.value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Cluster, outcome};

    #[tokio::test]
    async fn classes_become_numbers() {
        let high =
            json!({"kind": "PriorityClass", "metadata": {"name": "high"}, "value": 7, "preemptionPolicy": "Never"});
        let cluster = Cluster::new([("priorityclasses", high)]);
        let missing = "pods \"p\" is forbidden: no PriorityClass with name x was found";
        for (name, expected) in [
            ("", Ok((0, "PreemptLowerPriority"))),
            ("high", Ok((7, "Never"))),
            ("system-node-critical", Ok((2_000_001_000, "PreemptLowerPriority"))),
            ("x", Err(missing.to_owned())),
        ] {
            let pod = json!({"metadata": {"name": "p"}, "spec": {"priorityClassName": name}});
            let found = outcome(&Priority, &cluster, cluster.create("pods", "a", pod)).await;
            let found = found.map(|pod| (pod["spec"]["priority"].clone(), pod["spec"]["preemptionPolicy"].clone()));
            assert_eq!(found, expected.map(|(value, policy): (i64, &str)| (json!(value), json!(policy))));
        }
    }
}
