//! What may change through the subresource `resize`: CPU and memory of containers, and how they are restarted for it.

use meta::field::{Error, Errors, Path};
use serde_json::{Value, json};

use super::{CONTAINERS, qos};
use crate::field::{self, items};

const RESIZED: [&str; 2] = ["cpu", "memory"];

/// Takes the new resources over into the spec, and nothing else.
pub(super) fn merge(spec: &mut Value, wanted: &Value) {
    for list in &CONTAINERS[..2] {
        let wanted = items(wanted, &format!("/{list}"));
        for container in field::items_mut(spec, list) {
            let Some(other) = wanted.iter().find(|other| other["name"] == container["name"]) else { continue };
            container["resources"] = other.get("resources").cloned().unwrap_or_else(|| json!({}));
            if let Some(policy) = other.get("resizePolicy") {
                container["resizePolicy"] = policy.clone();
            }
        }
    }
    match wanted.get("resources").filter(|resources| !resources.is_null()) {
        Some(resources) => spec["resources"] = resources.clone(),
        None => field::remove(spec, "resources"),
    }
}

/// What is wrong with new resources.
pub(super) fn check(new: &Value, old: &Value) -> Errors {
    let spec = Path::new("spec");
    let mut errors = Errors::new();
    let mirror = "/metadata/annotations/kubernetes.io~1config.mirror";
    if old.pointer(mirror).is_some() {
        errors.push(Error::forbidden(&Path::new(""), "static pods cannot be resized"));
        return errors;
    }
    if qos(new) != qos(old) {
        let class = new["status"]["qosClass"].clone();
        errors.push(Error::invalid(&spec, class, "Pod QOS Class may not change as a result of resizing"));
    }
    if set(&old["spec"]["resources"]) || set(&new["spec"]["resources"]) {
        check_pod_level(&new["spec"]["resources"], &old["spec"]["resources"], &spec, &mut errors);
    }
    for list in &CONTAINERS[..2] {
        let pairs = items(&new["spec"], &format!("/{list}")).iter().zip(items(&old["spec"], &format!("/{list}")));
        for (index, (new, old)) in pairs.enumerate() {
            let sidecar = new["restartPolicy"] == "Always";
            if *list == "initContainers" && !sidecar {
                if new["resources"] != old["resources"] {
                    let text = "resources for non-sidecar init containers are immutable";
                    errors.push(Error::forbidden(&spec, text));
                }
                continue;
            }
            check_container(new, old, &spec.child(list).index(index).child("resources"), &mut errors);
            if others(&new["resources"]) != others(&old["resources"]) {
                errors.push(Error::forbidden(&spec, "only cpu and memory resources are mutable"));
            }
        }
    }
    errors
}

fn set(resources: &Value) -> bool {
    ["requests", "limits"].iter().any(|list| resources[list].as_object().is_some_and(|list| !list.is_empty()))
}

fn check_pod_level(new: &Value, old: &Value, spec: &Path, errors: &mut Errors) {
    let path = spec.child("resources");
    if set(old) && !set(new) {
        errors.push(Error::forbidden(&path, "pod-level resources cannot be removed"));
        return;
    }
    for list in ["requests", "limits"] {
        if lost(&new[list], &old[list]) {
            let text = format!("pod-level resource {list} cannot be removed");
            errors.push(Error::forbidden(&path.child(list), &text));
        }
    }
    if others(new) != others(old) {
        errors.push(Error::forbidden(spec, "only cpu and memory resources are mutable at pod-level"));
    }
}

fn check_container(new: &Value, old: &Value, path: &Path, errors: &mut Errors) {
    for list in ["requests", "limits"] {
        if lost(&new["resources"][list], &old["resources"][list]) {
            errors.push(Error::forbidden(&path.child(list), &format!("resource {list} cannot be removed")));
        }
    }
}

/// Whether something that was there is there no more.
fn lost(new: &Value, old: &Value) -> bool {
    old.as_object().is_some_and(|old| old.keys().any(|name| new.get(name).is_none()))
}

/// Everything but CPU and memory.
fn others(resources: &Value) -> Vec<(String, Value)> {
    let lists = ["requests", "limits"].into_iter().flat_map(|list| {
        let amounts = resources[list].as_object().into_iter().flatten();
        let other = amounts.filter(|(name, _)| !RESIZED.contains(&name.as_str()));
        other.map(move |(name, amount)| (format!("{list}/{name}"), amount.clone()))
    });
    lists.chain(resources.get("claims").map(|claims| ("claims".to_owned(), claims.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(resources: Value) -> Value {
        json!({"spec": {"containers": [{"name": "a", "resources": resources}]}, "status": {"qosClass": "Burstable"}})
    }

    #[track_caller]
    fn check(old: Value, new: Value, expected: &[&str]) {
        let errors = super::check(&pod(new), &pod(old));
        assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn only_cpu_and_memory_change_and_nothing_is_taken_away() {
        let old = json!({"requests": {"cpu": "100m", "memory": "1Mi"}, "limits": {"cpu": "200m"}});
        check(old.clone(), old.clone(), &[]);
        check(old.clone(), json!({"requests": {"cpu": "150m", "memory": "2Mi"}, "limits": {"cpu": "300m"}}), &[]);
        check(
            old.clone(),
            json!({"requests": {"cpu": "100m"}}),
            &[
                "spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed",
                "spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed",
            ],
        );
        check(
            old.clone(),
            json!({"requests": {"cpu": "100m", "memory": "1Mi", "example.com/x": "1"}, "limits": {"cpu": "200m"}}),
            &["spec: Forbidden: only cpu and memory resources are mutable"],
        );
        check(
            old,
            json!({"requests": {"cpu": "1", "memory": "1Mi"}, "limits": {"cpu": "1", "memory": "1Mi"}}),
            &["spec: Invalid value: \"Burstable\": Pod QOS Class may not change as a result of resizing"],
        );
    }
}
