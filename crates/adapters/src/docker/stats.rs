//! What a container uses, about once a second. The engine's totals become what people mean by them: CPU since the
//! sample before, memory without the page cache.

use std::sync::Arc;

use bollard::models::{ContainerMemoryStats, ContainerStatsResponse};
use bollard::query_parameters::StatsOptions;
use futures_util::{StreamExt, stream};
use ryokan_ports::runtime::{BoxStream, Result, Stats, Target};

use super::container::millis;
use super::usage::Counters;
use super::{Inner, error};

impl Inner {
    pub(super) async fn stats(self: Arc<Self>, of: Target) -> Result<BoxStream<Result<Stats>>> {
        let (container, _) = self.running(of).await?;
        let api = self.link.api().await?;
        let samples =
            Box::pin(api.stats(&container.id, Some(StatsOptions { stream: true, one_shot: false })));
        let stats = stream::unfold(Some((samples, None::<Previous>)), |state| async move {
            let (mut samples, mut previous) = state?;
            loop {
                match samples.next().await? {
                    Ok(sample) => match convert(&sample, &mut previous) {
                        Sample::Stats(stats) => return Some((Ok(stats), Some((samples, previous)))),
                        Sample::First => {}
                        Sample::Ended => return None,
                    },
                    Err(e) => return Some((Err(error::map(e, "stats")), None)),
                }
            }
        });
        Ok(Box::pin(stats))
    }
}

#[derive(Clone, Copy)]
struct Previous {
    at: i128,
    cpu: u64,
}

enum Sample {
    Stats(Stats),
    /// Nothing to compare with yet.
    First,
    /// A container that has ended is reported on forever, with nothing in it.
    Ended,
}

fn convert(sample: &ContainerStatsResponse, previous: &mut Option<Previous>) -> Sample {
    let nanos = |text: Option<&String>| {
        text.and_then(|t| t.parse::<jiff::Timestamp>().ok())
            .map(jiff::Timestamp::as_nanosecond)
            .filter(|n| *n > 0)
    };
    let Some(at) = nanos(sample.read.as_ref()) else { return Sample::Ended };
    let total = |cpu: Option<&bollard::models::ContainerCpuStats>| {
        cpu.and_then(|c| c.cpu_usage.as_ref()).and_then(|u| u.total_usage).unwrap_or(0)
    };
    let cpu = total(sample.cpu_stats.as_ref());
    let pids = sample.pids_stats.as_ref().and_then(|p| p.current).unwrap_or(0);
    if pids == 0 && sample.memory_stats.as_ref().and_then(|m| m.usage).unwrap_or(0) == 0 {
        return Sample::Ended;
    }
    let before = previous.or_else(|| {
        Some(Previous { at: nanos(sample.preread.as_ref())?, cpu: total(sample.precpu_stats.as_ref()) })
    });
    *previous = Some(Previous { at, cpu });
    let Some(before) = before.filter(|b| b.at < at) else { return Sample::First };
    let elapsed = u128::try_from(at - before.at).unwrap_or(1);
    let used = u128::from(cpu.saturating_sub(before.cpu));
    let (mut rx, mut tx) = (0, 0);
    for network in sample.networks.iter().flat_map(|n| n.values()) {
        rx += network.rx_bytes.unwrap_or(0);
        tx += network.tx_bytes.unwrap_or(0);
    }
    let block = |op: &str| {
        sample
            .blkio_stats
            .iter()
            .flat_map(|b| b.io_service_bytes_recursive.iter().flatten())
            .filter(|e| e.op.as_deref().is_some_and(|o| o.eq_ignore_ascii_case(op)))
            .filter_map(|e| e.value)
            .sum()
    };
    Sample::Stats(Stats {
        at: millis(sample.read.as_deref()),
        cpu_nanos: cpu,
        cpu_centipercent: u64::try_from(used * 10_000 / elapsed).unwrap_or(u64::MAX),
        memory_bytes: sample.memory_stats.as_ref().map_or(0, memory),
        memory_limit_bytes: sample.memory_stats.as_ref().and_then(|m| m.limit).unwrap_or(0),
        network_rx_bytes: rx,
        network_tx_bytes: tx,
        block_read_bytes: block("read"),
        block_write_bytes: block("write"),
        pids,
    })
}

/// What is metered of a sample; `None` when the container has ended.
pub(super) fn counters(sample: &ContainerStatsResponse) -> Option<Counters> {
    let cpu_nanos =
        sample.cpu_stats.as_ref().and_then(|c| c.cpu_usage.as_ref()).and_then(|u| u.total_usage).unwrap_or(0);
    let memory_bytes = sample.memory_stats.as_ref().map_or(0, memory);
    if cpu_nanos == 0 && memory_bytes == 0 {
        return None;
    }
    let networks = sample.networks.iter().flat_map(|n| n.values());
    let network_bytes = networks
        .map(|n| n.rx_bytes.unwrap_or(0).saturating_add(n.tx_bytes.unwrap_or(0)))
        .fold(0, u64::saturating_add);
    Some(Counters { cpu_nanos, memory_bytes, network_bytes, at: millis(sample.read.as_deref()) })
}

/// Usage less what the kernel would give up first: `total_inactive_file` in cgroup v1, `inactive_file` in v2.
fn memory(memory: &ContainerMemoryStats) -> u64 {
    let usage = memory.usage.unwrap_or(0);
    let stats = memory.stats.as_ref();
    let cache = stats.and_then(|s| s.get("total_inactive_file").or_else(|| s.get("inactive_file"))).copied();
    usage.saturating_sub(cache.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_time_are_since_the_sample_before() {
        let sample =
            |json: serde_json::Value| serde_json::from_value::<ContainerStatsResponse>(json).unwrap();
        let one = sample(serde_json::json!({
            "read": "2026-11-21T12:00:01Z", "preread": "2026-11-21T12:00:00Z",
            "cpu_stats": {"cpu_usage": {"total_usage": 1_500_000_000_u64}},
            "precpu_stats": {"cpu_usage": {"total_usage": 1_000_000_000_u64}},
            "memory_stats": {"usage": 1000, "limit": 5000, "stats": {"total_inactive_file": 400, "inactive_file": 1}},
            "pids_stats": {"current": 3},
            "networks": {"eth0": {"rx_bytes": 1, "tx_bytes": 2}, "eth1": {"rx_bytes": 10, "tx_bytes": 20}},
            "blkio_stats": {"io_service_bytes_recursive": [
                {"op": "Read", "value": 5}, {"op": "write", "value": 7}, {"op": "Total", "value": 12}]}
        }));
        let mut previous = None;
        let Sample::Stats(stats) = convert(&one, &mut previous) else { panic!("no sample") };
        assert_eq!((stats.cpu_centipercent, stats.cpu_nanos, stats.memory_bytes), (5000, 1_500_000_000, 600));
        assert_eq!((stats.network_rx_bytes, stats.network_tx_bytes), (11, 22));
        assert_eq!((stats.block_read_bytes, stats.block_write_bytes, stats.pids), (5, 7, 3));

        let ended = sample(serde_json::json!({"read": "0001-01-01T00:00:00Z"}));
        assert!(matches!(convert(&ended, &mut previous), Sample::Ended));
    }
}
