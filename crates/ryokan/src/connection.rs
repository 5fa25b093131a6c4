//! Which server, and as whom: flags, then variables, then the stored login, then what a server on this machine left
//! for its operator. A stored token is sent only to the server that it was stored with.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ryokan_api::client::{Client, Credential};
use ryokan_api::model::Secret;
use serde::{Deserialize, Serialize};

use crate::arguments::Globals;
use crate::environment::Environment;
use crate::failure::{Failure, Outcome};

pub(crate) const DEFAULT_URL: &str = "http://127.0.0.1:7700";

/// `cli.json`: written by `ryokan login` (mode 0600), and by a server at its first start into its data folder.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Stored {
    pub(crate) url: String,
    pub(crate) token: String,
    /// Of a token that `ryokan login` made, so that `ryokan logout` can revoke it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token_id: Option<String>,
}

pub(crate) fn client(globals: &Globals, environment: &Environment) -> Outcome<Client> {
    let stored = match load(&login_path(environment)?)? {
        Some(stored) => Some(stored),
        None => match &environment.data_dir {
            Some(folder) => load(&folder.join("cli.json"))?,
            None => None,
        },
    };
    let url = url(globals, environment, stored.as_ref());
    let token = match &globals.token_file {
        Some(path) => Some(read_token(path)?),
        None => environment
            .token
            .clone()
            .or_else(|| stored.filter(|s| same_server(&s.url, &url)).map(|s| Secret::new(s.token))),
    };
    let credential = token.map_or(Credential::None, Credential::Token);
    Ok(Client::new(&url, credential)?)
}

/// The address that a new login is for.
pub(crate) fn login_url(globals: &Globals, environment: &Environment) -> Outcome<String> {
    let stored = load(&login_path(environment)?).ok().flatten();
    Ok(url(globals, environment, stored.as_ref()))
}

fn url(globals: &Globals, environment: &Environment, stored: Option<&Stored>) -> String {
    globals
        .url
        .clone()
        .or_else(|| environment.url.clone())
        .or_else(|| stored.map(|s| s.url.clone()))
        .unwrap_or_else(|| DEFAULT_URL.to_owned())
}

fn same_server(a: &str, b: &str) -> bool {
    a.trim_end_matches('/') == b.trim_end_matches('/')
}

/// Where the login is stored.
pub(crate) fn login_path(environment: &Environment) -> Outcome<PathBuf> {
    match &environment.config_home {
        Some(folder) => Ok(folder.join("ryokan").join("cli.json")),
        None => {
            Err(Failure::usage("there is no place for the login: neither XDG_CONFIG_HOME nor HOME is set")
                .hint("set one of them to an absolute path"))
        }
    }
}

pub(crate) fn load(path: &Path) -> Outcome<Option<Stored>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::new(format!("{} cannot be read: {error}", path.display()))),
    };
    // The parser's own words could repeat the token.
    serde_json::from_str(&text).map(Some).map_err(|_| {
        Failure::new(format!("{} is not a stored login", path.display()))
            .hint("remove it with `ryokan logout`, then `ryokan login`")
    })
}

/// Replaces the stored login as a whole; nobody else can read it at any moment.
pub(crate) fn store(path: &Path, stored: &Stored) -> Outcome {
    let fail = |e: std::io::Error| Failure::new(format!("{} cannot be written: {e}", path.display()));
    let text = serde_json::to_string_pretty(stored).map_err(|e| Failure::new(e.to_string()))?;
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(fail)?;
    }
    let new = path.with_extension(format!("{}.new", std::process::id()));
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)
        .and_then(|mut file| file.write_all(format!("{text}\n").as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&new, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    written.map_err(fail)
}

fn read_token(path: &Path) -> Outcome<Secret> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| Failure::usage(format!("--token-file {}: {e}", path.display())))?;
    let token = text.trim();
    if token.is_empty() {
        return Err(Failure::usage(format!("--token-file {}: it is empty", path.display())));
    }
    Ok(Secret::new(token))
}
