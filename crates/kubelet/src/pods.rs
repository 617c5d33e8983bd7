//! The directory of the node's pods: what the kubelet's HTTPS API looks containers up in. Written by the actors, read by
//! everybody.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, RwLock};

use container::ContainerState;
use k8s_openapi::api::core::v1::Pod;
use meta::Object;
use tokio::sync::{Notify, watch};

use crate::resize::ByContainer;

/// One start of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Its id in the runtime.
    pub id: String,
    /// Its log file, in CRI's format.
    pub log_path: PathBuf,
    /// Its state when the directory was written last.
    pub state: ContainerState,
}

/// A container of a pod, through its restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerHandle {
    /// The newest instance.
    pub current: Option<Instance>,
    /// The one before it.
    pub previous: Option<Instance>,
    /// Why there is no running instance: reason and message of the waiting state.
    pub waiting: Option<(String, String)>,
}

/// A pod on this node.
#[derive(Clone, Debug)]
pub struct PodHandle {
    /// Its UID.
    pub uid: String,
    /// The newest revision of its object.
    pub object: Arc<Object>,
    /// The same, read.
    pub(crate) pod: Arc<Pod>,
    /// Its sandbox in the runtime, while there is one.
    pub sandbox_id: Option<String>,
    /// The network namespace of its sandbox, to be opened.
    pub netns: Option<PathBuf>,
    /// What the node has set aside for its containers, if that is not what the spec wants.
    pub(crate) granted: ByContainer,
    /// Its containers by name: init, ordinary and ephemeral ones.
    pub containers: BTreeMap<String, ContainerHandle>,
}

/// The node's pods, shared.
#[derive(Clone, Debug, Default)]
pub struct Pods(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    pods: RwLock<BTreeMap<String, Arc<PodHandle>>>,
    freed: Notify,
    /// The pods that the node had when the kubelet started and that are not in the directory yet. Nothing while nobody knows.
    missing: watch::Sender<Option<BTreeSet<String>>>,
}

impl Pods {
    /// The pod of that name. Of two with the same name, one of which is ending after a forced deletion, the newer.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<PodHandle>> {
        let pods = self.0.pods.read().expect("no holder of this lock can panic");
        let named =
            |pod: &&Arc<PodHandle>| pod.object.metadata.namespace == namespace && pod.object.metadata.name == name;
        pods.values().filter(named).max_by_key(|pod| pod.object.revision).cloned()
    }

    /// The pod with that UID.
    pub fn by_uid(&self, uid: &str) -> Option<Arc<PodHandle>> {
        self.0.pods.read().expect("no holder of this lock can panic").get(uid).cloned()
    }

    /// Every pod.
    pub fn list(&self) -> Vec<Arc<PodHandle>> {
        self.0.pods.read().expect("no holder of this lock can panic").values().cloned().collect()
    }

    /// These pods were there before the kubelet was.
    pub(crate) fn expect(&self, uids: BTreeSet<String>) {
        self.0.missing.send_replace(Some(uids));
    }

    /// Returns when the directory has every pod that was there before the kubelet was.
    pub(crate) async fn complete(&self) {
        let complete = |missing: &Option<BTreeSet<String>>| missing.as_ref().is_some_and(BTreeSet::is_empty);
        // The sender lives as long as this directory.
        let _ = self.0.missing.subscribe().wait_for(complete).await;
    }

    fn found(&self, uid: &str) {
        self.0.missing.send_if_modified(|missing| missing.as_mut().is_some_and(|missing| missing.remove(uid)));
    }

    pub(crate) fn set(&self, pod: PodHandle) {
        let uid = pod.uid.clone();
        self.0.pods.write().expect("no holder of this lock can panic").insert(uid.clone(), Arc::new(pod));
        self.found(&uid);
    }

    pub(crate) fn remove(&self, uid: &str) {
        self.0.pods.write().expect("no holder of this lock can panic").remove(uid);
        self.found(uid);
        self.tell_freed();
    }

    /// Resources of the node were given back.
    pub(crate) fn tell_freed(&self) {
        self.0.freed.notify_waiters();
    }

    /// Returns when resources of the node are given back, from now on.
    pub(crate) async fn freed(&self) {
        self.0.freed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn the_directory_is_complete_once_every_pod_was_found_or_is_over() {
        let pods = Pods::default();
        let check = |expected: bool, why: &str| assert_eq!(pods.complete().now_or_never().is_some(), expected, "{why}");
        check(false, "nobody knows what to look for");
        pods.expect(["a", "b"].map(str::to_owned).into());
        check(false, "none was found");
        pods.set(PodHandle {
            uid: "a".to_owned(),
            object: Arc::new(Object::from_value(&serde_json::json!({"metadata": {"uid": "a"}})).unwrap()),
            pod: Arc::default(),
            sandbox_id: None,
            netns: None,
            granted: ByContainer::default(),
            containers: BTreeMap::new(),
        });
        check(false, "one was found");
        pods.remove("b");
        check(true, "the other one is over");
    }
}
