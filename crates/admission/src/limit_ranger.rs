//! LimitRanger: a namespace's LimitRanges give containers their defaults and their bounds.

use async_trait::async_trait;
use kinds::quota::{Amounts, needs};
use meta::{ApiError, Quantity};
use registry::{Admission, Attributes, Operation, Reader, Request};
use serde_json::{Map, Value, json};

use crate::fields::{child, forbidden, items, text};

/// The plugin.
pub(crate) struct LimitRanger;

#[async_trait]
impl Admission for LimitRanger {
    fn name(&self) -> &'static str {
        "LimitRanger"
    }

    fn handles(&self, attributes: &Attributes) -> bool {
        let ours = attributes.is_core("pods") || attributes.is_core("persistentvolumeclaims");
        attributes.operation == Operation::Create && ours
    }

    async fn mutate(&self, request: &mut Request<'_>, reader: &dyn Reader) -> Result<(), ApiError> {
        if request.attributes.is_core("pods") {
            for range in reader.list("", "limitranges", &request.attributes.namespace) {
                fill(&mut request.object, &range.value());
            }
        }
        Ok(())
    }

    async fn validate(&self, request: &Request<'_>, reader: &dyn Reader) -> Result<(), ApiError> {
        let mut errors = Vec::new();
        for range in reader.list("", "limitranges", &request.attributes.namespace) {
            for limit in items(&range.value(), "/spec/limits") {
                check(&request.object, limit, request.attributes.is_core("pods"), &mut errors);
            }
        }
        match errors.as_slice() {
            [] => Ok(()),
            [one] => Err(forbidden(request, one)),
            many => Err(forbidden(request, &format!("[{}]", many.join(", ")))),
        }
    }
}

/// Gives containers the defaults of a range, and notes which.
fn fill(pod: &mut Value, range: &Value) {
    let (mut requests, mut limits) = (Map::new(), Map::new());
    for limit in items(range, "/spec/limits").filter(|limit| text(limit, "/type") == "Container") {
        let amounts = |field: &str| limit.get(field).and_then(Value::as_object).cloned().unwrap_or_default();
        requests.extend(amounts("defaultRequest"));
        limits.extend(amounts("default"));
    }
    let mut notes = Vec::new();
    for (field, what) in [("containers", "container"), ("initContainers", "init container")] {
        let Some(containers) = pod["spec"].get_mut(field).and_then(Value::as_array_mut) else { continue };
        for container in containers {
            let name = text(container, "/name").to_owned();
            for (part, defaults, word) in [("requests", &requests, "request"), ("limits", &limits, "limit")] {
                let set = merge(container, part, defaults);
                if !set.is_empty() {
                    notes.push(format!("{} {word} for {what} {name}", set.join(", ")));
                }
            }
        }
    }
    if !notes.is_empty() {
        child(pod, "metadata");
        let text = format!("LimitRanger plugin set: {}", notes.join("; "));
        child(&mut pod["metadata"], "annotations").insert("kubernetes.io/limit-ranger".to_owned(), json!(text));
    }
}

fn merge(container: &mut Value, part: &str, defaults: &Map<String, Value>) -> Vec<String> {
    if defaults.is_empty() {
        return Vec::new();
    }
    child(container, "resources");
    let own = child(&mut container["resources"], part);
    let mut set = Vec::new();
    for (name, amount) in defaults {
        if !own.contains_key(name) {
            own.insert(name.clone(), amount.clone());
            set.push(name.clone());
        }
    }
    set.sort_unstable();
    set
}

fn amounts(object: &Value, pointer: &str) -> Amounts {
    let amounts = object.pointer(pointer).and_then(Value::as_object).into_iter().flatten();
    let read = |value: &Value| match value {
        Value::String(text) => text.parse().ok(),
        other => other.to_string().parse().ok(),
    };
    amounts.filter_map(|(name, value)| read(value).map(|amount| (name.clone(), amount))).collect()
}

/// What of an object is beyond one entry of a range.
fn check(object: &Value, limit: &Value, is_pod: bool, errors: &mut Vec<String>) {
    let kind = text(limit, "/type");
    match (kind, is_pod) {
        ("Container", true) => {
            for container in items(object, "/spec/containers").chain(items(object, "/spec/initContainers")) {
                let parts = (amounts(container, "/resources/requests"), amounts(container, "/resources/limits"));
                bounds(kind, limit, &parts, errors);
            }
        }
        ("Pod", true) => bounds(kind, limit, &(needs(object, "requests"), needs(object, "limits")), errors),
        ("PersistentVolumeClaim", false) => {
            let requests = amounts(object, "/spec/resources/requests");
            for (name, enforced) in amounts(limit, "/min") {
                errors.extend(below(kind, &name, enforced, (requests.get(&name), None)));
            }
            for (name, enforced) in amounts(limit, "/max") {
                errors.extend(match requests.get(&name) {
                    None => Some(format!("maximum {name} usage per {kind} is {enforced}.  No request is specified")),
                    Some(own) if *own > enforced => {
                        Some(format!("maximum {name} usage per {kind} is {enforced}, but request is {own}"))
                    }
                    Some(_) => None,
                });
            }
        }
        _ => {}
    }
}

fn bounds(kind: &str, limit: &Value, (requests, limits): &(Amounts, Amounts), errors: &mut Vec<String>) {
    for (name, enforced) in amounts(limit, "/min") {
        errors.extend(below(kind, &name, enforced, (requests.get(&name), limits.get(&name))));
    }
    for (name, enforced) in amounts(limit, "/max") {
        errors.extend(above(kind, &name, enforced, (requests.get(&name), limits.get(&name))));
    }
    for (name, enforced) in amounts(limit, "/maxLimitRequestRatio") {
        errors.extend(ratio(kind, &name, enforced, (requests.get(&name), limits.get(&name))));
    }
}

type Pair<'a> = (Option<&'a Quantity>, Option<&'a Quantity>);

fn below(kind: &str, name: &str, enforced: Quantity, (request, limit): Pair<'_>) -> Option<String> {
    let start = format!("minimum {name} usage per {kind} is {enforced}");
    match (request, limit) {
        (None, _) => Some(format!("{start}.  No request is specified")),
        (Some(request), _) if *request < enforced => Some(format!("{start}, but request is {request}")),
        (_, Some(limit)) if *limit < enforced => Some(format!("{start}, but limit is {limit}")),
        (Some(_), _) => None,
    }
}

fn above(kind: &str, name: &str, enforced: Quantity, (request, limit): Pair<'_>) -> Option<String> {
    let start = format!("maximum {name} usage per {kind} is {enforced}");
    match (request, limit) {
        (_, None) => Some(format!("{start}.  No limit is specified")),
        (_, Some(limit)) if *limit > enforced => Some(format!("{start}, but limit is {limit}")),
        (Some(request), _) if *request > enforced => Some(format!("{start}, but request is {request}")),
        (_, Some(_)) => None,
    }
}

fn ratio(kind: &str, name: &str, enforced: Quantity, (request, limit): Pair<'_>) -> Option<String> {
    let start = format!("{name} max limit to request ratio per {kind} is {enforced}");
    let (Some(request), true) = (request, request.is_some_and(|request| !request.is_zero())) else {
        return Some(format!("{start}, but no request is specified or request is 0"));
    };
    let (Some(limit), true) = (limit, limit.is_some_and(|limit| !limit.is_zero())) else {
        return Some(format!("{start}, but no limit is specified or limit is 0"));
    };
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people, compared as upstream compares it")]
    let (found, most) =
        (limit.milli_value() as f64 / request.milli_value() as f64, enforced.milli_value() as f64 / 1000.0);
    (found > most).then(|| format!("{start}, but provided ratio is {found:.6}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Cluster, outcome};

    #[tokio::test]
    async fn containers_get_defaults_and_stay_within_bounds() {
        let limit = json!({"type": "Container", "default": {"cpu": "500m"}, "defaultRequest": {"cpu": "100m"},
            "min": {"cpu": "50m"}, "max": {"cpu": "1"}});
        let range =
            json!({"kind": "LimitRange", "metadata": {"name": "l", "namespace": "a"}, "spec": {"limits": [limit]}});
        let cluster = Cluster::new([("limitranges", range)]);
        let pod = |resources: Value| {
            let container = json!({"name": "c", "resources": resources});
            cluster.create("pods", "a", json!({"metadata": {"name": "p"}, "spec": {"containers": [container]}}))
        };
        let made = outcome(&LimitRanger, &cluster, pod(json!({}))).await.expect("a pod");
        let resources = json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "500m"}});
        assert_eq!(made["spec"]["containers"][0]["resources"], resources);
        let note = "LimitRanger plugin set: cpu request for container c; cpu limit for container c";
        assert_eq!(made["metadata"]["annotations"]["kubernetes.io/limit-ranger"], note);
        for (resources, expected) in [
            (json!({"limits": {"cpu": "2"}}), "maximum cpu usage per Container is 1, but limit is 2"),
            (json!({"requests": {"cpu": "10m"}}), "minimum cpu usage per Container is 50m, but request is 10m"),
        ] {
            let error = outcome(&LimitRanger, &cluster, pod(resources)).await.expect_err(expected);
            assert_eq!(error, format!("pods \"p\" is forbidden: {expected}"));
        }
    }

    #[tokio::test]
    async fn a_pod_needs_its_sidecars_while_it_is_prepared() {
        let limit = json!({"type": "Pod", "max": {"cpu": "2500m"}});
        let range =
            json!({"kind": "LimitRange", "metadata": {"name": "l", "namespace": "a"}, "spec": {"limits": [limit]}});
        let cluster = Cluster::new([("limitranges", range)]);
        let needs = |cpu: &str| json!({"requests": {"cpu": cpu}, "limits": {"cpu": cpu}});
        let mut spec = json!({
            "initContainers": [
                {"name": "s", "restartPolicy": "Always", "resources": needs("1")}, {"name": "i", "resources": needs("2")},
            ],
            "containers": [{"name": "c", "resources": needs("500m")}],
        });
        let pod = |spec: &Value| cluster.create("pods", "a", json!({"metadata": {"name": "p"}, "spec": spec}));
        let error = outcome(&LimitRanger, &cluster, pod(&spec)).await.expect_err("3 are more than 2.5");
        assert_eq!(error, "pods \"p\" is forbidden: maximum cpu usage per Pod is 2500m, but limit is 3");
        spec["resources"] = needs("2");
        outcome(&LimitRanger, &cluster, pod(&spec)).await.expect("the pod as a whole takes less");
    }
}
