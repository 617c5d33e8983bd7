//! `minke up`: boots the cluster, in the foreground or in a process of its own.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::Context;
use tracing_subscriber::EnvFilter;

use super::{ask_status, need_root, running, show_status, wait};
use crate::cli::Up;
use crate::cluster::Cluster;
use crate::control::{Request, Status};
use crate::kubeconfig;
use crate::layout::Layout;

/// What the background process says once its node is Ready.
const READY: &str = "ready";

/// What it says before the reason why it ended.
const FAILED: &str = "failed: ";

pub(super) fn run(options: Up) -> anyhow::Result<ExitCode> {
    need_root("minke up")?;
    let status = wait(async {
        match running(&options.data_dir.data_dir).await? {
            Some((_, mut client)) => match ask_status(&mut client, &Request::Ready).await {
                Ok(status) => Ok(Some(status)),
                // It died in this moment: then this is a start like any other.
                Err(error) => match running(&options.data_dir.data_dir).await? {
                    Some(_) => Err(error),
                    None => Ok(None),
                },
            },
            None => Ok(None),
        }
    })?;
    if let Some(status) = status {
        println!("the cluster is already running");
        show_status(&status);
        return Ok(ExitCode::SUCCESS);
    }
    if options.detach { detach(&options.data_dir.data_dir) } else { foreground(options) }
}

fn foreground(options: Up) -> anyhow::Result<ExitCode> {
    let filter = EnvFilter::try_from_env("MINKE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // The log may be on a disk that is full: then its lines are lost, and nothing else.
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false).init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(std::thread::available_parallelism().map_or(2, |cores| cores.get().min(4)))
        .enable_all()
        .build()
        .context("start the runtime")?;
    runtime.block_on(async {
        let background = options.background;
        let run = async {
            let on_ready = |status: &Status| {
                show_status(status);
                // Nobody may be listening any more.
                let _ = writeln!(std::io::stdout(), "{READY}");
            };
            Cluster::start(options).await?.run(on_ready).await
        };
        let ended = run.await;
        if let (true, Err(error)) = (background, &ended) {
            // The log may be on a disk that is full.
            let _ = writeln!(std::io::stdout(), "{FAILED}{error:#}");
        }
        ended
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Starts this program again as a background process with the same arguments, and returns when its node is Ready.
pub(super) fn detach(data_dir: &Path) -> anyhow::Result<ExitCode> {
    let arguments = std::env::args_os().skip(1).filter(|argument| argument != "--detach");
    start_background(data_dir, arguments.collect())?;
    Ok(ExitCode::SUCCESS)
}

/// Boots a cluster in a process of its own with these arguments.
pub(super) fn start_background(data_dir: &Path, arguments: Vec<std::ffi::OsString>) -> anyhow::Result<()> {
    let log = Layout::create(data_dir)?.log();
    let open = || format!("open the log {}", log.display());
    let errors = File::options().create(true).append(true).open(&log).with_context(open)?;
    let mut command = Command::new("/proc/self/exe");
    command.arg0("minke").args(arguments).arg("--background").current_dir("/").process_group(0);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(errors)
        .spawn()
        .context("start the cluster's process")?;
    let output = child.stdout.take().context("the cluster's process has no output")?;
    for line in BufReader::new(output).lines() {
        let line = line.context("hear from the cluster's process")?;
        if line == READY {
            return Ok(());
        }
        if let Some(why) = line.strip_prefix(FAILED) {
            child.wait().context("wait for the cluster's process")?;
            anyhow::bail!("{why} (its log is {})", log.display());
        }
        println!("{line}");
    }
    child.wait().context("wait for the cluster's process")?;
    anyhow::bail!("the cluster ended before it was ready (its log is {})", log.display())
}

/// Where the kubeconfig of a cluster goes.
pub(crate) fn kubeconfig_path(options: &Up) -> std::path::PathBuf {
    options.kubeconfig.clone().unwrap_or_else(kubeconfig::default_path)
}
