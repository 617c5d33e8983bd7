//! `minke status`.

use std::path::Path;
use std::process::ExitCode;

use super::{ask_status, running, show_status, wait};
use crate::control::Request;

pub(super) fn run(data_dir: &Path) -> anyhow::Result<ExitCode> {
    wait(async {
        match running(data_dir).await? {
            Some((_, mut client)) => {
                show_status(&ask_status(&mut client, &Request::Status).await?);
                Ok(ExitCode::SUCCESS)
            }
            None => {
                println!("no cluster runs on {}; `minke up` boots one", data_dir.display());
                Ok(ExitCode::from(3))
            }
        }
    })
}
