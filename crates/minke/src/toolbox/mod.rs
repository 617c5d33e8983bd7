//! The tools of the built-in image `minke.dev/toolbox`: enough for a first pod without a registry.
//!
//! The image holds this binary once, under the name of each tool.

mod fetch;
mod image;
mod serve;
mod show;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

pub(crate) use image::{IMAGE, install};

type Tool = fn(&[String]) -> anyhow::Result<()>;

/// Every tool with its name.
const TOOLS: [(&str, Tool); 9] = [
    ("cat", show::cat),
    ("echo", show::echo),
    ("env", show::env),
    ("fetch", fetch::run),
    ("id", show::id),
    ("ls", show::ls),
    ("put", show::put),
    ("serve", serve::run),
    ("sleep", show::sleep),
];

/// Runs the tool that the program was called as, if it was called as one.
pub(crate) fn tool(arguments: &[OsString]) -> Option<ExitCode> {
    let name = Path::new(arguments.first()?).file_name()?.to_str()?;
    let (_, tool) = TOOLS.iter().find(|(own, _)| *own == name)?;
    let arguments: Vec<String> = arguments[1..].iter().map(|text| text.to_string_lossy().into_owned()).collect();
    Some(match tool(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error:#}");
            ExitCode::FAILURE
        }
    })
}
