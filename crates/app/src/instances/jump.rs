//! How long the engine has been watched, whatever the clock does meanwhile: somebody sets it, or the machine sleeps. Time
//! that nobody lived through must not count against an instance, and what was put off must not wait for a time that is
//! far away now.

use ryokan_model::{Clock, Millis};

/// What drift and delays between two looks may amount to.
const TOLERATED: i64 = 5_000;

/// Clock and steady time at the last look, and steady time when watching began.
pub(crate) struct Watch {
    now: Millis,
    steady: Millis,
    began: Millis,
}

impl Watch {
    pub(crate) fn new(clock: &dyn Clock) -> Self {
        Self { now: clock.now(), steady: clock.steady(), began: clock.steady() }
    }

    /// The engine is found.
    pub(crate) fn begin(&mut self, clock: &dyn Clock) {
        self.began = clock.steady();
    }

    /// Looks at the clock. By how many milliseconds it has jumped since the last look, forward or back, if it has; then
    /// watching begins anew.
    pub(crate) fn look(&mut self, clock: &dyn Clock) -> Option<i64> {
        let (now, steady) = (clock.now(), clock.steady());
        let by = (now.0 - self.now.0).saturating_sub(steady.0 - self.steady.0);
        (self.now, self.steady) = (now, steady);
        let jumped = by.abs() > TOLERATED;
        if jumped {
            self.began = steady;
        }
        jumped.then_some(by)
    }

    /// The time of the last look.
    pub(crate) fn now(&self) -> Millis {
        self.now
    }

    /// When watching began, by the clock as it goes now.
    pub(crate) fn since(&self) -> Millis {
        Millis(self.now.0 - (self.steady.0 - self.began.0))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

    use super::*;

    #[derive(Default)]
    struct Hands {
        passed: AtomicI64,
        off: AtomicI64,
    }

    impl Clock for Hands {
        fn now(&self) -> Millis {
            Millis(self.passed.load(Relaxed) + self.off.load(Relaxed))
        }

        fn steady(&self) -> Millis {
            Millis(self.passed.load(Relaxed))
        }
    }

    #[test]
    fn jumps_between_two_looks_make_no_time_pass() {
        let (clock, hour) = (Hands::default(), 3_600_000);
        // It starts while the clock is ahead, finds the engine while it is right, and looks while it is ahead again.
        clock.off.store(hour, Relaxed);
        let mut watch = Watch::new(&clock);
        clock.off.store(0, Relaxed);
        clock.passed.store(2_000, Relaxed);
        watch.begin(&clock);
        clock.off.store(hour, Relaxed);
        clock.passed.store(9_000, Relaxed);
        assert_eq!(watch.look(&clock), None);
        assert_eq!(watch.now().since(watch.since()).as_millis(), 7_000);
        clock.off.store(-hour, Relaxed);
        assert_eq!(watch.look(&clock), Some(-2 * hour));
        assert_eq!(watch.since(), watch.now());
    }
}
