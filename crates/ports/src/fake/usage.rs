//! Counters that a test sets.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use crate::runtime::{Result, RuntimeError};
use crate::usage::{Reading, UsageSource};

/// Shows what the test last set, at first nothing. Clones share everything.
#[derive(Clone)]
pub struct FakeUsage(Arc<Mutex<Option<Vec<Reading>>>>);

impl Default for FakeUsage {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Some(Vec::new()))))
    }
}

impl FakeUsage {
    pub fn set(&self, readings: Vec<Reading>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(readings);
    }

    /// Nothing can be read.
    pub fn down(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[async_trait]
impl UsageSource for FakeUsage {
    async fn read(&self) -> Result<Vec<Reading>> {
        let readings = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        readings.ok_or_else(|| RuntimeError::Unavailable("the test has turned it off".into()))
    }
}
