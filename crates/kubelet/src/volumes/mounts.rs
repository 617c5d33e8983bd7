//! Where a container's volumes appear in it.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use container::{Mount, MountKind, Propagation};
use k8s_openapi::api::core::v1::{Container, VolumeMount};

use super::{MountedVolumes, VolumeError, subpath};

/// The container's mounts, and the files that must stay open until it is made.
pub(super) fn plan(
    container: &Container,
    env: &[(String, String)],
    volumes: &MountedVolumes,
) -> Result<(Vec<Mount>, Vec<OwnedFd>), VolumeError> {
    let mut open = Vec::new();
    let mut mounts = Vec::new();
    for wanted in container.volume_mounts.iter().flatten() {
        let volume = volumes.get(&wanted.name);
        let missing = || {
            VolumeError::config(format!(
                "cannot find volume {:?} to mount into container {:?}",
                wanted.name, container.name
            ))
        };
        let volume = volume.ok_or_else(missing)?;
        let source = match sub_path(wanted, env)? {
            None => volume.path.clone(),
            Some(path) => beneath(&volume.path, &path, wanted, &mut open)?,
        };
        mounts.push(Mount {
            kind: MountKind::Bind,
            source,
            destination: PathBuf::from(&wanted.mount_path),
            readonly: volume.readonly || wanted.read_only == Some(true),
            recursive_readonly: matches!(wanted.recursive_read_only.as_deref(), Some("Enabled" | "IfPossible")),
            propagation: match wanted.mount_propagation.as_deref() {
                Some("HostToContainer") => Propagation::HostToContainer,
                Some("Bidirectional") => Propagation::Bidirectional,
                _ => Propagation::Private,
            },
            options: Vec::new(),
        });
    }
    Ok((mounts, open))
}

fn beneath(volume: &Path, path: &str, wanted: &VolumeMount, open: &mut Vec<OwnedFd>) -> Result<PathBuf, VolumeError> {
    let why = format!("failed to prepare subPath for volumeMount {:?}", wanted.name);
    let file = subpath::open_beneath(volume, path).map_err(|error| VolumeError::config(format!("{why}: {error}")))?;
    let source = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    open.push(file);
    Ok(source)
}

/// The part of the volume that is wanted; `None` for all of it.
fn sub_path(wanted: &VolumeMount, env: &[(String, String)]) -> Result<Option<String>, VolumeError> {
    let path = match (&wanted.sub_path, &wanted.sub_path_expr) {
        (Some(path), _) if !path.is_empty() => path.clone(),
        (_, Some(expression)) if !expression.is_empty() => expand(expression, env)?,
        _ => return Ok(None),
    };
    let relative = Path::new(&path);
    // Compat: upstream's words for paths that lead out.
    if relative.is_absolute() {
        return Err(VolumeError::config(format!("error SubPath `{path}` must not be an absolute path")));
    }
    if relative.components().any(|part| part == Component::ParentDir) {
        return Err(VolumeError::config(format!("unable to provision SubPath `{path}`: must not contain '..'")));
    }
    Ok(Some(path))
}

/// Expands `$(NAME)`; unlike in commands, a name that isn't there is an error.
fn expand(expression: &str, env: &[(String, String)]) -> Result<String, VolumeError> {
    let mut expanded = String::new();
    let mut rest = expression;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(tail) = rest.strip_prefix("$$") {
            expanded.push('$');
            rest = tail;
        } else if let Some((name, tail)) = rest.strip_prefix("$(").and_then(|inner| inner.split_once(')')) {
            let found = env.iter().find(|(own, _)| own == name);
            let missing = || VolumeError::config(format!("missing value for {name:?} in subPathExpr {expression:?}"));
            expanded.push_str(&found.ok_or_else(missing)?.1);
            rest = tail;
        } else {
            expanded.push('$');
            rest = &rest[1..];
        }
    }
    Ok(expanded + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sub_paths_are_expanded_and_stay_inside() {
        let env = [
            ("POD".to_owned(), "a".to_owned()),
            ("UP".to_owned(), "../x".to_owned()),
            ("ROOT".to_owned(), "/x".to_owned()),
        ];
        let check = |expression: &str, expected: Option<&str>| {
            let wanted = VolumeMount { sub_path_expr: Some(expression.to_owned()), ..VolumeMount::default() };
            assert_eq!(sub_path(&wanted, &env).ok().flatten().as_deref(), expected, "{expression}");
        };
        check("logs/$(POD)", Some("logs/a"));
        check("$$(POD)", Some("$(POD)"));
        check("cost$", Some("cost$"));
        check("$(NONE)", None);
        check("$(UP)", None);
        check("$(ROOT)", None);
    }
}
