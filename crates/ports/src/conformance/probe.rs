//! Asking an agent whether it works.

use std::time::Duration;

use ryokan_model::probe::Check;
use tokio::time::Instant;

use super::{Harness, PATIENCE};
use crate::runtime::Observed;

const TIMEOUT: Duration = Duration::from_secs(5);

fn http(path: &str, body: Option<&str>) -> Check {
    let (port, path, body) = ("http".to_owned(), path.to_owned(), body.map(str::to_owned));
    Check::Http { port, path, body, headers: vec![("X-Probe".to_owned(), "1".to_owned())] }
}

async fn ask(h: &Harness, observed: &Observed, check: &Check) -> Result<(), String> {
    h.runtime.probe(observed, check, TIMEOUT).await.unwrap()
}

pub async fn probes_of_http(h: &Harness) {
    let (workload, observed) = h.serving().await;
    assert_eq!(ask(h, &observed, &http("/health", None)).await, Ok(()));
    assert_eq!(ask(h, &observed, &http("/health", Some("ok"))).await, Ok(()));
    let missing = ask(h, &observed, &http("/missing", None)).await.unwrap_err();
    assert!(missing.contains("404"), "{missing}");
    let other = ask(h, &observed, &http("/health", Some("excellent"))).await.unwrap_err();
    assert!(other.contains("excellent"), "{other}");
    h.runtime.stop(workload.instance, Duration::from_secs(5)).await.unwrap();
    assert!(ask(h, &observed, &http("/health", None)).await.is_err());
}

pub async fn probes_of_tcp(h: &Harness) {
    let (_, observed) = h.serving().await;
    assert_eq!(ask(h, &observed, &Check::Tcp { port: "http".to_owned() }).await, Ok(()));
    assert!(ask(h, &observed, &Check::Tcp { port: "unknown".to_owned() }).await.is_err());
    let mut silent = h.workload(&["sleep", "600"]).await;
    silent.spec.ports.clone_from(&h.workload(&["serve"]).await.spec.ports);
    let observed = h.runtime.ensure(&silent).await.unwrap();
    assert!(ask(h, &observed, &Check::Tcp { port: "http".to_owned() }).await.is_err());
}

pub async fn probes_of_commands(h: &Harness) {
    let (_, observed) = h.up(&["sleep", "600"]).await;
    let command =
        |words: &[&str]| Check::Command { command: words.iter().map(|w| (*w).to_owned()).collect() };
    assert_eq!(ask(h, &observed, &command(&[&h.agent, "exit", "0"])).await, Ok(()));
    let failed = ask(h, &observed, &command(&[&h.agent, "exit", "9"])).await.unwrap_err();
    assert!(failed.contains('9'), "{failed}");
    let missing = ask(h, &observed, &command(&["no-such-program"])).await.unwrap_err();
    assert!(missing.contains("no-such-program"), "{missing}");
}

pub async fn probes_end_in_time(h: &Harness) {
    let (workload, observed) = h.serving().await;
    for check in
        [http("/cgi-bin/slow", None), Check::Command { command: vec!["sleep".to_owned(), "4712".to_owned()] }]
    {
        let begun = Instant::now();
        let late = h.runtime.probe(&observed, &check, Duration::from_millis(700)).await.unwrap().unwrap_err();
        assert!(late.contains("700 ms"), "{late}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
    let gone = async {
        while h.sh(workload.instance, "ps | grep -c '[s]leep 4712' || true").await != "0" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("a late command is ended");
}
