//! `cargo xtask schema`: writes the table of types anew from upstream's Go modules.
//!
//! Go's struct tags and comment markers hold every fact that we need: names in JSON, protobuf numbers, what is left out
//! when empty, how patches merge. Only facts are carried over, no descriptions.

mod golang;
mod golden;
mod resolve;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use serde_json::Value;

/// The modules that hold API types, and where in them.
const MODULES: [(&str, &str); 5] = [
    ("k8s.io/api@v0.36.3", ""),
    ("k8s.io/apimachinery@v0.36.3", "pkg/apis/meta/v1"),
    ("k8s.io/apiextensions-apiserver@v0.36.3", "pkg/apis/apiextensions/v1"),
    ("k8s.io/kube-aggregator@v0.36.3", "pkg/apis/apiregistration/v1"),
    ("k8s.io/metrics@v0.36.3", "pkg/apis/metrics/v1beta1"),
];

pub(crate) fn run(check: bool) -> anyhow::Result<()> {
    let mut packages = Vec::new();
    for (module, folder) in MODULES {
        let (path, _) = module.split_once('@').context("a module without a version")?;
        let top = download(module)?;
        if folder.is_empty() {
            for folder in versions(&top)? {
                packages.push(golang::package(&top.join(&folder), &format!("{path}/{folder}"))?);
            }
        } else {
            packages.push(golang::package(&top.join(folder), &format!("{path}/{folder}"))?);
        }
    }
    let table = resolve::table(&packages)?;
    let target = crate::root().join("crates/schema/data/types.txt");
    if check {
        if std::fs::read_to_string(&target)? != table {
            bail!("{} is not what upstream's modules give: run cargo xtask schema", target.display());
        }
        return golden::check(&download(MODULES[0].0)?.join("testdata/HEAD"));
    }
    std::fs::write(&target, table).with_context(|| format!("write {}", target.display()))
}

/// The folder of a module, through the ordinary client of Go's module proxy.
fn download(module: &str) -> anyhow::Result<PathBuf> {
    let output = Command::new("go").args(["mod", "download", "-json", module]).output().context("start go")?;
    let answer: Value = serde_json::from_slice(&output.stdout).with_context(|| format!("download {module}"))?;
    let folder = answer["Dir"].as_str().with_context(|| format!("download {module}: {answer}"))?;
    Ok(PathBuf::from(folder))
}

/// The `group/version` folders below a folder.
fn versions(top: &Path) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for group in std::fs::read_dir(top)?.filter_map(Result::ok).filter(|entry| entry.path().is_dir()) {
        for version in std::fs::read_dir(group.path())?.filter_map(Result::ok) {
            if version.path().join("register.go").exists() {
                let (group, version) = (group.file_name(), version.file_name());
                found.push(format!("{}/{}", group.to_string_lossy(), version.to_string_lossy()));
            }
        }
    }
    found.sort();
    Ok(found)
}
