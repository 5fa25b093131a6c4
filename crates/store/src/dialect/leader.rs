//! Leadership: at most one server at a time holds a name, for loops that must not run twice.
//!
//! On PostgreSQL it is a session's advisory lock on a connection of its own, so it ends with the process. A server
//! that is cut off may believe in its leadership for up to ten seconds after it ended; what a leader does must
//! therefore be idempotent, or fenced by a row. SQLite has one server, which always leads.

use std::sync::Arc;

use tokio::sync::{oneshot, watch};
use tokio::time::sleep;
use tokio_postgres::Client;

use crate::dialect::postgres::advisory_key;
use crate::dialect::postgres::background::{CHECK_EVERY, alive};
use crate::dialect::postgres::target::Target;
use crate::error::Result;

/// Held leadership; dropping it gives it up.
#[derive(Debug)]
pub struct LeaderGuard {
    /// `None` where it cannot be lost.
    hold: Option<Hold>,
}

#[derive(Debug)]
struct Hold {
    /// Turns `true`, or loses its sender, when the leadership is lost.
    lost: watch::Receiver<bool>,
    /// Its end tells the holder's task to let go.
    release: oneshot::Sender<oneshot::Sender<()>>,
}

impl LeaderGuard {
    /// A guard that is never lost.
    pub(crate) fn always() -> Self {
        Self { hold: None }
    }

    /// Whether the leadership is still held, as far as is known here.
    pub fn is_held(&self) -> bool {
        self.hold.as_ref().is_none_or(|hold| !*hold.lost.borrow() && hold.lost.has_changed().is_ok())
    }

    /// Resolves once the leadership is lost; never if nothing happens. Cancel safe.
    pub async fn lost(&self) {
        match &self.hold {
            None => std::future::pending().await,
            Some(hold) => {
                // An error means that the store, and so the connection, is gone: lost as well.
                let _ = hold.lost.clone().wait_for(|lost| *lost).await;
            }
        }
    }

    /// Gives the leadership up and waits until another server can take it.
    pub async fn release(self) {
        let (done, released) = oneshot::channel();
        if let Some(hold) = self.hold
            && hold.release.send(done).is_ok()
        {
            let _ = released.await;
        }
    }
}

/// Tries to take `name`, then holds it until the guard goes or the connection breaks.
pub(crate) async fn lead(
    target: Arc<Target>,
    name: String,
    answer: oneshot::Sender<Result<Option<LeaderGuard>>>,
) {
    let (client, mut broken) = match take(&target, &name).await {
        Ok(Some(held)) => held,
        Ok(None) => {
            let _ = answer.send(Ok(None));
            return;
        }
        Err(error) => {
            let _ = answer.send(Err(error));
            return;
        }
    };
    let (tell_lost, lost) = watch::channel(false);
    let (release, mut released) = oneshot::channel();
    if answer.send(Ok(Some(LeaderGuard { hold: Some(Hold { lost, release }) }))).is_err() {
        return;
    }
    loop {
        tokio::select! {
            done = &mut released => {
                let key = advisory_key("leader", &name);
                // If this fails the connection is gone, and the lock with it.
                let _ = client.execute("SELECT pg_advisory_unlock($1)", &[&key]).await;
                if let Ok(done) = done {
                    let _ = done.send(());
                }
                return;
            }
            () = sleep(CHECK_EVERY) => if !alive(&client).await {
                break;
            },
            _ = &mut broken => break,
        }
    }
    tracing::warn!(name, "leadership was lost: the connection that held it broke");
    let _ = tell_lost.send(true);
    // Kept until the guard goes, so that it keeps saying that it is lost.
    let _ = released.await;
}

/// A connection that holds the lock, and what ends when it breaks.
async fn take(target: &Target, name: &str) -> Result<Option<(Client, oneshot::Receiver<()>)>> {
    let (client, driver) = target.connect().await?;
    let (until, broken) = oneshot::channel();
    tokio::runtime::Handle::current().spawn(async move {
        let _ = driver.await;
        drop(until);
    });
    let taken = client.query_one("SELECT pg_try_advisory_lock($1)", &[&advisory_key("leader", name)]).await?;
    Ok(taken.try_get::<_, bool>(0)?.then_some((client, broken)))
}
