//! Noticing that the clock jumped: somebody set it, or the machine slept. Time that nobody lived through must not count
//! against an instance, and what was put off must not wait for a time that is far away now.

use ryokan_model::{Clock, Millis};

/// What drift and delays between two looks may amount to.
const TOLERATED: i64 = 5_000;

/// Clock and steady time at the last look.
pub(crate) struct LastLook {
    now: Millis,
    steady: Millis,
}

impl LastLook {
    pub(crate) fn new(clock: &dyn Clock) -> Self {
        Self { now: clock.now(), steady: clock.steady() }
    }

    /// By how many milliseconds the clock has jumped since the last look, forward or back, if it has.
    pub(crate) fn jumped(&mut self, clock: &dyn Clock) -> Option<i64> {
        let last = std::mem::replace(self, Self::new(clock));
        let by = (self.now.0 - last.now.0).saturating_sub(self.steady.0 - last.steady.0);
        (by.abs() > TOLERATED).then_some(by)
    }
}
