//! Rules of the repository that no compiler checks.
//!
//! Edges between crates are the table below: it is ARCHITECTURE.md's table as data, and both must name every crate.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use serde_json::Value;

/// Which crates of ours each crate may use.
const EDGES: [(&str, &[&str]); 18] = [
    ("meta", &[]),
    ("store", &[]),
    ("container", &[]),
    ("net", &[]),
    ("schema", &["meta"]),
    ("kinds", &["meta", "schema"]),
    ("registry", &["meta", "schema", "kinds", "store"]),
    ("auth", &["meta"]),
    ("admission", &["meta", "schema", "kinds", "registry"]),
    ("client", &["meta"]),
    ("server", &["meta", "schema", "kinds", "registry", "auth", "admission", "client"]),
    ("controllers", &["meta", "client", "kinds"]),
    ("scheduler", &["meta", "client"]),
    ("kubelet", &["meta", "auth", "client", "container", "net"]),
    ("netd", &["meta", "client", "net"]),
    (
        "minke",
        &[
            "meta",
            "schema",
            "kinds",
            "store",
            "registry",
            "auth",
            "admission",
            "server",
            "client",
            "controllers",
            "scheduler",
            "container",
            "net",
            "kubelet",
            "netd",
        ],
    ),
    ("testkit", &[]),
    ("xtask", &["meta", "schema"]),
];

/// Crates that speak to the kernel and may hold `unsafe`.
const KERNEL: [&str; 4] = ["container", "net", "minke", "kubelet"];

const LICENSES: [&str; 12] = [
    "MIT",
    "Apache-2.0",
    "ISC",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "Zlib",
    "Unlicense",
    "0BSD",
    "CC0-1.0",
    "Unicode-3.0",
    "CDLA-Permissive-2.0",
    "BSL-1.0",
];

/// Crates beneath libcontainer that it can't be built without: pathrs is MPL-2.0 (file-wise, used unchanged), rust-criu is Apache-2.0 by
/// its licence file but doesn't say so in its manifest.
const EXCEPTIONS: [&str; 2] = ["pathrs", "rust-criu"];

/// Everything that breaks a rule, a line each.
pub(crate) fn findings(root: &Path) -> anyhow::Result<Vec<String>> {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(root)
        .output()
        .context("start cargo metadata")?;
    let metadata: Value = serde_json::from_slice(&metadata.stdout).context("read cargo metadata")?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    let ours: Vec<&Value> = packages.iter().filter(|package| package["source"].is_null()).collect();
    let mut found = edges(&ours);
    found.extend(packages.iter().filter_map(license));
    found.extend(prose(root)?);
    let map = fs::read_to_string(root.join("ARCHITECTURE.md")).context("read ARCHITECTURE.md")?;
    for package in &ours {
        let name = text(package, "name");
        if !map.contains(&format!("`{name}`")) {
            found.push(format!("ARCHITECTURE.md does not name the crate `{name}`"));
        }
        let folder = PathBuf::from(text(package, "manifest_path"));
        sources(&folder.with_file_name("src"), &mut |path, source| found.extend(source_findings(name, path, source)))?;
    }
    Ok(found)
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

fn edges(ours: &[&Value]) -> Vec<String> {
    let mut found = Vec::new();
    for package in ours {
        let name = text(package, "name");
        let Some((_, allowed)) = EDGES.iter().find(|(own, _)| *own == name) else {
            found.push(format!("the crate {name} has no row in tidy's table of edges"));
            continue;
        };
        let uses = package["dependencies"].as_array().into_iter().flatten();
        // Tests may look from above: dev-dependencies make no edge.
        for used in uses.filter(|used| used["path"].is_string() && used["kind"].is_null()) {
            if !allowed.contains(&text(used, "name")) {
                found.push(format!("{name} must not use {}", text(used, "name")));
            }
        }
    }
    found
}

fn license(package: &Value) -> Option<String> {
    let license = text(package, "license");
    let permissive = |name: &str| LICENSES.contains(&name.split(" WITH ").next().unwrap_or_default().trim());
    let plain = license.replace(['(', ')'], "").replace('/', " OR ");
    let fine = plain.split(" OR ").any(|choice| choice.split(" AND ").all(permissive));
    (!fine && !EXCEPTIONS.contains(&text(package, "name")))
        .then(|| format!("{} has the licence {license:?}", text(package, "name")))
}

/// Text in the root that is none of the known pages.
fn prose(root: &Path) -> anyhow::Result<Vec<String>> {
    const PAGES: [&str; 4] = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"];
    let mut found = Vec::new();
    for entry in fs::read_dir(root).with_context(|| format!("read {}", root.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let text = Path::new(&name).extension().is_some_and(|extension| extension == "md" || extension == "txt");
        if text && !PAGES.contains(&name.as_str()) {
            found.push(format!("{name}: what is worth telling belongs on one of {}", PAGES.join(", ")));
        }
    }
    Ok(found)
}

fn sources(folder: &Path, visit: &mut impl FnMut(&Path, &str)) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            sources(&path, visit)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            visit(&path, &fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?);
        }
    }
    Ok(())
}

fn source_findings(name: &str, path: &Path, source: &str) -> Vec<String> {
    const VAGUE: [&str; 5] = ["utils", "common", "helpers", "misc", "manager"];
    let mut found = Vec::new();
    let mut say = |what: &str| found.push(format!("{}: {what}", path.display()));
    if !source.starts_with("//!") {
        say("begins without a module comment");
    }
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    if VAGUE.contains(&stem) {
        say("a module's name says what it is for");
    }
    let attribute = |name: &str| source.contains(&format!("#[{name}"));
    if attribute("ignore") || attribute("allow(") {
        say("has an ignored test or an allowed lint");
    }
    let word = concat!("unsafe", " {");
    if !KERNEL.contains(&name) && name != "xtask" && source.contains(word) {
        say("has unsafe code in a crate that doesn't speak to the kernel");
    }
    found
}
