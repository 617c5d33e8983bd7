//! What pods' volumes have mounted on the node.

use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, umount2};

/// Takes down every mount beneath a folder, the inner ones first, and says which would not go.
pub(super) fn take_down(folder: &Path) {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    for point in beneath(&table, folder) {
        if let Err(error) = umount2(&point, MntFlags::MNT_DETACH) {
            tracing::warn!(mount = %point.display(), %error, "take down a volume's mount");
        }
    }
}

fn beneath(table: &str, folder: &Path) -> Vec<PathBuf> {
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(unescape);
    let mut points: Vec<PathBuf> = points.filter(|point| point != folder && point.starts_with(folder)).collect();
    points.reverse();
    points
}

/// The kernel writes blanks, tabs, line feeds and backslashes of a path in octal.
fn unescape(text: &str) -> PathBuf {
    let octal = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    octal.iter().fold(text.to_owned(), |text, (code, plain)| text.replace(code, plain)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_beneath_a_folder_inner_ones_first() {
        let table = "22 1 0:20 / /data/n rw - ext4 a rw\n\
                     23 1 0:21 / /data/n/a\\040b rw - tmpfs tmpfs rw\n\
                     24 1 0:22 / /data/n/a\\040b/c rw - tmpfs tmpfs rw\n\
                     25 1 0:23 / /data/nodes rw - tmpfs tmpfs rw\n";
        assert_eq!(beneath(table, Path::new("/data/n")), [PathBuf::from("/data/n/a b/c"), "/data/n/a b".into()]);
    }
}
