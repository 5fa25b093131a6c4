//! Where the database is and how many connections to hold. `Debug` and `Display` never show a password.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use tokio_postgres::config::Host;
use zeroize::Zeroizing;

/// Where the database is.
#[derive(Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// A file; its folder must exist. `-wal` and `-shm` files appear beside it.
    Sqlite(PathBuf),
    /// `postgres://user:password@host:port/database?sslmode=…`, or libpq's `key=value` form.
    /// `sslmode` means what it means to libpq: `disable`, `prefer` (the default) and `require` check no certificate,
    /// `verify-full` does, against the web's roots or the PEM file in `sslrootcert`; `verify-ca` is as strict as
    /// `verify-full`.
    Postgres(Zeroizing<String>),
}

impl StoreUrl {
    /// A PostgreSQL URL.
    pub fn postgres(url: impl Into<String>) -> Self {
        Self::Postgres(Zeroizing::new(url.into()))
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// For people and logs: the path, or host and database.
impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(url) => {
                // Taken from the parsed parts: cutting the text could cut a password in two.
                let url = url.split('?').next().unwrap_or_default();
                let config = url.parse::<tokio_postgres::Config>().unwrap_or_default();
                let host = config.get_hosts().first().map_or_else(String::new, |host| match host {
                    Host::Tcp(name) => name.clone(),
                    Host::Unix(path) => path.display().to_string(),
                });
                write!(f, "postgres://{host}/{}", config.get_dbname().unwrap_or_default())
            }
        }
    }
}

/// `postgres://…`, `postgresql://…`, `sqlite:path`, `sqlite://path`.
impl FromStr for StoreUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(Self::postgres(text));
        }
        let path = text.strip_prefix("sqlite://").or_else(|| text.strip_prefix("sqlite:"));
        match path {
            Some(path) if !path.is_empty() => Ok(Self::Sqlite(path.into())),
            // The text is not repeated: it may be a mistyped URL with a password.
            _ => Err("a database URL starts with postgres:// or sqlite: followed by a path".into()),
        }
    }
}

/// How to open a [`crate::Store`].
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the database is.
    pub url: StoreUrl,
    /// SQLite: how many read-only connections, each with a thread of its own.
    pub readers: usize,
    /// PostgreSQL: how many connections for reads and writes, each with a thread of its own. One more listens for
    /// changes, and each held leadership takes one.
    pub pool: usize,
    /// How many calls may wait for a connection before callers wait to hand over theirs.
    pub queue: usize,
    /// How long one statement may take on PostgreSQL before the call fails as unavailable.
    pub statement_timeout: Duration,
}

impl Options {
    /// Defaults: 4 readers or 8 connections, 1,024 queued calls, 60 s a statement.
    pub fn new(url: StoreUrl) -> Self {
        Self { url, readers: 4, pool: 8, queue: 1024, statement_timeout: Duration::from_mins(1) }
    }
}
