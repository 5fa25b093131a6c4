//! Reaching agents, and agents that must not reach each other.

use std::time::Duration;

use ryokan_model::InstanceId;

use super::{Harness, PATIENCE};
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
    let unknown = h.runtime.dial(workload.instance.into(), "nope").await.map(drop);
    assert!(matches!(unknown, Err(RuntimeError::NotFound(_))), "{unknown:?}");
    h.runtime.stop(workload.instance, Duration::from_secs(5)).await.unwrap();
    let stopped = h.runtime.dial(workload.instance.into(), "http").await.map(drop);
    assert!(matches!(stopped, Err(RuntimeError::NotRunning)), "{stopped:?}");
    let missing = h.runtime.dial(h.instance().into(), "http").await.map(drop);
    assert!(matches!(missing, Err(RuntimeError::NotFound(_))), "{missing:?}");
}

/// The engine's own name server, asked from inside.
async fn look_up(h: &Harness, from: InstanceId, name: &str) -> String {
    let script = format!(
        "server=$(awk '/^nameserver/ {{print $2; exit}}' /etc/resolv.conf); \
         nslookup {name} $server 2>&1 | awk '/^Name/ {{f=1}} f && /^Address/ {{print $NF}}'"
    );
    h.sh(from, &script).await
}

/// The same, of a sibling: some engines' name servers learn of it a moment after its start.
async fn find(h: &Harness, from: InstanceId, name: &str) -> String {
    let look = async {
        loop {
            let address = look_up(h, from, name).await;
            if !address.is_empty() {
                return address;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, look).await.expect("the sibling is found by its name")
}

pub async fn siblings_find_each_other_by_name(h: &Harness) {
    let (server, _) = h.serving().await;
    let (client, _) = h.up(&["sleep", "600"]).await;
    let address = find(h, client.instance, server.name.as_str()).await;
    let answer = h.sh(client.instance, &format!("wget -q -O - http://{address}:3000/")).await;
    assert!(answer.contains("hello from 3000"), "{answer}");
}

pub async fn projects_are_apart(h: &Harness) {
    let (server, _) = h.serving().await;
    let (sibling, _) = h.up(&["sleep", "600"]).await;
    let address = find(h, sibling.instance, server.name.as_str()).await;
    let mut stranger = h.workload(&["sleep", "600"]).await;
    stranger.project = h.project();
    h.runtime.ensure(&stranger).await.unwrap();
    assert_eq!(look_up(h, stranger.instance, server.name.as_str()).await, "");
    let url = format!("http://{address}:3000/");
    for (who, reaches) in [(&sibling, true), (&stranger, false)] {
        let (code, out, err) = h.run(who.instance, &["timeout", "2", "wget", "-q", "-O", "-", &url]).await;
        assert_eq!(code == 0, reaches, "{}: {out}{err}", who.name);
    }
}
