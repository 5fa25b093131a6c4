//! One error type for both engines, classified by what a caller can do about it.
//!
//! No variant ever carries a parameter's value or a database password: PostgreSQL's `DETAIL` and the messages of its
//! class 22 (bad data) are dropped, since they quote values.

use rusqlite::ErrorCode;
use rusqlite::ffi;
use tokio_postgres::error::SqlState;

/// What [`crate::Tx`] methods return.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// Why the store could not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// A unique index refused the row; the name is the same on both engines when the index is named.
    #[error("a row that conflicts with {constraint} exists already")]
    UniqueViolation { constraint: String },
    /// A row is referenced by another, or references one that does not exist.
    #[error("a referenced row does not exist, or the row is still referenced")]
    ForeignKey,
    /// A NOT NULL or CHECK constraint refused the row.
    #[error("the row breaks the rule {constraint}")]
    Check { constraint: String },
    /// A trigger refused the statement.
    #[error("{0}")]
    Refused(String),
    /// `query_one` found no row.
    #[error("no such row")]
    NotFound,
    /// A claim, lease or attempt that someone else has taken over; nothing was changed.
    #[error("the attempt is no longer current: another worker has taken over")]
    Fenced,
    /// A lock was not free in time or a deadlock was broken; nothing was changed, a retry may work.
    #[error("the database is busy")]
    Busy,
    /// The database cannot be reached now, a retry may work. From `write`, the outcome is unknown if the connection
    /// broke during the commit.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// No space is left; the transaction was rolled back. Works again once there is space.
    #[error("the database's disk is full")]
    DiskFull,
    /// The database file or its indexes are damaged.
    #[error("the database is damaged: {0}")]
    Corrupt(String),
    /// A write inside `read`.
    #[error("a write was tried in a read-only transaction")]
    ReadOnly,
    /// The schema was made by a newer server than this one.
    #[error(
        "the database's schema is version {found}, but this server knows only up to {known}: upgrade the server"
    )]
    NewerSchema { found: i64, known: i64 },
    /// A migration that was applied is not the one in this binary.
    #[error("migration {version} was applied as {applied} and differs from this server's: refusing to guess")]
    MigrationChanged { version: i64, applied: String },
    /// The closure panicked; the transaction was rolled back.
    #[error("a store transaction panicked and was rolled back")]
    Panicked,
    /// A statement failed, the closure ignored it and returned `Ok`; rolled back, as PostgreSQL would.
    #[error("a statement failed and the transaction went on: rolled back")]
    Aborted,
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
    /// A column is missing or holds something else than the getter asked for.
    #[error("column {column} is not {expected}")]
    Decode { column: String, expected: &'static str },
    /// A sealed value, key or key file is not what it must be.
    #[error("{0}")]
    Key(String),
    /// Anything else: mostly a mistake in a statement or in the set-up.
    #[error("{0}")]
    Other(String),
}

impl StoreError {
    /// Whether trying again later, unchanged, may succeed.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Busy | Self::Unavailable(_) | Self::DiskFull)
    }

    /// Whether the connection is of no more use.
    pub(crate) fn breaks_connection(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Corrupt(_))
    }
}

/// Classifies an error of SQLite. A unique violation carries `table.column, table.column`, which the caller turns
/// into the index's name.
impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let (failure, message) = match &error {
            rusqlite::Error::SqliteFailure(failure, message) => {
                (*failure, message.clone().unwrap_or_default())
            }
            // The statement's text is static, but repeating it helps only in the log: keep the message.
            rusqlite::Error::SqlInputError { error, msg, .. } => (*error, msg.clone()),
            other => return Self::Other(format!("SQLite: {other}")),
        };
        let after = |prefix: &str| message.strip_prefix(prefix).map(ToOwned::to_owned);
        match failure.code {
            ErrorCode::ConstraintViolation => match failure.extended_code {
                ffi::SQLITE_CONSTRAINT_UNIQUE
                | ffi::SQLITE_CONSTRAINT_PRIMARYKEY
                | ffi::SQLITE_CONSTRAINT_ROWID => Self::UniqueViolation {
                    constraint: after("UNIQUE constraint failed: ")
                        .unwrap_or_else(|| "a unique index".into()),
                },
                ffi::SQLITE_CONSTRAINT_FOREIGNKEY => Self::ForeignKey,
                ffi::SQLITE_CONSTRAINT_TRIGGER if message.starts_with("FOREIGN KEY") => Self::ForeignKey,
                ffi::SQLITE_CONSTRAINT_TRIGGER => Self::Refused(message),
                _ => Self::Check {
                    constraint: message.split_once(": ").map_or(message.clone(), |(_, name)| name.to_owned()),
                },
            },
            ErrorCode::DiskFull => Self::DiskFull,
            ErrorCode::SystemIoFailure if failure.extended_code == ffi::SQLITE_IOERR_SHMSIZE => {
                Self::DiskFull
            }
            ErrorCode::SystemIoFailure | ErrorCode::CannotOpen | ErrorCode::PermissionDenied => {
                Self::Unavailable(format!("SQLite: {message} (code {})", failure.extended_code))
            }
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Self::Busy,
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
                Self::Corrupt(format!("SQLite: {message}"))
            }
            ErrorCode::ReadOnly => Self::ReadOnly,
            _ => Self::Other(format!("SQLite: {message} (code {})", failure.extended_code)),
        }
    }
}

/// Classifies an error of PostgreSQL.
impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(db) = error.as_db_error() else {
            if error.is_closed() {
                return Self::Unavailable("PostgreSQL: the connection is closed".into());
            }
            let chain = chain(&error);
            // tokio-postgres keeps its kinds private; what is neither a bad parameter nor a bad URL is the network.
            let text = error.to_string();
            return if ["error serializing", "error deserializing", "invalid c", "invalid connection string"]
                .iter()
                .any(|prefix| text.starts_with(prefix))
            {
                Self::Other(format!("PostgreSQL: {chain}"))
            } else {
                Self::Unavailable(format!("PostgreSQL: {chain}"))
            };
        };
        let code = db.code();
        let constraint = || db.constraint().unwrap_or("a constraint").to_owned();
        match code {
            &SqlState::UNIQUE_VIOLATION | &SqlState::EXCLUSION_VIOLATION => {
                Self::UniqueViolation { constraint: constraint() }
            }
            &SqlState::FOREIGN_KEY_VIOLATION | &SqlState::RESTRICT_VIOLATION => Self::ForeignKey,
            &SqlState::CHECK_VIOLATION => Self::Check { constraint: constraint() },
            &SqlState::NOT_NULL_VIOLATION => Self::Check {
                constraint: format!("{}.{}", db.table().unwrap_or("?"), db.column().unwrap_or("?")),
            },
            &SqlState::RAISE_EXCEPTION => Self::Refused(db.message().to_owned()),
            &SqlState::READ_ONLY_SQL_TRANSACTION => Self::ReadOnly,
            &SqlState::DISK_FULL => Self::DiskFull,
            &SqlState::T_R_SERIALIZATION_FAILURE
            | &SqlState::T_R_DEADLOCK_DETECTED
            | &SqlState::LOCK_NOT_AVAILABLE
            | &SqlState::QUERY_CANCELED => Self::Busy,
            &SqlState::DATA_CORRUPTED | &SqlState::INDEX_CORRUPTED => {
                Self::Corrupt(format!("PostgreSQL: {}", db.message()))
            }
            other => {
                let state = other.code();
                match state.get(..2).unwrap_or_default() {
                    "08" | "53" | "57" | "58" => {
                        Self::Unavailable(format!("PostgreSQL: {} ({state})", db.message()))
                    }
                    "22" => Self::Other(format!("PostgreSQL: a value does not fit its type ({state})")),
                    _ => Self::Other(format!("PostgreSQL: {} ({state})", db.message())),
                }
            }
        }
    }
}

/// An error and its sources in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
