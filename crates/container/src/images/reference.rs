//! Names of images, normalised the way Docker and every CRI runtime do it.

use super::{ImageError, ImageResult};

const DEFAULT_REGISTRY: &str = "docker.io";
const DEFAULT_NAMESPACE: &str = "library";
const DEFAULT_TAG: &str = "latest";
const FORMAT: &str = "invalid reference format";

/// A complete name: registry, repository, and a tag or digest or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<String>,
}

impl Reference {
    /// Completes and checks a name: `busybox` is `docker.io/library/busybox:latest`.
    pub fn parse(text: &str) -> ImageResult<Self> {
        let wrong = |why| ImageError::InvalidReference(text.to_owned(), why);
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        if digest.is_some_and(|d| !is_digest(d)) {
            return Err(wrong(FORMAT));
        }
        // A colon after the last slash begins a tag; one before it, a port.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if tag.is_some_and(|t| !is_tag(t)) {
            return Err(wrong(FORMAT));
        }
        let (registry, path) = match name.split_once('/') {
            Some((first, path)) if first.contains(['.', ':']) || first == "localhost" => (first, path),
            _ => (DEFAULT_REGISTRY, name),
        };
        // Compat: `index.docker.io` is an old name of Docker's registry.
        let registry = if registry == "index.docker.io" { DEFAULT_REGISTRY } else { registry };
        if path.chars().any(|c| c.is_ascii_uppercase()) {
            return Err(wrong("invalid reference format: repository name must be lowercase"));
        }
        if !is_registry(registry) || path.is_empty() || !path.split('/').all(is_component) {
            return Err(wrong(FORMAT));
        }
        let repository = if registry == DEFAULT_REGISTRY && !path.contains('/') {
            format!("{DEFAULT_NAMESPACE}/{path}")
        } else {
            path.to_owned()
        };
        let tag = tag.or(if digest.is_none() { Some(DEFAULT_TAG) } else { None });
        Ok(Self {
            registry: registry.to_owned(),
            repository,
            tag: tag.map(str::to_owned),
            digest: digest.map(str::to_owned),
        })
    }

    /// `docker.io`, with a port if there is one.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// `docker.io/library/busybox`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// `docker.io/library/busybox:latest`, unless the name has only a digest.
    pub fn tagged(&self) -> Option<String> {
        self.tag.as_ref().map(|tag| format!("{}:{tag}", self.name()))
    }

    /// The digest, if the name has one.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// `docker.io/library/busybox@sha256:…` for a digest of the caller's.
    pub fn with_digest(&self, digest: &str) -> String {
        format!("{}@{digest}", self.name())
    }
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name())?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// `sha256:` and 64 hex digits.
pub(super) fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(is_hex)
}

fn is_hex(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn is_tag(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.len() <= 128 && text.starts_with(word) && text.chars().all(|c| word(c) || matches!(c, '.' | '-'))
}

fn is_registry(text: &str) -> bool {
    let (host, port) = text.split_once(':').unwrap_or((text, "80"));
    !host.is_empty()
        && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'))
        && !port.is_empty()
        && port.bytes().all(|b| b.is_ascii_digit())
}

/// Words of lower-case letters and digits, joined by one `.`, one or two `_`, or any number of `-`.
fn is_component(text: &str) -> bool {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let joints_fine = text
        .split(word)
        .all(|joint| joint.is_empty() || matches!(joint, "." | "_" | "__") || joint.chars().all(|c| c == '-'));
    text.starts_with(word) && text.ends_with(word) && joints_fine
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, want: Result<&str, &str>) {
        let got = Reference::parse(text).map(|r| r.to_string()).map_err(|e| e.to_string());
        assert_eq!(got.as_deref().map_err(String::as_str), want, "{text}");
    }

    #[test]
    fn names() {
        check("busybox", Ok("docker.io/library/busybox:latest"));
        check("busybox:1.36", Ok("docker.io/library/busybox:1.36"));
        check("me/tool", Ok("docker.io/me/tool:latest"));
        check("index.docker.io/busybox", Ok("docker.io/library/busybox:latest"));
        check("registry.k8s.io/pause:3.10", Ok("registry.k8s.io/pause:3.10"));
        check("localhost/a", Ok("localhost/a:latest"));
        check("localhost:5000/a/b:c", Ok("localhost:5000/a/b:c"));
        let digest = format!("sha256:{}", "ab".repeat(32));
        check(&format!("busybox@{digest}"), Ok(&format!("docker.io/library/busybox@{digest}")));
        check(&format!("busybox:1@{digest}"), Ok(&format!("docker.io/library/busybox:1@{digest}")));
    }

    #[test]
    fn wrong_names() {
        let error = |text: &str| format!("couldn't parse image name {text:?}: invalid reference format");
        for text in ["", "a b", "a:b:c", "-a", "a/", "a@sha256:12", "a..b", "a:", "ho st/a"] {
            check(text, Err(&error(text)));
        }
        check("Foo", Err(&format!("{}: repository name must be lowercase", error("Foo"))));
    }
}
