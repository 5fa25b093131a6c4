//! The log of a deployment on its way to the store: lines are collected and written a few times a second, since each
//! write is durable.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ryokan_model::DeploymentId;

use crate::{App, Result};

const EVERY: Duration = Duration::from_millis(250);
/// Lines that wait to be written; more are dropped, and a line says so.
const MOST: usize = 2_000;
/// Characters of one line.
const LONGEST: usize = 8 * 1024;

#[derive(Clone)]
pub(super) struct Notes {
    id: DeploymentId,
    waiting: Arc<Mutex<Vec<String>>>,
}

impl Notes {
    pub(super) fn new(id: DeploymentId) -> Self {
        Self { id, waiting: Arc::default() }
    }

    /// What an agent or a build wrote may be in it: nothing that a terminal would obey is kept.
    pub(super) fn say(&self, text: impl AsRef<str>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for line in text.as_ref().lines() {
            if waiting.len() < MOST {
                let plain = line.chars().filter(|c| !c.is_control() || *c == '\t').take(LONGEST);
                waiting.push(plain.collect());
            } else if waiting.len() == MOST {
                waiting.push("… lines are missing here: there were too many at once".into());
            }
        }
    }

    pub(super) async fn flush(&self, app: &App) -> Result<()> {
        let lines = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        if lines.is_empty() {
            return Ok(());
        }
        let (id, now) = (self.id, app.clock.now());
        Ok(app.store.write(move |tx| tx.append_deployment_lines(id, &lines, now)).await?)
    }

    /// Writes for as long as it is polled.
    pub(super) async fn keep(&self, app: &App) {
        loop {
            tokio::time::sleep(EVERY).await;
            if let Err(error) = self.flush(app).await {
                tracing::warn!(deployment = %self.id, error = %error, "lines of a deployment are lost");
            }
        }
    }
}
