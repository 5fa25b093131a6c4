//! Pace of the streams that come back by themselves.

use std::time::Duration;

use tokio::time::Instant;

/// What a stream that reconnects has to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Followed<T> {
    Item(T),
    /// The connection broke, or the server ended the stream (then without a reason); the next call waits and tries
    /// again. Told once for each break.
    Lost {
        why: Option<String>,
    },
    /// It is back, nothing was missed.
    Resumed,
    /// The server has nothing more to tell, ever.
    Ended,
}

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// Doubling waits. Survives that its `wait` is dropped half-way.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    step: Option<Duration>,
    until: Option<Instant>,
}

impl Backoff {
    /// Another try is due after a while, and not before `at_least`.
    pub(super) fn failed(&mut self, at_least: Option<Duration>) {
        let step = self.step.map_or(FIRST, |s| (s * 2).min(LONGEST));
        self.step = Some(step);
        self.until = Some(Instant::now() + at_least.map_or(step, |least| least.max(step)));
    }

    pub(super) async fn wait(&self) {
        if let Some(until) = self.until {
            tokio::time::sleep_until(until).await;
        }
    }

    pub(super) fn worked(&mut self) {
        *self = Self::default();
    }
}
