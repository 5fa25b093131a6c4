//! How what was allowed ended: kept in memory for a moment and written in batches, since it decides nothing. What a dying
//! server had not written stays open in the audit.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use ryokan_model::AuditId;
use ryokan_store::audit::Ended;

use crate::background::Simple;
use crate::{App, Result};

/// More than this waits only where the database has been away for long; the rest stays open in the audit.
const MOST: usize = 100_000;
const BATCH: usize = 500;

impl App {
    /// Has the row of a judgement completed soon. Never waits.
    pub fn note_end(&self, audit: AuditId, ended: Ended) {
        let mut waiting = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < MOST {
            waiting.push((audit, ended));
        }
    }

    /// Writes what waits.
    pub async fn write_ends(&self) -> Result<()> {
        let mut waiting = std::mem::take(&mut *self.ended.lock().unwrap_or_else(PoisonError::into_inner));
        while !waiting.is_empty() {
            let rest = waiting.split_off(waiting.len().min(BATCH));
            let batch = Arc::new(std::mem::replace(&mut waiting, rest));
            let rows = batch.clone();
            let written = self
                .store
                .write(move |tx| rows.iter().try_for_each(|(id, ended)| tx.end_audit(*id, ended).map(drop)))
                .await;
            if let Err(error) = written {
                let mut back = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
                let room = MOST.saturating_sub(back.len());
                back.extend(batch.iter().chain(&waiting).take(room).copied());
                return Err(error.into());
            }
        }
        Ok(())
    }
}

/// Writes what waits, each second. Every server does its own; a last time when it stops.
pub fn completions() -> Simple {
    Simple {
        name: "audit",
        topics: &[],
        every: Duration::from_secs(1),
        once: |app| Box::pin(async move { app.write_ends().await.map(|()| 0) }),
    }
}
