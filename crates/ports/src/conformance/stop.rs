//! Ending an agent and keeping what it has.

use std::time::Duration;

use tokio::time::Instant;

use super::{Harness, volume};

pub async fn stop_keeps_the_disk(h: &Harness) {
    let mut workload = h.workload(&["serve"]).await;
    workload.spec.volumes = vec![volume("data", "/data")];
    h.runtime.ensure(&workload).await.unwrap();
    h.write(workload.instance, "/data/file", "on the volume").await;
    h.write(workload.instance, "/file", "on the root").await;
    h.runtime.stop(workload.instance, Duration::from_secs(5)).await.unwrap();
    h.ended(workload.instance).await;
    h.runtime.ensure(&workload).await.unwrap();
    assert_eq!(h.read(workload.instance, "/data/file").await.unwrap(), "on the volume");
    assert_eq!(h.read(workload.instance, "/file").await.unwrap(), "on the root");
}

pub async fn stop_lets_an_agent_end(h: &Harness) {
    let (workload, _) = h.serving().await;
    let begun = Instant::now();
    h.runtime.stop(workload.instance, Duration::from_mins(1)).await.unwrap();
    assert_eq!(h.ended(workload.instance).await, (0, false));
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    // Once more changes nothing.
    h.runtime.stop(workload.instance, Duration::from_mins(1)).await.unwrap();
    assert_eq!(h.ended(workload.instance).await, (0, false));
}

pub async fn stop_kills_an_agent_that_ignores_its_signal(h: &Harness) {
    let (workload, _) = h.up(&["ignore-term"]).await;
    h.written(workload.instance, 1).await;
    let begun = Instant::now();
    h.runtime.stop(workload.instance, Duration::from_secs(1)).await.unwrap();
    let taken = begun.elapsed();
    assert_eq!(h.ended(workload.instance).await.0, 137);
    assert!(taken >= Duration::from_millis(900) && taken < Duration::from_secs(20), "{taken:?}");
}

pub async fn stop_of_nothing_is_fine(h: &Harness) {
    h.runtime.stop(h.instance(), Duration::from_secs(1)).await.unwrap();
}
