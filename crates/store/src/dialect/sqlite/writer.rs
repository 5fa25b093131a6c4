//! SQLite's one writer: a thread that commits what is queued as one group.
//!
//! Each unit runs in a savepoint of the group's transaction, so a unit that fails undoes only itself. Nobody is
//! answered before the group is on the disk; if the commit fails, every unit of the group is told so. One flush for
//! many units is what makes `synchronous=FULL` affordable. Deferred constraints are not allowed in the schema: they
//! would fail at the group's commit and take the innocent with them.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::{broadcast, mpsc};

use super::open_writer;
use crate::change::Change;
use crate::error::StoreError;
use crate::store::Message;
use crate::tx::{Engine, Tx};
use crate::work::Unit;

/// A group ends with this many units …
const GROUP_UNITS: usize = 128;
/// … or after this much work, so that the first of a group does not wait long for the last.
const GROUP_TIME: Duration = Duration::from_millis(5);

/// The writer thread's state.
pub(crate) struct Writer {
    /// `None` after an error that the connection may not have survived.
    connection: Option<Connection>,
    path: PathBuf,
    changes: broadcast::Sender<Change>,
}

impl Writer {
    pub(crate) fn new(connection: Connection, path: PathBuf, changes: broadcast::Sender<Change>) -> Self {
        Self { connection: Some(connection), path, changes }
    }

    /// Serves the queue until it is closed and empty.
    pub(crate) fn run(mut self, mut queue: mpsc::Receiver<Message>) {
        while let Some(message) = queue.blocking_recv() {
            match message {
                Message::Unit(_, first) => self.group(first, &mut queue),
                Message::Close => queue.close(),
            }
        }
        if let Some(connection) = self.connection.take() {
            // Keeps the planner's statistics fresh; a failure costs nothing.
            let _ = connection.execute_batch("PRAGMA optimize");
        }
    }

    fn group(&mut self, first: Box<dyn Unit>, queue: &mut mpsc::Receiver<Message>) {
        let connection = match self.connection.take().map_or_else(|| open_writer(&self.path), Ok) {
            Ok(connection) => connection,
            Err(error) => return first.finish(Some(error)),
        };
        if let Err(error) = step(&connection, "BEGIN IMMEDIATE") {
            first.finish(Some(error.clone()));
            if !error.breaks_connection() {
                self.connection = Some(connection);
            }
            return;
        }
        let mut group =
            Group { connection: &connection, units: Vec::new(), topics: BTreeSet::new(), lost: None };
        let started = Instant::now();
        let mut next = Some(first);
        while let Some(unit) = next.take() {
            group.add(unit);
            if group.lost.is_none() && group.units.len() < GROUP_UNITS && started.elapsed() < GROUP_TIME {
                next = match queue.try_recv() {
                    Ok(Message::Unit(_, unit)) => Some(unit),
                    Ok(Message::Close) => {
                        queue.close();
                        None
                    }
                    Err(_) => None,
                };
            }
        }
        let (units, topics, lost) = (group.units, group.topics, group.lost);
        let failed = lost.or_else(|| step(&connection, "COMMIT").err());
        if let Some(error) = &failed {
            tracing::warn!(%error, units = units.len(), "a group of writes was rolled back");
            let clean = connection.is_autocommit() || step(&connection, "ROLLBACK").is_ok();
            if clean && !error.breaks_connection() {
                self.connection = Some(connection);
            }
        } else {
            self.connection = Some(connection);
        }
        for unit in units {
            unit.finish(failed.clone());
        }
        if failed.is_none() {
            for topic in topics {
                // No subscriber is no error.
                let _ = self.changes.send(Change::from_signal(topic));
            }
        }
    }
}

struct Group<'c> {
    connection: &'c Connection,
    units: Vec<Box<dyn Unit>>,
    topics: BTreeSet<Cow<'static, str>>,
    /// Why the whole group must roll back: SQLite undoes everything by itself when the disk is full.
    lost: Option<StoreError>,
}

impl Group<'_> {
    fn add(&mut self, mut unit: Box<dyn Unit>) {
        if let Err(error) = step(self.connection, "SAVEPOINT unit") {
            self.lost = Some(error);
            return self.units.push(unit);
        }
        let mut tx = Tx::new(Engine::Sqlite(self.connection));
        let keep = unit.run(&mut tx);
        let (topics, failure) = (tx.topics, tx.failure);
        self.units.push(unit);
        if self.connection.is_autocommit() {
            self.lost = Some(failure.unwrap_or(StoreError::Aborted));
            return;
        }
        if keep {
            self.topics.extend(topics);
        } else if let Err(error) = step(self.connection, "ROLLBACK TO unit") {
            self.lost = Some(error);
            return;
        }
        if let Err(error) = step(self.connection, "RELEASE unit") {
            self.lost = Some(error);
        }
    }
}

/// Runs one of the few fixed statements.
fn step(connection: &Connection, sql: &str) -> Result<(), StoreError> {
    connection.prepare_cached(sql)?.execute([])?;
    Ok(())
}
