//! Checks what is due: what waits, quickly at first; what is served, daily. Only the leader does.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;

use crate::background::Simple;
use crate::{App, Result};

/// Read in one go.
const BATCH: u32 = 200;
/// Asked for at a time.
const AT_ONCE: usize = 8;

pub fn reconciler() -> Simple {
    Simple {
        name: "domains",
        topics: &["domains"],
        every: Duration::from_secs(10),
        once: |app| Box::pin(async move { app.check_due_domains().await }),
    }
}

impl App {
    /// Checks one batch; how many are left for the next run, at least.
    pub async fn check_due_domains(self: Arc<Self>) -> Result<i64> {
        let now = self.clock.now();
        let due = self.store.read(move |tx| tx.due_domains(now, BATCH + 1)).await?;
        let left = i64::from(due.len() > BATCH as usize);
        let mut checks = futures_util::stream::iter(due.into_iter().take(BATCH as usize))
            .map(|row| self.recheck(row))
            .buffer_unordered(AT_ONCE);
        while let Some(checked) = checks.next().await {
            checked?;
        }
        Ok(left)
    }
}
