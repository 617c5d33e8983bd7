//! Capabilities by name: the default set, and what a request makes of it.

use std::collections::BTreeSet;

use crate::config::Capabilities;
use crate::error::{Error, Result};

/// What a container gets unless it says otherwise: the set of Docker and containerd.
const DEFAULT: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// All names, by the kernel's number.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// The names in a mask like that of `CapBnd` in `/proc/self/status`.
pub(crate) fn from_mask(mask: u64) -> BTreeSet<String> {
    NAMES.iter().enumerate().filter(|(bit, _)| mask & (1 << bit) != 0).map(|(_, name)| (*name).to_owned()).collect()
}

/// The calling process's bounding set: nothing can be given that is not in it.
pub(crate) fn bounding() -> BTreeSet<String> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap_or_default();
    from_mask(u64::from_str_radix(mask.trim(), 16).unwrap_or(0))
}

/// What a container gets: the default set, changed as asked, of what the host can give. A capability that the host
/// lacks is left out.
pub(crate) fn effective(request: &Capabilities, privileged: bool, host: &BTreeSet<String>) -> Result<BTreeSet<String>> {
    if privileged {
        return Ok(host.clone());
    }
    let (add, drop) = (parse(&request.add)?, parse(&request.drop)?);
    let all = |set: &BTreeSet<String>| set.contains("ALL");
    let mut set: BTreeSet<String> = DEFAULT.iter().map(|c| (*c).to_owned()).collect();
    // Compat: CRI's runtimes take ALL first in both lists, so that `drop: [ALL], add: [X]` leaves X.
    if all(&add) {
        set.extend(host.iter().cloned());
    }
    if all(&drop) {
        set.clear();
    }
    set.extend(add.into_iter().filter(|c| c != "ALL"));
    set.retain(|c| !drop.contains(c) && host.contains(c));
    Ok(set)
}

fn parse(names: &[String]) -> Result<BTreeSet<String>> {
    names.iter().map(|name| parse_one(name)).collect()
}

fn parse_one(name: &str) -> Result<String> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    if bare == "ALL" || NAMES.contains(&bare) {
        Ok(bare.to_owned())
    } else {
        Err(Error::Invalid(format!("unknown capability {name:?}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(add: &[&str], drop: &[&str], has: &[&str], lacks: &[&str]) {
        let own = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let mut host = from_mask((1 << 41) - 1);
        host.remove("SYS_RESOURCE");
        let request = Capabilities { add: own(add), drop: own(drop) };
        let set = effective(&request, false, &host).expect("known names");
        for name in has {
            assert!(set.contains(*name), "{name} missing with +{add:?} -{drop:?}");
        }
        for name in lacks {
            assert!(!set.contains(*name), "{name} there with +{add:?} -{drop:?}");
        }
    }

    #[test]
    fn add_and_drop() {
        check(&[], &[], &["CHOWN", "NET_RAW"], &["SYS_ADMIN"]);
        check(&["NET_ADMIN"], &["ALL"], &["NET_ADMIN"], &["CHOWN"]);
        check(&["ALL"], &["CAP_MKNOD"], &["SYS_ADMIN", "CHOWN"], &["MKNOD", "SYS_RESOURCE"]);
        check(&["cap_sys_time", "SYS_RESOURCE"], &[], &["SYS_TIME"], &["SYS_RESOURCE"]);
    }

    #[test]
    fn unknown_names_are_refused() {
        let request = Capabilities { add: vec!["FLY".to_owned()], drop: Vec::new() };
        assert!(effective(&request, false, &from_mask(u64::MAX)).is_err());
    }
}
