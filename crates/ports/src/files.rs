//! What every engine asks of a path and of a file's size, so that all refuse the same.

use crate::runtime::{Result, RuntimeError};

/// The largest file that goes in or out.
pub const MAX_FILE: u64 = 1024 * 1024 * 1024;
const MAX_PATH: usize = 4096;
const MAX_DEPTH: usize = 128;

/// Why a path cannot be used, by its beginning and without anything that a terminal would obey.
pub fn refuse(path: &str, reason: impl AsRef<str>) -> RuntimeError {
    let path: String = path.chars().filter(|c| !c.is_control()).take(200).collect();
    RuntimeError::Refused { field: "path".to_owned(), reason: format!("`{path}` {}", reason.as_ref()) }
}

/// An absolute path without empty, `.` and `..` parts, and without a slash at its end.
pub fn normal(path: &str) -> Result<String> {
    if !path.starts_with('/') {
        return Err(refuse(path, "is not absolute; begin it with `/`"));
    }
    if path.len() > MAX_PATH {
        return Err(refuse(path, "is too long"));
    }
    if path.contains('\0') {
        return Err(refuse(path, "holds a NUL byte"));
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") {
        return Err(refuse(path, "holds `..`"));
    }
    if parts.len() > MAX_DEPTH {
        return Err(refuse(path, "is too deep"));
    }
    Ok(format!("/{}", parts.join("/")))
}

/// Whether a normal path is a folder or something inside it.
pub fn within(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder.trim_end_matches('/'))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for (path, clean) in [("/", "/"), ("/a//b/./c/", "/a/b/c"), ("/..a/b..", "/..a/b..")] {
            assert_eq!(normal(path).unwrap(), clean);
        }
        for bad in
            ["", "a", "../etc/shadow", "/a/../../etc", "/..", "/a\0b", &format!("/{}", "x/".repeat(200))]
        {
            assert!(matches!(normal(bad), Err(RuntimeError::Refused { .. })), "{bad}");
        }
        assert!(within("/tmp/x", "/tmp") && within("/tmp", "/tmp/") && within("/x", "/"));
        assert!(!within("/tmpx", "/tmp"));
    }
}
