//! Image references: `[REGISTRY[:PORT]/]PATH[:TAG][@DIGEST]`, checked for shape before an engine sees them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Invalid;

/// A reference as the user wrote it; compare by text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, example = "registry.example.com/team/agent:1.2"))]
pub struct ImageRef(String);

impl ImageRef {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The registry's host (with port), or `docker.io`.
    pub fn registry(&self) -> &str {
        match self.0.split_once('/') {
            Some((host, _)) if host.contains('.') || host.contains(':') || host == "localhost" => host,
            _ => "docker.io",
        }
    }

    /// What of it is the same for all its tags and digests, and however it is written: `x`, `docker.io/x` and
    /// `index.docker.io/library/x:1` are one repository.
    pub fn repository(&self) -> String {
        let (name, _) = self.split();
        let registry = self.registry();
        let path = name.strip_prefix(registry).and_then(|path| path.strip_prefix('/')).unwrap_or(name);
        match registry {
            "docker.io" | "index.docker.io" => {
                format!("docker.io/{}", path.strip_prefix("library/").unwrap_or(path))
            }
            other => format!("{}/{path}", other.to_ascii_lowercase()),
        }
    }

    /// Name without tag and digest, and the tag or digest to pull (`latest` when neither is given).
    pub fn split(&self) -> (&str, &str) {
        if let Some((name, digest)) = self.0.split_once('@') {
            return (strip_tag(name).0, digest);
        }
        let (name, tag) = strip_tag(&self.0);
        (name, tag.unwrap_or("latest"))
    }
}

fn strip_tag(s: &str) -> (&str, Option<&str>) {
    match s.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (s, None),
    }
}

impl FromStr for ImageRef {
    type Err = Invalid;

    fn from_str(s: &str) -> Result<Self, Invalid> {
        let bad = |why: &str| {
            Err(Invalid::new(
                "image",
                format!("`{}` is not an image reference: {why}", s.chars().take(120).collect::<String>()),
            ))
        };
        if s.is_empty() || s.len() > 512 {
            return bad("it must have 1 to 512 characters");
        }
        let (rest, digest) = s.split_once('@').map_or((s, None), |(r, d)| (r, Some(d)));
        if let Some(digest) = digest {
            let ok = digest.strip_prefix("sha256:").is_some_and(|h| {
                h.len() == 64 && h.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase())
            });
            if !ok {
                return bad("the digest after `@` must be sha256: and 64 hexadecimal digits");
            }
        }
        let (name, tag) = strip_tag(rest);
        if let Some(tag) = tag
            && (tag.is_empty()
                || tag.len() > 128
                || tag.starts_with(['.', '-'])
                || !tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b)))
        {
            return bad("the tag after `:` may hold letters, digits, `_`, `.` and `-`");
        }
        let mut parts = name.split('/');
        let first_is_host = name.contains('/') && {
            let host = name.split('/').next().unwrap_or_default();
            host.contains('.') || host.contains(':') || host == "localhost"
        };
        if first_is_host {
            let host = parts.next().unwrap_or_default();
            if !host.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[')
                || host.ends_with(['.', '-', ':'])
                || !host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b))
            {
                return bad("its registry is not a host name");
            }
        }
        for part in parts {
            let ok = !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_.-".contains(&b))
                && part.starts_with(|c: char| c.is_ascii_alphanumeric())
                && part.ends_with(|c: char| c.is_ascii_alphanumeric());
            if !ok {
                return bad("a path may hold lower-case letters, digits, `_`, `.` and `-`");
            }
        }
        Ok(Self(s.to_owned()))
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ImageRef {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes() {
        let digest = format!("a/b@sha256:{}", "0".repeat(64));
        for (text, registry, name, reference) in [
            ("hello", "docker.io", "hello", "latest"),
            ("nearaidev/worker:1.2", "docker.io", "nearaidev/worker", "1.2"),
            ("127.0.0.1:5000/a/b:x", "127.0.0.1:5000", "127.0.0.1:5000/a/b", "x"),
            ("localhost/x", "localhost", "localhost/x", "latest"),
            (&digest, "docker.io", "a/b", &digest[4..]),
        ] {
            let image: ImageRef = text.parse().unwrap();
            assert_eq!((image.registry(), image.split()), (registry, (name, reference)), "{text}");
        }
        for bad in
            ["", "A/b", "a//b", "a:", "a@sha256:00", "-x/y", "a b", "../x", "a:b:c/", "x\n", "--privileged"]
        {
            assert!(bad.parse::<ImageRef>().is_err(), "{bad}");
        }
    }
    #[test]
    fn a_repository_has_one_name() {
        let digest = format!("docker.io/library/x@sha256:{}", "0".repeat(64));
        for text in ["x", "x:1", "docker.io/x", "docker.io/library/x:2", "index.docker.io/x", &digest] {
            assert_eq!(text.parse::<ImageRef>().unwrap().repository(), "docker.io/x", "{text}");
        }
        for (text, repository) in [
            ("Reg.example:5000/a/library/b:1", "reg.example:5000/a/library/b"),
            ("localhost/docker.io/x", "localhost/docker.io/x"),
            ("a/b", "docker.io/a/b"),
        ] {
            assert_eq!(text.parse::<ImageRef>().unwrap().repository(), repository, "{text}");
        }
    }
}
