//! A thread that owns a connection and runs one transaction after another from the shared queue.

use std::borrow::Cow;
use std::sync::Arc;

use tokio::sync::{Mutex, broadcast, mpsc};

use super::session::{BEGIN_READ, BEGIN_WRITE, Session};
use super::target::Target;
use crate::change::Change;
use crate::store::{Access, Message};
use crate::tx::{Engine, Tx};
use crate::work::Unit;

/// Where committed topics go: to subscribers here, and to the thread that tells other servers.
#[derive(Clone)]
pub(crate) struct Signals {
    pub(crate) local: broadcast::Sender<Change>,
    pub(crate) others: mpsc::UnboundedSender<Cow<'static, str>>,
}

/// Serves the queue until it is closed and empty.
pub(crate) fn run(target: Arc<Target>, queue: &Mutex<mpsc::Receiver<Message>>, signals: &Signals) {
    let mut session = match Session::new(target) {
        Ok(session) => session,
        Err(error) => return tracing::error!(%error, "a thread of the store cannot start"),
    };
    let runtime = Arc::clone(&session.runtime);
    loop {
        // Waiting on the runtime keeps the idle connection alive and notices its end.
        let message = runtime.block_on(async {
            let mut waiting = queue.lock().await;
            let message = waiting.recv().await;
            if matches!(message, Some(Message::Close)) {
                waiting.close();
            }
            message
        });
        match message {
            Some(Message::Unit(access, unit)) => serve(&mut session, access, unit, signals),
            Some(Message::Close) => {}
            None => return,
        }
    }
}

fn serve(session: &mut Session, access: Access, mut unit: Box<dyn Unit>, signals: &Signals) {
    let begin = match access {
        Access::Write => BEGIN_WRITE,
        Access::Read => BEGIN_READ,
    };
    if let Err(error) = session.begin(begin) {
        return unit.finish(Some(error));
    }
    let engine = Engine::Postgres(session);
    let mut tx = match access {
        Access::Write => Tx::new(engine),
        Access::Read => Tx::reading(engine),
    };
    let commit = unit.run(&mut tx);
    let topics = tx.topics;
    let ended = session.end(if commit { "COMMIT" } else { "ROLLBACK" });
    let failed = if commit { ended.err() } else { None };
    let done = commit && failed.is_none();
    unit.finish(failed);
    if done && access == Access::Write {
        for topic in topics {
            // No subscriber is no error, and without the listener others wake by their timers.
            let _ = signals.local.send(Change::from_signal(topic.clone()));
            let _ = signals.others.send(topic);
        }
    }
}
