//! Forgetting what has expired: sessions, links, idempotency keys, tombstones, finished jobs.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use ryokan_store::JobState;

use crate::background::Simple;
use crate::{App, Result};

const TOMBSTONES: Duration = Duration::from_hours(30 * 24);
const DONE_JOBS: Duration = Duration::from_hours(24);

/// Writes down when tokens were last used: in batches, since a durable write for each request would cost more than it
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
    let before = |span: Duration| {
        ryokan_model::Millis(now.0.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    };
    let (tombstones, jobs) = (before(TOMBSTONES), before(DONE_JOBS));
    app.store
        .write(move |tx| {
            tx.purge_credentials(now)?;
            tx.purge_tombstones(tombstones)?;
            tx.purge_jobs(JobState::Done, jobs.0, 10_000)
        })
        .await?;
    Ok(0)
}
