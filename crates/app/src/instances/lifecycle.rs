//! `stop`, `start`, `restart`: they write what is wanted, of an agent's databases too, and return. All are idempotent.

use ryokan_model::instance::{Desired, State};
use ryokan_model::permission::{Caller, Scope};
use ryokan_model::{Millis, Name};
use ryokan_store::instances::Instance;
use ryokan_store::{NewJob, Tx};
use serde_json::json;

use crate::addons::steer_beside;
use crate::instances::{enter, gpus, keep};
use crate::projects::{disk, quotas};
use crate::{App, Error, Result, events};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Stop,
    Start,
    Restart,
}

/// What is done to an instance, by whom, and with which agent if it is that one's database.
pub(crate) struct Steered<'a> {
    pub(crate) verb: Verb,
    pub(crate) by: &'a Caller,
    pub(crate) with: Option<&'a Name>,
    pub(crate) most_gpus: Option<u32>,
}

impl App {
    /// The disk stays. Stopping a stopped instance is fine.
    pub async fn stop_instance(&self, caller: &Caller, id_or_name: &str) -> Result<Instance> {
        self.steer(caller, id_or_name, Verb::Stop).await
    }

    /// Starting a running instance is fine; a failed one gets a fresh set of tries.
    pub async fn start_instance(&self, caller: &Caller, id_or_name: &str) -> Result<Instance> {
        self.steer(caller, id_or_name, Verb::Start).await
    }

    /// In place: same container, same disk. A stopped instance is started.
    pub async fn restart_instance(&self, caller: &Caller, id_or_name: &str) -> Result<Instance> {
        self.steer(caller, id_or_name, Verb::Restart).await
    }

    async fn steer(&self, caller: &Caller, id_or_name: &str, verb: Verb) -> Result<Instance> {
        let row = self.find_instance(caller, Scope::Write, id_or_name).await?;
        let (id, by, job_for) = (row.id, caller.clone(), self.image_job_maker());
        let most_gpus = self.settings.gpus;
        let changed = self
            .write_raced(move |tx, now| {
                let Some(mut row) = tx.instance(id)? else { return Ok(None) };
                steer_beside(tx, &row, verb, &by, &job_for, now)?;
                let before = row.clone();
                let steered = Steered { verb, by: &by, with: None, most_gpus };
                steer_row(tx, &mut row, &steered, &job_for, now)?;
                keep(tx, &before, &mut row, now)?;
                Ok(Some(row))
            })
            .await?;
        crate::crash::point("lifecycle.committed");
        changed.ok_or_else(|| Error::not_found("instance", id_or_name))
    }
}

/// Writes into the row what is wanted, with its event.
pub(crate) fn steer_row(
    tx: &mut Tx<'_>,
    row: &mut Instance,
    steered: &Steered<'_>,
    job_for: &impl Fn(&Instance) -> NewJob,
    now: Millis,
) -> Result<()> {
    let verb = steered.verb;
    if row.state == State::Deleting {
        return Err(Error::Conflict("the instance is being deleted".into()));
    }
    let before = row.desired;
    let kind = match verb {
        Verb::Stop => {
            if row.desired == Desired::Stopped && row.state != State::Failed {
                return Ok(());
            }
            row.desired = Desired::Stopped;
            row.retry_at = None;
            enter(row, State::Stopping, None, now)?;
            "instance.stop_requested"
        }
        Verb::Start | Verb::Restart => {
            if row.suspended.is_some() {
                crate::billing::judge::must_not_be_suspended(tx, row.project)?;
                return Err(Error::PaymentRequired(
                    "the instance is suspended because it reached its cap; raise the cap, or wait for its period to turn".into(),
                ));
            }
            let rested = start_if_resting(tx, row, job_for, steered.most_gpus, now)?;
            match verb {
                Verb::Restart if !rested => {
                    row.restart_wanted += 1;
                    row.retry_at = None;
                    row.crashes = 0;
                    "instance.restart_requested"
                }
                _ if !rested => return Ok(()),
                _ => "instance.start_requested",
            }
        }
    };
    let data = match steered.with {
        Some(agent) => json!({"before": before, "with": agent}),
        None => json!({"before": before}),
    };
    let (id, name) = (row.id.to_string(), row.name.as_str());
    events::by_caller(tx, now, steered.by, Some(row.project), kind, "instance", &id, name, data)
}

/// Has an instance that rests run, with a fresh set of tries, if its project may. Whether it rested.
pub(crate) fn start_if_resting(
    tx: &mut Tx<'_>,
    row: &mut Instance,
    job_for: &impl Fn(&Instance) -> NewJob,
    most_gpus: Option<u32>,
    now: Millis,
) -> Result<bool> {
    let rests = row.desired != Desired::Running || matches!(row.state, State::Failed | State::Stopped);
    row.desired = Desired::Running;
    if rests {
        quotas::check(tx, row, usize::MAX)?;
        disk::must_have_room(tx, row.project, 0, now)?;
        gpus::check(tx, row, most_gpus)?;
        row.crashes = 0;
        row.exit_code = None;
        row.retry_at = None;
        enter(row, State::Pending, None, now)?;
        if row.image_generation < row.generation {
            tx.enqueue_job(&job_for(row), now.0)?;
        }
    }
    Ok(rests)
}
