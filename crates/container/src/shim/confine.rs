//! What a process gives up right before it becomes the container's program.

use std::collections::BTreeSet;

use libcontainer::capabilities::{drop_privileges, reset_effective};
use libcontainer::oci_spec::runtime::LinuxCapabilities;
use libcontainer::syscall::syscall::create_syscall;
use serde_json::json;

use crate::protocol::Failure;

/// Capabilities to keep, and the filter of system calls.
#[derive(Clone, Debug)]
pub(super) struct Confinement {
    /// Names without `CAP_`.
    pub(super) capabilities: BTreeSet<String>,
    pub(super) no_new_privileges: bool,
    /// Instructions for the kernel.
    pub(super) filter: Option<Vec<u8>>,
}

impl Confinement {
    /// The filter comes before the capabilities go, because loading it needs one; with `no_new_privileges` it is the
    /// other way round, so that it covers as much as possible.
    pub(super) fn apply(&self) -> Result<(), Failure> {
        let failed = |what: &str, e: &dyn std::fmt::Display| Failure::Other(format!("{what}: {e}"));
        let syscall = create_syscall();
        // Becoming another user has taken the effective ones away.
        reset_effective(syscall.as_ref()).map_err(|e| failed("raising capabilities", &e))?;
        let filter = || self.load_filter().map_err(|e| failed("loading the seccomp filter", &e));
        if !self.no_new_privileges {
            filter()?;
        }
        let kept = self.kept().map_err(|e| failed("naming capabilities", &e))?;
        drop_privileges(&kept, syscall.as_ref()).map_err(|e| failed("dropping capabilities", &e))?;
        if self.no_new_privileges {
            // SAFETY: a plain system call on the calling process.
            if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
                return Err(failed("setting no_new_privs", &std::io::Error::last_os_error()));
            }
            filter()?;
        }
        Ok(())
    }

    fn kept(&self) -> serde_json::Result<LinuxCapabilities> {
        let names: Vec<String> = self.capabilities.iter().map(|c| format!("CAP_{c}")).collect();
        let none: [String; 0] = [];
        serde_json::from_value(json!({
            "bounding": names, "effective": names, "permitted": names, "inheritable": none, "ambient": none,
        }))
    }

    fn load_filter(&self) -> std::io::Result<()> {
        let Some(bytes) = &self.filter else { return Ok(()) };
        let word = |b: &[u8]| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]);
        let mut instructions: Vec<libc::sock_filter> = bytes
            .chunks_exact(8)
            .map(|b| libc::sock_filter { code: u16::from_ne_bytes([b[0], b[1]]), jt: b[2], jf: b[3], k: word(&b[4..]) })
            .collect();
        let len = u16::try_from(instructions.len()).map_err(std::io::Error::other)?;
        let program = libc::sock_fprog { len, filter: instructions.as_mut_ptr() };
        // SAFETY: the program and its instructions outlive the call.
        let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &program) };
        if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    }
}
