//! Users and groups of an image, read from its own `/etc/passwd` and `/etc/group`, never through the C library.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use crate::config::User;
use crate::error::{Error, Result};

/// The numbers a process runs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: Vec<u32>,
    pub(super) home: String,
}

/// Finds the numbers for a request, or for the image's own user where the request is empty.
pub(super) fn resolve(root: impl AsFd, wanted: &User, image_user: &str) -> Result<Identity> {
    let passwd = read(&root, "etc/passwd");
    let group = read(&root, "etc/group");
    identity(&passwd, &group, wanted, image_user)
}

/// Opens a path inside a root that is not ours to trust: links stay within it.
pub(super) fn open_in(root: impl AsFd, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
}

/// At most a megabyte: these files are the image's.
fn read(root: impl AsFd, path: &str) -> String {
    let mut bytes = Vec::new();
    // NONBLOCK: a fifo of that name must not hold us up.
    if let Ok(fd) = open_in(root, path, OFlags::RDONLY | OFlags::NONBLOCK) {
        // An unreadable file counts as missing, as upstream's runtimes have it.
        let _ = File::from(fd).take(1 << 20).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn identity(passwd: &str, group: &str, wanted: &User, image_user: &str) -> Result<Identity> {
    let text = wanted.name.as_deref().unwrap_or(if wanted.uid.is_some() { "" } else { image_user });
    let (user_part, group_part) = text.split_once(':').unwrap_or((text, ""));
    let entries = || passwd.lines().filter_map(Passwd::parse);
    let entry = match (wanted.uid, user_part.parse::<u32>()) {
        (Some(uid), _) | (None, Ok(uid)) => {
            entries().find(|e| e.uid == uid).unwrap_or(Passwd { name: "", uid, gid: 0, home: "/" })
        }
        (None, Err(_)) if user_part.is_empty() => {
            entries().find(|e| e.uid == 0).unwrap_or(Passwd { name: "root", uid: 0, gid: 0, home: "/root" })
        }
        (None, Err(_)) => {
            entries().find(|e| e.name == user_part).ok_or_else(|| not_found("user", user_part, "passwd"))?
        }
    };
    let gid = match (wanted.gid, group_part) {
        (Some(gid), _) => gid,
        (None, "") => entry.gid,
        (None, name) => match name.parse() {
            Ok(gid) => gid,
            Err(_) => group_by_name(group, name).ok_or_else(|| not_found("group", name, "group"))?,
        },
    };
    let mut groups = wanted.supplementary_gids.clone();
    if !wanted.strict_groups && !entry.name.is_empty() {
        groups.extend(groups_of(group, entry.name));
    }
    // Compat: CRI's runtimes list the primary group among the supplementary ones.
    groups.push(gid);
    groups.sort_unstable();
    groups.dedup();
    Ok(Identity { uid: entry.uid, gid, groups, home: entry.home.to_owned() })
}

fn not_found(kind: &str, name: &str, file: &str) -> Error {
    Error::UserNotFound { kind: kind.to_owned(), name: name.to_owned(), file: file.to_owned() }
}

struct Passwd<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl<'a> Passwd<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let fields: Vec<&str> = line.split(':').collect();
        let home = fields.get(5).copied().filter(|h| !h.is_empty()).unwrap_or("/");
        Some(Self { name: fields.first()?, uid: fields.get(2)?.parse().ok()?, gid: fields.get(3)?.parse().ok()?, home })
    }
}

fn group_by_name(group: &str, name: &str) -> Option<u32> {
    group.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}

fn groups_of<'a>(group: &'a str, user: &'a str) -> impl Iterator<Item = u32> + 'a {
    group.lines().filter_map(move |line| {
        let fields: Vec<&str> = line.split(':').collect();
        let member = fields.get(3)?.split(',').any(|m| m == user);
        member.then(|| fields.get(2)?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbroken\napp:x:1000:1001::/home/app:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nstaff:x:50:app,other\nwheel:x:10:app\n";

    fn check(wanted: User, image_user: &str, want: (u32, u32, &[u32], &str)) {
        let got = identity(PASSWD, GROUP, &wanted, image_user).unwrap();
        let (uid, gid, groups, home) = want;
        assert_eq!(
            got,
            Identity { uid, gid, groups: groups.to_vec(), home: home.to_owned() },
            "{wanted:?} {image_user:?}"
        );
    }

    #[test]
    fn users() {
        let none = User::default;
        check(none(), "", (0, 0, &[0], "/root"));
        check(none(), "app", (1000, 1001, &[10, 50, 1001], "/home/app"));
        check(none(), "app:staff", (1000, 50, &[10, 50], "/home/app"));
        check(none(), "1234:5", (1234, 5, &[5], "/"));
        check(User { uid: Some(1000), ..none() }, "root", (1000, 1001, &[10, 50, 1001], "/home/app"));
        check(User { uid: Some(1000), strict_groups: true, ..none() }, "", (1000, 1001, &[1001], "/home/app"));
        check(User { uid: Some(7), gid: Some(8), supplementary_gids: vec![9], ..none() }, "app", (7, 8, &[8, 9], "/"));
        check(User { name: Some("app".to_owned()), ..none() }, "root", (1000, 1001, &[10, 50, 1001], "/home/app"));
    }

    #[test]
    fn unknown_users() {
        let error = identity(PASSWD, GROUP, &User::default(), "nobody").unwrap_err();
        assert_eq!(error.to_string(), "unable to find user nobody: no matching entries in passwd file");
        let error = identity(PASSWD, GROUP, &User::default(), "app:x").unwrap_err();
        assert_eq!(error.to_string(), "unable to find group x: no matching entries in group file");
    }
}
