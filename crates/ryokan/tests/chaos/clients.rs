//! Several clients at once, each with names of its own, so that what was last acknowledged of an instance is known.
//! A client whose answer does not come repeats a creation with the same key, and forgets what it knew of anything else.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::dice::Dice;
use crate::support::invariants::{Known, Told};
use crate::support::rig::{IMAGE, INTERRUPTED, Rig, settle};

pub(crate) const CLIENTS: u64 = 6;

/// What became of a request.
enum Answer {
    Done,
    /// Refused, and surely not carried out.
    Refused(u16),
    /// Perhaps carried out.
    Unknown,
}

pub(crate) struct Client {
    number: u64,
    dice: Dice,
    /// How many instances it wants to have.
    target: usize,
    made: u64,
    living: BTreeMap<String, Told>,
    /// Sent, and not answered yet.
    creating: Option<String>,
    deleting: Vec<String>,
    known: Known,
    pub(crate) operations: u64,
    /// Answers that no fault explains.
    pub(crate) strange: Vec<String>,
}

impl Client {
    pub(crate) fn all(instances: u64, seed: u64) -> Vec<Self> {
        let client = |number| Self {
            number,
            dice: Dice::new(seed.wrapping_mul(31).wrapping_add(number + 1)),
            target: usize::try_from((instances + number) / CLIENTS).unwrap(),
            made: 0,
            living: BTreeMap::new(),
            creating: None,
            deleting: Vec::new(),
            known: Known::default(),
            operations: 0,
            strange: Vec::new(),
        };
        (0..CLIENTS).map(client).collect()
    }

    pub(crate) fn run(&mut self, rig: &Rig, until: Instant) {
        while Instant::now() < until && !INTERRUPTED.load(Ordering::Relaxed) {
            self.step(rig);
            std::thread::sleep(Duration::from_millis(20 + self.dice.roll(250)));
        }
    }

    fn step(&mut self, rig: &Rig) {
        // The same number of rolls at each step, so that the plan does not depend on what comes of it.
        let (choice, which, other) = (self.dice.roll(12), self.dice.number(), self.dice.roll(4));
        if self.creating.is_some() || self.living.len() < self.target {
            return self.create(rig);
        }
        let index = usize::try_from(which % self.living.len().max(1) as u64).unwrap();
        let Some(name) = self.living.keys().nth(index).cloned() else { return };
        match choice {
            0..=2 => self.steer(rig, &name, "stop", "stopped"),
            3..=5 => self.steer(rig, &name, "start", "running"),
            6..=7 => self.steer(rig, &name, "restart", "running"),
            8..=9 => self.update(rig, &name),
            _ => self.delete(rig, &name, other == 0),
        }
    }

    fn ask(&mut self, rig: &Rig, method: &str, path: &str, body: &Value, key: &str) -> Answer {
        self.operations += 1;
        let body = if body.is_null() { String::new() } else { body.to_string() };
        match rig.call_once(method, path, &body, key) {
            Some((200..=299, _)) => Answer::Done,
            Some((code @ 400..=499, answer)) => {
                if ![404, 409].contains(&code) {
                    self.strange.push(format!("{method} {path}: {code} {answer}"));
                }
                Answer::Refused(code)
            }
            Some((code, answer)) => {
                if code != 503 {
                    self.strange.push(format!("{method} {path}: {code} {answer}"));
                }
                Answer::Unknown
            }
            None => Answer::Unknown,
        }
    }

    fn create(&mut self, rig: &Rig) {
        let name = self.creating.take().unwrap_or_else(|| {
            self.made += 1;
            format!("c{}-{}", self.number, self.made)
        });
        // Crashes are ours here; the policy's patience is not what this is about.
        let restart = json!({"max_crashes": 1000, "max_backoff": "8s"});
        let body = if self.made.is_multiple_of(2) {
            json!({"name": name, "template": "hello", "restart": restart, "env": {"MARK": "new"}})
        } else {
            // A writable root, no startup probe, and a volume that the image knows nothing of.
            json!({
                "name": name, "template": "custom", "image": IMAGE, "memory": "64Mi", "stop_grace": "2s",
                "ports": [{"name": "http", "port": 3000}], "volumes": [{"name": "work", "path": "/work"}],
                "files": [{"path": "/work/note", "content": "hello"}],
                "restart": restart, "env": {"MARK": "new"},
            })
        };
        match self.ask(rig, "POST", "/v1/instances", &body, &format!("key-{name}")) {
            Answer::Done => {
                self.known.created.insert(name.clone());
                let told = Told { desired: Some("running"), mark: Some("new".into()) };
                self.living.insert(name, told);
            }
            Answer::Refused(_) => {}
            Answer::Unknown => self.creating = Some(name),
        }
    }

    fn steer(&mut self, rig: &Rig, name: &str, verb: &str, desired: &'static str) {
        let answer = self.ask(rig, "POST", &format!("/v1/instances/{name}/{verb}"), &Value::Null, "");
        let told = self.living.get_mut(name).expect("it was chosen from these");
        match answer {
            Answer::Done => told.desired = Some(desired),
            Answer::Refused(_) => {}
            Answer::Unknown => told.desired = None,
        }
    }

    fn update(&mut self, rig: &Rig, name: &str) {
        let mark = self.operations.to_string();
        let body = json!({"env": {"MARK": mark}});
        let answer = self.ask(rig, "PATCH", &format!("/v1/instances/{name}"), &body, "");
        let told = self.living.get_mut(name).expect("it was chosen from these");
        match answer {
            Answer::Done => told.mark = Some(mark),
            Answer::Refused(_) => {}
            Answer::Unknown => told.mark = None,
        }
    }

    fn delete(&mut self, rig: &Rig, name: &str, force: bool) {
        self.living.remove(name);
        let force = if force { "?force=true" } else { "" };
        match self.ask(rig, "DELETE", &format!("/v1/instances/{name}{force}"), &Value::Null, "") {
            Answer::Done => drop(self.known.deleted.insert(name.to_owned())),
            Answer::Refused(_) | Answer::Unknown => self.deleting.push(name.to_owned()),
        }
    }

    /// Repeats what was not answered, now that the server is well, and tells what is known then.
    pub(crate) fn settle(&mut self, rig: &Rig) -> Known {
        settle(Duration::from_secs(30), || {
            if self.creating.is_some() {
                self.create(rig);
            }
            self.creating.is_none().then_some(())
        });
        for name in std::mem::take(&mut self.deleting) {
            let gone = settle(Duration::from_secs(30), || {
                match self.ask(rig, "DELETE", &format!("/v1/instances/{name}"), &Value::Null, "") {
                    Answer::Done | Answer::Refused(404) => Some(()),
                    _ => None,
                }
            });
            if gone.is_some() {
                self.known.deleted.insert(name);
            }
        }
        self.known.told = self.living.clone();
        self.known.clone()
    }
}
