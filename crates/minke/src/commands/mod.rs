//! The commands, a file each.

mod down;
mod image;
mod play;
mod status;
mod up;

use std::future::Future;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::CommandFactory;

use crate::cli::{Cli, Command};
use crate::control::{Answer, Client, Request, Status};
use crate::layout::Layout;

pub(crate) use up::kubeconfig_path;

/// Carries out what the command line says.
pub(crate) fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Up(options) => up::run(options),
        Command::Down(options) => down::run(&options),
        Command::Status { data_dir } => status::run(&data_dir.data_dir),
        Command::Image(command) => image::run(command),
        Command::Play(options) => play::run(&options),
        Command::Completion { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "minke", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Runs a command's work on a runtime of one thread; the cluster itself has its own.
fn wait<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?.block_on(work)
}

fn need_root(what: &str) -> anyhow::Result<()> {
    let root = nix::unistd::geteuid().is_root();
    anyhow::ensure!(root, "{what} needs root: containers, networks and mounts are made by it (try `sudo minke …`)");
    Ok(())
}

/// A connection to the cluster of a data folder, if it runs.
async fn running(data_dir: &Path) -> anyhow::Result<Option<(Layout, Client)>> {
    let Some(layout) = Layout::open(data_dir)? else { return Ok(None) };
    Ok(Client::connect(&layout.control()).await?.map(|client| (layout, client)))
}

async fn ask_status(client: &mut Client, request: &Request) -> anyhow::Result<Status> {
    match client.call(request).await? {
        Answer::Status(status) => Ok(status),
        other => anyhow::bail!("the cluster answered {other:?} to {request:?}"),
    }
}

fn show_status(status: &Status) {
    let ready = match status.ready_after_ms {
        Some(ms) => format!("Ready after {:.2} s", ms as f64 / 1000.0),
        None => "starting".to_owned(),
    };
    println!("API server   {}", status.server);
    println!(
        "nodes        {} ({ready})",
        if status.nodes.is_empty() { "none".to_owned() } else { status.nodes.join(", ") }
    );
    println!("cluster      {}", status.cluster);
    println!("process      {}", status.process);
    println!("kubeconfig   {}", status.kubeconfig.display());
}
