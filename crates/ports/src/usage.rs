//! The port of metering: what counters show now. It promises little: readings may be late, incomplete, or missing
//! altogether, and what is read later makes up for it, since counters only grow within their epoch.

use async_trait::async_trait;
use ryokan_model::{InstanceId, Millis, ProjectId};

use crate::runtime::Result;

/// What the counters of one series of an instance show: of one run of one container of it, or of its volumes. An
/// instance may have several series, and all of them count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    pub instance: InstanceId,
    pub project: ProjectId,
    /// What the counters belong to: they start from zero in another one.
    pub epoch: String,
    /// When the epoch began, if its counters tell of a time.
    pub began: Option<Millis>,
    /// Since the epoch began, in nanoseconds of one core.
    pub cpu_nanos: u64,
    /// Now.
    pub memory_bytes: u64,
    /// Now.
    pub disk_bytes: u64,
    /// In and out, since the epoch began.
    pub network_bytes: u64,
    /// Since the epoch began, where that is known.
    pub gpu_millis: u64,
}

/// Reads counters. Bounded in time by the adapter: several seconds at most.
#[async_trait]
pub trait UsageSource: Send + Sync + 'static {
    /// Everything of this server's that can be read now. A series that is not in it is simply not known now.
    async fn read(&self) -> Result<Vec<Reading>>;
}

/// Meters nothing.
pub struct Unmetered;

#[async_trait]
impl UsageSource for Unmetered {
    async fn read(&self) -> Result<Vec<Reading>> {
        Ok(Vec::new())
    }
}
