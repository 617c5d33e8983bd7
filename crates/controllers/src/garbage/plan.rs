//! Decides what becomes of an object whose owners, or which itself, are going.

use std::sync::Arc;

use meta::{Metadata, Object, Propagation};

pub(super) const ORPHAN: &str = "orphan";
pub(super) const FOREGROUND: &str = "foregroundDeletion";

/// What has become of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OwnerState {
    /// It is there.
    Solid,
    /// It goes once its dependents are gone.
    Waiting,
    /// It is gone.
    Absent,
    /// Its kind isn't served, or can't be an owner here: nobody can say.
    Unknown,
}

#[derive(Clone, Debug)]
pub(super) struct Owner {
    pub(super) uid: String,
    pub(super) blocked: bool,
    pub(super) state: OwnerState,
}

#[derive(Debug)]
pub(super) enum Action {
    Nothing,
    Delete(Propagation),
    /// Removes the references to these owners.
    DropOwners(Vec<String>),
    /// Holds no owner up any more.
    Unblock,
    /// Frees these from the object, then lets it go.
    Orphan(Vec<Arc<Object>>),
    /// Lets it go: nobody it waited for is left.
    Finalize,
}

pub(super) fn has_finalizer(metadata: &Metadata, name: &str) -> bool {
    metadata.finalizers.iter().any(|own| own == name)
}

/// What to do about an object.
pub(super) fn plan(object: &Object, owners: &[Owner], dependents: &[Arc<Object>]) -> Vec<Action> {
    let metadata = &object.metadata;
    if metadata.is_terminating() {
        return vec![going(metadata, dependents)];
    }
    let of = |state: OwnerState| owners.iter().filter(move |owner| owner.state == state);
    if owners.is_empty() || of(OwnerState::Unknown).next().is_some() {
        return Vec::new();
    }
    if of(OwnerState::Solid).next().is_some() {
        let done: Vec<String> =
            owners.iter().filter(|owner| owner.state != OwnerState::Solid).map(|owner| owner.uid.clone()).collect();
        return if done.is_empty() { Vec::new() } else { vec![Action::DropOwners(done)] };
    }
    if of(OwnerState::Waiting).next().is_some() && !dependents.is_empty() {
        // A dependent that already goes, and waits for its own, may wait for this one: someone must yield in a circle.
        let circle = dependents
            .iter()
            .any(|dependent| dependent.metadata.is_terminating() && has_finalizer(&dependent.metadata, FOREGROUND));
        if circle && owners.iter().any(|owner| owner.blocked) {
            return vec![Action::Unblock];
        }
        return vec![Action::Delete(Propagation::Foreground)];
    }
    let propagation = if has_finalizer(metadata, ORPHAN) {
        Propagation::Orphan
    } else if has_finalizer(metadata, FOREGROUND) {
        Propagation::Foreground
    } else {
        Propagation::Background
    };
    vec![Action::Delete(propagation)]
}

fn going(metadata: &Metadata, dependents: &[Arc<Object>]) -> Action {
    if has_finalizer(metadata, ORPHAN) {
        return Action::Orphan(dependents.to_vec());
    }
    let blocks = |dependent: &Arc<Object>| {
        let owners = &dependent.metadata.owner_references;
        owners.iter().any(|owner| owner.uid == metadata.uid && owner.block_owner_deletion)
    };
    if has_finalizer(metadata, FOREGROUND) && !dependents.iter().any(blocks) {
        return Action::Finalize;
    }
    Action::Nothing
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object(uid: &str, finalizers: Value, going: bool, owners: Value) -> Arc<Object> {
        let mut value = json!({"kind": "ConfigMap", "apiVersion": "v1",
            "metadata": {"name": uid, "namespace": "n", "uid": uid, "finalizers": finalizers, "ownerReferences": owners}});
        if going {
            value["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        Arc::new(Object::from_value(&value).expect("an object"))
    }

    fn check(object: &Object, owners: &[OwnerState], dependents: &[Arc<Object>], expected: &str) {
        let owner = |(at, state): (usize, &OwnerState)| Owner { uid: at.to_string(), blocked: true, state: *state };
        let owners: Vec<Owner> = owners.iter().enumerate().map(owner).collect();
        let word = |action: Action| match action {
            Action::Nothing => "nothing".to_owned(),
            Action::Delete(propagation) => format!("delete {propagation:?}"),
            Action::DropOwners(uids) => format!("drop {}", uids.join(",")),
            Action::Unblock => "unblock".to_owned(),
            Action::Orphan(dependents) => format!("orphan {}", dependents.len()),
            Action::Finalize => "finalize".to_owned(),
        };
        let found: Vec<String> = plan(object, &owners, dependents).into_iter().map(word).collect();
        assert_eq!(found.join(" "), expected);
    }

    #[test]
    fn owners_decide() {
        use OwnerState::{Absent, Solid, Unknown, Waiting};
        let plain = object("a", json!([]), false, json!([]));
        let child = object("c", json!([]), false, json!([]));
        check(&plain, &[], &[], "");
        check(&plain, &[Solid], &[], "");
        check(&plain, &[Absent], &[], "delete Background");
        check(&plain, &[Absent, Solid, Waiting], &[], "drop 0,2");
        check(&plain, &[Absent, Unknown], &[], "");
        check(&plain, &[Waiting], &[], "delete Background");
        check(&plain, &[Waiting], &[child], "delete Foreground");
        let circle = object("c", json!([FOREGROUND]), true, json!([]));
        check(&plain, &[Waiting], &[circle], "unblock");
        check(&object("a", json!([ORPHAN]), false, json!([])), &[Absent], &[], "delete Orphan");
    }

    #[test]
    fn what_goes_waits_for_those_who_block() {
        let owner = |blocks: bool| json!([{"uid": "a", "blockOwnerDeletion": blocks}]);
        let child = |blocks: bool| object("c", json!([]), false, owner(blocks));
        let going = |finalizer: &str| object("a", json!([finalizer]), true, json!([]));
        check(&going(FOREGROUND), &[], &[child(true)], "nothing");
        check(&going(FOREGROUND), &[], &[child(false)], "finalize");
        check(&going(ORPHAN), &[], &[child(true)], "orphan 1");
        check(&going("other"), &[], &[], "nothing");
    }
}
