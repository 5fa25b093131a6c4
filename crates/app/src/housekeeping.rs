//! Forgetting what has expired: sessions, links, idempotency keys, tombstones, finished jobs, old events.
//!
//! What may be much goes in small transactions, and only so many a run: other writers wait behind each of them. What
//! is left is the run's backlog, and the next one goes on.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use ryokan_model::Millis;
use ryokan_store::{JobState, StoreError, Tx};

use crate::background::Simple;
use crate::{App, Result};

const TOMBSTONES: Duration = Duration::from_hours(30 * 24);
/// Rules that have ended by themselves are shown for so long.
const ENDED_RULES: Duration = Duration::from_hours(24);
/// Rows that go in one transaction.
const BATCH: u32 = 1_000;
/// Transactions of one kind in one run.
const BATCHES: u32 = 100;

/// For how long what has happened is kept; for ever where there is no time.
#[derive(Debug, Clone)]
pub struct Retention {
    pub events: Option<Duration>,
    pub done_jobs: Option<Duration>,
    /// Those that were given up.
    pub dead_jobs: Option<Duration>,
    pub audit: Option<Duration>,
}

impl Default for Retention {
    fn default() -> Self {
        let days = |n: u64| Some(Duration::from_hours(n * 24));
        Self { events: days(90), done_jobs: days(1), dead_jobs: days(30), audit: days(365) }
    }
}

/// Writes down when tokens and identity keys were last used: in batches, since a durable write for each request would cost more than it
/// tells. Every server does its own.
pub fn token_use() -> Simple {
    Simple {
        name: "token-use",
        topics: &[],
        every: Duration::from_mins(1),
        once: |app| Box::pin(record_token_use(app)),
    }
}

async fn record_token_use(app: Arc<App>) -> Result<i64> {
    let used = std::mem::take(&mut *app.used_tokens.lock().unwrap_or_else(PoisonError::into_inner));
    if !used.is_empty() {
        app.store.write(move |tx| used.into_iter().try_for_each(|(id, at)| tx.touch_token(id, at))).await?;
    }
    let used = std::mem::take(&mut *app.used_keys.lock().unwrap_or_else(PoisonError::into_inner));
    if !used.is_empty() {
        let touch =
            move |tx: &mut Tx<'_>| used.into_iter().try_for_each(|(id, at)| tx.touch_identity_key(id, at));
        app.store.write(touch).await?;
    }
    Ok(0)
}

pub fn reconciler() -> Simple {
    Simple {
        name: "housekeeping",
        topics: &[],
        every: Duration::from_mins(10),
        once: |app| Box::pin(once(app)),
    }
}

async fn once(app: Arc<App>) -> Result<i64> {
    let now = app.clock.now();
    let tombstones = before(now, TOMBSTONES);
    app.store
        .write(move |tx| {
            tx.purge_credentials(now)?;
            tx.purge_tombstones(tombstones)
        })
        .await?;
    app.forget_artifacts().await?;
    let keep = app.settings.retention.clone();
    let mut left = 0;
    for (state, time) in [(JobState::Done, keep.done_jobs), (JobState::Dead, keep.dead_jobs)] {
        left += purge(&app, time, move |tx, before| tx.purge_jobs(state, before.0, BATCH)).await?;
    }
    let billing = &app.settings.billing;
    let (sums, dead) = (before(now, billing.keep_usage), before(now, billing.keep_usage));
    left += purge(&app, Some(billing.keep_samples), move |tx, samples| {
        tx.purge_samples(samples, dead, BATCH, now)
    })
    .await?;
    left += purge(&app, Some(billing.keep_usage), |tx, before| tx.purge_usage(before, BATCH)).await?;
    app.release_expired().await?;
    app.store.write(move |tx| tx.purge_billing(now, sums)).await?;
    left += purge(&app, Some(App::KEEP_CALLS), |tx, before| tx.purge_model_calls(before, BATCH)).await?;
    left += purge(&app, keep.events, |tx, before| tx.purge_deployments(before.0, BATCH)).await?;
    left += purge(&app, keep.events, |tx, before| tx.purge_events(before.0, BATCH)).await?;
    left += purge(&app, keep.audit, |tx, before| tx.purge_audit(before, BATCH)).await?;
    left += purge(&app, keep.events, |tx, before| tx.purge_approvals(before, BATCH)).await?;
    left += purge(&app, Some(ENDED_RULES), |tx, before| tx.purge_rules(before, BATCH)).await?;
    Ok(left)
}

/// Deletes what is older than `keep`, a batch at a time. At least so many are left.
async fn purge<F>(app: &App, keep: Option<Duration>, batch: F) -> Result<i64>
where
    F: Fn(&mut Tx<'_>, Millis) -> Result<u64, StoreError> + Copy + Send + 'static,
{
    let Some(keep) = keep else { return Ok(0) };
    let before = before(app.clock.now(), keep);
    for _ in 0..BATCHES {
        if app.store.write(move |tx| batch(tx, before)).await? < u64::from(BATCH) {
            return Ok(0);
        }
    }
    Ok(i64::from(BATCH))
}

fn before(now: Millis, span: Duration) -> Millis {
    Millis(now.0.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
}
