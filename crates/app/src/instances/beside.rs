//! An update beside what runs: the new revision's container starts next to the old one, which goes on serving until the
//! new one is ready; only then do requests move, and the old one ends. One that does not become ready is taken away
//! again, and nobody has noticed. The state of the instance is that of what serves, all the while.
//!
//! Only for instances that somebody can see to be ready, and whose containers may both run: two on the volumes of a
//! single writer never do. All others are replaced in place.

use std::time::Duration;

use ryokan_model::instance::{AfterExit, Desired, State};
use ryokan_model::spec::{InstanceSpec, RestartMode};
use ryokan_model::{InstanceId, Millis};
use ryokan_ports::runtime::{Observed, Phase, RuntimeError, Workload};
use ryokan_store::Tx;
use ryokan_store::images::IMAGES;
use ryokan_store::instances::Instance;

use super::act::{TRIAL_CRASHES, how_it_ended};
use super::plan::{Action, Probing, overdue_at};
use super::{enter, previous_secrets_of};
use crate::deployments::is_built_here;
use crate::{App, Result, events};

/// Between the gateway's turn to the new container and the end of the old one: requests under way end in it.
const DRAIN: Duration = Duration::from_secs(2);

fn may_run_beside(old: &InstanceSpec, new: &InstanceSpec) -> bool {
    let may_share = |spec: &InstanceSpec| !spec.single_writer || spec.volumes.iter().all(|v| v.read_only);
    // A GPU is one container's.
    let has_gpus = |spec: &InstanceSpec| spec.resources.gpus > 0;
    new.startup_probe().is_some() && may_share(old) && may_share(new) && !(has_gpus(old) && has_gpus(new))
}

/// Whether an update is under way that leaves what runs alone until it is ready.
pub(crate) fn rolls_beside(row: &Instance) -> bool {
    row.goal() == Desired::Running
        && matches!(row.state, State::Ready | State::Unhealthy)
        && row.previous.as_ref().is_some_and(|previous| may_run_beside(&previous.spec, &row.spec))
}

/// The same, once its image is there and while what ran before still runs.
pub(super) fn is_tried_beside(row: &Instance, seen: &Observed) -> bool {
    row.image_generation == row.generation
        && seen.phase.is_running()
        && row.previous.as_ref().is_some_and(|previous| previous.generation == seen.generation)
        && rolls_beside(row)
}

/// What to do about containers of two generations; `None` when there is one, and it is no time for another.
pub(super) fn plan(
    row: &Instance,
    seen: &Observed,
    probing: Probing,
    watched_since: Millis,
    now: Millis,
) -> Option<Action> {
    // Of an update that was given up. Numbers are never used again, so nobody waits for it.
    if seen.generation > row.generation {
        return Some(Action::Retire { keep: row.generation });
    }
    let candidate = seen.candidate.as_deref();
    if candidate.is_some_and(|c| c.generation != row.generation) {
        return Some(Action::Retire { keep: seen.generation });
    }
    if is_tried_beside(row, seen) {
        return Some(try_out(row, candidate, probing, watched_since, now));
    }
    let has_taken_over = candidate.is_some_and(|c| {
        row.previous.is_none()
            && matches!(row.state, State::Ready | State::Unhealthy)
            && c.phase.is_running()
            && c.endpoints == row.endpoints
    });
    has_taken_over.then_some(Action::Retire { keep: row.generation })
}

fn try_out(
    row: &Instance,
    candidate: Option<&Observed>,
    probing: Probing,
    watched_since: Millis,
    now: Millis,
) -> Action {
    let overdue_at = |state, since| overdue_at(row, state, since, watched_since, now);
    match candidate.map(|c| c.phase) {
        Some(Phase::Running { started_at }) => match overdue_at(State::Starting, started_at) {
            Some(at) if now >= at => Action::CandidateOverdue,
            _ if now >= probing.next => Action::ProbeCandidate,
            Some(at) => Action::Wait(Some(probing.next.min(at))),
            None => Action::Wait(Some(probing.next)),
        },
        // Counted, and its wait is over.
        Some(Phase::Exited { code, started_at, out_of_memory, .. }) if row.retry_at.is_none() => {
            Action::CandidateEnded { code, started_at, out_of_memory }
        }
        Some(_) | None => {
            let begun = row.previous.as_ref().map_or(now, |previous| previous.since);
            match overdue_at(State::Pending, begun) {
                Some(at) if now >= at => Action::CandidateOverdue,
                _ => Action::StartCandidate,
            }
        }
    }
}

impl App {
    pub(super) async fn start_candidate(&self, row: &Instance) -> Result<()> {
        let Some(beside) = row.previous.as_ref().map(|previous| previous.generation) else { return Ok(()) };
        let workload = Workload { beside: Some(beside), ..self.workload(row).await? };
        crate::crash::point("beside.before");
        let outcome = self.runtime.ensure(&workload).await;
        crate::crash::point("beside.started");
        match outcome {
            Ok(_) => {
                let text = "its new revision is starting beside what runs".to_owned();
                self.note_candidate(row, text, true).await
            }
            Err(RuntimeError::Image { .. }) if row.image_generation > 0 => self.image_vanished(row).await,
            Err(error) if error.is_transient() => {
                let text = format!("its new revision could not be started yet: {error}; trying again");
                self.note_candidate(row, text, false).await?;
                Err(error.into())
            }
            Err(error) => self.give_up_candidate(row, error.to_string()).await,
        }
    }

    /// Changes the row if the same update is still under way.
    async fn change_tried<F>(&self, row: &Instance, change: F) -> Result<()>
    where
        F: Fn(&mut Tx<'_>, &mut Instance, Millis) -> Result<()> + Clone + Send + 'static,
    {
        let generation = row.generation;
        self.change_instance(row.id, move |tx, row, now| {
            if row.generation == generation && rolls_beside(row) { change(tx, row, now) } else { Ok(()) }
        })
        .await
        .map(drop)
    }

    /// Shows how far the update is. `started`: a wait that was for this start is over.
    async fn note_candidate(&self, row: &Instance, text: String, started: bool) -> Result<()> {
        self.change_tried(row, move |_, row, now| {
            if started {
                row.retry_at = None;
            }
            enter(row, row.state, Some(text.clone()), now)
        })
        .await
    }

    /// Why it is not ready yet, so that one that is overdue can say it.
    pub(super) async fn candidate_is_unwell(&self, row: &Instance, why: String) -> Result<()> {
        let text = format!("its new revision is not ready yet: {why}");
        if row.message.as_deref() == Some(&text) {
            Ok(())
        } else {
            self.note_candidate(row, text, false).await
        }
    }

    /// It is ready: from here on requests go to it, and there is nothing to go back to any more.
    pub(super) async fn promote(&self, row: &Instance, candidate: &Observed) -> Result<()> {
        let (candidate, wanted) = (candidate.clone(), row.restart_wanted);
        self.change_tried(row, move |tx, row, now| {
            let Some(previous) = row.previous.take() else { return Ok(()) };
            tx.delete_secrets(&previous_secrets_of(row.id))?;
            let (image, digest) = (row.image_id.as_deref(), row.image_digest.as_deref());
            tx.revision_is_live(row.id, row.generation, image, digest)?;
            if is_built_here(&row.spec.image) {
                tx.notify(IMAGES);
            }
            row.endpoints.clone_from(&candidate.endpoints);
            row.reach = Some(candidate.reach.as_str().to_owned());
            row.restart_done = row.restart_done.max(wanted);
            (row.crashes, row.retry_at, row.exit_code) = (0, None, None);
            enter(row, State::Ready, None, now)?;
            let data = serde_json::json!({"generation": row.generation, "from": previous.generation});
            let (id, name) = (row.id.to_string(), row.name.as_str());
            events::system(tx, now, "instance.rolled_out", "instance", &id, name, Some(row.project), data)
        })
        .await?;
        crate::crash::point("beside.promoted");
        Ok(())
    }

    pub(super) async fn candidate_ended(
        &self,
        row: &Instance,
        code: i64,
        started_at: Millis,
        out_of_memory: bool,
    ) -> Result<()> {
        let last = self.last_lines(row.id, Some(row.generation)).await;
        let what = how_it_ended(row, code, out_of_memory);
        let [jitter] = self.entropy.bytes();
        let now = self.clock.now();
        let mut spec = row.spec.clone();
        if spec.restart.mode != RestartMode::Never {
            // However it ended, it was to become ready.
            spec.restart.mode = RestartMode::Always;
        }
        match spec.after_exit(code, now.since(started_at), row.crashes, now, jitter) {
            AfterExit::Restart { at, crashes } if crashes < TRIAL_CRASHES => {
                self.change_tried(row, move |_, row, now| {
                    (row.crashes, row.retry_at) = (crashes, Some(at));
                    let text = format!("its new revision failed, {what}; trying again{last}");
                    enter(row, row.state, Some(text), now)
                })
                .await
            }
            AfterExit::Fail { .. } | AfterExit::Stop | AfterExit::Restart { .. } => {
                let why = match row.crashes {
                    0 => format!("{what} before it was ready{last}"),
                    before => format!(
                        "it ended {} times before it was ready; the last time {what}{last}",
                        before + 1
                    ),
                };
                self.give_up_candidate(row, why).await
            }
        }
    }

    pub(super) async fn candidate_is_overdue(&self, row: &Instance) -> Result<()> {
        let last = self.last_lines(row.id, Some(row.generation)).await;
        let why = row.message.clone().unwrap_or_else(|| "its probe never passed".into());
        self.give_up_candidate(row, format!("it did not become ready in time: {why}{last}")).await
    }

    async fn give_up_candidate(&self, row: &Instance, why: String) -> Result<()> {
        crate::crash::point("beside.giving_up");
        self.give_up_update(row.id, row.generation, false, &why).await.map(drop)
    }

    /// Ends what nobody is sent to any more.
    pub(super) async fn retire(&self, row: &Instance, seen: &Observed, keep: i64) -> Result<()> {
        if seen.generation != keep {
            self.wait_for_routes(row.id, row.version).await;
            tokio::time::sleep(DRAIN).await;
        }
        crate::crash::point("beside.retiring");
        self.runtime.retire(row.id, keep, row.spec.stop_grace.duration()).await?;
        crate::crash::point("beside.retired");
        Ok(())
    }

    /// Until the gateway follows this version of an instance, which takes moments; a server without one is not waited
    /// for long.
    pub(crate) async fn wait_for_routes(&self, id: InstanceId, version: i64) {
        let mut served = self.served.subscribe();
        let there = served.wait_for(|all| all.get(&id).is_some_and(|v| *v >= version));
        let _ = tokio::time::timeout(Duration::from_secs(2), there).await;
    }
}
