//! What containers leave on the node.

use anyhow::Context;
use serde_json::{Value, json};
use testkit::pod;

/// A folder of the node that the test reads what containers write to after they have gone.
pub(crate) struct Outbox(tempfile::TempDir);

impl Outbox {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self(tempfile::tempdir().context("make a folder")?))
    }

    pub(crate) fn mounted(&self, name: &str, containers: &mut [Value]) -> Value {
        for container in containers.iter_mut() {
            container["volumeMounts"] = json!([{"name": "out", "mountPath": "/out"}]);
        }
        let mut pod = pod(name, containers);
        pod["spec"]["volumes"] = json!([{"name": "out", "hostPath": {"path": self.0.path()}}]);
        pod
    }

    pub(crate) fn read(&self) -> String {
        std::fs::read_to_string(self.0.path().join("file")).unwrap_or_default()
    }
}
