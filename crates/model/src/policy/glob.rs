//! Patterns over names of models, tools, credentials, repositories: `*` stands for any characters, also none.

use std::fmt;
use std::str::FromStr;

use super::text_form;
use crate::Invalid;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Glob(String);

const LONGEST: usize = 256;

impl Glob {
    pub fn fits(&self, name: &str) -> bool {
        stars(self.0.as_bytes(), name.as_bytes())
    }

    /// The one name that it fits, if there is no `*` in it.
    pub fn exact(&self) -> Option<&str> {
        (!self.0.contains('*')).then_some(self.0.as_str())
    }

    /// Whether some name may fit both; it may say so of two that never do.
    pub fn meets(&self, other: &Self) -> bool {
        match (self.exact(), other.exact()) {
            (Some(a), Some(b)) => a == b,
            (Some(a), None) => other.fits(a),
            (None, Some(b)) => self.fits(b),
            (None, None) => {
                let before = |glob: &Self| glob.0.split('*').next().unwrap_or_default().to_owned();
                let (a, b) = (before(self), before(other));
                a.starts_with(&b) || b.starts_with(&a)
            }
        }
    }
}

/// Whether `text` fits `pattern`, where `*` is any bytes. In time of at most the product of their lengths.
pub(super) fn stars(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where the last star was, and where in the text what it stands for ends.
    let mut last: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                last = Some((p, t));
                p += 1;
            }
            Some(byte) if *byte == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((star, until)) = last else { return false };
                last = Some((star, until + 1));
                p = star + 1;
                t = until + 1;
            }
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Glob {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.is_empty()
            || text.len() > LONGEST
            || text.chars().any(|c| c.is_control() || c.is_whitespace())
        {
            return Err(Invalid::new(
                "names",
                "must be 1 to 256 characters without spaces; `*` stands for any",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

text_form!(Glob, "ollama/*");
