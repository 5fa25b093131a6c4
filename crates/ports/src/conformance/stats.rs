//! What an agent uses.

use std::time::Duration;

use futures_util::StreamExt;

use super::{Harness, PATIENCE};
use crate::runtime::RuntimeError;

pub async fn stats_are_plausible_and_end_with_the_container(h: &Harness) {
    let (workload, _) = h.serving().await;
    let mut samples = h.runtime.stats(workload.instance.into()).await.unwrap();
    let first = tokio::time::timeout(PATIENCE, samples.next()).await.unwrap().unwrap().unwrap();
    let second = tokio::time::timeout(PATIENCE, samples.next()).await.unwrap().unwrap().unwrap();
    assert!(second.at > first.at && second.cpu_nanos >= first.cpu_nanos, "{first:?} {second:?}");
    assert_eq!(second.memory_limit_bytes, workload.spec.resources.memory.get());
    assert!(second.memory_bytes > 0 && second.memory_bytes < second.memory_limit_bytes, "{second:?}");
    assert!(second.pids > 0 && second.pids < u64::from(workload.spec.resources.pids), "{second:?}");
    // It has one core, and more than a few percent over it would be a wrong unit.
    assert!(second.cpu_centipercent < 15_000, "{second:?}");
    h.runtime.stop(workload.instance, Duration::from_secs(5)).await.unwrap();
    let end = async { while samples.next().await.is_some() {} };
    tokio::time::timeout(PATIENCE, end).await.expect("samples end");
    let stopped = h.runtime.stats(workload.instance.into()).await.map(drop);
    assert!(matches!(stopped, Err(RuntimeError::NotRunning)), "{stopped:?}");
}
