//! What to do next with one instance: a pure function of what is wanted, what was recorded and what the engine shows.
//! The reconciler calls it as often as it likes; the answer depends on nothing else.

use std::time::Duration;

use ryokan_model::instance::{Desired, State};
use ryokan_model::{Millis, Name};
use ryokan_ports::runtime::{Observed, Phase};
use ryokan_store::instances::Instance;

use super::beside;
use super::images::MAX_WAIT;

/// The reconciler's memory of probing one run of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Probing {
    /// Not asked again before this.
    pub next: Millis,
    /// Failures in a row that count.
    pub failures: u32,
    /// How often it was asked.
    pub asked: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// All is as it should be, or somebody else has to act first; look again at this time, if given.
    Wait(Option<Millis>),
    /// Make the container run.
    Start,
    /// A database of this name is on its way; say so.
    Await(Name),
    /// Stop and start it in place.
    Restart,
    /// It runs already; record where.
    Adopt,
    /// The container ended by itself or is gone.
    Ended {
        code: i64,
        started_at: Millis,
        out_of_memory: bool,
        lost: bool,
    },
    ProbeStartup,
    ProbeReadiness,
    /// Wanted stopped and still running.
    Stop,
    /// Stopped as wanted; record it.
    Stopped,
    /// Failed, yet it runs: stop it without touching the state.
    Quiesce,
    Delete,
    /// Start the new revision beside what runs.
    StartCandidate,
    ProbeCandidate,
    CandidateEnded {
        code: i64,
        started_at: Millis,
        out_of_memory: bool,
    },
    CandidateOverdue,
    /// End all containers but those of this generation.
    Retire {
        keep: i64,
    },
    /// The state has outlived its bound.
    Overdue,
}

/// `seen` is what the engine has, which is known to be complete.
///
/// `watched_since` is when the engine was last reconnected to, or the clock last jumped: time in which nobody could act
/// does not count against an instance. What a clock that has gone back since has recorded of the future counts as now.
pub fn plan(
    row: &Instance,
    seen: Option<&Observed>,
    probing: Probing,
    watched_since: Millis,
    now: Millis,
) -> Action {
    let overdue_at = overdue_at(row, row.state, row.since, watched_since, now);
    let running = seen.is_some_and(|o| o.phase.is_up());
    match row.goal() {
        Desired::Deleted => return Action::Delete,
        Desired::Stopped => {
            return match row.state {
                State::Stopped if !running => Action::Wait(None),
                State::Stopped | State::Failed if running => Action::Quiesce,
                _ if !running => Action::Stopped,
                State::Stopping if overdue_at.is_some_and(|at| now >= at) => Action::Overdue,
                _ => Action::Stop,
            };
        }
        Desired::Running => {}
    }
    match row.state {
        State::Failed => return if running { Action::Quiesce } else { Action::Wait(None) },
        State::Pending | State::Building if overdue_at.is_some_and(|at| now >= at) => return Action::Overdue,
        State::Sleeping => return Action::Wait(None),
        _ => {}
    }
    let was_up = matches!(row.state, State::Starting | State::Ready | State::Unhealthy);
    // Until an update's image is there, what ran before goes on.
    let fetching = row.image_generation < row.generation;
    if fetching && !(was_up && running) {
        // The image's job will say.
        return Action::Wait(overdue_at);
    }
    if let Some(at) = row.retry_at.filter(|at| *at > now && *at <= now.plus(longest_wait(row))) {
        return Action::Wait(Some(at));
    }
    let Some(seen) = seen else {
        return if was_up {
            Action::Ended { code: 137, started_at: row.since, out_of_memory: false, lost: true }
        } else {
            Action::Start
        };
    };
    if let Some(action) = beside::plan(row, seen, probing, watched_since, now) {
        return action;
    }
    if seen.generation != row.generation && !fetching {
        return Action::Start;
    }
    match seen.phase {
        Phase::Created | Phase::Paused { .. } => Action::Start,
        Phase::Exited { code, started_at, out_of_memory, .. }
            if was_up && row.restart_done >= row.restart_wanted =>
        {
            Action::Ended { code, started_at, out_of_memory, lost: false }
        }
        Phase::Exited { .. } => Action::Start,
        Phase::Running { .. } if row.restart_done < row.restart_wanted => Action::Restart,
        Phase::Running { .. } if !was_up || seen.endpoints != row.endpoints => Action::Adopt,
        Phase::Running { .. } => match row.state {
            State::Starting if overdue_at.is_some_and(|at| now >= at) => Action::Overdue,
            State::Unhealthy if overdue_at.is_some_and(|at| now >= at) => Action::Overdue,
            State::Starting if now >= probing.next => Action::ProbeStartup,
            State::Starting => Action::Wait(Some(probing.next)),
            _ if row.spec.readiness.is_none() => Action::Wait(None),
            _ if now >= probing.next => Action::ProbeReadiness,
            _ => Action::Wait(Some(probing.next)),
        },
    }
}

/// When a state that began at `since` outlives its bound, if it has one.
pub(super) fn overdue_at(
    row: &Instance,
    state: State,
    since: Millis,
    watched_since: Millis,
    now: Millis,
) -> Option<Millis> {
    let since = if since > now { watched_since } else { since.max(watched_since) };
    state.bound(&row.spec).map(|bound| since.plus(bound))
}

/// A database that has ended so often in a row is not waited for any more.
pub(crate) const CRASHES_AWAITED: u32 = 3;

/// What is to be done in place of a start while a database of this agent is on its way: one that will not come by itself
/// is not waited for. `held` are all rows that are not at rest.
pub(crate) fn await_addon<'a>(
    row: &Instance,
    mut held: impl Iterator<Item = &'a Instance>,
) -> Option<Action> {
    if row.spec.addon_env.is_empty() {
        return None;
    }
    let coming = held.find(|other| {
        other.addon_of == Some(row.id)
            && other.goal() == Desired::Running
            && other.crashes < CRASHES_AWAITED
            && matches!(other.state, State::Pending | State::Building | State::Starting)
    })?;
    let said = row.message.as_deref() == Some(&awaiting(&coming.name));
    // Its change wakes us.
    Some(if said || row.state != State::Pending {
        Action::Wait(None)
    } else {
        Action::Await(coming.name.clone())
    })
}

/// What an agent says that waits for its database.
pub(crate) fn awaiting(addon: &Name) -> String {
    format!("waiting for its database {addon}")
}

/// Whether nothing is to be done, now or later, as long as the row does not change and nothing of it is on the engine.
pub(crate) fn is_left_alone(row: &Instance) -> bool {
    let next = plan(row, None, Probing::default(), Millis(0), row.since);
    row.state.is_at_rest() && next == Action::Wait(None)
}

/// The longest that a start is put off, after a crash (the jitter included) or for a vanished image.
fn longest_wait(row: &Instance) -> Duration {
    let backoff = row.spec.restart.max_backoff.duration();
    (backoff + backoff / 4).max(MAX_WAIT)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ryokan_model::spec::InstanceSpec;
    use ryokan_model::{InstanceId, ProjectId};
    use ryokan_ports::runtime::Reach;

    use super::*;

    fn row(desired: Desired, state: State) -> Instance {
        let (id, project) =
            (InstanceId::from_parts(Millis(1), [1; 10]), ProjectId::from_parts(Millis(1), [1; 10]));
        let spec = InstanceSpec::new("a".parse().unwrap());
        Instance {
            desired,
            state,
            image_generation: 1,
            image_id: Some("x".into()),
            ..Instance::new(id, project, "a".parse().unwrap(), spec, Millis(1000))
        }
    }

    fn seen(phase: Phase) -> Observed {
        let row = row(Desired::Running, State::Ready);
        Observed {
            instance: row.id,
            project: row.project,
            generation: 1,
            engine_id: "c".into(),
            phase,
            endpoints: BTreeMap::new(),
            addresses: Vec::new(),
            reach: Reach::Bridge,
            candidate: None,
        }
    }

    const RUNNING: Phase = Phase::Running { started_at: Millis(500) };
    const EXITED: Phase =
        Phase::Exited { started_at: Millis(500), finished_at: Millis(600), code: 3, out_of_memory: false };

    fn next(row: &Instance, phase: Option<Phase>) -> Action {
        let observed = phase.map(seen);
        plan(row, observed.as_ref(), Probing::default(), Millis(0), Millis(2000))
    }

    #[test]
    fn wanted_running() {
        let at = |state| row(Desired::Running, state);
        assert_eq!(next(&at(State::Pending), None), Action::Start);
        assert_eq!(
            next(&at(State::Pending), Some(RUNNING)),
            Action::Adopt,
            "killed after the start, before the record"
        );
        assert_eq!(next(&at(State::Pending), Some(EXITED)), Action::Start);
        assert_eq!(next(&at(State::Pending), Some(Phase::Created)), Action::Start);
        assert_eq!(next(&at(State::Starting), Some(RUNNING)), Action::ProbeStartup);
        assert_eq!(next(&at(State::Ready), Some(RUNNING)), Action::Wait(None));
        assert!(matches!(next(&at(State::Ready), Some(EXITED)), Action::Ended { code: 3, lost: false, .. }));
        assert!(matches!(next(&at(State::Ready), None), Action::Ended { lost: true, .. }));
        assert_eq!(next(&at(State::Stopped), Some(EXITED)), Action::Start);
        assert_eq!(next(&at(State::Failed), Some(EXITED)), Action::Wait(None));
        assert_eq!(next(&at(State::Failed), Some(RUNNING)), Action::Quiesce);
    }

    #[test]
    fn images_retries_and_restarts() {
        let mut waiting = row(Desired::Running, State::Building);
        waiting.image_generation = 0;
        assert!(matches!(next(&waiting, None), Action::Wait(Some(_))));
        let mut later = row(Desired::Running, State::Pending);
        later.retry_at = Some(Millis(3000));
        assert_eq!(next(&later, Some(EXITED)), Action::Wait(Some(Millis(3000))));
        later.retry_at = Some(Millis(1999));
        assert_eq!(next(&later, Some(EXITED)), Action::Start);
        let mut again = row(Desired::Running, State::Ready);
        again.restart_wanted = 1;
        assert_eq!(next(&again, Some(RUNNING)), Action::Restart);
        assert_eq!(next(&again, Some(EXITED)), Action::Start, "killed in the middle of a restart");
        let mut newer = row(Desired::Running, State::Pending);
        newer.generation = 2;
        newer.image_generation = 2;
        assert_eq!(next(&newer, Some(RUNNING)), Action::Start);
    }

    #[test]
    fn an_update_s_image_is_awaited_while_the_old_container_serves() {
        let mut updating = row(Desired::Running, State::Ready);
        updating.generation = 2;
        assert_eq!(next(&updating, Some(RUNNING)), Action::Wait(None));
        updating.image_generation = 2;
        assert_eq!(next(&updating, Some(RUNNING)), Action::Start);
    }

    #[test]
    fn an_agent_waits_for_databases_that_come_and_for_no_others() {
        let mut agent = row(Desired::Running, State::Pending);
        let mut database = row(Desired::Running, State::Starting);
        database.id = InstanceId::from_parts(Millis(1), [2; 10]);
        database.name = "redis-a".parse().unwrap();
        database.addon_of = Some(agent.id);
        let next = |agent: &Instance, database: &Instance| await_addon(agent, [agent, database].into_iter());
        assert_eq!(next(&agent, &database), None, "it was told of none");
        agent.spec.addon_env.insert("REDIS_URL".into());
        assert_eq!(next(&agent, &database), Some(Action::Await(database.name.clone())));
        agent.message = Some(awaiting(&database.name));
        assert_eq!(next(&agent, &database), Some(Action::Wait(None)), "said already");
        for state in State::ALL {
            database.state = state;
            let comes = matches!(state, State::Pending | State::Building | State::Starting);
            assert_eq!(next(&agent, &database).is_some(), comes, "{state}");
        }
        database.state = State::Pending;
        database.desired = Desired::Stopped;
        assert_eq!(next(&agent, &database), None, "nobody wants it to run");
        database.desired = Desired::Running;
        database.crashes = CRASHES_AWAITED;
        assert_eq!(next(&agent, &database), None, "it keeps ending");
        database.crashes = 0;
        database.addon_of = None;
        assert_eq!(next(&agent, &database), None, "another's");
    }

    #[test]
    fn downtime_of_ours_does_not_count() {
        let starting = row(Desired::Running, State::Starting);
        let late = Millis(1_000_000_000);
        let observed = seen(RUNNING);
        assert_eq!(plan(&starting, Some(&observed), Probing::default(), Millis(0), late), Action::Overdue);
        assert_eq!(plan(&starting, Some(&observed), Probing::default(), late, late), Action::ProbeStartup);
    }

    #[test]
    fn a_clock_that_went_back_holds_up_nothing() {
        let mut waiting = row(Desired::Running, State::Pending);
        waiting.retry_at = Some(Millis(3_600_000));
        assert_eq!(next(&waiting, Some(EXITED)), Action::Start);
        let mut starting = row(Desired::Running, State::Starting);
        starting.since = Millis(3_600_000);
        let at = |now| plan(&starting, Some(&seen(RUNNING)), Probing::default(), Millis(0), Millis(now));
        assert_eq!(at(2000), Action::ProbeStartup);
        assert_eq!(at(600_000), Action::Overdue);
    }

    #[test]
    fn wanted_stopped_or_deleted() {
        let at = |state| row(Desired::Stopped, state);
        assert_eq!(next(&at(State::Stopping), Some(RUNNING)), Action::Stop);
        assert_eq!(next(&at(State::Stopping), Some(EXITED)), Action::Stopped);
        assert_eq!(next(&at(State::Stopping), None), Action::Stopped);
        assert_eq!(next(&at(State::Stopped), None), Action::Wait(None));
        assert_eq!(next(&at(State::Stopped), Some(RUNNING)), Action::Quiesce);
        for state in State::ALL {
            assert_eq!(next(&row(Desired::Deleted, state), Some(RUNNING)), Action::Delete);
        }
    }

    #[test]
    fn nothing_is_stuck() {
        // Whatever the state and whatever the engine shows, long after its bound something is done or it is at rest.
        for desired in [Desired::Running, Desired::Stopped] {
            for state in State::ALL.into_iter().filter(|s| *s != State::Deleting) {
                for phase in [None, Some(RUNNING), Some(EXITED), Some(Phase::Created)] {
                    let observed = phase.map(seen);
                    let action = plan(
                        &row(desired, state),
                        observed.as_ref(),
                        Probing::default(),
                        Millis(0),
                        Millis(1_000_000_000),
                    );
                    if let Action::Wait(until) = action {
                        assert_eq!(until, None);
                        assert!(state.is_at_rest(), "{desired:?} {state} {phase:?} would wait for ever");
                    }
                }
            }
        }
    }
}
