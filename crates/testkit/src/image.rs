//! An image with a shell, made of Debian's static busybox.

use std::io::Write;
use std::path::Path;

use anyhow::Context;
use serde_json::json;
use sha2::{Digest, Sha256};

/// The image's name.
pub const BUSYBOX: &str = "test.local/busybox:1";
/// Another name of it.
pub const BUSYBOX_AGAIN: &str = "test.local/busybox:2";

const PROGRAM: &str = "/bin/busybox";

const APPLETS: [&str; 39] = [
    "sh", "sleep", "cat", "echo", "ls", "id", "env", "hostname", "httpd", "wget", "nc", "touch", "mkdir", "rm", "kill",
    "ps", "date", "true", "false", "seq", "head", "tail", "grep", "readlink", "stat", "test", "pwd", "printf", "chmod",
    "chown", "mount", "dd", "usleep", "sync", "wc", "cut", "mv", "yes", "stty",
];

/// Writes the image as a docker archive.
pub fn busybox_archive(path: &Path) -> anyhow::Result<()> {
    let layer = layer()?;
    let digest = hex::encode(Sha256::digest(&layer));
    let config = json!({
        "architecture": "amd64", "os": "linux",
        "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
    });
    let config = config.to_string().into_bytes();
    let config_name = format!("{}.json", hex::encode(Sha256::digest(&config)));
    let manifest =
        json!([{"Config": config_name, "RepoTags": [BUSYBOX, BUSYBOX_AGAIN], "Layers": ["layer.tar"]}]).to_string();
    let mut archive = tar::Builder::new(std::fs::File::create(path).context("create the archive")?);
    file(&mut archive, "layer.tar", &layer, 0o644)?;
    file(&mut archive, &config_name, &config, 0o644)?;
    file(&mut archive, "manifest.json", manifest.as_bytes(), 0o644)?;
    archive.finish().context("finish the archive")
}

fn layer() -> anyhow::Result<Vec<u8>> {
    let program = std::fs::read(PROGRAM).with_context(|| format!("read {PROGRAM} (Debian's busybox-static)"))?;
    let mut layer = tar::Builder::new(Vec::new());
    file(&mut layer, "bin/busybox", &program, 0o755)?;
    // Not executable, and a script without an interpreter: for commands that can't be started.
    file(&mut layer, "etc/passwd", b"root:x:0:0:root:/:/bin/sh\nuser:x:1000:1000:user:/:/bin/sh\n", 0o644)?;
    file(&mut layer, "etc/group", b"root:x:0:\nuser:x:1000:\nextra:x:7000:user\n", 0o644)?;
    for applet in APPLETS {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        layer.append_link(&mut header, format!("bin/{applet}"), "busybox").context("write a link")?;
    }
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_size(0);
    header.set_mode(0o1777);
    layer.append_data(&mut header, "tmp/", std::io::empty()).context("write a folder")?;
    layer.into_inner().context("finish the layer")
}

fn file<W: Write>(archive: &mut tar::Builder<W>, name: &str, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(mode);
    archive.append_data(&mut header, name, bytes).with_context(|| format!("write {name}"))
}
