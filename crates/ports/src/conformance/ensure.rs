//! Making workloads run, once and only once.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use ryokan_model::probe::Check;
use ryokan_model::quantity::{Bytes, Cpus};

use super::{Harness, next, volume};
use crate::runtime::{LogOptions, Observed, Phase, RuntimeError, Target, Workload};

pub async fn info_describes_the_engine(h: &Harness) {
    let info = h.runtime.info().await.unwrap();
    assert!(!info.engine.is_empty() && !info.version.is_empty());
    assert!(info.isolations.contains(&h.isolation), "{info:?}");
    assert!(info.cpus > 0 && info.memory > 64 * 1024 * 1024, "{info:?}");
}

pub async fn ensure_runs_a_workload(h: &Harness) {
    let (workload, observed) = h.up(&["serve"]).await;
    assert!(observed.phase.is_running(), "{observed:?}");
    assert_eq!(
        (observed.instance, observed.project, observed.generation),
        (workload.instance, workload.project, 1)
    );
    assert_eq!(observed.endpoints.keys().collect::<Vec<_>>(), ["admin", "http"]);
    assert_eq!(observed.reach, h.runtime.info().await.unwrap().reach);
    assert_eq!(h.runtime.observe(workload.instance).await.unwrap(), Some(observed));
}

pub async fn ensure_is_idempotent(h: &Harness) {
    let (workload, first) = h.up(&["serve"]).await;
    for _ in 0..3 {
        assert_eq!(h.runtime.ensure(&workload).await.unwrap(), first);
    }
    assert_eq!(h.runtime.list().await.unwrap(), [first]);
}

pub async fn ensure_starts_a_stopped_container_again(h: &Harness) {
    let (workload, first) = h.up(&["serve"]).await;
    h.runtime.stop(workload.instance, Duration::from_secs(5)).await.unwrap();
    h.ended(workload.instance).await;
    let stopped = h.runtime.observe(workload.instance).await.unwrap().unwrap();
    assert!(stopped.endpoints.is_empty(), "{stopped:?}");
    let again = h.runtime.ensure(&workload).await.unwrap();
    assert_eq!(again.engine_id, first.engine_id);
    assert!(again.phase.is_running());
}

pub async fn ensure_replaces_an_older_generation(h: &Harness) {
    let (workload, first) = h.up(&["serve"]).await;
    let second = h.runtime.ensure(&next(&workload)).await.unwrap();
    assert_ne!(second.engine_id, first.engine_id);
    assert_eq!(second.generation, 2);
    assert_eq!(h.runtime.list().await.unwrap(), [second]);
}

pub async fn ensure_beside_leaves_the_older_generation_alone(h: &Harness) {
    let (workload, first) = h.up(&["serve"]).await;
    let beside = Workload { beside: Some(1), ..next(&workload) };
    let second = h.runtime.ensure(&beside).await.unwrap();
    assert!(second.phase.is_running() && second.generation == 2, "{second:?}");
    assert_ne!(second.engine_id, first.engine_id);
    assert_eq!(h.runtime.ensure(&beside).await.unwrap(), second, "once more");
    let both = Observed { candidate: Some(Box::new(second.clone())), ..first };
    assert_eq!(h.runtime.observe(workload.instance).await.unwrap(), Some(both.clone()));
    assert_eq!(h.runtime.list().await.unwrap(), [both]);
    // Each is asked by itself.
    let tcp = Check::Tcp { port: "http".to_owned() };
    let well = async {
        while h.runtime.probe(&second, &tcp, Duration::from_secs(5)).await.unwrap().is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(super::PATIENCE, well).await.unwrap();
    // Whoever goes inside says which of the two he means; without a word it is the one that served so far.
    for (path, serving) in [("/second", Some(2)), ("/first", Some(1)), ("/also-first", None)] {
        let of = Target { instance: workload.instance, serving };
        let content = Box::pin(futures_util::stream::iter([Ok(bytes::Bytes::from_static(b"x"))]));
        h.runtime.write_file(of, path, 0o644, 1, content).await.unwrap();
    }
    let within = async |serving, path: &str| {
        let of = Target { instance: workload.instance, serving };
        h.runtime.list_files(of, path).await.is_ok()
    };
    assert!(within(Some(2), "/second").await && !within(Some(1), "/second").await);
    for path in ["/first", "/also-first"] {
        assert!(within(Some(1), path).await && !within(Some(2), path).await, "{path}");
    }
    // A third takes the place of the candidate, not of what serves.
    let third = Workload { beside: Some(1), ..next(&beside) };
    let third = h.runtime.ensure(&third).await.unwrap();
    let shown = h.runtime.observe(workload.instance).await.unwrap().unwrap();
    assert_eq!((shown.generation, shown.candidate), (1, Some(Box::new(third))));
    // And without a word of it, all older ones go.
    let last = h.runtime.ensure(&Workload { generation: 4, beside: None, ..beside }).await.unwrap();
    assert_eq!(h.runtime.list().await.unwrap(), [last]);
}

pub async fn a_candidate_that_ends_is_seen_beside_what_serves(h: &Harness) {
    let (workload, first) = h.up(&["serve"]).await;
    let mut candidate = h.workload(&["exit", "7"]).await;
    candidate.instance = workload.instance;
    candidate.generation = 2;
    candidate.beside = Some(1);
    h.runtime.ensure(&candidate).await.unwrap();
    let ended = async {
        loop {
            let shown = h.runtime.observe(workload.instance).await.unwrap().unwrap();
            assert_eq!(shown.engine_id, first.engine_id);
            let candidate = shown.candidate.unwrap();
            if let Phase::Exited { code, .. } = candidate.phase {
                return (candidate.generation, code);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert_eq!(tokio::time::timeout(super::PATIENCE, ended).await.unwrap(), (2, 7));
    assert_eq!(h.run(workload.instance, &["echo", "serves"]).await.0, 0);
    let mut of_candidate = h
        .runtime
        .logs(workload.instance.into(), LogOptions { generation: Some(2), ..LogOptions::default() })
        .await
        .unwrap();
    assert!(of_candidate.next().await.is_none_or(|line| line.is_ok()));
    let none =
        h.runtime.logs(workload.instance.into(), LogOptions { generation: Some(9), ..LogOptions::default() });
    assert!(matches!(none.await, Err(RuntimeError::NotFound(_))));
}

pub async fn retire_leaves_one_generation(h: &Harness) {
    let (workload, first) = h.up(&["serve"]).await;
    let beside = Workload { beside: Some(1), ..next(&workload) };
    let grace = Duration::from_secs(5);
    h.runtime.ensure(&beside).await.unwrap();
    // The candidate is given up.
    h.runtime.retire(workload.instance, 1, grace).await.unwrap();
    assert_eq!(h.runtime.list().await.unwrap(), [first]);
    // The next one takes over.
    let third = h.runtime.ensure(&Workload { generation: 3, ..beside }).await.unwrap();
    h.runtime.retire(workload.instance, 3, grace).await.unwrap();
    assert_eq!(h.runtime.list().await.unwrap(), std::slice::from_ref(&third));
    h.runtime.retire(workload.instance, 3, grace).await.unwrap();
    assert_eq!(h.runtime.list().await.unwrap(), [third], "nothing left to do");
    h.runtime.retire(h.workload(&["serve"]).await.instance, 1, grace).await.unwrap();
}

pub async fn ensure_that_was_overtaken_changes_nothing(h: &Harness) {
    let workload = h.workload(&["serve"]).await;
    let newer = h.runtime.ensure(&next(&workload)).await.unwrap();
    assert_eq!(h.runtime.ensure(&workload).await.unwrap(), newer);
    assert_eq!(h.runtime.list().await.unwrap(), [newer]);
}

pub async fn ensure_that_was_cut_off_is_finished_by_the_next(h: &Harness) {
    let mut workload = h.workload(&["serve"]).await;
    workload.spec.volumes = vec![volume("data", "/data")];
    // From before the first word to the engine until after the last, for a new container and for a replacement.
    for millis in [0, 1, 3, 6, 10, 15, 25, 40, 70, 120, 200, 300] {
        workload.generation += 1;
        let cut = tokio::time::timeout(Duration::from_millis(millis), h.runtime.ensure(&workload)).await;
        drop(cut);
        let whole = h.runtime.ensure(&workload).await.unwrap();
        assert!(whole.phase.is_running(), "after {millis} ms: {whole:?}");
        assert_eq!(h.runtime.list().await.unwrap(), [whole], "after {millis} ms");
    }
    assert_eq!(h.runtime.holdings().await.unwrap().networks, [workload.project]);
}

pub async fn ensure_makes_a_lost_container_anew(h: &Harness) {
    let (workload, first) = h.up(&["serve"]).await;
    h.meddler.lose(workload.instance).await;
    assert_eq!(h.runtime.observe(workload.instance).await.unwrap(), None);
    let second = h.runtime.ensure(&workload).await.unwrap();
    assert_ne!(second.engine_id, first.engine_id);
    assert!(second.phase.is_running());
}

pub async fn ensure_refuses_an_unknown_isolation_with_what_there_is(h: &Harness) {
    let mut workload = h.workload(&["serve"]).await;
    "no-such-runtime".clone_into(&mut workload.spec.security.isolation);
    match h.runtime.ensure(&workload).await {
        Err(RuntimeError::Refused { field, reason }) => {
            assert_eq!(field, "security.isolation");
            assert!(reason.contains("no-such-runtime") && reason.contains("runc"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(h.runtime.list().await.unwrap(), []);
}

pub async fn ensure_refuses_what_the_host_does_not_have(h: &Harness) {
    let mut workload = h.workload(&["serve"]).await;
    workload.spec.resources.memory = Bytes::new(Bytes::MAX);
    let refused = h.runtime.ensure(&workload).await.unwrap_err();
    assert!(refused.to_string().starts_with("resources.memory: "), "{refused}");
    workload.spec.resources.memory = Bytes::mebi(64);
    workload.spec.resources.cpus = Cpus::from_millis(Cpus::MAX_MILLIS);
    let refused = h.runtime.ensure(&workload).await.unwrap_err();
    assert!(refused.to_string().starts_with("resources.cpus: ") && !refused.is_transient(), "{refused}");
}

pub async fn ensure_refuses_a_program_that_the_image_lacks(h: &Harness) {
    let mut workload = h.workload(&[]).await;
    workload.spec.command = Some(vec!["/no/such/program".to_owned()]);
    match h.runtime.ensure(&workload).await {
        // With an init before it, the program is looked for inside the container, and its absence is an exit: Docker's
        // init ends with 127, Podman's with 1.
        Ok(observed) => assert!(matches!(h.ended(observed.instance).await.0, 127 | 1)),
        Err(RuntimeError::Refused { field, reason }) => {
            assert!(field == "command" && reason.contains("/no/such/program"), "{field}: {reason}");
        }
        Err(other) => panic!("{other:?}"),
    }
}

pub async fn ensure_of_ten_at_once(h: &Harness) {
    let mut workloads = Vec::new();
    for _ in 0..10 {
        workloads.push(h.workload(&["sleep", "600"]).await);
    }
    // Two of them in a project of their own, so that networks are made at the same time as well.
    let project = h.project();
    workloads[8].project = project;
    workloads[9].project = project;
    let outcomes = join_all(workloads.iter().map(|w| h.runtime.ensure(w))).await;
    for outcome in outcomes {
        assert!(outcome.unwrap().phase.is_running());
    }
    assert_eq!(h.runtime.list().await.unwrap().len(), 10);
    assert_eq!(h.runtime.holdings().await.unwrap().networks.len(), 2);
}

pub async fn ensure_of_the_same_five_times_at_once(h: &Harness) {
    let mut workload = h.workload(&["sleep", "600"]).await;
    workload.spec.volumes = vec![volume("data", "/data")];
    for generation in 1..3 {
        workload.generation = generation;
        let outcomes = join_all((0..5).map(|_| h.runtime.ensure(&workload))).await;
        let outcomes: Vec<Observed> = outcomes.into_iter().map(Result::unwrap).collect();
        assert!(outcomes.iter().all(|o| *o == outcomes[0] && o.phase.is_running()), "{outcomes:?}");
        assert_eq!(h.runtime.list().await.unwrap(), [outcomes[0].clone()]);
    }
}

pub async fn volumes_outlive_generations(h: &Harness) {
    let mut workload = h.workload(&["sleep", "600"]).await;
    workload.spec.volumes = vec![volume("data", "/data"), volume("more", "/more")];
    h.runtime.ensure(&workload).await.unwrap();
    h.write(workload.instance, "/data/kept", "on the volume").await;
    h.write(workload.instance, "/not-kept", "on the root").await;
    h.runtime.ensure(&next(&workload)).await.unwrap();
    assert_eq!(h.read(workload.instance, "/data/kept").await.unwrap(), "on the volume");
    let lost = h.read(workload.instance, "/not-kept").await;
    assert!(matches!(lost, Err(RuntimeError::NotFound(_))), "{lost:?}");
    let lost = h.read(workload.instance, "/more/kept").await;
    assert!(matches!(lost, Err(RuntimeError::NotFound(_))), "{lost:?}");
}

pub async fn ensure_never_runs_two_generations_at_once(h: &Harness) {
    // Whoever finds the other's lock ends with 99.
    let script = "mkdir /data/lock || exit 99; trap 'sleep 0.3; rmdir /data/lock; exit 0' TERM; \
                  while :; do sleep 0.05; done";
    let mut workload: Workload = h.script(script).await;
    workload.spec.volumes = vec![volume("data", "/data")];
    h.runtime.ensure(&workload).await.unwrap();
    for generation in 2..5 {
        // Only a container that has made its lock can be caught.
        let locked = async {
            while h.run(workload.instance, &["test", "-d", "/data/lock"]).await.0 != 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(super::PATIENCE, locked).await.unwrap();
        workload.generation = generation;
        let observed = h.runtime.ensure(&workload).await.unwrap();
        assert!(matches!(observed.phase, Phase::Running { .. }), "{observed:?}");
    }
}
