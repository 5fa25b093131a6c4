//! `stop`, `start`, `restart`: they write what is wanted and return. All are idempotent.

use ryokan_model::instance::{Desired, State};
use ryokan_model::permission::{Caller, Scope};
use ryokan_store::instances::Instance;
use serde_json::json;

use crate::instances::{enter, gpus};
use crate::projects::{disk, quotas};
use crate::{App, Error, Result, events};

#[derive(Clone, Copy)]
enum Verb {
    Stop,
    Start,
    Restart,
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
        let by = caller.clone();
        let (job_for, most_gpus) = (self.image_job_maker(), self.settings.gpus);
        let changed = self
            .change_instance(row.id, move |tx, row, now| {
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
                        let resting = row.desired != Desired::Running
                            || matches!(row.state, State::Failed | State::Stopped);
                        row.desired = Desired::Running;
                        if resting {
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
                        match verb {
                            Verb::Restart if !resting => {
                                row.restart_wanted += 1;
                                row.retry_at = None;
                                row.crashes = 0;
                                "instance.restart_requested"
                            }
                            _ if !resting => return Ok(()),
                            _ => "instance.start_requested",
                        }
                    }
                };
                let data = json!({"before": before});
                events::by_caller(
                    tx,
                    now,
                    &by,
                    Some(row.project),
                    kind,
                    "instance",
                    &row.id.to_string(),
                    row.name.as_str(),
                    data,
                )
            })
            .await?;
        crate::crash::point("lifecycle.committed");
        changed.ok_or_else(|| Error::not_found("instance", id_or_name))
    }
}
