//! The last steps of a new process: finding its program and becoming it, with the errors that upstream's users know.

use std::ffi::CString;
use std::os::fd::RawFd;

use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};
use rustix::fs::{Access, AtFlags, CWD, FileType};
use rustix::io::Errno;

use super::confine::Confinement;
use super::report::Reporter;
use crate::protocol::Failure;

/// Used where the environment has no `PATH`.
pub(super) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Exit code of a container whose program could not be executed in the end, as upstream's runtime has it.
const EXEC_FAILED: i32 = 255;

/// Runs inside a new container, in libcontainer's init process. It tells the shim what went wrong in our own words.
#[derive(Clone)]
pub(super) struct Launcher {
    /// The socket of the worker's reports, which init inherits; it closes by itself when the program starts.
    pub(super) report: RawFd,
    pub(super) confinement: Confinement,
}

impl Launcher {
    fn fail(&self, failure: Failure) -> String {
        let text = crate::Error::from(failure.clone()).to_string();
        Reporter::from_raw(self.report).failed(failure);
        text
    }
}

impl Executor for Launcher {
    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        let (args, env) = command(spec);
        // From here on the process has no more rights than the program will have.
        let found = self.confinement.apply().and_then(|()| find(&args, &env));
        found.map(|_| ()).map_err(|failure| ExecutorValidationError::ArgValidationError(self.fail(failure)))
    }

    fn setup_envs(&self, _envs: std::collections::HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        // The environment is given to execve, in the order it was asked for.
        Ok(())
    }

    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let (args, env) = command(spec);
        let failure = match find(&args, &env) {
            Ok(program) => become_program(&program, &args, &env),
            Err(failure) => failure,
        };
        // Compat: past this point upstream's runtime counts the container as started; what it finds wrong now stands in
        // the log.
        let text = match failure {
            Failure::CommandNotFound { command, detail } | Failure::CommandNotExecutable { command, detail } => {
                format!("exec {command}: {detail}\n")
            }
            other => format!("{}\n", crate::Error::from(other)),
        };
        // With nobody to read it there is nothing left to do.
        let _ = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
        // SAFETY: ends the process without running what belongs to the shim.
        unsafe { libc::_exit(EXEC_FAILED) }
    }
}

fn command(spec: &Spec) -> (Vec<String>, Vec<String>) {
    let process = spec.process().as_ref();
    let args = process.and_then(|p| p.args().clone()).unwrap_or_default();
    let env = process.and_then(|p| p.env().clone()).unwrap_or_default();
    (args, env)
}

/// Finds a program the way upstream's runtime does, in the root and as the user that the calling process has.
pub(super) fn find(args: &[String], env: &[String]) -> Result<String, Failure> {
    let Some(command) = args.first().filter(|c| !c.is_empty()) else {
        return Err(Failure::Other("no command specified".to_owned()));
    };
    if command.contains('/') {
        return match executable(command) {
            Ok(()) => Ok(command.clone()),
            Err(Errno::NOENT | Errno::NOTDIR) => Err(Failure::CommandNotFound {
                command: command.clone(),
                detail: format!("stat {command}: no such file or directory"),
            }),
            Err(errno) => Err(not_executable(command, errno)),
        };
    }
    let path = env.iter().rev().find_map(|v| v.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
    for folder in path.split(':') {
        let candidate = format!("{}/{command}", if folder.is_empty() { "." } else { folder });
        if executable(&candidate).is_ok() {
            return Ok(candidate);
        }
    }
    Err(Failure::CommandNotFound { command: command.clone(), detail: "executable file not found in $PATH".to_owned() })
}

fn executable(path: &str) -> Result<(), Errno> {
    match FileType::from_raw_mode(rustix::fs::stat(path)?.st_mode) {
        FileType::Directory => Err(Errno::ISDIR),
        _ => rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS),
    }
}

fn not_executable(command: &str, errno: Errno) -> Failure {
    let detail = match errno {
        Errno::ACCESS => "permission denied".to_owned(),
        Errno::ISDIR => "is a directory".to_owned(),
        Errno::NOEXEC => "exec format error".to_owned(),
        other => std::io::Error::from(other).to_string(),
    };
    Failure::CommandNotExecutable { command: command.to_owned(), detail }
}

/// Becomes the program, with the signals of a fresh process. Returns only if that fails.
pub(super) fn become_program(program: &str, args: &[String], env: &[String]) -> Failure {
    let strings = |list: &[String]| -> Result<Vec<CString>, std::ffi::NulError> {
        list.iter().map(|s| CString::new(s.as_bytes())).collect()
    };
    let (Ok(path), Ok(args), Ok(env)) = (CString::new(program), strings(args), strings(env)) else {
        return Failure::Other("a command or variable holds a zero byte".to_owned());
    };
    fresh_signals();
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        list.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (args, env) = (pointers(&args), pointers(&env));
    // SAFETY: three null-terminated structures that outlive the call.
    unsafe { libc::execve(path.as_ptr(), args.as_ptr(), env.as_ptr()) };
    let errno = Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::NOEXEC);
    match errno {
        // The file is there: its interpreter is not.
        Errno::NOENT => {
            Failure::CommandNotFound { command: program.to_owned(), detail: "no such file or directory".to_owned() }
        }
        other => not_executable(program, other),
    }
}

/// Undoes what the shim and Rust's start-up did to the signals.
fn fresh_signals() {
    // SAFETY: changes only the calling process, which runs no handler of ours.
    unsafe {
        for signal in 1..65 {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(command: &str, path: &str, want: Result<&str, &str>) {
        let got = find(&[command.to_owned()], &[format!("PATH={path}")]);
        let got = got.map_err(|failure| crate::Error::from(failure).to_string());
        assert_eq!(got, want.map(str::to_owned).map_err(str::to_owned), "{command} in {path}");
    }

    #[test]
    fn programs() {
        check("sh", "/nowhere:/bin", Ok("/bin/sh"));
        check("/bin/sh", "", Ok("/bin/sh"));
        check("no-such", "/bin", Err(r#"exec: "no-such": executable file not found in $PATH"#));
        check("/no/such", "/bin", Err(r#"exec: "/no/such": stat /no/such: no such file or directory"#));
        check("/etc", "/bin", Err(r#"exec: "/etc": is a directory"#));
        check("/etc/passwd", "/bin", Err(r#"exec: "/etc/passwd": permission denied"#));
    }
}
