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
    /// The row of this topic with this id changed, here or on another server.
    Row(Cow<'static, str>, String),
    /// Signals may have been missed (a slow listener, a lost connection): look at everything.
    Resync,
}

impl Change {
    /// From what a transaction left: a topic, or a topic, a slash and an id.
    pub(crate) fn from_signal(signal: Cow<'static, str>) -> Self {
        match signal.split_once('/') {
            Some((topic, id)) => Self::Row(topic.to_owned().into(), id.to_owned()),
            None => Self::Topic(signal),
        }
    }

    /// Whether a listener of `topic` should look again.
    pub fn concerns(&self, topic: &str) -> bool {
        match self {
            Self::Topic(changed) | Self::Row(changed, _) => changed == topic,
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

    /// The next change that concerns `topic`; `None` once the store is gone. Cancel safe.
    pub async fn next_of(&mut self, topic: &str) -> Option<Change> {
        loop {
            let change = self.next().await?;
            if change.concerns(topic) {
                return Some(change);
            }
        }
    }

    /// Waits until `topic` should be looked at again; `false` once the store is gone. Cancel safe.
    pub async fn wait_for(&mut self, topic: &str) -> bool {
        self.next_of(topic).await.is_some()
    }
}
