//! kubectl as its Go modules give it, of any version.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use serde_json::Value;

/// Ours, and the newest of the oldest line that is still met.
pub(crate) const VERSIONS: [&str; 2] = ["1.36.3", "1.32.13"];

/// A kubectl.
pub(crate) struct Kubectl {
    /// For example `1.36.3`.
    pub(crate) version: String,
    pub(crate) program: PathBuf,
}

impl Kubectl {
    /// The program at a path, or of a version.
    pub(crate) fn find(wanted: &str, folder: &Path) -> anyhow::Result<Self> {
        if !wanted.contains('/') {
            return Ok(Self { version: wanted.to_owned(), program: build(wanted, folder)? });
        }
        let program = Path::new(wanted).canonicalize().with_context(|| format!("find {wanted}"))?;
        let answer = crate::output(Command::new(&program).args(["version", "--client", "-o", "json"]))?;
        let answer: Value = serde_json::from_str(&answer).context("understand kubectl's version")?;
        let version = answer["clientVersion"]["gitVersion"].as_str().context("kubectl has no version")?;
        Ok(Self { version: version.trim_start_matches('v').to_owned(), program })
    }
}

/// The program of this version; built once.
fn build(version: &str, folder: &Path) -> anyhow::Result<PathBuf> {
    let folder = folder.join(format!("kubectl-{version}"));
    let program = folder.join("bin/kubectl");
    if program.exists() {
        return Ok(program);
    }
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let module = format!("k8s.io/kubernetes@v{version}");
    let answer = crate::output(Command::new("go").args(["mod", "download", "-json", &module]))?;
    let answer: Value = serde_json::from_str(&answer).context("understand go's answer")?;
    let file = answer["GoMod"].as_str().with_context(|| format!("download {module}"))?;
    let theirs = fs::read_to_string(file).with_context(|| format!("read {file}"))?;
    fs::write(folder.join("go.mod"), go_mod(version, &theirs)?).context("write go.mod")?;
    let (major, rest) = version.split_once('.').context("a version has parts")?;
    let minor = rest.split('.').next().unwrap_or_default();
    let package = "k8s.io/component-base/version";
    let flags =
        format!("-X {package}.gitVersion=v{version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}");
    let mut go = Command::new("go");
    go.current_dir(&folder).env("GOFLAGS", "-mod=mod").env("CGO_ENABLED", "0");
    crate::run(go.args(["build", "-ldflags", &flags, "-o"]).arg(&program).arg("k8s.io/kubernetes/cmd/kubectl"))?;
    Ok(program)
}

/// A module that needs kubernetes at a version, with the staged modules of that version: kubernetes itself names them
/// as `v0.0.0`, or replaces them by folders.
fn go_mod(version: &str, theirs: &str) -> anyhow::Result<String> {
    let (_, minor_and_patch) = version.split_once('.').context("a version has parts")?;
    let staged = |line: &str| {
        let mut words = line.split_whitespace();
        let (module, rest) = (words.next()?, words.collect::<Vec<_>>());
        let fits = module.starts_with("k8s.io/") && (rest == ["v0.0.0"] || rest.last()?.starts_with("./staging/"));
        fits.then(|| module.to_owned())
    };
    let mut modules: Vec<String> = theirs.lines().filter_map(staged).collect();
    modules.sort();
    modules.dedup();
    let go = theirs.lines().find(|line| line.starts_with("go ")).context("their go.mod has no go line")?;
    let mut text = format!("module kubectl\n\n{go}\n\nrequire k8s.io/kubernetes v{version}\n\n");
    for module in modules {
        text += &format!("replace {module} => {module} v0.{minor_and_patch}\n");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    #[test]
    fn staged_modules_get_the_versions_own() {
        let theirs = "module k8s.io/kubernetes\n\ngo 1.23.0\n\nrequire (\n\tk8s.io/api v0.0.0\n\tk8s.io/utils v0.0.0-2024\n)\n\
                      replace (\n\tk8s.io/metrics => ./staging/src/k8s.io/metrics\n)\n";
        let text = super::go_mod("1.32.13", theirs).expect("can be made");
        let expected = "module kubectl\n\ngo 1.23.0\n\nrequire k8s.io/kubernetes v1.32.13\n\n\
                        replace k8s.io/api => k8s.io/api v0.32.13\nreplace k8s.io/metrics => k8s.io/metrics v0.32.13\n";
        assert_eq!(text, expected);
    }
}
