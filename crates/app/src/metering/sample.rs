//! The sampler: reads all counters and writes them down in one transaction. It keeps nothing in memory.

use std::sync::Arc;

use ryokan_model::Millis;
use ryokan_model::usage::Sample;
use ryokan_store::StoreError;
use ryokan_store::usage::UsageSample;

use crate::background::Simple;
use crate::{App, Result};

/// When metering began here: what ran before then is counted from its first sample on.
const SINCE: &str = "metering.since";

pub fn reconciler(app: &App) -> Simple {
    Simple {
        name: "metering",
        topics: &[],
        every: app.settings.billing.sample_every,
        once: |app| {
            Box::pin(async move {
                app.sample_usage().await?;
                app.watch_disk_quotas().await?;
                Ok(0)
            })
        },
    }
}

impl App {
    /// Takes one sample of everything; how many were new.
    pub async fn sample_usage(self: &Arc<Self>) -> Result<u64> {
        // The counters are read after this moment, so they never show less than what had been used at it.
        let at = self.clock.now();
        let readings = self.usage.read().await?;
        crate::crash::point("metering.read");
        let taken = self
            .store
            .write(move |tx| {
                let since = tx.setting_or(SINCE, &at.0.to_string(), at.0)?;
                let since = Millis(since.parse().unwrap_or(i64::MIN));
                let samples: Vec<UsageSample> = readings
                    .into_iter()
                    .map(|reading| UsageSample {
                        instance: reading.instance,
                        project: reading.project,
                        sample: Sample {
                            at,
                            baseline: reading.began.is_some_and(|began| began < since),
                            cpu_nanos: reading.cpu_nanos,
                            memory_bytes: reading.memory_bytes,
                            disk_bytes: reading.disk_bytes,
                            network_bytes: reading.network_bytes,
                            gpu_millis: reading.gpu_millis,
                        },
                        epoch: reading.epoch,
                    })
                    .collect();
                tx.add_samples(&samples)
            })
            .await
            .map_err(|error: StoreError| crate::Error::from(error))?;
        crate::crash::point("metering.sampled");
        Ok(taken)
    }
}
