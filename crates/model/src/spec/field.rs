//! What single values must look like, whichever field they are in. Each error names the field that it was given.

use crate::Invalid;

pub(super) fn text(field: &str, value: &str, max: usize) -> Result<(), Invalid> {
    if value.len() > max {
        return Err(Invalid::new(field, format!("is longer than {max} bytes")));
    }
    if value.contains('\0') {
        return Err(Invalid::new(field, "holds a NUL byte"));
    }
    Ok(())
}

/// The name of an environment variable: `[A-Za-z_][A-Za-z0-9_]*`, at most 128 long.
pub fn env_name(field: &str, name: &str) -> Result<(), Invalid> {
    let ok = !name.is_empty()
        && name.len() <= 128
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if ok {
        Ok(())
    } else {
        Err(Invalid::new(
            field,
            format!(
                "`{}` is not a variable name: letters, digits and `_`, not beginning with a digit",
                name.chars().take(60).collect::<String>()
            ),
        ))
    }
}

pub(super) fn label(field: &str, value: &str, max: usize) -> Result<(), Invalid> {
    let ok = !value.is_empty()
        && value.len() <= max
        && value.starts_with(|c: char| c.is_ascii_alphanumeric())
        && !value.ends_with('-')
        && !value.contains("--")
        && value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if ok {
        Ok(())
    } else {
        Err(Invalid::new(
            field,
            format!("must be lower-case letters, digits and single inner `-`, at most {max}"),
        ))
    }
}

pub(super) fn absolute(field: &str, path: &str) -> Result<(), Invalid> {
    let ok = path.len() > 1
        && path.len() <= 512
        && path.starts_with('/')
        && !path.ends_with('/')
        && !path.bytes().any(|b| b < b' ' || b == b':')
        && path[1..].split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    if ok {
        Ok(())
    } else {
        Err(Invalid::new(
            field,
            "must be an absolute path such as \"/data\", without `..`, `:` or a trailing `/`",
        ))
    }
}

pub(super) fn header_name(field: &str, name: &str) -> Result<(), Invalid> {
    let ok =
        !name.is_empty() && name.len() <= 100 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if ok {
        Ok(())
    } else {
        Err(Invalid::new(
            field,
            format!("`{}` is not a header name", name.chars().take(60).collect::<String>()),
        ))
    }
}
