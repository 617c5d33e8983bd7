//! The directory of the node's pods: what the kubelet's HTTPS API looks containers up in. Written by the actors, read by
//! everybody.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};

use container::ContainerState;
use k8s_openapi::api::core::v1::Pod;
use meta::Object;
use tokio::sync::Notify;

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

    pub(crate) fn set(&self, pod: PodHandle) {
        self.0.pods.write().expect("no holder of this lock can panic").insert(pod.uid.clone(), Arc::new(pod));
    }

    pub(crate) fn remove(&self, uid: &str) {
        self.0.pods.write().expect("no holder of this lock can panic").remove(uid);
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
