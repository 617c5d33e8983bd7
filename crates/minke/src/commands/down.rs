//! `minke down`: ends the cluster, and with `--purge` its state.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;

use super::{need_root, running, wait};
use crate::cli::Down;
use crate::cluster;
use crate::control::{Client, Request};
use crate::kubeconfig;
use crate::layout::Layout;

pub(super) fn run(options: &Down) -> anyhow::Result<ExitCode> {
    need_root("minke down")?;
    let data_dir = &options.data_dir.data_dir;
    let Some(layout) = Layout::open(data_dir)? else {
        println!("no cluster lives in {}", data_dir.display());
        return Ok(ExitCode::SUCCESS);
    };
    wait(async {
        match running(data_dir).await? {
            Some((_, client)) => stop(client).await?,
            // The daemon was killed: its pods still run, under their shims.
            None => cluster::sweep(&layout).await?,
        }
        anyhow::Ok(())
    })?;
    if options.purge {
        purge(&layout, data_dir)?;
    }
    println!("the cluster is down{}", if options.purge { " and erased" } else { "" });
    Ok(ExitCode::SUCCESS)
}

/// Asks a running cluster to stop, and returns when it is gone.
pub(super) async fn stop(mut client: Client) -> anyhow::Result<()> {
    client.call(&Request::Stop).await?;
    client.closed().await
}

fn purge(layout: &Layout, data_dir: &Path) -> anyhow::Result<()> {
    if let Ok(server) = kubeconfig::server_of(&layout.kubeconfig()) {
        kubeconfig::unmerge(&kubeconfig::default_path(), &server)?;
    }
    for folder in [layout.run(), layout.root().to_owned()] {
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("erase {} of {}", folder.display(), data_dir.display()));
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}
