//! What differs between the engines: connections, threads, error recovery, signals between servers, leadership.

pub(crate) mod leader;
pub(crate) mod postgres;
pub(crate) mod sqlite;

/// The engine below a [`crate::Store`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Embedded, the default.
    Sqlite,
    /// A server, which several of ours may share.
    Postgres,
}
