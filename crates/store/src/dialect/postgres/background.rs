//! The thread that listens: signals from and to other servers (LISTEN/NOTIFY), and the connections of leaders.
//!
//! Signals leave on the listening connection after the commit, merged by topic, rather than inside each transaction:
//! PostgreSQL serialises the commits of all transactions that notify, which would undo its group commit. The price: a
//! server killed between commit and signal stays silent, and the others find the change by their timers.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tokio_postgres::{AsyncMessage, Client};

use super::target::Target;
use crate::change::Change;
use crate::error::{Result, StoreError};

const CHANNEL: &str = "ryokan";
/// How often an idle connection is checked, and how long an answer may take.
pub(crate) const CHECK_EVERY: Duration = Duration::from_secs(5);
const RECONNECT_FIRST: Duration = Duration::from_millis(100);
const RECONNECT_MOST: Duration = Duration::from_secs(5);

/// What the listening thread is made of.
pub(crate) struct Listener {
    pub(crate) target: Arc<Target>,
    pub(crate) local: broadcast::Sender<Change>,
    /// Topics that this server committed; the thread ends when all senders are gone.
    pub(crate) committed: mpsc::UnboundedReceiver<Cow<'static, str>>,
    /// Told once listening works, or why it does not.
    pub(crate) ready: oneshot::Sender<Result<Handle>>,
}

impl Listener {
    /// Runs until every sender of `committed` is gone.
    pub(crate) fn run(self) {
        let Self { target, local, mut committed, ready } = self;
        let runtime = match Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                let _ = ready.send(Err(StoreError::Other(format!("cannot make a runtime: {error}"))));
                return;
            }
        };
        runtime.block_on(async {
            let mut link = match Link::connect(&target).await {
                Ok(link) => link,
                Err(error) => {
                    let _ = ready.send(Err(error));
                    return;
                }
            };
            let _ = ready.send(Ok(Handle::current()));
            let mut topics = BTreeSet::new();
            while link.serve(&local, &mut committed, &mut topics).await {
                tracing::warn!("the connection that listens for changes was lost");
                let mut pause = RECONNECT_FIRST;
                link = loop {
                    match Link::connect(&target).await {
                        Ok(link) => break link,
                        Err(error) => tracing::debug!(%error, "cannot listen for changes yet"),
                    }
                    // Topics keep being taken, so that the queue neither grows nor hides that the store is gone.
                    let waited = timeout(pause, async {
                        while let Some(topic) = committed.recv().await {
                            topics.insert(topic);
                        }
                    });
                    if waited.await.is_ok() {
                        return;
                    }
                    pause = (pause * 2).min(RECONNECT_MOST);
                };
                let _ = local.send(Change::Resync);
            }
        });
    }
}

struct Link {
    client: Client,
    /// Our own process at the server, whose signals come back to us.
    own: i32,
    /// Who signalled which topic; ends with the connection.
    heard: mpsc::UnboundedReceiver<(i32, String)>,
}

impl Link {
    async fn connect(target: &Target) -> Result<Self> {
        let (client, mut driver) = target.connect().await?;
        let (tell, heard) = mpsc::unbounded_channel();
        Handle::current().spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| driver.poll_message(context)).await {
                if let AsyncMessage::Notification(signal) = message {
                    let _ = tell.send((signal.process_id(), signal.payload().to_owned()));
                }
            }
        });
        let listen = async {
            client.batch_execute("LISTEN ryokan").await?;
            client.query_one("SELECT pg_backend_pid()", &[]).await?.try_get(0)
        };
        let silent = |_| StoreError::Unavailable("PostgreSQL does not answer".into());
        let own = timeout(CHECK_EVERY, listen).await.map_err(silent)??;
        Ok(Self { client, own, heard })
    }

    /// Passes signals both ways until the connection is lost (`true`) or the store is gone (`false`).
    async fn serve(
        &mut self,
        local: &broadcast::Sender<Change>,
        committed: &mut mpsc::UnboundedReceiver<Cow<'static, str>>,
        topics: &mut BTreeSet<Cow<'static, str>>,
    ) -> bool {
        loop {
            if !topics.is_empty() {
                let sent: Vec<&str> = topics.iter().map(AsRef::as_ref).collect();
                let sql = "SELECT pg_notify($1, topic) FROM unnest($2::text[]) AS topic";
                match timeout(CHECK_EVERY, self.client.execute(sql, &[&CHANNEL, &sent])).await {
                    Ok(Ok(_)) => topics.clear(),
                    _ => return true,
                }
            }
            tokio::select! {
                heard = self.heard.recv() => match heard {
                    Some((process, topic)) if process != self.own => {
                        let _ = local.send(Change::from_signal(topic.into()));
                    }
                    Some(_) => {}
                    None => return true,
                },
                topic = committed.recv() => match topic {
                    Some(topic) => {
                        topics.insert(topic);
                        while let Ok(topic) = committed.try_recv() {
                            topics.insert(topic);
                        }
                    }
                    None => return false,
                },
                () = sleep(CHECK_EVERY) => if !alive(&self.client).await {
                    return true;
                },
            }
        }
    }
}

/// Whether the server still answers on this connection.
pub(crate) async fn alive(client: &Client) -> bool {
    matches!(timeout(CHECK_EVERY, client.batch_execute("SELECT 1")).await, Ok(Ok(())))
}
