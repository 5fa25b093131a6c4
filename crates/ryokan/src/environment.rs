//! All that the program takes from outside without being told on the command line: variables and the clock. Nothing
//! else reads them, so `docs/cli.md` can list what the client takes.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use ryokan_api::model::{Millis, Secret};

#[derive(Debug)]
pub(crate) struct Environment {
    /// `RYOKAN_URL`, else `CRABSHACK_API_URL`.
    pub(crate) url: Option<String>,
    /// `RYOKAN_TOKEN`, else `CRABSHACK_ADMIN_SECRET`.
    pub(crate) token: Option<Secret>,
    /// `RYOKAN_DATA_DIR`: where a server on this machine leaves its operator's `cli.json`.
    pub(crate) data_dir: Option<PathBuf>,
    /// `XDG_CONFIG_HOME`, else `~/.config`.
    pub(crate) config_home: Option<PathBuf>,
    /// `NO_COLOR` is set.
    pub(crate) no_color: bool,
    /// `TERM` says that the terminal can only print.
    pub(crate) dumb_terminal: bool,
    /// There is a desktop that a browser can open on.
    pub(crate) desktop: bool,
}

impl Environment {
    pub(crate) fn read() -> Self {
        let text = |name: &str| raw(name).and_then(|v| v.into_string().ok());
        let path = |name: &str| raw(name).map(PathBuf::from).filter(|p| p.is_absolute());
        Self {
            url: text("RYOKAN_URL").or_else(|| text("CRABSHACK_API_URL")),
            token: text("RYOKAN_TOKEN").or_else(|| text("CRABSHACK_ADMIN_SECRET")).map(Secret::new),
            data_dir: raw("RYOKAN_DATA_DIR").map(PathBuf::from),
            config_home: path("XDG_CONFIG_HOME").or_else(|| path("HOME").map(|home| home.join(".config"))),
            no_color: raw("NO_COLOR").is_some(),
            dumb_terminal: text("TERM").is_some_and(|t| t == "dumb"),
            desktop: cfg!(target_os = "macos")
                || raw("DISPLAY").is_some()
                || raw("WAYLAND_DISPLAY").is_some(),
        }
    }
}

/// Everything, for the server, which parses its own. What is no text can be no setting.
pub(crate) fn all() -> BTreeMap<String, String> {
    std::env::vars_os().filter_map(|(n, v)| Some((n.into_string().ok()?, v.into_string().ok()?))).collect()
}

/// A variable that a command line names, as in `-e NAME`. An empty value is a value here.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var_os(name).and_then(|v| v.into_string().ok())
}

/// Unset and empty are the same.
fn raw(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|v| !v.is_empty())
}

pub(crate) fn now() -> Millis {
    #[expect(clippy::disallowed_methods, reason = "ages are told against this machine's clock")]
    let now = std::time::SystemTime::now();
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
