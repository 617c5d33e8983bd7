//! The kinds of pods in the storm.

use std::path::Path;

use serde_json::{Value, json};
use testkit::{container, pod};

/// How long a stubborn pod may take to end, in seconds.
pub(crate) const GRACE: u64 = 3;
/// The first exit code of a pod that is restarted, and that of one that ends beside its sidecar.
pub(crate) const FIRST: u64 = 9;
pub(crate) const BESIDE: u64 = 5;

/// What a pod does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mix {
    /// Counts into its log for ever.
    Counter,
    /// Two containers on one volume, for ever.
    Pair,
    /// Ends with this code.
    Ends(u64),
    /// Ends once with [`FIRST`], and then runs for ever.
    Restarts,
    /// Ends with [`BESIDE`] while a sidecar runs.
    Beside,
    /// Does not listen to TERM, and marks that it lives.
    Stubborn,
}

impl Mix {
    pub(crate) fn of(index: usize) -> Self {
        match index % 6 {
            0 => Self::Counter,
            1 => Self::Pair,
            2 => Self::Ends(10 + index as u64),
            3 => Self::Restarts,
            4 => Self::Beside,
            _ => Self::Stubborn,
        }
    }

    /// The pod; `marks` is a folder of this machine.
    pub(crate) fn pod(self, name: &str, marks: &Path) -> Value {
        let main = |script: &str| pod(name, &[container("a", script)]);
        let mut made = match self {
            Self::Counter => main("i=0; while true; do i=$((i+1)); echo $i; usleep 20000; done"),
            Self::Pair => {
                let wait = "while true; do usleep 100000; done";
                pod(name, &[with_volume(container("a", wait)), with_volume(container("b", wait))])
            }
            Self::Ends(code) => main(&format!("usleep 700000; exit {code}")),
            Self::Restarts => {
                let script = format!(
                    "[ -e /data/been ] || {{ touch /data/been; exit {FIRST}; }}; while true; do usleep 100000; done"
                );
                pod(name, &[with_volume(container("a", &script))])
            }
            Self::Beside => main(&format!("usleep 500000; exit {BESIDE}")),
            Self::Stubborn => {
                let script = format!(
                    "trap '' TERM; while true; do read up rest < /proc/uptime; echo $up > /data/new; mv /data/new /data/{name}; usleep \
                     20000; done"
                );
                pod(name, &[with_volume(container("a", &script))])
            }
        };
        match self {
            Self::Ends(_) => made["spec"]["restartPolicy"] = json!("Never"),
            Self::Beside => {
                let mut sidecar = container("s", "while true; do usleep 100000; done");
                sidecar["restartPolicy"] = json!("Always");
                made["spec"]["initContainers"] = json!([sidecar]);
                made["spec"]["restartPolicy"] = json!("Never");
            }
            Self::Pair | Self::Restarts => made["spec"]["volumes"] = json!([{"name": "data", "emptyDir": {}}]),
            Self::Stubborn => {
                let folder = marks.join(name);
                made["spec"]["terminationGracePeriodSeconds"] = json!(GRACE);
                made["spec"]["volumes"] =
                    json!([{"name": "data", "hostPath": {"path": folder, "type": "DirectoryOrCreate"}}]);
            }
            Self::Counter => {}
        }
        made
    }
}

fn with_volume(mut container: Value) -> Value {
    container["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    container
}
