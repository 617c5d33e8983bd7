//! Filters of system calls: profiles, and the programs that the kernel runs.
//!
//! Translating a profile takes ten milliseconds, so it is done once by the daemon and the program handed to every
//! container's folder.

mod default;

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{Read, Seek};
use std::str::FromStr;
use std::sync::{Arc, Mutex};

use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use rustix::fs::MemfdFlags;
use serde::{Deserialize, Serialize};

use crate::config::Seccomp;
use crate::error::{Error, Result};

/// A profile in the format of the OCI, which `Localhost` profiles have.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: String,
    #[serde(default)]
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Vec<String>,
    #[serde(default)]
    syscalls: Vec<Rule>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    names: Vec<String>,
    action: String,
    #[serde(default)]
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Vec<Argument>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: u32,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

/// A program for the kernel: instructions of eight bytes.
pub(crate) type Program = Arc<Vec<u8>>;

/// Programs that were translated before.
#[derive(Default)]
pub(crate) struct Filters {
    by_profile: Mutex<HashMap<String, Program>>,
}

impl Filters {
    /// The program for a container with these capabilities (names without `CAP_`), if it shall have one.
    pub(crate) fn program(&self, wanted: &Seccomp, capabilities: &BTreeSet<String>) -> Result<Option<Program>> {
        let profile = match wanted {
            Seccomp::Unconfined => return Ok(None),
            Seccomp::RuntimeDefault => default::profile(capabilities),
            Seccomp::Localhost(path) => {
                let doing = || format!("loading seccomp profile {}", path.display());
                let bytes = std::fs::read(path).map_err(Error::io(doing()))?;
                serde_json::from_slice(&bytes).map_err(|e| Error::Invalid(format!("{}: {e}", doing())))?
            }
        };
        let key = serde_json::to_string(&profile).map_err(|e| Error::Invalid(format!("seccomp profile: {e}")))?;
        let mut known = self.by_profile.lock().expect("no holder of this lock can panic");
        if let Some(program) = known.get(&key) {
            return Ok(Some(Arc::clone(program)));
        }
        let program = Arc::new(profile.translate().map_err(|e| Error::Invalid(format!("seccomp profile: {e}")))?);
        known.insert(key, Arc::clone(&program));
        Ok(Some(program))
    }
}

/// Number of the first system call of x32, which has the numbers of x86-64 and this bit.
const X32_BIT: u32 = 0x4000_0000;

impl Profile {
    fn translate(&self) -> std::result::Result<Vec<u8>, Box<dyn std::error::Error>> {
        let default = action(&self.default_action, self.default_errno_ret)?;
        let mut context = ScmpFilterContext::new(default)?;
        context.set_ctl_nnp(false)?;
        // A tree instead of a list: what a system call costs no longer depends on its place. Old libraries have only
        // lists.
        let _ = context.set_ctl_optimize(2);
        for name in &self.architectures {
            context.add_arch(ScmpArch::from_str(name)?)?;
        }
        let mut newest = 0;
        for rule in &self.syscalls {
            let action = action(&rule.action, rule.errno_ret)?;
            // Names that this machine's processor or library does not know cannot be called either.
            for call in rule.names.iter().filter_map(|name| ScmpSyscall::from_name(name).ok()) {
                newest = newest.max(call.as_raw_syscall());
                if action != default {
                    rule.add(&mut context, call, action)?;
                }
            }
        }
        let mut program = Vec::new();
        if matches!(default, ScmpAction::Errno(_)) {
            program = unknown_calls(u32::try_from(newest)?);
        }
        // Old libraries can only write it to a file.
        let mut file = File::from(rustix::fs::memfd_create("filter", MemfdFlags::CLOEXEC)?);
        context.export_bpf(&file)?;
        file.rewind()?;
        file.read_to_end(&mut program)?;
        Ok(program)
    }
}

impl Rule {
    fn add(
        &self,
        context: &mut ScmpFilterContext,
        call: ScmpSyscall,
        action: ScmpAction,
    ) -> std::result::Result<(), Box<dyn std::error::Error>> {
        let comparisons: Vec<ScmpArgCompare> = self.args.iter().map(Argument::comparison).collect::<Result<_, _>>()?;
        let mut indexes: Vec<u32> = self.args.iter().map(|a| a.index).collect();
        indexes.sort_unstable();
        indexes.dedup();
        if indexes.len() == self.args.len() {
            context.add_rule_conditional(action, call, &comparisons)?;
            return Ok(());
        }
        // Compat: the library compares an argument once a rule; runc makes a rule of each comparison then.
        for comparison in comparisons {
            context.add_rule_conditional(action, call, &[comparison])?;
        }
        Ok(())
    }
}

impl Argument {
    fn comparison(&self) -> std::result::Result<ScmpArgCompare, Box<dyn std::error::Error>> {
        let op = match self.op.as_str() {
            "SCMP_CMP_NE" => ScmpCompareOp::NotEqual,
            "SCMP_CMP_LT" => ScmpCompareOp::Less,
            "SCMP_CMP_LE" => ScmpCompareOp::LessOrEqual,
            "SCMP_CMP_EQ" => ScmpCompareOp::Equal,
            "SCMP_CMP_GE" => ScmpCompareOp::GreaterEqual,
            "SCMP_CMP_GT" => ScmpCompareOp::Greater,
            "SCMP_CMP_MASKED_EQ" => {
                // The profile has the mask first; the library, too, but by another name.
                return Ok(ScmpArgCompare::new(self.index, ScmpCompareOp::MaskedEqual(self.value), self.value_two));
            }
            other => return Err(format!("unknown operator {other:?}").into()),
        };
        Ok(ScmpArgCompare::new(self.index, op, self.value))
    }
}

fn action(name: &str, errno: Option<u32>) -> std::result::Result<ScmpAction, Box<dyn std::error::Error>> {
    if name == "SCMP_ACT_NOTIFY" {
        return Err("action SCMP_ACT_NOTIFY is not supported".into());
    }
    let value = i32::try_from(errno.unwrap_or(libc::EPERM.unsigned_abs()))?;
    Ok(ScmpAction::from_str(name, Some(value))?)
}

/// Instructions that answer system calls which the profile is too old to know with ENOSYS, so that C libraries fall
/// back to older ones instead of taking a refusal for an answer. Everything else goes on to the profile's own
/// instructions.
fn unknown_calls(newest: u32) -> Vec<u8> {
    const LOAD: u16 = 0x20;
    const EQUAL: u16 = 0x15;
    const GREATER: u16 = 0x25;
    const AT_LEAST: u16 = 0x35;
    const RETURN: u16 = 0x06;
    const NUMBER_AT: u32 = 0;
    const ARCHITECTURE_AT: u32 = 4;
    let answer = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
    let instructions: [(u16, u8, u8, u32); 6] = [
        (LOAD, 0, 0, ARCHITECTURE_AT),
        (EQUAL, 0, 4, NATIVE),
        (LOAD, 0, 0, NUMBER_AT),
        (GREATER, 0, 2, newest),
        (AT_LEAST, 1, 0, X32_BIT),
        (RETURN, 0, 0, answer),
    ];
    let mut bytes = Vec::new();
    for (code, if_true, if_false, value) in instructions {
        bytes.extend(code.to_ne_bytes());
        bytes.extend([if_true, if_false]);
        bytes.extend(value.to_ne_bytes());
    }
    bytes
}

/// The kernel's name of this processor.
#[cfg(target_arch = "x86_64")]
const NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const NATIVE: u32 = 0xc000_00b7;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const NATIVE: u32 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_translated_once() {
        let filters = Filters::default();
        let first = filters.program(&Seccomp::RuntimeDefault, &BTreeSet::new()).unwrap().unwrap();
        let second = filters.program(&Seccomp::RuntimeDefault, &BTreeSet::new()).unwrap().unwrap();
        assert!(Arc::ptr_eq(&first, &second) && first.len() % 8 == 0 && first.len() > 800);
        let admin = BTreeSet::from(["SYS_ADMIN".to_owned()]);
        assert_ne!(filters.program(&Seccomp::RuntimeDefault, &admin).unwrap().unwrap(), first);
        assert_eq!(filters.program(&Seccomp::Unconfined, &admin).unwrap(), None);
    }

    #[test]
    fn wrong_profiles() {
        let check = |text: &str, want: &str| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("p.json");
            std::fs::write(&path, text).unwrap();
            let error = Filters::default().program(&Seccomp::Localhost(path), &BTreeSet::new()).unwrap_err();
            assert!(error.to_string().contains(want), "{error}");
        };
        check("{", "EOF");
        check(r#"{"defaultAction":"SCMP_ACT_FLY"}"#, "seccomp profile");
        check(r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#, "not supported");
    }
}
