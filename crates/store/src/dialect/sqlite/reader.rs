//! SQLite's readers: threads with a read-only connection each, one snapshot a call, never in the writer's way.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::mpsc;

use super::open_reader;
use crate::error::StoreError;
use crate::store::Message;
use crate::tx::{Engine, Tx};
use crate::work::Unit;

/// Serves the shared queue until it is closed and empty.
pub(crate) fn run(path: &Path, queue: &Mutex<mpsc::Receiver<Message>>) {
    let mut connection = None;
    loop {
        let mut waiting = queue.lock().unwrap_or_else(PoisonError::into_inner);
        let message = waiting.blocking_recv();
        if matches!(message, Some(Message::Close)) {
            waiting.close();
        }
        drop(waiting);
        match message {
            Some(Message::Unit(_, unit)) => connection = serve(path, connection.take(), unit),
            Some(Message::Close) => {}
            None => return,
        }
    }
}

/// Runs one unit; gives the connection back if it is still good.
fn serve(path: &Path, connection: Option<Connection>, mut unit: Box<dyn Unit>) -> Option<Connection> {
    let opened = connection.map_or_else(|| open_reader(path), Ok).and_then(|connection| {
        connection.execute_batch("BEGIN DEFERRED")?;
        Ok(connection)
    });
    let connection = match opened {
        Ok(connection) => connection,
        Err(error) => {
            unit.finish(Some(error));
            return None;
        }
    };
    let mut tx = Tx::reading(Engine::Sqlite(&connection));
    unit.run(&mut tx);
    let broken = tx.failure.is_some_and(|failure: StoreError| failure.breaks_connection());
    let ended = connection.is_autocommit() || connection.execute_batch("ROLLBACK").is_ok();
    unit.finish(None);
    (ended && !broken).then_some(connection)
}
