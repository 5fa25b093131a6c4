//! Durable jobs: enqueued inside the transaction that wants them, claimed under a lease with the attempt's number as a
//! fence, retried with backoff and jitter, dead-lettered with the whole error. Every job is idempotent.

pub mod run;

use ryokan_model::JobId;
use ryokan_store::NewJob;

/// How a try of a job ended badly.
#[derive(Debug)]
pub struct JobError {
    /// Another try may help.
    pub retry: bool,
    /// The try does not count: it failed because something that always comes back was away.
    pub patient: bool,
    pub error: anyhow::Error,
}

impl JobError {
    pub fn retry(error: impl Into<anyhow::Error>) -> Self {
        Self { retry: true, patient: false, error: error.into() }
    }

    /// Tried again for as long as it takes, and soon once it can succeed.
    pub fn patient(error: impl Into<anyhow::Error>) -> Self {
        Self { retry: true, patient: true, error: error.into() }
    }

    pub fn fatal(error: impl std::fmt::Display) -> Self {
        Self { retry: false, patient: false, error: anyhow::anyhow!("{error}") }
    }
}

pub(crate) struct NewJobParts {
    pub(crate) id: JobId,
    pub(crate) kind: &'static str,
    pub(crate) key: String,
    pub(crate) payload: serde_json::Value,
    pub(crate) run_at: ryokan_model::Millis,
    pub(crate) max_attempts: i64,
}

pub(crate) fn new_job(parts: NewJobParts) -> NewJob {
    NewJob {
        id: parts.id.to_string(),
        kind: parts.kind.to_owned(),
        key: Some(parts.key),
        payload: parts.payload,
        priority: 0,
        run_at: parts.run_at.0,
        max_attempts: parts.max_attempts,
    }
}
