//! Reaching agents, and agents that must not reach each other.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use ryokan_model::spec::EgressProfile;
use ryokan_model::{InstanceId, ProjectId, Secret};
use tokio::time::Instant;

use super::{Harness, PATIENCE, next};
use crate::edge::{Door, EdgeNetwork};
use crate::runtime::{PROXY, RuntimeError, Volumes, Workload};
use crate::{Edge, Runtime};

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
    let full = format!("{}.internal", server.name);
    assert_eq!(find(h, client.instance, &full).await, address, "{full}");
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

pub async fn addresses_are_reported_while_running(h: &Harness) {
    let (first, observed) = h.serving().await;
    let (_, second) = h.up(&["sleep", "600"]).await;
    assert_eq!((observed.addresses.len(), second.addresses.len()), (1, 1), "{observed:?} {second:?}");
    assert_ne!(observed.addresses, second.addresses);
    h.runtime.stop(first.instance, Duration::from_secs(5)).await.unwrap();
    let stopped = h.runtime.observe(first.instance).await.unwrap().unwrap();
    assert!(stopped.addresses.is_empty(), "{stopped:?}");
}

/// Who stands at the edge in a test: remembers, and refuses when told to.
#[derive(Default)]
struct Guard {
    opened: Mutex<Vec<(EdgeNetwork, bool)>>,
    closed: Mutex<Vec<ProjectId>>,
    refuses: AtomicBool,
    runtime: OnceLock<Arc<dyn Runtime>>,
}

#[async_trait]
impl Edge for Guard {
    async fn open(&self, at: &EdgeNetwork) -> Result<(), String> {
        if self.refuses.load(Ordering::Relaxed) {
            return Err("the door is stuck".to_owned());
        }
        let runtime = self.runtime.get().unwrap();
        let there = runtime.networks().await.unwrap().iter().any(|n| n.project == at.project);
        let running = runtime.list().await.unwrap().iter().any(|o| o.phase.is_running());
        self.opened.lock().unwrap().push((at.clone(), there && !running));
        Ok(())
    }

    async fn close(&self, project: ProjectId) {
        self.closed.lock().unwrap().push(project);
    }
}

pub async fn networks_are_listed_with_their_edge(h: &Harness) {
    let guard = Arc::new(Guard::default());
    let _ = guard.runtime.set(h.runtime.clone());
    h.runtime.set_edge(guard.clone());
    assert_eq!(h.runtime.networks().await.unwrap(), []);
    let (workload, _) = h.up(&["sleep", "600"]).await;
    let listed = h.runtime.networks().await.unwrap();
    assert_eq!(listed.len(), 1, "{listed:?}");
    let opened = guard.opened.lock().unwrap().clone();
    assert!(opened.iter().all(|(network, _)| *network == listed[0]), "{opened:?} {listed:?}");
    h.runtime.remove(workload.instance, Volumes::Remove).await.unwrap();
    h.runtime.remove_network(workload.project).await.unwrap();
    assert_eq!(*guard.closed.lock().unwrap(), [workload.project]);
    assert_eq!(h.runtime.networks().await.unwrap(), []);
    assert_eq!(h.runtime.drops().await.unwrap(), []);
}

pub async fn the_edge_is_told_before_anything_runs(h: &Harness) {
    let guard = Arc::new(Guard::default());
    let _ = guard.runtime.set(h.runtime.clone());
    h.runtime.set_edge(guard.clone());
    guard.refuses.store(true, Ordering::Relaxed);
    let workload = h.workload(&["sleep", "600"]).await;
    let refused = h.runtime.ensure(&workload).await.unwrap_err();
    assert!(refused.is_transient() && refused.to_string().contains("the door is stuck"), "{refused}");
    let observed = h.runtime.observe(workload.instance).await.unwrap();
    assert!(!observed.is_some_and(|o| o.phase.is_running()));

    guard.refuses.store(false, Ordering::Relaxed);
    h.runtime.ensure(&workload).await.unwrap();
    let opened = guard.opened.lock().unwrap().clone();
    assert!(!opened.is_empty() && opened.iter().all(|(_, in_time)| *in_time), "{opened:?}");
    // A stopped one is started behind the edge, too.
    h.runtime.stop(workload.instance, Duration::from_secs(5)).await.unwrap();
    guard.refuses.store(true, Ordering::Relaxed);
    assert!(h.runtime.ensure(&workload).await.is_err());
    let observed = h.runtime.observe(workload.instance).await.unwrap().unwrap();
    assert!(!observed.phase.is_running(), "{observed:?}");
}

pub async fn instances_have_no_route_out(h: &Harness) {
    let (workload, _) = h.up(&["sleep", "600"]).await;
    // At once: programs are not kept waiting for what they will not get.
    let begun = Instant::now();
    for target in ["192.0.2.1:80", "198.51.100.1:443", "8.8.8.8:53"] {
        let (host, port) = target.split_once(':').unwrap();
        let (code, _, err) = h.run(workload.instance, &["nc", "-w", "5", host, port]).await;
        assert!(code != 0 && !err.contains("timed out"), "{target}: {err}");
    }
    for _ in 0..20 {
        assert_eq!(look_up(h, workload.instance, "example.com").await, "");
    }
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

/// The variables of the container's first process.
async fn environment(h: &Harness, workload: &Workload) -> BTreeMap<String, String> {
    let (code, out, err) = h.run(workload.instance, &[&h.agent, "env"]).await;
    assert_eq!(code, 0, "{err}");
    out.lines().filter_map(|l| l.split_once('=')).map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
}

pub async fn doors_are_in_the_environment_and_nowhere_else(h: &Harness) {
    const TOKEN: &str = "ryk_the-token-of-a-test";
    let mut workload = h.workload(&["sleep", "600"]).await;
    workload.door = Some(Door { port: 7781, token: Secret::new(TOKEN) });
    workload.spec.env.insert("OPENAI_API_KEY".to_owned(), "its own".to_owned());
    h.runtime.ensure(&workload).await.unwrap();
    let env = environment(h, &workload).await;
    let Some(host) = env.get(PROXY).cloned() else {
        // Nobody knows where the door would be.
        assert!(!env.contains_key("HTTP_PROXY"), "{env:?}");
        return;
    };
    let url = format!("http://{host}:7781");
    let proxy = format!("http://agent:{TOKEN}@{host}:7781");
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY"] {
        assert_eq!(env.get(name), Some(&proxy), "{name}");
    }
    let direct = format!("localhost,127.0.0.1,::1,{host},.internal");
    for (name, value) in [
        ("NO_PROXY", direct.as_str()),
        ("no_proxy", &direct),
        ("NODE_USE_ENV_PROXY", "1"),
        ("RYOKAN_TOKEN", TOKEN),
        ("RYOKAN_URL", &url),
        ("OPENAI_BASE_URL", &format!("{url}/v1")),
        ("OPENAI_API_KEY", "its own"),
        ("ANTHROPIC_BASE_URL", &url),
        ("ANTHROPIC_API_KEY", TOKEN),
    ] {
        assert_eq!(env.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert!(!env.contains_key("SSL_CERT_FILE"), "nothing to trust was given");
    assert_eq!(h.meddler.mentions(workload.instance, TOKEN).await, Vec::<String>::new());

    let mut silent = next(&workload);
    silent.spec.egress = EgressProfile::None;
    h.runtime.ensure(&silent).await.unwrap();
    let env = environment(h, &silent).await;
    assert!(env.values().all(|value| !value.contains(TOKEN)) && !env.contains_key("HTTP_PROXY"), "{env:?}");
}

pub async fn authorities_are_seen_read_only(h: &Harness) {
    let folder = std::env::temp_dir().join(format!("ryokan-trust-{}", h.instance()));
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("ca-bundle.crt"), "all of them").unwrap();
    std::fs::write(folder.join("ca.crt"), "ours").unwrap();
    let mut workload = h.workload(&["sleep", "600"]).await;
    workload.door = Some(Door { port: 7781, token: Secret::new("t") });
    workload.trust = Some(folder.clone());
    workload.spec.security.read_only_root = true;
    workload.spec.security.tmpfs = vec!["/run".to_owned(), "/tmp".to_owned()];
    let outcome = AssertUnwindSafe(async {
        h.runtime.ensure(&workload).await.unwrap();
        let seen =
            h.sh(workload.instance, "cat /run/ryokan/ca-bundle.crt; echo; cat /run/ryokan/ca.crt").await;
        assert_eq!(seen, "all of them\nours");
        let (code, _, err) = h.run(workload.instance, &["sh", "-c", "echo mine > /run/ryokan/ca.crt"]).await;
        assert!(code != 0 && err.contains("ead-only"), "{err}");
        h.sh(workload.instance, "echo 1 > /run/x").await;
        let env = environment(h, &workload).await;
        if env.contains_key(PROXY) {
            for name in
                ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT", "GIT_SSL_CAINFO"]
            {
                assert_eq!(env.get(name).map(String::as_str), Some("/run/ryokan/ca-bundle.crt"), "{name}");
            }
            assert_eq!(env.get("NODE_EXTRA_CA_CERTS").map(String::as_str), Some("/run/ryokan/ca.crt"));
        }
    })
    .catch_unwind()
    .await;
    std::fs::remove_dir_all(&folder).unwrap();
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}
