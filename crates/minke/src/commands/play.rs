//! `minke play FILE…`: runs manifests and shows them working, then cleans up.

use std::process::ExitCode;

use super::need_root;
use crate::cli::Play;

pub(super) fn run(options: &Play) -> anyhow::Result<ExitCode> {
    need_root("minke play")?;
    anyhow::bail!(
        "play {:?} for {:?} seconds on {}",
        options.files,
        options.seconds,
        options.data_dir.data_dir.display()
    )
}
