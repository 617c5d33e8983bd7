//! Folders and files inside a volume, opened so that no link in the volume leads out of it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::{Mode, fstat, mkdirat};

/// Opens `sub_path` beneath the volume, making folders that are missing. The volume's content may change meanwhile: every
/// step is made relative to an open folder, beneath the volume, so the answer is always inside.
pub(super) fn open_beneath(volume: &Path, sub_path: &str) -> io::Result<OwnedFd> {
    let root = open(volume, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    match beneath(root.as_fd(), sub_path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_folders(root.as_fd(), sub_path)?;
            beneath(root.as_fd(), sub_path)
        }
        other => other,
    }
}

fn beneath(root: impl AsFd, path: &str) -> io::Result<OwnedFd> {
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(ResolveFlag::RESOLVE_BENEATH);
    Ok(openat2(root.as_fd(), path, how)?)
}

/// Makes each missing folder of the path, with the mode of the volume itself.
fn make_folders(root: impl AsFd, path: &str) -> io::Result<()> {
    let mode = Mode::from_bits_truncate(fstat(root.as_fd())?.st_mode & 0o7777);
    let mut done = String::new();
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        let parent = beneath(root.as_fd(), if done.is_empty() { "." } else { &done })?;
        match mkdirat(&parent, part, mode) {
            Ok(()) => {
                // Past the umask: an unprivileged container must be able to write where its volume lets it.
                let made = openat2(
                    &parent,
                    part,
                    OpenHow::new().flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW),
                )?;
                nix::sys::stat::fchmod(&made, mode)?;
            }
            Err(nix::errno::Errno::EEXIST) => {}
            Err(error) => return Err(error.into()),
        }
        if !done.is_empty() {
            done.push('/');
        }
        done.push_str(part);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn nothing_leads_out_of_the_volume() {
        let folder = tempfile::tempdir().expect("a folder");
        let volume = folder.path().join("volume");
        std::fs::create_dir(&volume).expect("a volume");
        symlink("/etc", volume.join("absolute")).expect("a link");
        symlink("..", volume.join("up")).expect("a link");
        symlink("made", volume.join("inside")).expect("a link");
        for (path, fine) in [
            ("made/deep", true),
            ("inside/deep", true),
            ("absolute/passwd", false),
            ("up/x", false),
            ("absolute", false),
        ] {
            assert_eq!(open_beneath(&volume, path).is_ok(), fine, "{path}");
        }
        assert!(volume.join("made/deep").is_dir() && !folder.path().join("x").exists());
    }
}
