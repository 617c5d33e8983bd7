//! The cluster's certificates and keys: made at the first start, reused afterwards, leaves issued when they are needed.
//!
//! On disk are only the two authorities and the key of service-account tokens, named as kubeadm names them. All keys are
//! ECDSA P-256.

mod authority;
mod files;
mod sign;

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rcgen::KeyPair;

pub use authority::{Authority, Leaf, Purpose};
pub use sign::{SigningRequest, organizations};

/// Certificates or keys that cannot be read or made.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file cannot be read or written.
    #[error("reading or writing {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path} holds no usable certificate or key: {why}")]
    Broken {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// There is a certificate without its key.
    #[error("{0} is missing, but the certificate made with it is there")]
    NoKey(PathBuf),
    /// A certificate cannot be made.
    #[error("making a certificate for {subject}: {why}")]
    Issue {
        /// For whom.
        subject: String,
        /// Why.
        why: String,
    },
}

/// The folder of certificates and keys.
#[derive(Debug)]
pub struct Pki {
    /// Signs the server's and the clients' certificates.
    pub cluster: Authority,
    /// Signs what the server shows to aggregated API servers.
    pub front_proxy: Authority,
    /// Signs service-account tokens.
    pub service_accounts: KeyPair,
}

impl Pki {
    /// Opens the folder; what is missing is made.
    pub fn open(folder: &Path, now: Timestamp) -> Result<Self, PkiError> {
        files::make_folder(folder)?;
        let service_accounts = files::key(&folder.join("sa.key"))?;
        files::write(&folder.join("sa.pub"), &service_accounts.public_key_pem())?;
        Ok(Self {
            cluster: Authority::open(folder, "ca", "kubernetes", now)?,
            front_proxy: Authority::open(folder, "front-proxy-ca", "front-proxy-ca", now)?,
            service_accounts,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

    #[test]
    fn what_is_made_once_is_reused() {
        let folder = tempfile::tempdir().expect("a folder");
        let pki = folder.path().join("pki");
        let first = Pki::open(&pki, NOW).expect("a new folder");
        let second = Pki::open(&pki, NOW).expect("the same folder");
        assert_eq!(first.cluster.certificate_pem(), second.cluster.certificate_pem());
        assert_eq!(first.front_proxy.certificate_pem(), second.front_proxy.certificate_pem());
        assert_eq!(first.service_accounts.serialized_der(), second.service_accounts.serialized_der());
        assert_ne!(first.cluster.certificate_pem(), first.front_proxy.certificate_pem());
        for entry in std::fs::read_dir(&pki).expect("a folder") {
            let entry = entry.expect("a file");
            assert_eq!(entry.metadata().expect("a file").permissions().mode() & 0o777, 0o600, "{entry:?}");
        }
    }

    #[test]
    fn an_interrupted_start_is_mended_and_a_lost_key_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = Pki::open(folder.path(), NOW).expect("a new folder");
        std::fs::remove_file(folder.path().join("ca.crt")).expect("it was made");
        let second = Pki::open(folder.path(), NOW).expect("the key is there");
        assert_ne!(first.cluster.certificate_pem(), second.cluster.certificate_pem());
        std::fs::remove_file(folder.path().join("ca.key")).expect("it was made");
        assert!(matches!(Pki::open(folder.path(), NOW), Err(PkiError::NoKey(path)) if path.ends_with("ca.key")));
        std::fs::write(folder.path().join("ca.key"), "x").expect("a file");
        assert!(matches!(Pki::open(folder.path(), NOW), Err(PkiError::Broken { .. })));
    }
}
