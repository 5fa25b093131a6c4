//! Removing what is ours, and only that.

use std::time::Duration;

use tokio::time::Instant;

use super::{Harness, volume};
use crate::runtime::{Holdings, Observed, RuntimeError, Volumes};

pub async fn remove_keeps_volumes_when_told(h: &Harness) {
    let mut workload = h.workload(&["sleep", "600"]).await;
    workload.spec.volumes = vec![volume("data", "/data")];
    h.runtime.ensure(&workload).await.unwrap();
    h.write(workload.instance, "/data/file", "kept").await;
    h.runtime.remove(workload.instance, Volumes::Keep).await.unwrap();
    assert_eq!(h.runtime.observe(workload.instance).await.unwrap(), None);
    assert_eq!(h.runtime.holdings().await.unwrap().volumes, [workload.instance]);
    h.runtime.ensure(&workload).await.unwrap();
    assert_eq!(h.read(workload.instance, "/data/file").await.unwrap(), "kept");
}

pub async fn remove_takes_volumes_when_told(h: &Harness) {
    let mut workload = h.workload(&["sleep", "600"]).await;
    workload.spec.volumes = vec![volume("data", "/data"), volume("more", "/more")];
    h.runtime.ensure(&workload).await.unwrap();
    h.runtime.remove(workload.instance, Volumes::Remove).await.unwrap();
    h.runtime.remove(workload.instance, Volumes::Remove).await.unwrap();
    assert_eq!(h.runtime.list().await.unwrap(), []);
    assert!(h.runtime.holdings().await.unwrap().volumes.is_empty());
}

pub async fn remove_of_nothing_is_fine(h: &Harness) {
    h.runtime.remove(h.instance(), Volumes::Remove).await.unwrap();
    h.runtime.remove_network(h.project()).await.unwrap();
    assert_eq!(h.runtime.holdings().await.unwrap(), Holdings::default());
}

pub async fn remove_does_not_wait_for_a_slow_stop(h: &Harness) {
    let (workload, _) = h.up(&["ignore-term"]).await;
    h.written(workload.instance, 1).await;
    let begun = Instant::now();
    let remove = async {
        // Let the stop be under way.
        tokio::time::sleep(Duration::from_millis(300)).await;
        h.runtime.remove(workload.instance, Volumes::Remove).await
    };
    let stop = h.runtime.stop(workload.instance, Duration::from_mins(10));
    let (stopped, removed) = tokio::join!(stop, remove);
    stopped.unwrap();
    removed.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!(h.runtime.observe(workload.instance).await.unwrap(), None);
}

pub async fn networks_go_when_nothing_is_attached(h: &Harness) {
    let (workload, _) = h.up(&["serve"]).await;
    h.runtime.stop(workload.instance, Duration::from_secs(5)).await.unwrap();
    // A stopped container needs its network again.
    let attached = h.runtime.remove_network(workload.project).await;
    assert!(matches!(&attached, Err(e) if e.is_transient()), "{attached:?}");
    assert_eq!(h.runtime.holdings().await.unwrap().networks, [workload.project]);
    h.runtime.remove(workload.instance, Volumes::Keep).await.unwrap();
    h.runtime.remove_network(workload.project).await.unwrap();
    h.runtime.remove_network(workload.project).await.unwrap();
    assert_eq!(h.runtime.holdings().await.unwrap(), Holdings::default());
}

pub async fn servers_do_not_see_each_other(h: &Harness) {
    let mut workload = h.workload(&["serve"]).await;
    workload.spec.volumes = vec![volume("data", "/data")];
    let ours = h.runtime.ensure(&workload).await.unwrap();
    let instance = workload.instance;

    assert_eq!(h.other.list().await.unwrap(), []);
    assert_eq!(h.other.observe(instance).await.unwrap(), None);
    assert_eq!(h.other.holdings().await.unwrap(), Holdings::default());
    h.other.stop(instance, Duration::ZERO).await.unwrap();
    h.other.remove(instance, Volumes::Remove).await.unwrap();
    h.other.remove_network(workload.project).await.unwrap();
    let read = h.other.read_file(instance.into(), "/data").await.map(drop);
    assert!(matches!(read, Err(RuntimeError::NotFound(_))), "{read:?}");
    assert_eq!(h.runtime.observe(instance).await.unwrap(), Some(ours.clone()));

    // Even the same instance of the same project is another one there.
    let theirs = h.other.ensure(&workload).await.unwrap();
    assert_ne!(theirs.engine_id, ours.engine_id);
    assert_eq!(h.runtime.list().await.unwrap(), [ours]);
    h.runtime.remove(instance, Volumes::Remove).await.unwrap();
    h.runtime.remove_network(workload.project).await.unwrap();
    assert_eq!(h.other.list().await.unwrap(), [theirs]);
}

pub async fn list_shows_everything_of_ours(h: &Harness) {
    let mut expected: Vec<Observed> = Vec::new();
    for words in [&["serve"][..], &["sleep", "600"], &["exit", "3"]] {
        let (workload, _) = h.up(words).await;
        if words[0] == "exit" {
            h.ended(workload.instance).await;
        }
        expected.push(h.runtime.observe(workload.instance).await.unwrap().unwrap());
    }
    let mut listed = h.runtime.list().await.unwrap();
    listed.sort_by_key(|o| o.instance);
    expected.sort_by_key(|o| o.instance);
    assert_eq!(listed, expected);
}
