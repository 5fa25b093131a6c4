//! Signals that committed changes send to whoever waits: reconcilers, event streams, snapshot refreshers.
//!
//! A signal says only "look again at this topic". It is sent after the commit, may be merged with others, and may be
//! lost when a server dies between commit and signal, so every listener also wakes by a timer.

use std::borrow::Cow;

use tokio::sync::broadcast;

/// What a listener is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Rows of this topic (a noun: `instances`, `jobs`, `events`) changed, here or on another server.
    Topic(Cow<'static, str>),
    /// Signals may have been missed (a slow listener, a lost connection): look at everything.
    Resync,
}

impl Change {
    /// Whether a listener of `topic` should look again.
    pub fn concerns(&self, topic: &str) -> bool {
        match self {
            Self::Topic(changed) => changed == topic,
            Self::Resync => true,
        }
    }
}

/// A subscription. It starts with the changes committed after [`crate::Store::subscribe`].
#[derive(Debug)]
pub struct Changes {
    receiver: broadcast::Receiver<Change>,
}

impl Changes {
    pub(crate) fn new(receiver: broadcast::Receiver<Change>) -> Self {
        Self { receiver }
    }

    /// The next change; `None` once the store is gone. Falling behind yields [`Change::Resync`]. Cancel safe.
    pub async fn next(&mut self) -> Option<Change> {
        match self.receiver.recv().await {
            Ok(change) => Some(change),
            Err(broadcast::error::RecvError::Lagged(_)) => Some(Change::Resync),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }

    /// Waits until `topic` should be looked at again; `false` once the store is gone. Cancel safe.
    pub async fn wait_for(&mut self, topic: &str) -> bool {
        while let Some(change) = self.next().await {
            if change.concerns(topic) {
                return true;
            }
        }
        false
    }
}
