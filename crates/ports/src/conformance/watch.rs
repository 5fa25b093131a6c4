//! What happens to a container is told soon.

use std::time::Duration;

use futures_util::StreamExt;
use ryokan_model::InstanceId;
use tokio::time::Instant;

use super::{Harness, PATIENCE};
use crate::runtime::{BoxStream, Change, Result};

async fn told(changes: &mut BoxStream<Result<Change>>, instance: InstanceId) {
    let wait = async {
        while let Some(change) = changes.next().await {
            if change.unwrap() == Change::Instance(instance) {
                return;
            }
        }
        panic!("the stream ended");
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("the change is told");
}

pub async fn watch_begins_with_resync_and_tells_of_starts(h: &Harness) {
    let workload = h.workload(&["serve"]).await;
    let mut changes = h.runtime.watch().await.unwrap();
    // Before anything was read from it: nothing may fall in between.
    h.runtime.ensure(&workload).await.unwrap();
    assert_eq!(changes.next().await.unwrap().unwrap(), Change::Resync);
    told(&mut changes, workload.instance).await;
}

pub async fn watch_tells_of_a_lost_container_within_two_seconds(h: &Harness) {
    let (workload, _) = h.up(&["serve"]).await;
    let mut changes = h.runtime.watch().await.unwrap();
    assert_eq!(changes.next().await.unwrap().unwrap(), Change::Resync);
    let lost = Instant::now();
    h.meddler.lose(workload.instance).await;
    let limit = Duration::from_secs(2);
    loop {
        told(&mut changes, workload.instance).await;
        if h.runtime.observe(workload.instance).await.unwrap().is_none() {
            break;
        }
        assert!(lost.elapsed() < limit, "{:?}", lost.elapsed());
    }
    assert!(lost.elapsed() < limit, "{:?}", lost.elapsed());
}

pub async fn watch_is_of_one_server_only(h: &Harness) {
    let mut changes = h.runtime.watch().await.unwrap();
    assert_eq!(changes.next().await.unwrap().unwrap(), Change::Resync);
    let foreign = h.workload(&["serve"]).await;
    h.other.ensure(&foreign).await.unwrap();
    let (own, _) = h.up(&["serve"]).await;
    let first = tokio::time::timeout(PATIENCE, changes.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(first, Change::Instance(own.instance));
}

pub async fn exit_codes_are_seen(h: &Harness) {
    let mut changes = h.runtime.watch().await.unwrap();
    for code in [0_i64, 7, 42] {
        let (workload, _) = h.up(&["exit", &code.to_string()]).await;
        told(&mut changes, workload.instance).await;
        assert_eq!(h.ended(workload.instance).await, (code, false));
    }
}

pub async fn out_of_memory_is_seen(h: &Harness) {
    let mut workload = h.script("x=$(head -c 100000000 /dev/zero | tr '\\0' x); echo survived").await;
    workload.spec.resources.memory = ryokan_model::quantity::Bytes::mebi(16);
    h.runtime.ensure(&workload).await.unwrap();
    let (code, out_of_memory) = h.ended(workload.instance).await;
    assert!(out_of_memory && code == 137, "code {code}, out of memory {out_of_memory}");
}
