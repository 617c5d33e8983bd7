//! Who holds a StatefulSet's claims, so that they go with the set or with a pod that is scaled away, or stay.

use meta::Object;
use serde_json::Value;

use crate::workload::document::{controller_reference, items, text};

/// Which claims go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Retention {
    /// Those of a set that is deleted.
    pub(super) with_set: bool,
    /// Those of a pod that is scaled away.
    pub(super) with_pod: bool,
}

/// Who may hold a claim.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holders<'a> {
    pub(super) set: &'a Object,
    pub(super) pod: &'a Object,
    /// Whether the pod is scaled away.
    pub(super) leaves: bool,
}

impl Retention {
    pub(super) fn of(set: &Value) -> Self {
        let deletes = |when: &str| text(set, &format!("/spec/persistentVolumeClaimRetentionPolicy/{when}")) == "Delete";
        Self { with_set: deletes("whenDeleted"), with_pod: deletes("whenScaled") }
    }

    /// Who holds a claim that nobody else controls.
    fn holder<'a>(self, holders: &Holders<'a>) -> Option<&'a Object> {
        if self.with_pod && holders.leaves {
            return Some(holders.pod);
        }
        self.with_set.then_some(holders.set)
    }

    /// The references that a claim should have; `None` if it has them, or is none of this set's business.
    pub(super) fn references(self, claim: &Value, holders: &Holders<'_>) -> Option<Vec<Value>> {
        let all = items(claim, "/metadata/ownerReferences");
        let is_ours = |own: &&Value| names(own, holders.set) || names(own, holders.pod);
        let of_former = |own: &Value, now: &Object| names(own, now) && text(own, "/uid") != now.metadata.uid;
        if all.iter().any(|own| of_former(own, holders.set) || of_former(own, holders.pod)) {
            return None;
        }
        let foreign = all.iter().any(|own| !is_ours(&own) && own["controller"] == true);
        let keeps_all = !self.with_set && !self.with_pod;
        let holder = self.holder(holders).filter(|_| keeps_all || !foreign);
        let ours: Vec<&Value> = all.iter().filter(is_ours).collect();
        let right = |own: &&&Value| {
            own["controller"] == true && holder.is_some_and(|holder| text(own, "/uid") == holder.metadata.uid)
        };
        if ours.iter().all(|own| right(&own)) && ours.len() == usize::from(holder.is_some()) {
            return None;
        }
        let others = all.iter().filter(|own| !is_ours(own)).cloned();
        Some(others.chain(holder.map(controller_reference)).collect())
    }

    /// Whether a claim still goes with a former pod of the name: a new pod must wait for a new claim.
    pub(super) fn is_stale(self, claim: &Value, pod: &str) -> bool {
        let former = |own: &Value| own["kind"] == "Pod" && own["apiVersion"] == "v1" && text(own, "/name") == pod;
        self.with_pod && items(claim, "/metadata/ownerReferences").iter().any(former)
    }
}

fn names(reference: &Value, object: &Object) -> bool {
    let group = |version: &str| version.split_once('/').map_or("", |(group, _)| group).to_owned();
    text(reference, "/kind") == object.kind()
        && text(reference, "/name") == object.metadata.name
        && group(text(reference, "/apiVersion")) == group(object.api_version())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(version: &str, kind: &str, name: &str) -> Object {
        let metadata = json!({"name": name, "uid": name});
        Object::from_value(&json!({"apiVersion": version, "kind": kind, "metadata": metadata})).expect("an object")
    }

    fn reference(version: &str, kind: &str, name: &str, uid: &str) -> Value {
        json!({"apiVersion": version, "kind": kind, "name": name, "uid": uid, "controller": true})
    }

    #[test]
    fn claims_are_held_by_what_they_go_with() {
        let (set, pod) = (object("apps/v1", "StatefulSet", "s"), object("v1", "Pod", "s-0"));
        let check = |(with_set, with_pod): (bool, bool), leaves: bool, had: &[Value], expected: Option<&[&str]>| {
            let claim = json!({"metadata": {"ownerReferences": had}});
            let holders = Holders { set: &set, pod: &pod, leaves };
            let found = Retention { with_set, with_pod }.references(&claim, &holders);
            let names = |all: Vec<Value>| all.iter().map(|own| text(own, "/name").to_owned()).collect::<Vec<_>>();
            let expected = expected.map(|all| all.iter().map(|name| (*name).to_owned()).collect());
            assert_eq!(found.map(names), expected, "{with_set} {with_pod} {leaves} {had:?}");
        };
        let of_set = || reference("apps/v1", "StatefulSet", "s", "s");
        let of_pod = || reference("v1", "Pod", "s-0", "s-0");
        let other = || reference("example.com/v1", "Other", "o", "o");
        check((false, false), false, &[], None);
        check((false, false), true, &[of_set()], Some(&[]));
        check((true, false), false, &[], Some(&["s"]));
        check((true, false), true, &[of_set()], None);
        check((false, true), false, &[of_pod()], Some(&[]));
        check((false, true), true, &[], Some(&["s-0"]));
        check((true, true), true, &[of_set()], Some(&["s-0"]));
        check((true, true), false, &[of_pod()], Some(&["s"]));
        check((true, true), false, &[other()], None);
        check((true, true), false, &[other(), of_set()], Some(&["o"]));
        check((true, true), false, &[reference("v1", "Pod", "s-0", "former")], None);
    }
}
