//! Paths of requests in one form, and patterns over them.
//!
//! Two servers may read one text as two paths. What can be brought to one form is (escapes of plain letters, `.` and `..`,
//! `//`); what cannot is *ambiguous*: it fits every rule that refuses and names a path, and none that allows and does.

use std::fmt;
use std::str::FromStr;

use super::glob::stars;
use super::text_form;
use crate::Invalid;

/// The path of a request, without its query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Path {
    /// Begins with `/`; no empty, `.` or `..` segment; escapes only where they are needed, in upper case.
    Clear(String),
    /// Why nobody can say which path it is.
    Ambiguous(&'static str),
}

const LONGEST: usize = 8 * 1024;

impl Path {
    /// Of a raw path as it stands in a request line. A query is cut off.
    pub fn parse(raw: &str) -> Self {
        let raw = raw.split(['?', '#']).next().unwrap_or_default();
        match normalise(raw) {
            Ok(path) => Self::Clear(path),
            Err(why) => Self::Ambiguous(why),
        }
    }

    /// The one form, to be sent on; `None` where there is none.
    pub fn clear(&self) -> Option<&str> {
        match self {
            Self::Clear(path) => Some(path),
            Self::Ambiguous(_) => None,
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.clear().unwrap_or("(ambiguous path)"))
    }
}

/// RFC 3986 §6.2.2, and a refusal of all that servers are known to read in two ways.
fn normalise(raw: &str) -> Result<String, &'static str> {
    if raw.len() > LONGEST {
        return Err("it is longer than 8 KiB");
    }
    if !raw.is_empty() && !raw.starts_with('/') {
        return Err("it does not begin with a slash");
    }
    let mut segments: Vec<String> = Vec::new();
    let mut directory = raw.is_empty();
    for segment in raw.split('/').skip(1) {
        let segment = unescape(segment)?;
        // Some servers take what follows `;` for a parameter, and the rest for the name.
        let bare = segment.split(';').next().unwrap_or_default();
        directory = matches!(segment.as_str(), "" | "." | "..");
        match bare {
            "." | ".." if bare.len() != segment.len() => return Err("a dot segment has a parameter"),
            "." => {}
            "" if segment.is_empty() => {}
            ".." => {
                if segments.pop().is_none() {
                    return Err("it climbs above the root");
                }
            }
            _ => segments.push(segment),
        }
    }
    let mut path = String::with_capacity(raw.len() + 1);
    for segment in &segments {
        path.push('/');
        path.push_str(segment);
    }
    if directory || segments.is_empty() {
        path.push('/');
    }
    Ok(path)
}

fn unescape(segment: &str) -> Result<String, &'static str> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let bytes = segment.as_bytes();
    let mut out = String::with_capacity(segment.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'%' => {
                let digit = |i: usize| bytes.get(at + i).and_then(|b| char::from(*b).to_digit(16));
                let (Some(high), Some(low)) = (digit(1), digit(2)) else { return Err("an escape is broken") };
                let value = u8::try_from(high * 16 + low).map_err(|_| "an escape is broken")?;
                match value {
                    b'/' => return Err("it has an escaped slash"),
                    b'\\' => return Err("it has an escaped backslash"),
                    0..=0x1f | 0x7f => return Err("it has an escaped control character"),
                    _ if value.is_ascii_alphanumeric() || b"-._~".contains(&value) => {
                        out.push(char::from(value));
                    }
                    _ => {
                        out.push('%');
                        out.push(char::from(HEX[usize::from(value >> 4)]));
                        out.push(char::from(HEX[usize::from(value & 15)]));
                    }
                }
                at += 3;
            }
            b'\\' => return Err("it has a backslash"),
            0x21..=0x7e => {
                out.push(char::from(byte));
                at += 1;
            }
            _ => return Err("it has a character that must be escaped"),
        }
    }
    // `%252e` is `%2e` to whoever unescapes once, and `.` to whoever does so twice. Looked at in the one form, since the
    // digits may have been escaped as well.
    let hex = |at: usize| out.as_bytes().get(at).is_some_and(u8::is_ascii_hexdigit);
    if out.match_indices("%25").any(|(at, _)| hex(at + 3) && hex(at + 4)) {
        return Err("it is escaped twice");
    }
    Ok(out)
}

/// `/repos/*/issues`, `/v1/**`: `*` is any characters of one segment, `**` as a whole segment any segments, also none.
/// A slash at the end makes no difference.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PathPattern(String);

const LONGEST_PATTERN: usize = 1024;

impl PathPattern {
    /// Whether a path in the one form fits.
    pub fn fits(&self, path: &str) -> bool {
        fits(self.0.trim_end_matches('/'), path.trim_end_matches('/'))
    }
}

/// As [`stars`], with segments for characters.
fn fits(pattern: &str, path: &str) -> bool {
    let pattern: Vec<&str> = pattern.split('/').collect();
    let path: Vec<&str> = path.split('/').collect();
    let (mut p, mut t) = (0, 0);
    let mut last: Option<(usize, usize)> = None;
    while t < path.len() {
        match pattern.get(p) {
            Some(&"**") => {
                last = Some((p, t));
                p += 1;
            }
            Some(segment) if stars(segment.as_bytes(), path[t].as_bytes()) => {
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
    pattern[p..].iter().all(|segment| *segment == "**")
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for PathPattern {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let no = |why: &str| Err(Invalid::new("paths", why));
        if text.len() > LONGEST_PATTERN {
            return no("is longer than 1024 characters");
        }
        if !text.starts_with('/') {
            return no("begins with a slash, as in \"/repos/**\"");
        }
        if text.contains(['?', '#']) {
            return no("is without a query: rules look at paths alone");
        }
        if text.split('/').any(|segment| segment != "**" && segment.contains("**")) {
            return no("has `**` only as a whole part, as in \"/repos/**\"");
        }
        match normalise(text) {
            Ok(path) => Ok(Self(path)),
            Err(why) => no(&format!("fits no path that could be told for certain: {why}")),
        }
    }
}

text_form!(PathPattern, "/repos/**");
