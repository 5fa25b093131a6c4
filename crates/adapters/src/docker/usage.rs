//! Metering: the counters of every container of ours, and the sizes of its volumes. Where somebody else counts, which
//! containers run and since when.
//!
//! Sizes are measured by the engine, which walks whole trees for them: at most once a minute, in the background, and
//! nobody waits for it. An engine that does not measure them leaves disk use at nothing.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bollard::query_parameters::StatsOptions;
use futures_util::StreamExt as _;
use futures_util::stream;
use ryokan_model::usage::VOLUMES;
use ryokan_model::{InstanceId, Millis, ProjectId};
use ryokan_ports::runtime::{Phase, Result, RuntimeError};
use ryokan_ports::usage::{Reading, UsageSource};
use serde::Deserialize;
use tokio::time::Instant;

use super::container::Held;
use super::{Docker, Inner, label, stats};

/// Containers that are asked at a time.
const ASKED: usize = 8;
/// All of them together.
const PATIENCE: Duration = Duration::from_secs(12);
/// Between two measurements of volumes.
const MEASURED: Duration = Duration::from_secs(55);

/// What is known of volumes' sizes.
#[derive(Default)]
pub(super) struct Sizes(Mutex<Known>);

#[derive(Default)]
struct Known {
    begun: Option<Instant>,
    measuring: bool,
    /// Not handed out yet.
    fresh: Vec<Reading>,
}

impl Sizes {
    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl UsageSource for Docker {
    async fn read(&self) -> Result<Vec<Reading>> {
        let held = self.0.containers(&[(label::INSTANCE, None)]).await?;
        let mut readings = self.volumes_measured();
        let inner = &self.0;
        let asked = stream::iter(held)
            .map(|held| async move { inner.reading(held).await })
            .buffer_unordered(ASKED)
            .take_until(tokio::time::sleep(PATIENCE))
            .collect::<Vec<_>>()
            .await;
        for one in asked {
            match one {
                Ok(one) => readings.extend(one),
                Err(error) => tracing::debug!(error = %error, "a container's counters could not be read"),
            }
        }
        Ok(readings)
    }
}

/// What is metered of a container that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counters {
    /// When it was so, by the clock of whoever counts.
    pub(crate) at: Millis,
    pub(crate) cpu_nanos: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) network_bytes: u64,
}

/// A container of ours that runs: one run of it is one series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) container: String,
    pub(crate) instance: InstanceId,
    pub(crate) project: ProjectId,
    pub(crate) started: Millis,
    /// How many it holds.
    pub(crate) gpus: u32,
}

impl Run {
    /// The same whoever reads the counters, so that a change of the source counts nothing twice.
    fn epoch(&self) -> String {
        format!("{}@{}", self.container.get(..12).unwrap_or(&self.container), self.started.0)
    }

    /// What was counted of this run.
    pub(crate) fn reading(&self, counters: &Counters) -> Reading {
        Reading {
            instance: self.instance,
            project: self.project,
            epoch: self.epoch(),
            began: Some(self.started),
            cpu_nanos: counters.cpu_nanos,
            memory_bytes: counters.memory_bytes,
            disk_bytes: 0,
            network_bytes: counters.network_bytes,
            gpu_millis: self.gpu_millis(counters.at),
        }
    }

    /// A GPU that is held is used, whatever it does: nobody else can have it meanwhile.
    fn gpu_millis(&self, at: Millis) -> u64 {
        let held = u64::try_from(at.since(self.started).as_millis()).unwrap_or(u64::MAX);
        held.saturating_mul(u64::from(self.gpus))
    }
}

impl Docker {
    /// All of ours that run; those about which the engine is silent are left out.
    pub(crate) async fn runs(&self) -> Result<Vec<Run>> {
        let inner = &self.0;
        let asked = stream::iter(inner.containers(&[(label::INSTANCE, None)]).await?)
            .map(|held| async move { inner.running_since(held).await })
            .buffer_unordered(ASKED)
            .take_until(tokio::time::sleep(PATIENCE))
            .collect::<Vec<_>>()
            .await;
        Ok(asked.into_iter().filter_map(Result::ok).flatten().collect())
    }

    /// Sizes that were measured since the last call; begins the next measurement when it is time for one.
    pub(crate) fn volumes_measured(&self) -> Vec<Reading> {
        self.0.measure_volumes();
        std::mem::take(&mut self.0.sizes.known().fresh)
    }
}

impl Inner {
    async fn running_since(&self, held: Held) -> Result<Option<Run>> {
        let phase = self.inspect(&held).await?.map(|o| o.phase);
        let Some(Phase::Running { started_at: started } | Phase::Paused { started_at: started }) = phase
        else {
            return Ok(None);
        };
        let (instance, project, gpus) = (held.tag.instance, held.tag.project, held.tag.gpus);
        Ok(Some(Run { container: held.id, instance, project, started, gpus }))
    }

    /// Nothing when it does not run. Asked before and after, since counters of another run must not be taken for this
    /// one's.
    async fn reading(&self, held: Held) -> Result<Option<Reading>> {
        let Some(run) = self.running_since(held.clone()).await? else { return Ok(None) };
        let api = self.link.api().await?;
        let options = StatsOptions { stream: false, one_shot: true };
        let mut samples = Box::pin(api.stats(&held.id, Some(options)));
        let sample = self.link.call("stats", async { samples.next().await.transpose() }).await?;
        let Some(counters) = sample.as_ref().and_then(stats::counters) else { return Ok(None) };
        if self.running_since(held).await?.as_ref() != Some(&run) {
            return Ok(None);
        }
        Ok(Some(run.reading(&counters)))
    }

    /// Begins a measurement, unless one is under way or was begun just now.
    fn measure_volumes(self: &Arc<Self>) {
        {
            let mut known = self.sizes.known();
            if known.measuring || known.begun.is_some_and(|at| at.elapsed() < MEASURED) {
                return;
            }
            (known.measuring, known.begun) = (true, Some(Instant::now()));
        }
        let inner = self.clone();
        self.tasks.spawn(async move {
            let measured = tokio::select! {
                measured = inner.volume_sizes() => measured,
                () = inner.ending.cancelled() => Ok(Vec::new()),
            };
            let mut known = inner.sizes.known();
            known.measuring = false;
            match measured {
                Ok(fresh) => known.fresh = fresh,
                Err(error) => tracing::debug!(error = %error, "volumes could not be measured"),
            }
        });
    }

    async fn volume_sizes(&self) -> Result<Vec<Reading>, RuntimeError> {
        Ok(sum(&self.server.to_string(), self.disk_usage().await?))
    }

    async fn disk_usage(&self) -> Result<Vec<Measured>, RuntimeError> {
        let path = self.link.versioned("/system/df?type=volume").await?;
        Ok(self.link.get::<DiskUsage>("volumes' sizes", &path).await?.listed())
    }

    /// Of volumes that are no instance's, by their names.
    pub(super) async fn sizes_of_volumes(&self, names: &HashSet<String>) -> Result<u64, RuntimeError> {
        let measured = self.disk_usage().await?;
        let size = |volume: Measured| u64::try_from(volume.usage_data.unwrap_or_default().size).unwrap_or(0);
        Ok(measured.into_iter().filter(|volume| names.contains(&volume.name)).map(size).sum())
    }
}

/// Older engines list volumes at the top, newer ones within a summary.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct DiskUsage {
    volumes: Option<Vec<Measured>>,
    volume_usage: Option<Summary>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct Summary {
    items: Option<Vec<Measured>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct Measured {
    name: String,
    labels: Option<label::Labels>,
    usage_data: Option<Size>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct Size {
    /// −1 when it was not measured.
    size: i64,
}

impl DiskUsage {
    fn listed(self) -> Vec<Measured> {
        self.volumes.or(self.volume_usage.and_then(|summary| summary.items)).unwrap_or_default()
    }
}

/// All volumes of an instance together.
fn sum(server: &str, listed: Vec<Measured>) -> Vec<Reading> {
    let mut sizes: BTreeMap<(InstanceId, ProjectId), u64> = BTreeMap::new();
    for volume in listed {
        let labels = volume.labels.unwrap_or_default();
        if labels.get(label::SERVER).map(String::as_str) != Some(server) {
            continue;
        }
        let id = |key: &str| labels.get(key).map(String::as_str).unwrap_or_default();
        let (Ok(instance), Ok(project)) = (id(label::INSTANCE).parse(), id(label::PROJECT).parse()) else {
            continue;
        };
        let Ok(size) = u64::try_from(volume.usage_data.unwrap_or_default().size) else { continue };
        *sizes.entry((instance, project)).or_default() += size;
    }
    let reading = |((instance, project), disk_bytes)| Reading {
        instance,
        project,
        epoch: VOLUMES.into(),
        began: None,
        cpu_nanos: 0,
        memory_bytes: 0,
        disk_bytes,
        network_bytes: 0,
        gpu_millis: 0,
    };
    sizes.into_iter().map(reading).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_count_for_as_long_as_they_are_held() {
        let id = uuid::Uuid::from_bytes([1; 16]);
        let (instance, project) = (InstanceId(id), ProjectId(id));
        let run = |gpus| Run { container: "c".into(), instance, project, started: Millis(1_000), gpus };
        assert_eq!(run(2).gpu_millis(Millis(16_000)), 30_000);
        assert_eq!(run(0).gpu_millis(Millis(16_000)), 0);
        assert_eq!(run(2).gpu_millis(Millis(500)), 0, "a clock that went back proves nothing");
    }

    /// Fault 7 of the seed: of several volumes only the first was counted.
    #[test]
    fn fault_under_metering_all_volumes_of_an_instance_count() {
        let labels = |server: &str| {
            serde_json::json!({
                label::SERVER: server,
                label::INSTANCE: "0192f000-0000-7000-8000-000000000001",
                label::PROJECT: "0192f000-0000-7000-8000-000000000002",
            })
        };
        let volumes = serde_json::json!([
            {"Name": "a", "Labels": labels("me"), "UsageData": {"Size": 5, "RefCount": 1}},
            {"Name": "b", "Labels": labels("me"), "UsageData": {"Size": 7, "RefCount": 0}},
            {"Name": "c", "Labels": labels("me"), "UsageData": {"Size": -1, "RefCount": 0}},
            {"Name": "d", "Labels": labels("other"), "UsageData": {"Size": 100, "RefCount": 0}},
            {"Name": "e", "Labels": null, "UsageData": null}
        ]);
        for answer in [
            serde_json::json!({"Volumes": volumes, "BuildCache": null}),
            serde_json::json!({"VolumeUsage": {"Items": volumes, "TotalCount": 5}}),
        ] {
            let readings = sum("me", serde_json::from_value::<DiskUsage>(answer).unwrap().listed());
            assert_eq!(readings.len(), 1);
            assert_eq!((readings[0].disk_bytes, readings[0].epoch.as_str()), (12, VOLUMES));
        }
        assert!(serde_json::from_str::<DiskUsage>("{}").unwrap().listed().is_empty());
    }
}
