//! The transaction handed to a closure: run statements, read rows, leave signals for after the commit.
//!
//! Both engines behave as PostgreSQL does: once a statement fails, the transaction is lost unless the failure happened
//! inside [`Tx::savepoint`]. A closure that ignores the failure gets [`StoreError::Aborted`], never a half-done commit.
//! On PostgreSQL the isolation is READ COMMITTED in `write` (guard check-then-insert with a unique index or
//! [`Tx::lock`]) and REPEATABLE READ in `read`; SQLite runs writes one after another and reads on a snapshot.

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::dialect::postgres::session::{BEGIN_READ, Session};
use crate::dialect::{Dialect, sqlite};
use crate::error::{Result, StoreError};
use crate::events::Event;
use crate::row::Row;
use crate::value::Value;

/// The connection below a transaction.
pub(crate) enum Engine<'a> {
    Sqlite(&'a rusqlite::Connection),
    Postgres(&'a mut Session),
}

impl Engine<'_> {
    /// Runs statements without parameters, several at once.
    pub(crate) fn batch(&mut self, sql: &str) -> Result<()> {
        match self {
            Self::Sqlite(connection) => Ok(connection.execute_batch(sql)?),
            Self::Postgres(session) => session.batch(sql),
        }
    }
}

/// One transaction. It commits when the closure returns `Ok`, and rolls back otherwise.
pub struct Tx<'a> {
    engine: Engine<'a>,
    /// What to signal once the commit is durable: topics, and rows as [`crate::Change::Row`] has them.
    pub(crate) topics: BTreeSet<Cow<'static, str>>,
    /// Events to append just before the commit.
    pub(crate) events: Vec<Event>,
    /// How far the event log can be trusted, once asked in `read`.
    pub(crate) event_bound: Option<(i64, i64)>,
    /// Whether this is a `read`, on one snapshot.
    pub(crate) read_only: bool,
    /// Whether no statement has run yet, so that there is no snapshot either.
    fresh: bool,
    /// The statement error that ended this transaction, if any.
    pub(crate) failure: Option<StoreError>,
}

impl<'a> Tx<'a> {
    pub(crate) fn new(engine: Engine<'a>) -> Self {
        let (topics, events) = (BTreeSet::new(), Vec::new());
        Self { engine, topics, events, event_bound: None, read_only: false, fresh: true, failure: None }
    }

    /// A transaction of `read`.
    pub(crate) fn reading(engine: Engine<'a>) -> Self {
        Self { read_only: true, ..Self::new(engine) }
    }

    /// Which engine this is; only for the few queries that cannot be one text.
    pub fn dialect(&self) -> Dialect {
        match self.engine {
            Engine::Sqlite(_) => Dialect::Sqlite,
            Engine::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Runs a statement; the number of rows it inserted, changed, deleted or (for a query) returned.
    /// Each of `$1..$n` must occur in the text, and `params` must be exactly these. PostgreSQL infers a parameter's
    /// type from its first use: an optional filter reads `(CAST($2 AS TEXT) IS NULL OR name = $2)`, a list
    /// `IN (SELECT value FROM json_each(CAST($3 AS TEXT)))` with a JSON array of strings, a sum
    /// `CAST(sum(x) AS BIGINT)`.
    pub fn execute(&mut self, sql: &'static str, params: &[Value]) -> Result<u64> {
        self.run(|engine| match engine {
            Engine::Sqlite(connection) => sqlite::execute(connection, sql, params),
            Engine::Postgres(session) => session.execute(sql, params),
        })
    }

    /// All rows of a query or of a statement with `RETURNING` (whose order is not defined). Bound it with `LIMIT`.
    pub fn query(&mut self, sql: &'static str, params: &[Value]) -> Result<Vec<Row>> {
        self.run(|engine| match engine {
            Engine::Sqlite(connection) => sqlite::query(connection, sql, params),
            Engine::Postgres(session) => session.query(sql, params),
        })
    }

    /// The first row, if there is one.
    pub fn query_opt(&mut self, sql: &'static str, params: &[Value]) -> Result<Option<Row>> {
        Ok(self.query(sql, params)?.into_iter().next())
    }

    /// The first row, or [`StoreError::NotFound`] (which does not end the transaction).
    pub fn query_one(&mut self, sql: &'static str, params: &[Value]) -> Result<Row> {
        self.query_opt(sql, params)?.ok_or(StoreError::NotFound)
    }

    /// Signals `topic` (a noun in the plural) to all subscribers of all servers once this transaction is committed.
    pub fn notify(&mut self, topic: &'static str) {
        self.topics.insert(topic.into());
    }

    /// Like [`Tx::notify`], and says which row it was, so that a listener need not look at the others.
    pub fn notify_row(&mut self, topic: &'static str, id: impl std::fmt::Display) {
        self.topics.insert(format!("{topic}/{id}").into());
    }

    /// Serialises transactions that take the same lock until they end: `quota:{project}` before counting its
    /// instances. Always take locks in the same order. Nothing to do on SQLite, whose writes are serial.
    pub fn lock(&mut self, name: &str) -> Result<()> {
        match self.dialect() {
            Dialect::Sqlite => Ok(()),
            Dialect::Postgres => {
                let key = crate::dialect::postgres::advisory_key("lock", name);
                self.execute("SELECT pg_advisory_xact_lock($1)", &[Value::Int(key)]).map(drop)
            }
        }
    }

    /// Runs `closure` so that its failure undoes only itself: for an insert that may hit a unique index.
    pub fn savepoint<T, E>(&mut self, closure: impl FnOnce(&mut Self) -> Result<T, E>) -> Result<T, E>
    where
        E: From<StoreError>,
    {
        self.run(|engine| engine.batch("SAVEPOINT inner_step"))?;
        let (topics, events) = (self.topics.clone(), self.events.len());
        match closure(self) {
            Ok(value) if self.failure.is_none() => {
                self.run(|engine| engine.batch("RELEASE inner_step"))?;
                Ok(value)
            }
            outcome => {
                self.topics = topics;
                self.events.truncate(events);
                self.failure = None;
                self.run(|engine| engine.batch("ROLLBACK TO inner_step; RELEASE inner_step"))?;
                outcome.and(Err(E::from(StoreError::Aborted)))
            }
        }
    }

    /// What must happen last inside the transaction, just before the commit.
    pub(crate) fn flush(&mut self) -> Result<()> {
        if self.failure.is_some() {
            return Err(StoreError::Aborted);
        }
        self.flush_events()
    }

    /// Runs statements without parameters: migrations.
    pub(crate) fn batch(&mut self, sql: &str) -> Result<()> {
        self.run(|engine| engine.batch(sql))
    }

    /// PostgreSQL: runs a query of one row before the snapshot that later statements see is taken. In `write` each
    /// statement has a snapshot of its own; a `read` is started again, which nobody sees while it is fresh.
    pub(crate) fn before_snapshot(&mut self, sql: &'static str) -> Result<Row> {
        if !self.read_only {
            return self.query_one(sql, &[]);
        }
        if !self.fresh {
            return Err(StoreError::Other(
                "events must be read before anything else in a read transaction".into(),
            ));
        }
        let row = self.run(|engine| {
            let Engine::Postgres(session) = engine else { return Ok(None) };
            session.batch("COMMIT")?;
            let rows = session.query(sql, &[])?;
            session.batch(BEGIN_READ)?;
            Ok(rows.into_iter().next())
        })?;
        row.ok_or(StoreError::NotFound)
    }

    fn run<R>(&mut self, step: impl FnOnce(&mut Engine<'a>) -> Result<R>) -> Result<R> {
        if self.failure.is_some() {
            return Err(StoreError::Aborted);
        }
        self.fresh = false;
        step(&mut self.engine).inspect_err(|error| self.failure = Some(error.clone()))
    }
}
