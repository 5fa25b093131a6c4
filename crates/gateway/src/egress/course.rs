//! The course of one thing that was allowed: what it moved, how it ended. Its end is told to the judge exactly once.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering::Relaxed};

use tokio::time::Instant;

use super::ports::{Judge, Outcome, Record};
use super::refusal::Refusal;

/// Dropping the last reference reports the outcome.
pub(crate) struct Course {
    judge: Arc<dyn Judge>,
    record: Record,
    began: Instant,
    status: AtomicU16,
    up: AtomicU64,
    down: AtomicU64,
    ended: OnceLock<&'static str>,
}

impl Course {
    pub(crate) fn new(judge: &Arc<dyn Judge>, record: Record) -> Arc<Self> {
        Arc::new(Self {
            judge: Arc::clone(judge),
            record,
            began: Instant::now(),
            status: AtomicU16::new(0),
            up: AtomicU64::new(0),
            down: AtomicU64::new(0),
            ended: OnceLock::new(),
        })
    }

    pub(crate) fn answered(&self, status: u16) {
        self.status.store(status, Relaxed);
    }

    /// All bytes so far, this time's included.
    pub(crate) fn add_up(&self, bytes: usize) -> u64 {
        self.up.fetch_add(bytes as u64, Relaxed) + bytes as u64
    }

    pub(crate) fn add_down(&self, bytes: usize) -> u64 {
        self.down.fetch_add(bytes as u64, Relaxed) + bytes as u64
    }

    pub(crate) fn bytes_up(&self) -> u64 {
        self.up.load(Relaxed)
    }

    /// We ended it; the first reason counts.
    pub(crate) fn ended_by(&self, code: &'static str) {
        let _ = self.ended.set(code);
    }

    pub(crate) fn refused(&self, refusal: &Refusal) {
        self.answered(refusal.status());
        self.ended_by(refusal.code());
    }
}

impl Drop for Course {
    fn drop(&mut self) {
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let outcome = Outcome {
            status: self.status.load(Relaxed),
            bytes_in: self.up.load(Relaxed),
            bytes_out: self.down.load(Relaxed),
            millis,
            ended: self.ended.get().copied(),
        };
        self.judge.done(self.record.clone(), outcome);
    }
}
