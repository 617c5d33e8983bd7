//! What a pod was granted, kept on the node beside the pod's volumes: a restart of the program must neither grant a resize twice nor
//! forget one that the status does not tell of yet.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::resize::ByContainer;

const FILE: &str = "resources.json";

/// The state of a pod whose resources have changed since it began.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    /// What is set aside on the node.
    pub(crate) granted: ByContainer,
    /// What is in the cgroups.
    pub(crate) applied: ByContainer,
    /// The generation that is coming into force.
    pub(crate) in_progress: Option<i64>,
}

impl Checkpoint {
    /// The checkpoint in a pod's folder; `None` if its resources never changed.
    pub(crate) fn read(folder: &Path) -> Option<Self> {
        let text = fs::read(folder.join(FILE)).ok()?;
        match serde_json::from_slice(&text) {
            Ok(checkpoint) => Some(checkpoint),
            Err(error) => {
                tracing::warn!(folder = %folder.display(), %error, "read a pod's checkpoint");
                None
            }
        }
    }

    /// Replaces it, whole or not at all.
    pub(crate) fn write(&self, folder: &Path) -> io::Result<()> {
        let next = folder.join(format!("{FILE}.next"));
        fs::create_dir_all(folder)?;
        fs::write(&next, serde_json::to_vec(self)?)?;
        fs::rename(next, folder.join(FILE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(Checkpoint::read(folder.path()), None);
        let granted = serde_json::from_value(serde_json::json!({"a": {"requests": {"cpu": "1"}}})).expect("resources");
        let checkpoint = Checkpoint { granted, in_progress: Some(3), ..Checkpoint::default() };
        checkpoint.write(folder.path()).expect("write");
        assert_eq!(Checkpoint::read(folder.path()), Some(checkpoint));
        fs::write(folder.path().join(FILE), "{").expect("write");
        assert_eq!(Checkpoint::read(folder.path()), None, "half a file says nothing");
    }
}
