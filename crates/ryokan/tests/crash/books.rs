//! What the tests of money share: the server's clock, a project's books, and that they are right.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::support::invariants::all_events;
use crate::support::rig::{Rig, eventually, settle};

/// The server's clock, which the test moves forward.
pub(crate) struct Clock {
    pub(crate) file: PathBuf,
    offset: std::cell::Cell<i64>,
    _folder: tempfile::TempDir,
}

impl Clock {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { file: folder.path().join("clock"), offset: 0.into(), _folder: folder }
    }

    pub(crate) fn forward(&self, millis: i64) {
        self.offset.set(self.offset.get() + millis);
        // Renamed into place, so that nobody reads half a number.
        let new = self.file.with_extension("new");
        std::fs::write(&new, self.offset.get().to_string()).unwrap();
        std::fs::rename(new, &self.file).unwrap();
    }
}

pub(crate) fn json_of(rig: &Rig, path: &str) -> Option<Value> {
    let (code, body) = rig.get(path)?;
    (code == 200).then(|| serde_json::from_str(&body).unwrap())
}

pub(crate) fn balance(rig: &Rig) -> i64 {
    let found = settle(Duration::from_secs(10), || json_of(rig, "/v1/projects/operator/balance"));
    found.unwrap()["balance"].as_i64().unwrap()
}

/// The project's whole statement, the newest line first.
pub(crate) fn statement(rig: &Rig) -> Vec<Value> {
    let page = settle(Duration::from_secs(10), || json_of(rig, "/v1/projects/operator/ledger?limit=500"));
    let page = page.unwrap();
    assert!(page["next"].is_null(), "one page has them all");
    page["items"].as_array().unwrap().clone()
}

/// `ryokan ledger verify` as an operator runs it, and that the statement adds up.
pub(crate) fn verify(rig: &Rig, when: &str) {
    let found = Command::new(env!("CARGO_BIN_EXE_ryokan"))
        .args(["ledger", "verify", "--json", "--url", &rig.url("")])
        .env("RYOKAN_DATA_DIR", rig.data())
        .env_remove("RYOKAN_TOKEN")
        .output()
        .unwrap();
    let report = String::from_utf8_lossy(&found.stdout);
    assert!(found.status.success(), "{when}: {report}{}", String::from_utf8_lossy(&found.stderr));
    let lines = statement(rig);
    let sum: i64 = lines.iter().map(|line| line["amount"].as_i64().unwrap()).sum();
    assert_eq!(lines.first().map_or(0, |line| line["balance_after"].as_i64().unwrap()), sum, "{when}");
    let intervals: Vec<i64> = lines.iter().filter_map(|line| line["interval"].as_i64()).collect();
    let distinct: BTreeSet<i64> = intervals.iter().copied().collect();
    assert_eq!(intervals.len(), distinct.len(), "{when}: an interval was charged twice: {lines:?}");
}

/// Waits until the server has died at `point`.
pub(crate) fn dies(rig: &Rig, point: &str, mut meanwhile: impl FnMut()) {
    eventually(
        Duration::from_mins(1),
        || format!("the point {point} was never reached\n{}", rig.log()),
        || {
            meanwhile();
            rig.has_died().then_some(())
        },
    );
}

/// How many events of a kind there are.
pub(crate) fn events_of(rig: &Rig, kind: &str) -> usize {
    all_events(rig).unwrap().iter().filter(|event| event["kind"] == kind).count()
}
