//! One loop a listener that looks after all its connections: slow heads, idle connections, drain, cut.
//!
//! Costs a pass over a list now and then instead of timers and cancellation locks in every request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::client::Watch;
use crate::limits::Limits;

/// The open connections of a listener.
#[derive(Debug, Default)]
pub(crate) struct Supervisor {
    connections: Mutex<Connections>,
}

#[derive(Debug, Default)]
struct Connections {
    next: u64,
    open: HashMap<u64, Entry>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd)]
enum Stage {
    #[default]
    Serving,
    Draining,
    Cut,
}

#[derive(Debug)]
struct Entry {
    watch: Arc<Watch>,
    activity: u64,
    active_at: Instant,
    head: Option<(u64, Instant)>,
}

/// Keeps a connection on the list; dropping it takes it off.
#[derive(Debug)]
pub(crate) struct Registration {
    supervisor: Arc<Supervisor>,
    id: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.supervisor.lock().open.remove(&self.id);
    }
}

impl Supervisor {
    fn lock(&self) -> std::sync::MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a connection; one that comes after a drain or cut began is told at once.
    pub(crate) fn register(self: &Arc<Self>, watch: &Arc<Watch>) -> Registration {
        let mut connections = self.lock();
        let id = connections.next;
        connections.next += 1;
        let entry = Entry { watch: Arc::clone(watch), activity: 0, active_at: Instant::now(), head: None };
        connections.open.insert(id, entry);
        if connections.stage >= Stage::Draining {
            watch.drain();
        }
        if connections.stage >= Stage::Cut {
            watch.cut();
        }
        drop(connections);
        Registration { supervisor: Arc::clone(self), id }
    }

    /// Runs until `done`. `housekeeping` is called on every round.
    pub(crate) async fn run(
        &self,
        limits: &Limits,
        soft: &CancellationToken,
        hard: &CancellationToken,
        done: &CancellationToken,
        housekeeping: impl Fn(),
    ) {
        let shortest = limits.header_timeout.min(limits.keep_alive).min(limits.stream_idle);
        let pace = (shortest / 4).clamp(Duration::from_millis(5), Duration::from_secs(1));
        let mut rounds = tokio::time::interval(pace);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = done.cancelled() => return,
                () = soft.cancelled(), if !self.reached(Stage::Draining) => self.enter(Stage::Draining, Watch::drain),
                () = hard.cancelled(), if !self.reached(Stage::Cut) => self.enter(Stage::Cut, Watch::cut),
                _ = rounds.tick() => {
                    self.review(limits);
                    housekeeping();
                }
            }
        }
    }

    fn reached(&self, stage: Stage) -> bool {
        self.lock().stage >= stage
    }

    fn enter(&self, stage: Stage, order: fn(&Watch)) {
        let mut connections = self.lock();
        connections.stage = stage;
        let watches: Vec<_> = connections.open.values().map(|entry| Arc::clone(&entry.watch)).collect();
        drop(connections);
        for watch in watches {
            order(&watch);
        }
    }

    fn review(&self, limits: &Limits) {
        let now = Instant::now();
        let mut overdue = Vec::new();
        for entry in self.lock().open.values_mut() {
            if entry.is_overdue(now, limits) {
                overdue.push(Arc::clone(&entry.watch));
            }
        }
        for watch in overdue {
            watch.cut();
        }
    }
}

impl Entry {
    fn is_overdue(&mut self, now: Instant, limits: &Limits) -> bool {
        let activity = self.watch.activity();
        if activity != self.activity {
            self.activity = activity;
            self.active_at = now;
        }
        let is_in_service = self.watch.is_in_service();
        self.head = match (self.watch.open_head(), self.head) {
            (Some(number), Some((known, since))) if number == known => Some((known, since)),
            (Some(number), _) => Some((number, now)),
            (None, _) => None,
        };
        let slow_head = self.head.is_some_and(|(_, since)| now - since > limits.header_timeout);
        let idle = if is_in_service { limits.stream_idle } else { limits.keep_alive };
        (slow_head && !is_in_service) || now - self.active_at > idle
    }
}
