//! Reaching agents, and agents that must not reach each other.

use super::{Harness, volume};
use crate::runtime::RuntimeError;

pub async fn ports_can_be_dialled(h: &Harness) {
    let (workload, _) = h.serving().await;
    for (port, number) in [("http", 3000), ("admin", 3001)] {
        let answer = h.answers(&workload, port).await;
        assert!(answer.contains(&format!("hello from {number}")), "{answer}");
    }
}

pub async fn ports_that_are_not_there_are_told_apart(h: &Harness) {
    let (workload, _) = h.serving().await;
    let unknown = h.runtime.dial(workload.instance, "nope").await.map(drop);
    assert!(matches!(unknown, Err(RuntimeError::NotFound(_))), "{unknown:?}");
    h.runtime.stop(workload.instance, std::time::Duration::from_secs(5)).await.unwrap();
    let stopped = h.runtime.dial(workload.instance, "http").await.map(drop);
    assert!(matches!(stopped, Err(RuntimeError::NotRunning)), "{stopped:?}");
    let missing = h.runtime.dial(h.instance(), "http").await.map(drop);
    assert!(matches!(missing, Err(RuntimeError::NotFound(_))), "{missing:?}");
}

pub async fn siblings_find_each_other_by_name(h: &Harness) {
    let (server, _) = h.serving().await;
    let (client, _) = h.up(&["sleep", "600"]).await;
    let url = format!("http://{}:3000/", server.name);
    let answer = h.sh(client.instance, &format!("wget -T 5 -q -O - {url}")).await;
    assert!(answer.contains("hello from 3000"), "{answer}");
}

pub async fn projects_are_apart(h: &Harness) {
    let (server, observed) = h.serving().await;
    let mut client = h.workload(&["sleep", "600"]).await;
    client.project = h.project();
    client.spec.volumes = vec![volume("data", "/data")];
    h.runtime.ensure(&client).await.unwrap();
    // Its own address answers nobody outside its project, and its name means nothing there.
    let inside = h.sh(server.instance, "ip -4 -o addr show eth0 | awk '{print $4}' | cut -d/ -f1").await;
    assert!(!inside.is_empty());
    for target in [format!("http://{inside}:3000/"), format!("http://{}:3000/", server.name)] {
        let (code, out, _) = h.run(client.instance, &["wget", "-T", "2", "-q", "-O", "-", &target]).await;
        assert_ne!(code, 0, "{target} answered {out} ({observed:?})");
    }
}
