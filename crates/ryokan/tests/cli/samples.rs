//! Answers as a server would give them. Times lie back from now, so that ages are the same in every run.

use serde_json::{Value, json};

pub(crate) const ID: &str = "01941f29-7c00-7000-8000-000000000001";

pub(crate) fn ago(minutes: i64) -> i64 {
    #[expect(clippy::disallowed_methods, reason = "the binary under test tells ages by the system's clock")]
    let now = std::time::SystemTime::now();
    let now = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    // Half a minute more, so that the run's own time does not show.
    i64::try_from(now).unwrap() - minutes * 60_000 - 30_000
}

pub(crate) fn instance(name: &str, state: &str) -> Value {
    json!({
        "id": ID,
        "name": name,
        "project": "ann",
        "template": "hello",
        "desired": if state == "stopped" { "stopped" } else { "running" },
        "state": state,
        "since": ago(5),
        "crashes": 0,
        "url": format!("http://{name}.localhost:7700"),
        "path_url": format!("http://localhost:7700/gateway/{name}/"),
        "generation": 1,
        "spec": { "image": "ryokan/hello:1", "ports": [{ "name": "http", "port": 3000 }] },
        "created_at": ago(180),
        "updated_at": ago(5),
    })
}

/// With times that never change, for what is shown as it is.
pub(crate) fn fixed(mut instance: Value) -> Value {
    for field in ["since", "created_at", "updated_at"] {
        instance[field] = json!(1_763_700_000_000_i64);
    }
    instance
}

pub(crate) fn template() -> Value {
    json!({
        "name": "hello",
        "summary": "A tiny agent that says hello",
        "spec": {
            "image": "ryokan/hello:1",
            "ports": [{ "name": "http", "port": 3000 }],
            "restart": { "mode": "always", "max_crashes": 3 },
        },
        "variables": { "GREETING": { "description": "What it says", "default": "hello" } },
    })
}

pub(crate) fn user(login: &str, operator: bool) -> Value {
    json!({
        "id": ID,
        "login": login,
        "name": "Ann",
        "operator": operator,
        "has_password": operator,
        "disabled": false,
        "default_project": login,
        "created_at": ago(180),
    })
}

pub(crate) fn token(label: &str) -> Value {
    json!({ "id": ID, "label": label, "user": "ann", "scope": "write", "created_at": ago(180) })
}

pub(crate) fn event(seq: i64, kind: &str, outcome: &str) -> Value {
    json!({
        "seq": seq,
        "at": 1_763_700_000_000_i64 + seq,
        "kind": kind,
        "subject": "instance",
        "subject_id": ID,
        "subject_name": "claw",
        "actor": "ann",
        "outcome": outcome,
        "data": {},
    })
}

pub(crate) fn log_line(at: i64, stream: &str, text: &str) -> String {
    format!("{}\n", json!({ "at": at, "stream": stream, "text": text }))
}

pub(crate) fn stats() -> Value {
    json!({
        "at": 1_763_700_000_000_i64,
        "cpu_percent": 12.34,
        "cpu_nanos": 5_000_000_000_u64,
        "memory_bytes": 50_000_000,
        "memory_limit_bytes": 536_870_912,
        "network_rx_bytes": 1234,
        "network_tx_bytes": 999,
        "block_read_bytes": 0,
        "block_write_bytes": 4096,
        "pids": 3,
    })
}
