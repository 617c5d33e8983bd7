//! The image that holds the tools.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::Context;
use container::images::RootFs;
use container::{ImageConfig, Images};

use super::TOOLS;

/// Its name.
pub(crate) const IMAGE: &str = "minke.dev/toolbox:latest";

/// Puts the image into the store; made in `scratch`, which is emptied.
pub(crate) async fn install(images: &Images, scratch: &Path) -> anyhow::Result<()> {
    let context = || format!("make the image {IMAGE}");
    build(scratch).with_context(context)?;
    let config = ImageConfig {
        cmd: vec!["sleep".to_owned(), "infinity".to_owned()],
        env: vec!["PATH=/bin".to_owned()],
        working_dir: "/".to_owned(),
        ..ImageConfig::default()
    };
    images.add(IMAGE, config, RootFs::Folder(scratch.to_owned())).await.with_context(context)?;
    fs::remove_dir_all(scratch).with_context(context)
}

fn build(root: &Path) -> anyhow::Result<()> {
    if root.exists() {
        fs::remove_dir_all(root)?;
    }
    for folder in ["bin", "etc", "tmp", "proc", "sys", "dev"] {
        fs::create_dir_all(root.join(folder))?;
    }
    fs::copy("/proc/self/exe", root.join("bin/minke"))?;
    for (name, _) in TOOLS {
        symlink("minke", root.join("bin").join(name))?;
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/:/bin/false\nnobody:x:65534:65534:nobody:/:/bin/false\n")?;
    fs::write(root.join("etc/group"), "root:x:0:\nnobody:x:65534:\n")?;
    Ok(())
}
