//! What can go wrong with a sandbox, a container or a process in it.

use std::path::PathBuf;

/// An error of the runtime. Its text is fit for an event or a container's status.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such sandbox.
    #[error("sandbox {0} not found")]
    SandboxNotFound(String),
    /// No such container.
    #[error("container {0} not found")]
    ContainerNotFound(String),
    /// The id is in use.
    #[error("{0} already exists")]
    AlreadyExists(String),
    /// The container is in the wrong state for the call.
    #[error("container {id} is {state}, not {wanted}")]
    State {
        /// The container.
        id: String,
        /// Its state.
        state: &'static str,
        /// The state that the call needs.
        wanted: &'static str,
    },
    /// The image is not in the store.
    #[error("image {0} not found")]
    ImageNotFound(String),
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The program is not there. Upstream's users see it as reason `StartError`, exit code 128.
    #[error("exec: {0:?}: {1}")]
    CommandNotFound(String, String),
    /// The program may not be executed, or is not a program.
    #[error("exec: {0:?}: {1}")]
    CommandNotExecutable(String, String),
    /// The image has no such user or group.
    #[error("unable to find {kind} {name}: no matching entries in {file} file")]
    UserNotFound {
        /// `user` or `group`.
        kind: String,
        /// The name.
        name: String,
        /// `passwd` or `group`.
        file: String,
    },
    /// A mount's source could not be opened.
    #[error("failed to open mount source {path}: {source}")]
    MountSource {
        /// The host's path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The container could not be made for another reason; the text says what was being done.
    #[error("{0}")]
    Container(String),
    /// The process did not end in time.
    #[error("command {0:?} timed out")]
    Timeout(Vec<String>),
    /// The sandbox's shim is gone, and with it all its processes.
    #[error("the shim of sandbox {0} is gone")]
    Lost(String),
    /// The shim speaks another version or nonsense.
    #[error("protocol of the shim: {0}")]
    Protocol(String),
    /// The operating system refused.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done, and to what.
        doing: String,
        /// Why not.
        source: std::io::Error,
    },
}

impl Error {
    /// An [`Error::Io`] with its context; for `map_err`.
    pub(crate) fn io<E: Into<std::io::Error>>(doing: impl Into<String>) -> impl FnOnce(E) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source: source.into() }
    }
}

/// A result of the runtime.
pub type Result<T, E = Error> = std::result::Result<T, E>;
