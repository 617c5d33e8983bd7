//! Signals to the main process of a container.
//!
//! The kernel drops a signal to the first process of a namespace as long as that has no handler for it. A program that has only just begun,
//! or waits for its turn on a busy machine, would never hear that it is to end. So a signal is kept until the program listens.

use std::fs;
use std::time::Duration;

use super::Shims;
use crate::error::Result;
use crate::protocol::Call;
use crate::runtime::ContainerState;

/// The kernel does not tell when a handler is there: looks come at doubling intervals between these.
const FIRST_LOOK: Duration = Duration::from_millis(10);
const SLOWEST_LOOK: Duration = Duration::from_secs(1);

impl Shims {
    /// Sends a signal once the container's main process would get it, or has ended.
    pub(super) async fn do_signal(&self, id: &str, signal: i32) -> Result<()> {
        let mut delay = FIRST_LOOK;
        loop {
            let (held, shim) = self.table.container(id)?;
            // Without its shim nothing of it runs.
            let Some(shim) = shim else { return Ok(()) };
            match held.state {
                ContainerState::Running { pid, .. } if is_deaf(pid, signal) => {}
                ContainerState::Created | ContainerState::Running { .. } | ContainerState::Exited(_) => {
                    return shim.done(Call::Signal { id: id.to_owned(), signal }, Vec::new()).await.map(|_| ());
                }
            }
            tokio::time::sleep(delay).await;
            delay = (delay * 2).min(SLOWEST_LOOK);
        }
    }
}

fn is_deaf(pid: u32, signal: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| drops(&status, signal))
}

/// Whether the kernel drops a signal from outside to the process with this `/proc/PID/status`.
fn drops(status: &str, signal: i32) -> bool {
    const NOT_TO_BE_CAUGHT: [i32; 2] = [libc::SIGKILL, libc::SIGSTOP];
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let is_first = matches!(*field("NSpid:").split_whitespace().collect::<Vec<_>>(), [_, .., "1"]);
    let is_in = |name: &str| {
        let mask = u64::from_str_radix(field(name).trim(), 16).unwrap_or_default();
        signal > 0 && mask.checked_shr(signal.unsigned_abs() - 1).is_some_and(|rest| rest & 1 == 1)
    };
    is_first && !NOT_TO_BE_CAUGHT.contains(&signal) && !["SigBlk:", "SigIgn:", "SigCgt:"].into_iter().any(is_in)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pids: &str, masks: [u64; 3], signal: i32, expected: bool) {
        let [blocked, ignored, caught] = masks;
        let status = format!(
            "Name:\tc\nNSpid:\t{pids}\nSigBlk:\t{blocked:016x}\nSigIgn:\t{ignored:016x}\nSigCgt:\t{caught:016x}\n"
        );
        assert_eq!(drops(&status, signal), expected, "{status} {signal}");
    }

    #[test]
    fn what_the_kernel_drops() {
        let term = 1 << 14;
        check("70\t1", [0, 0, 0], 15, true);
        check("70\t1", [0, 0, 1 << 13], 15, true);
        for masks in [[term, 0, 0], [0, term, 0], [0, 0, term]] {
            check("70\t1", masks, 15, false);
        }
        check("70\t1", [0, 0, 1 << 63], 64, false);
        check("70\t1", [0, 0, 0], 9, false);
        // On the host, and beside others in a shared namespace.
        check("70", [0, 0, 0], 15, false);
        check("1", [0, 0, 0], 15, false);
        check("70\t12", [0, 0, 0], 15, false);
        assert!(!drops("", 15));
    }
}
