//! GPUs on an engine that has none: what is asked of it, and every refusal. Nothing here was run on a real GPU.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::path::Path;
use std::sync::{Arc, Mutex};

use ryokan_adapters::docker::{Docker, Options};
use ryokan_ports::Runtime as _;
use ryokan_ports::conformance::{self, Harness};
use ryokan_ports::runtime::{Observed, Result, RuntimeError, Volumes};
use serde_json::{Value, json};
use support::Stage;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

async fn check(case: impl AsyncFnOnce(&Harness, &Stage)) {
    let Some(docker) = support::engine().await else { return };
    let stage = Stage::new(docker);
    let harness = stage.harness(stage.options()).await;
    conformance::run(harness, async |h: &Harness| case(h, &stage).await).await;
    let left = stage.leftovers().await;
    assert!(left.is_empty(), "left behind: {left:?}");
}

/// A socket before the engine's that keeps the bodies of calls that make containers.
fn listen_in(socket: &Path) -> (JoinSet<()>, Arc<Mutex<Vec<Value>>>) {
    let listener = UnixListener::bind(socket).unwrap();
    let kept: Arc<Mutex<Vec<Value>>> = Arc::default();
    let (keep, mut tasks) = (kept.clone(), JoinSet::new());
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (mut ours, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(ours.read_u8().await.unwrap());
            }
            let text = String::from_utf8_lossy(&head).to_lowercase();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
            let mut body = vec![0; length.map_or(0, |n| n.parse().unwrap())];
            if text.lines().next().is_some_and(|first| first.contains("/containers/create")) {
                ours.read_exact(&mut body).await.unwrap();
                keep.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
                head.extend_from_slice(&body);
            }
            connections.spawn(async move {
                let mut theirs = UnixStream::connect(support::socket()).await.unwrap();
                theirs.write_all(&head).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut ours, &mut theirs).await;
            });
        }
    });
    (tasks, kept)
}

/// No machine of ours has a GPU: what is asked of the engine is looked at, and what it says when it has none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gpus_are_asked_for_or_refused_and_never_dropped() {
    check(async |h, stage| {
        let refused = |outcome: Result<Observed>| match outcome {
            Err(RuntimeError::Refused { field, reason }) if field == "resources.gpus" => reason,
            other => panic!("{other:?}"),
        };
        let mut workload = h.workload(&["serve"]).await;
        workload.spec.resources.gpus = 2;
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("engine.sock");
        let (_tasks, made) = listen_in(&socket);
        let socket = Some(format!("unix://{}", socket.display()));
        let with =
            |gpus| Docker::connect(Options { socket: socket.clone(), gpus, ..stage.options() }).unwrap();

        for (setting, word) in [(None, "NVIDIA container toolkit"), (Some(0), "`engine.gpus` is 0")] {
            let docker = with(setting);
            let said = docker.info().await.unwrap().no_gpus;
            let reason = refused(docker.ensure(&workload).await);
            assert!(reason.contains(word) && said.as_deref() == Some(reason.as_str()), "{reason}");
        }
        assert_eq!(made.lock().unwrap().len(), 0, "nothing is made");

        // As if there were some: the engine is asked, and knows better.
        let docker = with(Some(4));
        assert_eq!(docker.info().await.unwrap().no_gpus, None);
        let reason = refused(docker.ensure(&workload).await);
        assert!(reason.contains("no driver for GPUs"), "{reason}");
        let bodies = made.lock().unwrap().clone();
        let asked = &bodies[0]["HostConfig"]["DeviceRequests"];
        assert_eq!(asked, &json!([{"Driver": "nvidia", "Count": 2, "Capabilities": [["gpu"]]}]), "{asked}");
        assert_eq!(bodies[0]["Labels"]["ryokan.gpus"], "2");
        docker.remove(workload.instance, Volumes::Remove).await.unwrap();
        docker.remove_network(workload.project).await.unwrap();
    })
    .await;
}
