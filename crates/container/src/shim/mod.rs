//! The shim: one small single-threaded process a sandbox, which outlives the daemon.

use std::ffi::OsString;

/// Runs the shim and never returns. To be called before any thread exists, with standard input being the socket to the daemon.
pub fn main(_arguments: &[OsString]) -> ! {
    std::process::exit(2)
}
