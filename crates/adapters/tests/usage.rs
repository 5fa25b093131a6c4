//! Metering on a real engine: counters grow with use, begin anew with a restart, and all volumes of an instance count.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::Duration;

use ryokan_adapters::docker::Docker;
use ryokan_model::InstanceId;
use ryokan_model::spec::VolumeMount;
use ryokan_ports::UsageSource as _;
use ryokan_ports::conformance::{self, Harness};
use ryokan_ports::usage::Reading;
use support::Stage;

/// `again` makes another source of the same server, which has measured nothing yet.
async fn check(case: impl AsyncFnOnce(&Harness, &Docker, &dyn Fn() -> Docker)) {
    let Some(docker) = support::engine().await else { return };
    let stage = Stage::new(docker);
    let (harness, source) = (stage.harness(stage.options()).await, Docker::connect(stage.options()).unwrap());
    let again = || Docker::connect(stage.options()).unwrap();
    conformance::run(harness, async |h: &Harness| case(h, &source, &again).await).await;
    let left = stage.leftovers().await;
    assert!(left.is_empty(), "left behind: {left:?}");
}

/// Reads until a reading is as it is to be.
async fn until(source: &Docker, what: &str, is: impl Fn(&Reading) -> bool) -> Reading {
    let mut seen = Vec::new();
    for _ in 0..60 {
        let readings = source.read().await.unwrap();
        if let Some(found) = readings.iter().find(|r| is(r)) {
            return found.clone();
        }
        seen = readings;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    panic!("{what}: {seen:?}");
}

fn container_of(instance: InstanceId) -> impl Fn(&Reading) -> bool {
    move |r| r.instance == instance && r.epoch != "volumes"
}

#[tokio::test]
async fn counters_grow_with_use_and_begin_anew_with_a_restart() {
    check(async |h, source, _| {
        let (workload, _) = h.up_script("i=0; while true; do i=$((i+1)); done").await;
        let (id, project) = (workload.instance, workload.project);
        let first = until(source, "it is read", container_of(id)).await;
        assert_eq!(first.project, project);
        assert!(first.memory_bytes > 0 && first.began.is_some());
        let second = until(source, "half a second of a core", |r| {
            container_of(id)(r) && r.cpu_nanos > first.cpu_nanos + 500_000_000
        })
        .await;
        assert_eq!((&second.epoch, second.began), (&first.epoch, first.began));
        h.runtime.stop(id, Duration::from_secs(1)).await.unwrap();
        assert!(!source.read().await.unwrap().iter().any(container_of(id)), "what does not run uses nothing");
        h.runtime.ensure(&workload).await.unwrap();
        let again = until(source, "it is read again", container_of(id)).await;
        assert!(again.epoch != first.epoch && again.began > first.began, "{again:?} {first:?}");
    })
    .await;
}

#[tokio::test]
async fn network_and_all_volumes_count() {
    check(async |h, source, again| {
        let mut workload = h.workload(&["serve"]).await;
        workload.spec.volumes = ["one", "two"]
            .map(|name| VolumeMount { name: name.to_owned(), path: format!("/{name}"), read_only: false })
            .into();
        let id = workload.instance;
        h.runtime.ensure(&workload).await.unwrap();
        h.answers(&workload, "http").await;
        let served =
            until(source, "bytes over the network", |r| container_of(id)(r) && r.network_bytes > 100);
        let served = served.await;
        for _ in 0..20 {
            h.get(id, "http", "/").await.unwrap();
        }
        until(source, "more of them", |r| {
            container_of(id)(r) && r.network_bytes > served.network_bytes + 1_000
        })
        .await;
        for volume in ["one", "two"] {
            h.sh(id, &format!("dd if=/dev/zero of=/{volume}/file bs=1024 count=3000")).await;
        }
        // Measured once a minute at most; who has not measured yet does so at once.
        until(&again(), "both volumes", |r| r.instance == id && r.disk_bytes > 6_000_000).await;
    })
    .await;
}
