//! Lockout with backoff for guessed credentials, by address and by login. In memory: a restart forgives, which costs an
//! attacker more than it gains.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use ryokan_model::{Clock, Millis};

use crate::{Error, Result};

/// Failures that are free.
const FREE: u32 = 5;
const MAX_LOCK: Duration = Duration::from_mins(15);
/// Beyond this many keys the oldest are forgotten.
const MAX_KEYS: usize = 20_000;

#[derive(Default)]
pub struct Throttle {
    failures: Mutex<HashMap<String, Failures>>,
}

struct Failures {
    count: u32,
    until: Millis,
    last: Millis,
}

impl Throttle {
    /// Refuses while any of the keys is locked, else counts a failure against each: many guesses at once must not all
    /// pass before the first of them is known to be wrong. Who succeeds takes it back.
    pub fn begin(&self, keys: &[&str], clock: &dyn Clock) -> Result<()> {
        let now = clock.now();
        let mut failures = self.failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let until =
            keys.iter().filter_map(|key| failures.get(*key)).map(|f| f.until).max().unwrap_or_default();
        if until > now {
            let retry_after = until.since(now).as_secs() + 1;
            return Err(Error::TooManyRequests {
                message: format!("too many failed attempts; wait {retry_after} s and try again"),
                retry_after,
            });
        }
        if failures.len() >= MAX_KEYS {
            let mut ages: Vec<Millis> = failures.values().map(|f| f.last).collect();
            ages.sort_unstable();
            let middle = ages[ages.len() / 2];
            failures.retain(|_, f| f.last > middle);
        }
        for key in keys {
            let entry =
                failures.entry((*key).to_owned()).or_insert(Failures { count: 0, until: now, last: now });
            // An hour of quiet forgives.
            if now.since(entry.last) > Duration::from_hours(1) {
                entry.count = 0;
            }
            entry.count = entry.count.saturating_add(1);
            entry.last = now;
            if entry.count > FREE {
                let lock = Duration::from_secs(1u64 << (entry.count - FREE - 1).min(10)).min(MAX_LOCK);
                entry.until = now.plus(lock);
            }
        }
        Ok(())
    }

    /// Whether the key is locked now.
    pub fn is_locked(&self, key: &str, clock: &dyn Clock) -> bool {
        let failures = self.failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        failures.get(key).is_some_and(|f| f.until > clock.now())
    }

    /// Takes back what [`Throttle::begin`] counted; earlier failures stand.
    pub fn take_back(&self, key: &str) {
        let mut failures = self.failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(entry) = failures.get_mut(key) {
            entry.count = entry.count.saturating_sub(1);
            entry.until = Millis::default();
        }
    }

    /// A success forgives the key.
    pub fn succeeded(&self, key: &str) {
        self.failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct At(Mutex<i64>);
    impl Clock for At {
        fn now(&self) -> Millis {
            Millis(*self.0.lock().unwrap())
        }
    }

    #[test]
    fn locks_after_five_and_doubles() {
        let (throttle, clock) = (Throttle::default(), At(Mutex::new(1_000)));
        for _ in 0..6 {
            throttle.begin(&["a"], &clock).unwrap();
        }
        assert!(matches!(
            throttle.begin(&["b", "a"], &clock),
            Err(Error::TooManyRequests { retry_after: 2, .. })
        ));
        throttle.begin(&["b"], &clock).unwrap();
        *clock.0.lock().unwrap() += 1_001;
        throttle.begin(&["a"], &clock).unwrap();
        *clock.0.lock().unwrap() += 1_001;
        assert!(throttle.begin(&["a"], &clock).is_err(), "the second lock is longer");
        assert!(throttle.is_locked("a", &clock) && !throttle.is_locked("b", &clock));
        throttle.succeeded("a");
        throttle.begin(&["a"], &clock).unwrap();
    }

    #[test]
    fn a_success_takes_only_itself_back() {
        let (throttle, clock) = (Throttle::default(), At(Mutex::new(1_000)));
        for _ in 0..100 {
            throttle.begin(&["a"], &clock).unwrap();
            throttle.take_back("a");
        }
        for _ in 0..6 {
            throttle.begin(&["a"], &clock).unwrap();
        }
        assert!(throttle.begin(&["a"], &clock).is_err());
    }

    #[test]
    fn memory_is_bounded() {
        let (throttle, clock) = (Throttle::default(), At(Mutex::new(0)));
        for i in 0..3 * MAX_KEYS {
            *clock.0.lock().unwrap() += 1;
            throttle.begin(&[&i.to_string()], &clock).unwrap();
        }
        assert!(throttle.failures.lock().unwrap().len() <= MAX_KEYS);
    }
}
