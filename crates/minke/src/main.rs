//! minke: Kubernetes in one small program. This crate is the command line and the wiring; it decides nothing else.
//!
//! One binary has three faces: the command line, the shim that holds a pod's sandbox (a hidden command), and the tools of
//! the built-in toolbox image, chosen by the name it is called by.

mod cli;
mod cluster;
mod commands;
mod control;
mod kubeconfig;
mod layout;
mod toolbox;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let arguments: Vec<std::ffi::OsString> = std::env::args_os().collect();
    // The shim must run before any thread exists.
    if arguments.get(1).is_some_and(|first| first == "shim") {
        container::shim::main(&arguments[2..]);
    }
    if let Some(tool) = toolbox::tool(&arguments) {
        return tool;
    }
    match commands::run(cli::Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
