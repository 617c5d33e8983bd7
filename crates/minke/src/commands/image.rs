//! `minke image …`: through the running cluster, or on the store itself while none runs.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use container::Images;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

use super::{need_root, running, wait};
use crate::cli;
use crate::cluster::images;
use crate::control::{Answer, Client, ImageRow, Request, Step};
use crate::layout::Layout;

pub(super) fn run(command: cli::Image) -> anyhow::Result<ExitCode> {
    need_root("minke image")?;
    wait(async {
        match command {
            cli::Image::Import { data_dir, files } => {
                let mut target = Target::open(&data_dir.data_dir).await?;
                for file in files {
                    let file = file.canonicalize().with_context(|| format!("open {}", file.display()))?;
                    report(target.call(&Request::ImportImage(file)).await?);
                }
            }
            cli::Image::Pull { data_dir, image } => {
                report(Target::open(&data_dir.data_dir).await?.call(&Request::PullImage(image)).await?);
            }
            cli::Image::Ls { data_dir } => {
                list(Target::open(&data_dir.data_dir).await?.call(&Request::ListImages).await?);
            }
            cli::Image::Rm { data_dir, images } => {
                let mut target = Target::open(&data_dir.data_dir).await?;
                for image in images {
                    target.call(&Request::RemoveImage(image)).await?;
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Who has the store open.
enum Target {
    Cluster(Client),
    Store(Images),
}

impl Target {
    async fn open(data_dir: &Path) -> anyhow::Result<Self> {
        if let Some((_, client)) = running(data_dir).await? {
            return Ok(Self::Cluster(client));
        }
        let folder: PathBuf = Layout::create(data_dir)?.images();
        let open = Images::open(&folder).with_context(|| format!("open the image store {}", folder.display()))?;
        Ok(Self::Store(open))
    }

    async fn call(&mut self, request: &Request) -> anyhow::Result<Vec<ImageRow>> {
        let bar = ProgressBar::no_length();
        let style = ProgressStyle::with_template("{msg:30!} {wide_bar} {bytes}/{total_bytes}")
            .context("draw a progress bar")?;
        bar.set_style(style);
        let show = |step| {
            if let Step::Progress { what, done, total } = step {
                bar.set_message(what);
                bar.set_length(total);
                bar.set_position(done);
            }
        };
        let answer = match self {
            Self::Cluster(client) => client.call_in_steps(request, show).await,
            Self::Store(store) => images::answer(store, request, show).await,
        };
        bar.finish_and_clear();
        match answer? {
            Answer::Images(rows) => Ok(rows),
            _ => Ok(Vec::new()),
        }
    }
}

fn report(rows: Vec<ImageRow>) {
    for row in rows {
        println!("{}", row.names.first().unwrap_or(&row.id));
    }
}

fn list(rows: Vec<ImageRow>) {
    println!("{:<60} {:<14} SIZE", "IMAGE", "ID");
    for row in rows {
        let id: String = row.id.trim_start_matches("sha256:").chars().take(12).collect();
        println!("{:<60} {id:<14} {}", row.names.first().map_or("<none>", String::as_str), HumanBytes(row.bytes));
    }
}
