//! Kubeconfigs: a file of our own, or a context merged into the user's.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_yaml_ng::{Mapping, Value};

use crate::layout::write_whole;

/// What a client needs to reach a cluster.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    /// For example `https://127.0.0.1:6443`.
    pub(crate) server: String,
    /// PEM.
    pub(crate) authority: String,
    /// PEM.
    pub(crate) certificate: String,
    /// PEM.
    pub(crate) key: String,
}

const NAME: &str = "minke";

impl Access {
    /// Writes a kubeconfig that holds nothing else.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        write_config(path, &self.merged(Mapping::new()))
    }

    /// Puts the context `minke` into a kubeconfig and makes it the current one; everything else in it stays.
    pub(crate) fn merge(&self, path: &Path) -> anyhow::Result<()> {
        let config = read_config(path)?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        }
        write_config(path, &self.merged(config))
    }

    fn merged(&self, mut config: Mapping) -> Mapping {
        let data = |pem: &str| Value::from(STANDARD.encode(pem));
        let cluster =
            [("server", Value::from(self.server.as_str())), ("certificate-authority-data", data(&self.authority))];
        let user = [("client-certificate-data", data(&self.certificate)), ("client-key-data", data(&self.key))];
        let context = [("cluster", Value::from(NAME)), ("user", Value::from(NAME))];
        config.entry("apiVersion".into()).or_insert("v1".into());
        config.entry("kind".into()).or_insert("Config".into());
        set(&mut config, "clusters", "cluster", Some(mapping(cluster)));
        set(&mut config, "users", "user", Some(mapping(user)));
        set(&mut config, "contexts", "context", Some(mapping(context)));
        config.insert("current-context".into(), NAME.into());
        config
    }
}

/// Takes the context `minke` out of a kubeconfig, if it leads to `server`.
pub(crate) fn unmerge(path: &Path, server: &str) -> anyhow::Result<()> {
    if server_of(path).ok().as_deref() != Some(server) {
        return Ok(());
    }
    let mut config = read_config(path)?;
    for (list, field) in [("clusters", "cluster"), ("users", "user"), ("contexts", "context")] {
        set(&mut config, list, field, None);
    }
    if config.get("current-context").and_then(Value::as_str) == Some(NAME) {
        config.insert("current-context".into(), "".into());
    }
    write_config(path, &config)
}

/// The server that a kubeconfig of ours leads to.
pub(crate) fn server_of(path: &Path) -> anyhow::Result<String> {
    let config = read_config(path)?;
    let clusters = config.get("clusters").and_then(Value::as_sequence);
    let ours = clusters.into_iter().flatten().find(|cluster| named(cluster));
    let server = ours.and_then(|cluster| cluster.get("cluster")?.get("server")?.as_str());
    server.map(str::to_owned).with_context(|| format!("{} has no cluster {NAME}", path.display()))
}

/// The user's kubeconfig: the first of `$KUBECONFIG`, else `~/.kube/config`.
pub(crate) fn default_path() -> PathBuf {
    let first = |paths: std::ffi::OsString| std::env::split_paths(&paths).find(|path| !path.as_os_str().is_empty());
    let home = || std::env::home_dir().unwrap_or_else(|| PathBuf::from("/root"));
    std::env::var_os("KUBECONFIG").and_then(first).unwrap_or_else(|| home().join(".kube/config"))
}

fn read_config(path: &Path) -> anyhow::Result<Mapping> {
    if !path.exists() {
        return Ok(Mapping::new());
    }
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    match serde_yaml_ng::from_str(&text).with_context(|| format!("{} is no kubeconfig", path.display()))? {
        Value::Null => Ok(Mapping::new()),
        Value::Mapping(config) => Ok(config),
        _ => anyhow::bail!("{} is no kubeconfig", path.display()),
    }
}

fn write_config(path: &Path, config: &Mapping) -> anyhow::Result<()> {
    write_whole(path, serde_yaml_ng::to_string(config)?.as_bytes())
}

fn mapping<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Mapping(entries.into_iter().map(|(key, value)| (Value::from(key), value)).collect())
}

fn named(entry: &Value) -> bool {
    entry.get("name").and_then(Value::as_str) == Some(NAME)
}

fn set(config: &mut Mapping, list: &str, field: &str, value: Option<Value>) {
    let entries = config.entry(list.into()).or_insert(Value::Sequence(Vec::new()));
    if !entries.is_sequence() {
        *entries = Value::Sequence(Vec::new());
    }
    let Value::Sequence(entries) = entries else { return };
    entries.retain(|entry| !named(entry));
    if let Some(value) = value {
        entries.push(mapping([("name", NAME.into()), (field, value)]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_comes_and_goes_and_the_rest_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("kube/config");
        let access = |port: u16| Access {
            server: format!("https://127.0.0.1:{port}"),
            authority: "a".into(),
            certificate: "c".into(),
            key: "k".into(),
        };
        fs::create_dir_all(folder.path().join("kube")).expect("a folder");
        let other = "kind: Config\nclusters:\n- name: other\n  cluster: {server: x}\ncurrent-context: other\n";
        fs::write(&path, other).expect("write");
        access(1).merge(&path).expect("merge");
        access(2).merge(&path).expect("merge");
        let text = fs::read_to_string(&path).expect("read");
        assert!(
            text.contains("127.0.0.1:2") && !text.contains("127.0.0.1:1") && text.contains("name: other"),
            "{text}"
        );
        unmerge(&path, "https://127.0.0.1:1").expect("unmerge");
        assert!(fs::read_to_string(&path).expect("read").contains("127.0.0.1:2"));
        unmerge(&path, "https://127.0.0.1:2").expect("unmerge");
        let text = fs::read_to_string(&path).expect("read");
        assert!(!text.contains("minke") && text.contains("name: other"), "{text}");
    }
}
