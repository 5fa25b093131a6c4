//! What instances use: samples of counters, and what follows from them for an interval. All of it is pure, so that a bill
//! can be recomputed from its samples.
//!
//! Samples of one run of one container (its epoch) form a series. What lies between two neighbours of a series belongs
//! to the interval that the later one is in. Counters (CPU, network, GPU) prove what was used however long nobody
//! looked; levels (memory, disk) count only over spans that were watched.

use serde::{Deserialize, Serialize};

use crate::Millis;

/// An interval's length in milliseconds: five minutes.
pub const INTERVAL: i64 = 300_000;

/// Neighbours further apart than this were not watched in between. Part of how bills are computed: never change it.
pub const WATCHED: i64 = 90_000;

/// The epoch of what an instance's volumes hold. Containers come and go; volumes are one series for all its life.
pub const VOLUMES: &str = "volumes";

/// Five minutes, aligned to the clock: after `start`, up to and including `start + INTERVAL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Interval(i64);

impl Interval {
    /// The one that a sample taken at `at` belongs to.
    pub const fn of(at: Millis) -> Self {
        Self(at.0.saturating_sub(1).div_euclid(INTERVAL).saturating_mul(INTERVAL))
    }

    /// The last one that had ended at `at`.
    pub const fn ended_by(at: Millis) -> Self {
        Self((at.0.div_euclid(INTERVAL) - 1).saturating_mul(INTERVAL))
    }

    /// `None` when it is not aligned.
    pub const fn starting(start: Millis) -> Option<Self> {
        if start.0.rem_euclid(INTERVAL) == 0 { Some(Self(start.0)) } else { None }
    }

    pub const fn start(self) -> Millis {
        Millis(self.0)
    }

    pub const fn end(self) -> Millis {
        Millis(self.0.saturating_add(INTERVAL))
    }
}

/// What an engine's counters showed of one series at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sample {
    pub at: Millis,
    /// The series began before anybody metered it: its counters say nothing about us before this sample.
    pub baseline: bool,
    /// Since the beginning of the series, in nanoseconds of one core.
    pub cpu_nanos: u64,
    /// Now.
    pub memory_bytes: u64,
    /// Now.
    pub disk_bytes: u64,
    /// In and out, since the beginning of the series.
    pub network_bytes: u64,
    /// Milliseconds of one GPU since the beginning of the series.
    pub gpu_millis: u64,
}

/// What was used. Additions saturate; an interval of one project would need tens of thousands of machines for that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Usage {
    /// Nanoseconds of one core.
    pub cpu_nanos: u64,
    /// Bytes times milliseconds.
    pub memory_byte_millis: u64,
    /// Bytes times milliseconds.
    pub disk_byte_millis: u64,
    /// In and out.
    pub network_bytes: u64,
    /// Milliseconds of one GPU.
    pub gpu_millis: u64,
}

impl Usage {
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            cpu_nanos: self.cpu_nanos.saturating_add(other.cpu_nanos),
            memory_byte_millis: self.memory_byte_millis.saturating_add(other.memory_byte_millis),
            disk_byte_millis: self.disk_byte_millis.saturating_add(other.disk_byte_millis),
            network_bytes: self.network_bytes.saturating_add(other.network_bytes),
            gpu_millis: self.gpu_millis.saturating_add(other.gpu_millis),
        }
    }

    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// What `sample` adds to its series, of which `before` is the sample just before it.
    ///
    /// A series' first sample proves all that its counters say, since they began with the series, unless it is a
    /// baseline. A counter that goes back proves nothing.
    pub fn between(before: Option<&Sample>, sample: &Sample) -> Self {
        let Some(before) = before else {
            if sample.baseline {
                return Self::default();
            }
            return Self {
                cpu_nanos: sample.cpu_nanos,
                network_bytes: sample.network_bytes,
                gpu_millis: sample.gpu_millis,
                ..Self::default()
            };
        };
        let span = sample.at.0.saturating_sub(before.at.0);
        let watched = if (0..=WATCHED).contains(&span) { span.unsigned_abs() } else { 0 };
        Self {
            cpu_nanos: sample.cpu_nanos.saturating_sub(before.cpu_nanos),
            memory_byte_millis: before.memory_bytes.saturating_mul(watched),
            disk_byte_millis: before.disk_bytes.saturating_mul(watched),
            network_bytes: sample.network_bytes.saturating_sub(before.network_bytes),
            gpu_millis: sample.gpu_millis.saturating_sub(before.gpu_millis),
        }
    }

    /// What a stretch of a series adds up to; `before` is the sample just before the stretch.
    pub fn of_series(before: Option<&Sample>, samples: &[Sample]) -> Self {
        let mut last = before;
        samples.iter().fold(Self::default(), |total, sample| {
            let more = Self::between(last, sample);
            last = Some(sample);
            total.plus(more)
        })
    }
}

/// The day and the month that a moment is in, UTC, as their first moments.
pub fn day_and_month(at: Millis) -> (Millis, Millis) {
    const DAY: i64 = 86_400_000;
    let day = Millis(at.0.div_euclid(DAY).saturating_mul(DAY));
    let month = jiff::Timestamp::from_millisecond(at.0)
        .ok()
        .map(|t| t.to_zoned(jiff::tz::TimeZone::UTC).date().first_of_month())
        .and_then(|date| date.to_zoned(jiff::tz::TimeZone::UTC).ok())
        .map_or(day, |zoned| Millis(zoned.timestamp().as_millisecond()));
    (day, month)
}

/// The first moments of a month written as `2026-11`, and of the one after it.
pub fn month_named(name: &str) -> Option<(Millis, Millis)> {
    let (year, month) = name.split_once('-')?;
    if year.len() != 4 || month.len() != 2 {
        return None;
    }
    let first = jiff::civil::Date::new(year.parse().ok()?, month.parse().ok()?, 1).ok()?;
    let next = first.checked_add(jiff::Span::new().months(1)).ok()?;
    let moment = |date: jiff::civil::Date| {
        Some(Millis(date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond()))
    };
    Some((moment(first)?, moment(next)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample(at: i64, counter: u64, level: u64) -> Sample {
        Sample {
            at: Millis(at),
            baseline: false,
            cpu_nanos: counter,
            memory_bytes: level,
            disk_bytes: level / 2,
            network_bytes: counter / 3,
            gpu_millis: counter / 7,
        }
    }

    #[test]
    fn intervals_are_aligned_and_own_their_end() {
        assert_eq!(Interval::of(Millis(INTERVAL)), Interval(0));
        assert_eq!(Interval::of(Millis(INTERVAL + 1)), Interval(INTERVAL));
        assert_eq!(Interval::of(Millis(1)), Interval(0));
        assert_eq!(Interval::ended_by(Millis(INTERVAL)), Interval(0));
        assert_eq!(Interval::ended_by(Millis(2 * INTERVAL - 1)), Interval(0));
        assert_eq!(Interval::starting(Millis(5)), None);
    }

    #[test]
    fn counters_prove_and_levels_must_be_watched() {
        let (a, b) = (sample(1_000, 70, 10), sample(16_000, 700, 20));
        let used = Usage::between(Some(&a), &b);
        assert_eq!((used.cpu_nanos, used.memory_byte_millis), (630, 10 * 15_000));
        // An hour unobserved: the counters prove their part, memory and disk are not guessed.
        let late = sample(3_616_000, 7_000, 50);
        let used = Usage::between(Some(&b), &late);
        assert_eq!((used.cpu_nanos, used.memory_byte_millis, used.disk_byte_millis), (6_300, 0, 0));
        // A new series starts from zero; one that is older than the metering, from its first sample.
        assert_eq!(Usage::between(None, &a).cpu_nanos, 70);
        assert!(Usage::between(None, &Sample { baseline: true, ..a }).is_nothing());
        // A counter that went back, a clock that went back.
        assert_eq!(Usage::between(Some(&b), &sample(17_000, 5, 1)).cpu_nanos, 0);
        assert_eq!(Usage::between(Some(&b), &sample(2_000, 800, 1)).memory_byte_millis, 0);
    }

    #[test]
    fn periods_begin_at_midnight_utc() {
        let at: jiff::Timestamp = "2026-02-28T23:59:59.999Z".parse().unwrap();
        let (day, month) = day_and_month(Millis(at.as_millisecond()));
        assert_eq!(day.to_string(), "2026-02-28T00:00:00.000Z");
        assert_eq!(month.to_string(), "2026-02-01T00:00:00.000Z");
        let (from, to) = month_named("2026-12").unwrap();
        assert_eq!(
            (from.to_string(), to.to_string()),
            ("2026-12-01T00:00:00.000Z".into(), "2027-01-01T00:00:00.000Z".into())
        );
        for bad in ["2026-13", "26-1", "2026", "2026-1", ""] {
            assert_eq!(month_named(bad), None);
        }
    }

    proptest! {
        /// However a series is cut into stretches, the sum is the same: nothing is lost or counted twice.
        #[test]
        fn stretches_add_up(
            steps in proptest::collection::vec((1i64..200_000, 0u64..1_000_000, 0u64..1_000_000), 1..40),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..5),
        ) {
            let (mut at, mut counter) = (0, 0);
            let series: Vec<Sample> = steps.into_iter().map(|(span, more, level)| {
                at += span;
                counter += more;
                sample(at, counter, level)
            }).collect();
            let whole = Usage::of_series(None, &series);
            let mut cuts: Vec<usize> = cuts.iter().map(|i| i.index(series.len())).collect();
            cuts.extend([0, series.len()]);
            cuts.sort_unstable();
            let parts = cuts.windows(2).fold(Usage::default(), |total, cut| {
                let before = cut[0].checked_sub(1).map(|i| &series[i]);
                total.plus(Usage::of_series(before, &series[cut[0]..cut[1]]))
            });
            prop_assert_eq!(whole, parts);
            prop_assert_eq!(whole.cpu_nanos, counter);
        }
    }
}
