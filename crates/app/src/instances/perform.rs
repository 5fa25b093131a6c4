//! One step for one instance, as the plan has it: the effects themselves are in `act` and `beside`; here are asking
//! the agent, waiting for a turn, and saying why a step has to be tried again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ryokan_model::InstanceId;
use ryokan_model::instance::State;
use ryokan_model::probe::Probe;
use ryokan_ports::runtime::Observed;
use ryokan_store::instances::Instance;
use tokio::sync::Semaphore;

use super::act::Probed;
use super::plan::{Action, Probing, awaiting};
use super::reconcile::{MAX_PROBE_AGAIN, Memory, PROBE_AGAIN, run_key};
use crate::{App, Error, Result};

/// What the engine showed last, if the step knows.
pub(super) async fn perform(
    app: &Arc<App>,
    row: &Instance,
    observed: Option<Observed>,
    action: Action,
    probing: Probing,
    memory: &Mutex<Memory>,
    starts: &Arc<Semaphore>,
) -> Result<Option<Observed>> {
    match action {
        Action::Wait(_) => {}
        Action::Await(addon) => app.note(row.id, awaiting(&addon)).await?,
        Action::Start | Action::Restart => {
            let _slot = match starts.clone().try_acquire_owned() {
                Ok(slot) => slot,
                Err(_) => {
                    app.record_queued(row.id).await?;
                    starts
                        .clone()
                        .acquire_owned()
                        .await
                        .map_err(|_| Error::internal("the start gate is closed"))?
                }
            };
            let outcome = if action == Action::Start {
                app.start_container(row).await
            } else {
                app.restart_container(row).await
            };
            return noted(app, row, outcome).await;
        }
        Action::Adopt => {
            if let Some(observed) = observed {
                app.adopt(row, &observed).await?;
            }
        }
        Action::Ended { code, started_at, out_of_memory, lost } => {
            app.ended(row, code, started_at, out_of_memory, lost).await?;
        }
        Action::Stop => noted(app, row, app.stop_container(row).await).await?,
        Action::Stopped => app.record_stopped(row.id).await?,
        Action::Quiesce => app.runtime.stop(row.id, row.spec.stop_grace.duration()).await?,
        Action::Delete => noted(app, row, app.delete_container(row).await).await?,
        Action::Overdue => app.overdue(row, observed.as_ref()).await?,
        Action::ProbeStartup | Action::ProbeReadiness => {
            if let Some(observed) = observed {
                probe(app, row, observed, action == Action::ProbeStartup, probing, memory).await?;
            }
        }
        Action::StartCandidate => app.start_candidate(row).await?,
        Action::ProbeCandidate => {
            if let Some(candidate) = observed.and_then(|o| o.candidate) {
                probe_candidate(app, row, *candidate, probing, memory).await?;
            }
        }
        Action::CandidateEnded { code, started_at, out_of_memory } => {
            app.candidate_ended(row, code, started_at, out_of_memory).await?;
        }
        Action::CandidateOverdue => app.candidate_is_overdue(row).await?,
        Action::Retire { keep } => {
            if let Some(observed) = observed {
                app.retire(row, &observed, keep).await?;
            }
        }
    }
    Ok(None)
}

/// Shows why a step has to be tried again.
async fn noted<T>(app: &App, row: &Instance, outcome: Result<T>) -> Result<T> {
    if let Err(error) = &outcome {
        app.record_trying(row.id, error.to_string()).await?;
    }
    outcome
}

async fn probe(
    app: &Arc<App>,
    row: &Instance,
    observed: Observed,
    startup: bool,
    mut probing: Probing,
    memory: &Mutex<Memory>,
) -> Result<()> {
    let wanted = if startup { row.spec.startup_probe() } else { row.spec.readiness.clone() };
    let Some(probe) = wanted else {
        // Nothing to ask: running is ready.
        return app.record_health(row.id, row.generation, true, None).await;
    };
    let key = run_key(Some(&observed));
    let started_at = key.1.unwrap_or(row.since);
    let outcome = app.clone().probe(observed, probe.check.clone(), probe.timeout.duration()).await;
    let now = app.clock.now();
    let in_grace = now.since(started_at) < probe.start_period.duration();
    let pace = if startup { startup_pace(&mut probing, &probe) } else { probe.interval.duration() };
    probing.next = now.plus(pace);
    match outcome {
        Probed::Well => {
            probing.failures = 0;
            if row.state != State::Ready {
                app.record_health(row.id, row.generation, true, None).await?;
            }
        }
        Probed::Unwell(why) => {
            if !in_grace {
                probing.failures += 1;
            }
            if startup {
                if row.message.as_deref() != Some(&why) {
                    app.record_waiting(row.id, why).await?;
                }
            } else if probing.failures >= probe.retries && row.state == State::Ready {
                app.record_health(
                    row.id,
                    row.generation,
                    false,
                    Some(format!("its readiness probe failed {} times: {why}", probing.failures)),
                )
                .await?;
            }
        }
        Probed::Unknown => {}
    }
    memory.lock().unwrap_or_else(PoisonError::into_inner).probing.insert(row.id, (key, probing));
    Ok(())
}

/// How long until an agent that starts is asked again: soon at first, later as its probe says.
fn startup_pace(probing: &mut Probing, probe: &Probe) -> Duration {
    let soon = PROBE_AGAIN.saturating_mul(1 << probing.asked.min(10));
    probing.asked = probing.asked.saturating_add(1);
    probe.interval.duration().min(MAX_PROBE_AGAIN).min(soon)
}

async fn probe_candidate(
    app: &Arc<App>,
    row: &Instance,
    candidate: Observed,
    mut probing: Probing,
    memory: &Mutex<Memory>,
) -> Result<()> {
    let Some(probe) = row.spec.startup_probe() else { return app.promote(row, &candidate).await };
    let key = run_key(Some(&candidate));
    let outcome = app.clone().probe(candidate.clone(), probe.check.clone(), probe.timeout.duration()).await;
    probing.next = app.clock.now().plus(startup_pace(&mut probing, &probe));
    match outcome {
        Probed::Well => app.promote(row, &candidate).await?,
        Probed::Unwell(why) => app.candidate_is_unwell(row, why).await?,
        Probed::Unknown => {}
    }
    memory.lock().unwrap_or_else(PoisonError::into_inner).probing.insert(row.id, (key, probing));
    Ok(())
}

impl App {
    async fn record_queued(&self, id: InstanceId) -> Result<()> {
        self.note(
            id,
            "waiting for its turn: as many starts as this machine can do at a time are under way".into(),
        )
        .await
    }

    async fn record_trying(&self, id: InstanceId, why: String) -> Result<()> {
        self.note(id, format!("{why}; trying again")).await
    }

    /// Changes the message of an instance that waits, and nothing else.
    async fn note(&self, id: InstanceId, text: String) -> Result<()> {
        self.change_instance(id, move |_, row, now| match row.state {
            State::Pending | State::Stopping | State::Deleting => {
                let state = row.state;
                super::enter(row, state, Some(text.clone()), now)
            }
            _ => Ok(()),
        })
        .await?;
        Ok(())
    }
}
