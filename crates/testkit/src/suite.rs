//! Tests that share one cluster: it boots once, the tests run beside each other in namespaces of their own, and at the end the machine
//! has to be as it was.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use libtest_mimic::{Arguments, Failed, Trial};

use crate::{Cluster, Namespace};

/// No test may hang.
const LIMIT: Duration = Duration::from_secs(150);

/// The tests of one file.
pub struct Suite {
    cluster: Arc<Cluster>,
    trials: Vec<Trial>,
}

/// False, said loudly, where tests with real containers can't run.
pub fn need_root() -> bool {
    let can = nix::unistd::geteuid().is_root() && Path::new("/bin/busybox").exists();
    if !can {
        eprintln!("SKIPPED: these tests need root and /bin/busybox (Debian's busybox-static)");
    }
    can
}

impl Suite {
    /// A suite on a fresh cluster of this program.
    pub fn new(minke: &Path) -> anyhow::Result<Self> {
        Ok(Self { cluster: Arc::new(Cluster::start(minke)?), trials: Vec::new() })
    }

    /// Adds a test, which gets a namespace of its own.
    #[must_use]
    pub fn test<F>(mut self, name: &'static str, test: F) -> Self
    where
        F: AsyncFnOnce(Namespace) -> anyhow::Result<()> + Send + 'static,
    {
        let cluster = Arc::clone(&self.cluster);
        self.trials.push(Trial::test(name, move || {
            let space = name.replace('_', "-");
            let run = cluster.run(async |client| {
                let work = async { test(Namespace::new(client, &space).await?).await };
                tokio::time::timeout(LIMIT, work).await.unwrap_or_else(|_| bail!("still not done after {LIMIT:?}"))
            });
            run.map_err(|error| Failed::from(format!("{error:#}")))
        }));
        self
    }

    /// Runs the tests, then ends the cluster and checks that nothing of it stays.
    pub fn run(self) -> ExitCode {
        let mut arguments = Arguments::from_args();
        arguments.test_threads = arguments.test_threads.or(Some(4));
        let conclusion = libtest_mimic::run(&arguments, self.trials);
        let Some(cluster) = Arc::into_inner(self.cluster) else {
            eprintln!("a test still holds the cluster");
            return ExitCode::FAILURE;
        };
        if conclusion.has_failed() {
            return ExitCode::FAILURE;
        }
        match cluster.end() {
            Err(error) => {
                eprintln!("the cluster's end: {error:#}");
                ExitCode::FAILURE
            }
            Ok(()) => ExitCode::SUCCESS,
        }
    }
}
