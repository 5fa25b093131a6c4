//! Paths inside an artifact: relative, normal, and never above its top.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Invalid;

/// `.`, or parts joined by `/`: none empty, `.` or `..`, no backslash, no control character, at most 512 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, example = "frontend/dist"))]
pub struct RelativePath(String);

impl RelativePath {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The artifact itself.
    pub fn is_top(&self) -> bool {
        self.0 == "."
    }

    /// This path below `folder`.
    #[must_use]
    pub fn below(&self, folder: &Self) -> Self {
        match (folder.is_top(), self.is_top()) {
            (true, _) => self.clone(),
            (false, true) => folder.clone(),
            (false, false) => Self(format!("{}/{}", folder.0, self.0)),
        }
    }
}

impl Default for RelativePath {
    fn default() -> Self {
        Self(".".to_owned())
    }
}

impl fmt::Display for RelativePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RelativePath {
    type Err = Invalid;

    fn from_str(s: &str) -> Result<Self, Invalid> {
        // As people write it.
        let path = s.strip_prefix("./").unwrap_or(s);
        let path = path.strip_suffix('/').unwrap_or(path);
        if (path.is_empty() && !s.is_empty() && !s.starts_with('/')) || path == "." {
            return Ok(Self::default());
        }
        let ok = !path.is_empty()
            && path.len() <= 512
            && !path.starts_with('/')
            && !path.chars().any(|c| c.is_control() || c == '\\')
            && path.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
        if ok {
            return Ok(Self(path.to_owned()));
        }
        let shown: String = s.chars().filter(|c| !c.is_control()).take(80).collect();
        Err(Invalid::new(
            "",
            format!(
                "`{shown}` is not a path inside the artifact: write it relative, as in \"server/app\", without `..`"
            ),
        ))
    }
}

impl<'de> Deserialize<'de> for RelativePath {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(|e: Invalid| serde::de::Error::custom(e.problem))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn normal_paths_only() {
        for (text, path) in [(".", "."), ("./", "."), ("a", "a"), ("./a/b/", "a/b"), ("..a/b..", "..a/b..")] {
            assert_eq!(text.parse::<RelativePath>().unwrap().as_str(), path, "{text}");
        }
        for bad in ["", "/", "/etc", "..", "a/../b", "a//b", "a/./b", "../x", "a\\b", "a\0", "a\nb", ".//a"] {
            assert!(bad.parse::<RelativePath>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_accepted_stays_inside(text in "[a./\\\\]{0,12}") {
            if let Ok(path) = text.parse::<RelativePath>() {
                prop_assert!(!path.as_str().starts_with('/'));
                prop_assert!(path.as_str().split('/').all(|p| p != ".." && !p.is_empty()));
                prop_assert_eq!(path.as_str().parse::<RelativePath>().unwrap(), path);
            }
        }
    }
}
