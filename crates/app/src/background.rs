//! What the background loops share: the record of their last run, and the generic loop of a simple reconciler.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use ryokan_model::Millis;
use tokio_util::sync::CancellationToken;

use crate::{App, Result};

/// Writes a reconciler's last run, at most every few seconds unless its outcome changed: a record for people is not
/// worth a durable commit each time.
pub struct Report {
    name: &'static str,
    last: Mutex<Option<(Millis, bool, i64)>>,
}

impl Report {
    const EVERY: Duration = Duration::from_secs(30);

    pub fn new(name: &'static str) -> Self {
        Self { name, last: Mutex::new(None) }
    }

    /// `outcome` is the backlog, or why the run failed.
    pub async fn finished(&self, app: &App, started: Millis, outcome: Result<i64>) {
        let now = app.clock.now();
        let (good, backlog) = outcome.as_ref().map_or((false, 0), |n| (true, *n));
        {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((at, was_good, was)) = *last
                && was_good == good
                && was == backlog
                && now.since(at) < Self::EVERY
            {
                return;
            }
            *last = Some((now, good, backlog));
        }
        let (name, text) = (self.name, outcome.map_err(|e| format!("{:#}", anyhow::Error::from(e))));
        let written = app
            .store
            .write(move |tx| {
                tx.start_reconciler(name, started.0)?;
                match &text {
                    Ok(backlog) => tx.finish_reconciler(name, Ok(*backlog), now.0),
                    Err(error) => tx.finish_reconciler(name, Err(error.as_str()), now.0),
                }
            })
            .await;
        if let Err(error) = written {
            tracing::debug!(reconciler = name, error = %error, "its run could not be recorded");
        }
    }
}

/// A reconciler that does all its work in one go: wakes by timer and by changes of its topics.
pub struct Simple {
    pub name: &'static str,
    pub topics: &'static [&'static str],
    pub every: Duration,
    /// Returns the backlog.
    pub once: fn(Arc<App>) -> BoxFuture<'static, Result<i64>>,
}

impl Simple {
    pub async fn run(self, app: Arc<App>, stop: CancellationToken) {
        let report = Report::new(self.name);
        let mut changes = app.store.subscribe();
        loop {
            let started = app.clock.now();
            let outcome = (self.once)(app.clone()).await;
            let failed = outcome.is_err();
            if let Err(error) = &outcome {
                tracing::warn!(reconciler = self.name, error = %error, "a run failed; trying again");
            }
            report.finished(&app, started, outcome).await;
            let wait = if failed { Duration::from_secs(1) } else { self.every };
            let deadline = tokio::time::Instant::now() + wait;
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep_until(deadline) => break,
                    change = changes.next(), if !failed => match change {
                        Some(change) if self.topics.iter().any(|t| change.concerns(t)) => break,
                        Some(_) => {}
                        None => return,
                    },
                }
            }
        }
    }
}
