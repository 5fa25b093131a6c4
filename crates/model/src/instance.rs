//! The life of an instance: its states, which may follow which, how long each may last, and what a crash leads to.
//!
//! Every state that is not at rest has a bound and a way out, so nothing can be stuck. `docs/instances.md` draws it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Millis;
use crate::spec::{InstanceSpec, RestartMode};

/// What the user wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Desired {
    Running,
    Stopped,
    Deleted,
}

/// What is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum State {
    /// Accepted; waits for its turn, for the engine, or for the next try after a crash.
    Pending,
    /// Its image is being fetched or built.
    Building,
    /// The container runs; the startup probe has not passed yet.
    Starting,
    Ready,
    /// It was ready; its readiness probe fails now.
    Unhealthy,
    /// Put to rest while idle; the next request wakes it.
    Sleeping,
    Stopping,
    Stopped,
    /// It will not run again without somebody's doing; the message says why.
    Failed,
    Deleting,
}

use State::{Building, Deleting, Failed, Pending, Ready, Sleeping, Starting, Stopped, Stopping, Unhealthy};

impl State {
    pub const ALL: [Self; 10] =
        [Pending, Building, Starting, Ready, Unhealthy, Sleeping, Stopping, Stopped, Failed, Deleting];

    pub const fn as_str(self) -> &'static str {
        match self {
            Pending => "pending",
            Building => "building",
            Starting => "starting",
            Ready => "ready",
            Unhealthy => "unhealthy",
            Sleeping => "sleeping",
            Stopping => "stopping",
            Stopped => "stopped",
            Failed => "failed",
            Deleting => "deleting",
        }
    }

    /// Whether `next` may follow. A state may always follow itself (its message changed); nothing follows `deleting`
    /// but the end.
    pub fn may_become(self, next: Self) -> bool {
        self == next
            || match self {
                Pending => matches!(next, Building | Starting | Stopping | Stopped | Failed | Deleting),
                Building => matches!(next, Pending | Starting | Stopping | Stopped | Failed | Deleting),
                Starting => {
                    matches!(next, Ready | Pending | Building | Stopping | Stopped | Failed | Deleting)
                }
                Ready => matches!(
                    next,
                    Unhealthy
                        | Sleeping
                        | Pending
                        | Building
                        | Starting
                        | Stopping
                        | Stopped
                        | Failed
                        | Deleting
                ),
                Unhealthy => matches!(
                    next,
                    Ready | Pending | Building | Starting | Stopping | Stopped | Failed | Deleting
                ),
                Sleeping => matches!(next, Pending | Starting | Stopping | Stopped | Failed | Deleting),
                Stopping => matches!(next, Stopped | Pending | Failed | Deleting),
                Stopped | Failed => matches!(next, Pending | Building | Stopping | Stopped | Deleting),
                Deleting => false,
            }
    }

    /// Nothing has to happen for the state to be right.
    pub const fn is_at_rest(self) -> bool {
        matches!(self, Ready | Sleeping | Stopped | Failed)
    }

    /// How long the state may last before its way out is taken; `None` for the states at rest.
    /// `pending`, `building`: fail. `starting`, `unhealthy`: counts as a crash. `stopping`: kill. `deleting`: the
    /// removal goes on for as long as the engine refuses; `delete --force` frees the name at once.
    pub fn bound(self, spec: &InstanceSpec) -> Option<Duration> {
        match self {
            Pending => Some(Duration::from_mins(30)),
            // Longer than the longest pull that the engine's adapter allows.
            Building => Some(Duration::from_mins(75)),
            Starting => Some(spec.startup_probe().map_or(Duration::from_mins(1), |p| {
                let tries = (p.interval.duration() + p.timeout.duration()).saturating_mul(p.retries);
                p.start_period.duration() + tries + Duration::from_secs(10)
            })),
            Unhealthy => Some(Duration::from_mins(10)),
            Stopping => Some(spec.stop_grace.duration() + Duration::from_secs(30)),
            Deleting => Some(spec.stop_grace.duration() + Duration::from_mins(1)),
            Ready | Sleeping | Stopped | Failed => None,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for State {
    type Err = crate::Invalid;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == s)
            .ok_or_else(|| crate::Invalid::new("state", format!("`{s}` is not a state")))
    }
}

impl Desired {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Deleted => "deleted",
        }
    }
}

impl FromStr for Desired {
    type Err = crate::Invalid;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s {
            "running" => Ok(Self::Running),
            "stopped" => Ok(Self::Stopped),
            "deleted" => Ok(Self::Deleted),
            _ => Err(crate::Invalid::new("desired", format!("`{s}` is not a desired state"))),
        }
    }
}

/// What to do with a container that ended by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AfterExit {
    /// Start it again, not before this moment.
    Restart {
        at: Millis,
        crashes: u32,
    },
    /// Its work is done.
    Stop,
    Fail {
        reason: String,
    },
}

impl InstanceSpec {
    /// Decides by the restart policy. `crashes` are those in a row before this one; `ran` is how long this run lasted;
    /// `jitter` in 0..=255 spreads the restarts of many by up to a quarter.
    pub fn after_exit(
        &self,
        exit_code: i64,
        ran: Duration,
        crashes: u32,
        now: Millis,
        jitter: u8,
    ) -> AfterExit {
        let policy = &self.restart;
        if policy.fatal_exit_codes.contains(&exit_code) {
            return AfterExit::Fail {
                reason: format!(
                    "exited with {exit_code}, which its template calls final; a restart would not help"
                ),
            };
        }
        match policy.mode {
            RestartMode::Never if exit_code == 0 => return AfterExit::Stop,
            RestartMode::Never => {
                return AfterExit::Fail {
                    reason: format!("exited with {exit_code}; its restart policy is `never`"),
                };
            }
            RestartMode::OnFailure if exit_code == 0 => return AfterExit::Stop,
            RestartMode::OnFailure | RestartMode::Always => {}
        }
        let crashes = if ran >= policy.stable_after.duration() { 1 } else { crashes.saturating_add(1) };
        if crashes >= policy.max_crashes {
            return AfterExit::Fail {
                reason: format!("crash loop: ended {crashes} times in a row, last with {exit_code}"),
            };
        }
        let base = policy
            .backoff
            .duration()
            .saturating_mul(1u32.checked_shl(crashes.saturating_sub(1)).unwrap_or(u32::MAX));
        let wait = base.min(policy.max_backoff.duration());
        let wait = wait + wait.mul_f64(f64::from(jitter) / 1024.0);
        AfterExit::Restart { at: now.plus(wait), crashes }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::quantity::Span;

    #[test]
    fn every_state_has_a_way_out_and_reaches_the_end() {
        for state in State::ALL {
            if state != Deleting {
                assert!(state.may_become(Deleting), "{state} must be deletable");
                assert!(State::ALL.into_iter().any(|next| next != state && state.may_become(next)));
            }
            assert_eq!(state.as_str().parse::<State>().unwrap(), state);
            let spec = InstanceSpec::new("a".parse().unwrap());
            assert_eq!(state.bound(&spec).is_none(), state.is_at_rest(), "{state}");
        }
        assert!(State::ALL.into_iter().all(|s| s == Deleting || !Deleting.may_become(s)));
        // A stopped or failed agent comes back only through `pending` or `building`.
        assert!(!Stopped.may_become(Ready) && !Failed.may_become(Ready) && !Failed.may_become(Starting));
    }

    #[test]
    fn exit_classes() {
        let mut spec = InstanceSpec::new("a".parse().unwrap());
        spec.restart.fatal_exit_codes.insert(78);
        let after = |spec: &InstanceSpec, code| spec.after_exit(code, Duration::ZERO, 0, Millis(0), 0);
        assert!(matches!(after(&spec, 78), AfterExit::Fail { .. }));
        assert_eq!(after(&spec, 0), AfterExit::Restart { at: Millis(1000), crashes: 1 });
        spec.restart.mode = RestartMode::OnFailure;
        assert_eq!(after(&spec, 0), AfterExit::Stop);
        assert!(matches!(after(&spec, 1), AfterExit::Restart { .. }));
        spec.restart.mode = RestartMode::Never;
        assert_eq!(after(&spec, 0), AfterExit::Stop);
        assert!(matches!(after(&spec, 1), AfterExit::Fail { .. }));
    }

    #[test]
    fn a_single_writer_may_be_locked_out_for_five_minutes_without_failing() {
        let spec = InstanceSpec::new("a".parse().unwrap());
        let (mut now, mut crashes) = (Millis(0), 0);
        while let AfterExit::Restart { at, crashes: c } = spec.after_exit(1, Duration::ZERO, crashes, now, 0)
        {
            (now, crashes) = (at, c);
        }
        assert!(now.since(Millis(0)) > Duration::from_mins(3), "{now:?}");
    }

    proptest! {
        #[test]
        fn crash_loops_end_and_backoff_stays_bounded(max in 1u32..50, backoff in 1u64..60, jitter: u8) {
            let mut spec = InstanceSpec::new("a".parse().unwrap());
            spec.restart.max_crashes = max;
            spec.restart.backoff = Span::seconds(backoff);
            let (mut crashes, mut turns) = (0, 0);
            loop {
                turns += 1;
                match spec.after_exit(1, Duration::ZERO, crashes, Millis(0), jitter) {
                    AfterExit::Restart { at, crashes: c } => {
                        prop_assert!(at.since(Millis(0)) <= Duration::from_secs(75));
                        crashes = c;
                    }
                    AfterExit::Fail { .. } => break,
                    AfterExit::Stop => prop_assert!(false, "a crash is no end of work"),
                }
                prop_assert!(turns <= 50);
            }
            prop_assert_eq!(turns, max);
        }
    }
}
