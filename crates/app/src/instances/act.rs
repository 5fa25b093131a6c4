//! Carrying out one step for one instance: the effect on the engine first, then the record of it. Dying in between is
//! fine, since the next look at the engine shows what was done.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use ryokan_model::instance::{AfterExit, Desired, State};
use ryokan_model::probe::Check;
use ryokan_model::project::Inherited;
use ryokan_model::spec::RestartMode;
use ryokan_model::{InstanceId, Millis};
use ryokan_ports::edge::Door;
use ryokan_ports::runtime::{LogOptions, Observed, RuntimeError, Volumes, Workload};
use ryokan_store::images::IMAGES;
use ryokan_store::instances::{Instance, TakenBack};

use crate::deployments::is_built_here;
use crate::instances::{delete, enter, previous_secrets_of, secrets_of};
use crate::{App, Error, Result, events};

/// Lines of the log that a crash loop's message carries.
const LAST_LINES: u64 = 15;

/// After so many crashes before it was ever ready, what ran before an update is brought back.
pub(super) const TRIAL_CRASHES: u32 = 3;

/// Whether this is the first start of an update that was never ready, with something to go back to.
fn is_on_trial(row: &Instance) -> bool {
    row.state == State::Starting && row.image_generation == row.generation && row.previous.is_some()
}

/// How a container ended, to say to people.
pub(super) fn how_it_ended(row: &Instance, code: i64, out_of_memory: bool) -> String {
    if out_of_memory {
        format!("it ran out of its {} of memory (exit code {code})", row.spec.resources.memory)
    } else {
        format!("it exited with code {code}")
    }
}

/// How a probe went, for the reconciler's memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Probed {
    Well,
    Unwell(String),
    /// The engine could not ask; nothing is known.
    Unknown,
}

impl App {
    /// What an agent is told of where it lives. Not part of its spec: an operator may give the server another name,
    /// and no agent has to stop for it.
    fn facts(&self, row: &Instance) -> BTreeMap<String, String> {
        let name = row.name.as_str();
        let mut facts = self.placeholders(row.project, &row.name);
        facts.extend([
            ("RYOKAN_INSTANCE".to_owned(), name.to_owned()),
            ("RYOKAN_AGENT_URL".to_owned(), self.settings.agent_origin(name)),
            ("RYOKAN_ZONE".to_owned(), self.settings.zone.clone()),
            ("RYOKAN_USERS".to_owned(), self.identity().logins_of(row.project).join(",")),
        ]);
        facts
    }

    /// What the engine is to run for it.
    pub(crate) async fn workload(&self, row: &Instance) -> Result<Workload> {
        let Some(image_id) = row.image_id.clone() else {
            return Err(Error::internal(format!("instance {} has no image", row.id)));
        };
        let secret_env = self.open_variables(row).await?;
        let mut spec = row.spec.clone();
        spec.env = spec.effective_env();
        spec.secret_env = secret_env.keys().cloned().collect();
        spec.inherited = Inherited::default();
        spec.artifact_env.clear();
        spec.addon_env.clear();
        Ok(Workload {
            instance: row.id,
            project: row.project,
            name: row.name.clone(),
            generation: row.generation,
            spec,
            image_id,
            secret_env,
            facts: self.facts(row),
            beside: None,
            door: self.settings.door.as_ref().map(|door| Door {
                port: door.port,
                token: self.instance_tokens.mint(row.id, row.generation),
            }),
            trust: self.settings.door.as_ref().map(|door| door.trust.clone()),
        })
    }

    /// What runs now, if it was started.
    pub(crate) async fn start_container(&self, row: &Instance) -> Result<Option<Observed>> {
        let workload = self.workload(row).await?;
        crate::crash::point("start.before");
        let outcome = self.runtime.ensure(&workload).await;
        crate::crash::point("start.after");
        match outcome {
            Ok(observed) => {
                self.adopt(row, &observed).await?;
                return Ok(Some(observed));
            }
            // The image was removed from the engine since: fetch it again.
            Err(RuntimeError::Image { .. }) if row.image_generation > 0 => self.image_vanished(row).await?,
            Err(error) if error.is_transient() => return Err(error.into()),
            Err(error) => self.fail(row, error.to_string()).await?,
        }
        Ok(None)
    }

    /// An update cannot be carried out: what ran before goes on, if there is such a thing. Whether it does.
    ///
    /// Once the engine was `asked` for the new container it may hold a part of it, and may have let go of the old one.
    /// Then the old spec gets a generation of its own: a number must never stand for two specs, or the next update
    /// would be given this one's remains.
    pub(crate) async fn give_up_update(
        &self,
        id: InstanceId,
        generation: i64,
        asked: bool,
        reason: &str,
    ) -> Result<bool> {
        let (reason, seal) = (reason.to_owned(), self.seal.clone());
        let row = self
            .change_instance(id, move |tx, row, now| {
                if row.generation != generation || row.goal() != Desired::Running {
                    return Ok(());
                }
                let Some(previous) = row.previous.take() else { return Ok(()) };
                let secrets = tx.get_secrets(&seal, &previous_secrets_of(id))?;
                if !secrets.is_empty() {
                    tx.delete_secrets(&secrets_of(id))?;
                    for (name, value) in secrets {
                        tx.put_secret(&seal, &secrets_of(id), &name, &value, now.0)?;
                    }
                    tx.delete_secrets(&previous_secrets_of(id))?;
                }
                tx.revision_has_failed(id, generation, &reason)?;
                row.taken_back = Some(TakenBack { generation, reason: reason.clone() });
                row.generation = if asked { generation + 1 } else { previous.generation };
                row.image_generation = row.generation;
                row.spec = previous.spec;
                row.image_id = previous.image_id;
                row.image_digest = previous.image_digest;
                row.message = None;
                (row.crashes, row.retry_at) = (0, None);
                if asked {
                    enter(row, State::Pending, Some("going back to what ran before".into()), now)?;
                }
                let data = serde_json::json!({"reason": reason});
                events::system(
                    tx,
                    now,
                    "instance.update_failed",
                    "instance",
                    &row.id.to_string(),
                    row.name.as_str(),
                    Some(row.project),
                    data,
                )
            })
            .await?;
        Ok(row.is_some_and(|row| row.generation != generation))
    }

    /// Restarts are carried out once each, however often we die on the way: the record comes last.
    pub(crate) async fn restart_container(&self, row: &Instance) -> Result<Option<Observed>> {
        // While it is away, the gateway says so instead of sending requests to nowhere.
        self.change_instance(row.id, |_, row, now| {
            if row.goal() == Desired::Running && matches!(row.state, State::Ready | State::Unhealthy) {
                enter(row, State::Starting, Some("restarting".into()), now)?;
            }
            Ok(())
        })
        .await?;
        self.runtime.stop(row.id, row.spec.stop_grace.duration()).await?;
        crate::crash::point("restart.stopped");
        self.start_container(row).await
    }

    /// Records a running container: where it is, and that its start-up is to be awaited.
    pub(crate) async fn adopt(&self, row: &Instance, observed: &Observed) -> Result<()> {
        let (seen, wanted) = (observed.clone(), row.restart_wanted);
        self.change_instance(row.id, move |_, row, now| {
            if row.generation != seen.generation {
                return Ok(());
            }
            row.endpoints.clone_from(&seen.endpoints);
            row.reach = Some(seen.reach.as_str().to_owned());
            // Every start carries out the restarts that were asked for before it.
            row.restart_done = row.restart_done.max(wanted);
            row.retry_at = None;
            if row.goal() == Desired::Running {
                match row.state {
                    State::Stopping | State::Stopped | State::Failed => {
                        enter(row, State::Pending, None, now)?;
                    }
                    _ => {}
                }
                enter(row, State::Starting, None, now)?;
            }
            Ok(())
        })
        .await?;
        Ok(())
    }

    /// A container ended by itself or was taken away: restart it later, or let it rest, as its policy says.
    pub(crate) async fn ended(
        &self,
        row: &Instance,
        code: i64,
        started_at: Millis,
        out_of_memory: bool,
        lost: bool,
    ) -> Result<()> {
        let logs = self.last_lines(row.id, None).await;
        let [jitter] = self.entropy.bytes();
        let generation = row.generation;
        if is_on_trial(row) && row.crashes + 1 >= TRIAL_CRASHES && !lost {
            let why =
                format!("it exited {TRIAL_CRASHES} times before it was ready, last with code {code}{logs}");
            if self.give_up_update(row.id, generation, true, &why).await? {
                return Ok(());
            }
        }
        self.change_instance(row.id, move |_, row, now| {
            if row.generation != generation
                || row.goal() != Desired::Running
                || !matches!(row.state, State::Starting | State::Ready | State::Unhealthy)
            {
                return Ok(());
            }
            let what = if lost {
                "its container was removed by somebody else".to_owned()
            } else {
                how_it_ended(row, code, out_of_memory)
            };
            row.exit_code = (!lost).then_some(code);
            row.endpoints.clear();
            // A container that was taken away did not crash by its own fault, unless it is never to be restarted.
            let code = if lost && row.spec.restart.mode != RestartMode::Never { 1 } else { code };
            let mut spec = row.spec.clone();
            if lost {
                spec.restart.fatal_exit_codes.clear();
            }
            match spec.after_exit(code, now.since(started_at), row.crashes, now, jitter) {
                AfterExit::Restart { at, crashes } => {
                    row.crashes = crashes;
                    row.retry_at = Some(at);
                    let wait = at.since(now).as_secs_f64();
                    enter(
                        row,
                        State::Pending,
                        Some(format!(
                            "{what}; next start in {wait:.1} s (crash {crashes} of {}){logs}",
                            row.spec.restart.max_crashes
                        )),
                        now,
                    )
                }
                AfterExit::Stop => {
                    row.desired = Desired::Stopped;
                    enter(row, State::Stopped, Some(format!("{what}: its work is done")), now)
                }
                AfterExit::Fail { reason } => {
                    enter(row, State::Failed, Some(format!("{what}: {reason}{logs}")), now)
                }
            }
        })
        .await?;
        Ok(())
    }

    /// How a container's log ends, to be put behind a reason; nothing when it says nothing.
    pub(crate) async fn last_lines(&self, id: InstanceId, generation: Option<i64>) -> String {
        let options = LogOptions { tail: Some(LAST_LINES), generation, ..LogOptions::default() };
        let read = async {
            let mut lines = self.runtime.logs(id.into(), options).await.ok()?;
            let mut text: Vec<String> = Vec::new();
            while let Some(Ok(line)) = lines.next().await {
                text.push(line.text.chars().take(400).collect());
            }
            Some(text)
        };
        let lines =
            tokio::time::timeout(Duration::from_secs(5), read).await.ok().flatten().unwrap_or_default();
        if lines.is_empty() { String::new() } else { format!(". Its last lines:\n{}", lines.join("\n")) }
    }

    pub(crate) async fn fail(&self, row: &Instance, reason: String) -> Result<()> {
        let generation = row.generation;
        if self.give_up_update(row.id, generation, true, &reason).await? {
            return Ok(());
        }
        self.change_instance(row.id, move |tx, row, now| {
            if row.generation == generation && row.goal() == Desired::Running && row.state != State::Deleting
            {
                tx.revision_has_failed(row.id, generation, &reason)?;
                row.endpoints.clear();
                enter(row, State::Failed, Some(reason.clone()), now)?;
            }
            Ok(())
        })
        .await?;
        Ok(())
    }

    pub(crate) async fn stop_container(&self, row: &Instance) -> Result<()> {
        self.change_instance(row.id, |_, row, now| {
            if row.goal() == Desired::Stopped && row.state != State::Stopping {
                enter(row, State::Stopping, None, now)?;
            }
            Ok(())
        })
        .await?;
        crate::crash::point("stop.before");
        self.runtime.stop(row.id, row.spec.stop_grace.duration()).await?;
        crate::crash::point("stop.after");
        self.record_stopped(row.id).await
    }

    pub(crate) async fn record_stopped(&self, id: InstanceId) -> Result<()> {
        self.change_instance(id, |_, row, now| {
            if row.goal() == Desired::Stopped && row.state != State::Stopped {
                if !row.state.may_become(State::Stopped) {
                    enter(row, State::Stopping, None, now)?;
                }
                row.endpoints.clear();
                row.crashes = 0;
                row.retry_at = None;
                enter(row, State::Stopped, None, now)?;
            }
            Ok(())
        })
        .await?;
        Ok(())
    }

    pub(crate) async fn delete_container(&self, row: &Instance) -> Result<()> {
        let volumes = if row.keep_volumes { Volumes::Keep } else { Volumes::Remove };
        self.runtime.stop(row.id, row.spec.stop_grace.duration()).await?;
        crate::crash::point("delete.stopped");
        self.runtime.remove(row.id, volumes).await?;
        crate::crash::point("delete.removed");
        self.change_instance(row.id, |tx, row, now| {
            if row.goal() == Desired::Deleted { delete::bury(tx, row, now) } else { Ok(()) }
        })
        .await?;
        crate::crash::point("delete.buried");
        self.remove_empty_network(row.project).await
    }

    /// A state has outlived its bound: takes its way out.
    pub(crate) async fn overdue(&self, row: &Instance, observed: Option<&Observed>) -> Result<()> {
        match row.state {
            State::Starting | State::Unhealthy => {
                let started_at = observed.map_or(row.since, |o| match o.phase {
                    ryokan_ports::runtime::Phase::Running { started_at } => started_at,
                    _ => row.since,
                });
                let logs = self.last_lines(row.id, None).await;
                if is_on_trial(row) {
                    let why = row.message.clone().unwrap_or_else(|| "its probe never passed".into());
                    let why = format!("it did not become ready in time: {why}{logs}");
                    if self.give_up_update(row.id, row.generation, true, &why).await? {
                        return Ok(());
                    }
                }
                self.runtime.stop(row.id, row.spec.stop_grace.duration()).await?;
                let [jitter] = self.entropy.bytes();
                let state = row.state;
                self.change_instance(row.id, move |_, row, now| {
                    if row.state != state || row.goal() != Desired::Running {
                        return Ok(());
                    }
                    let why = row.message.clone().unwrap_or_else(|| "its probe never passed".into());
                    let what = if state == State::Starting {
                        "it did not become ready in time"
                    } else {
                        "it stayed unhealthy"
                    };
                    let text = format!("{what}: {why}{logs}");
                    row.endpoints.clear();
                    match row.spec.after_exit(1, now.since(started_at), row.crashes, now, jitter) {
                        AfterExit::Restart { at, crashes } => {
                            row.crashes = crashes;
                            row.retry_at = Some(at);
                            enter(row, State::Pending, Some(text), now)
                        }
                        AfterExit::Stop | AfterExit::Fail { .. } => {
                            enter(row, State::Failed, Some(text), now)
                        }
                    }
                })
                .await?;
                Ok(())
            }
            State::Pending | State::Building => {
                let why = row.message.clone().unwrap_or_else(|| "nobody took it up".into());
                self.fail(row, format!("it could not be started in time: {why}")).await
            }
            State::Stopping => {
                self.change_instance(row.id, |_, row, now| {
                    if row.state == State::Stopping {
                        enter(row, State::Failed, Some("the engine did not stop it in time; it is stopped as soon as the engine answers".into()), now)?;
                    }
                    Ok(())
                })
                .await?;
                Ok(())
            }
            State::Ready | State::Sleeping | State::Stopped | State::Failed | State::Deleting => Ok(()),
        }
    }

    /// Asks the agent once.
    pub(crate) async fn probe(
        self: Arc<Self>,
        observed: Observed,
        check: Check,
        timeout: Duration,
    ) -> Probed {
        match self.runtime.probe(&observed, &check, timeout).await {
            Ok(Ok(())) => Probed::Well,
            Ok(Err(why)) => Probed::Unwell(why),
            Err(error) => {
                tracing::debug!(instance = %observed.instance, error = %error, "a probe could not be made");
                Probed::Unknown
            }
        }
    }

    /// Records that the agent answers, or that it no longer does.
    pub(crate) async fn record_health(
        &self,
        id: InstanceId,
        generation: i64,
        healthy: bool,
        why: Option<String>,
    ) -> Result<()> {
        self.change_instance(id, move |tx, row, now| {
            if row.generation != generation || row.goal() != Desired::Running {
                return Ok(());
            }
            match (row.state, healthy) {
                (State::Starting | State::Unhealthy, true) => {
                    // It works, so there is nothing to go back to any more.
                    if row.image_generation == row.generation && row.previous.take().is_some() {
                        tx.delete_secrets(&previous_secrets_of(id))?;
                    }
                    if row.image_generation == row.generation {
                        let (image, digest) = (row.image_id.as_deref(), row.image_digest.as_deref());
                        tx.revision_is_live(id, row.generation, image, digest)?;
                        if is_built_here(&row.spec.image) {
                            // The oldest that it could be rolled back to has become one too many.
                            tx.notify(IMAGES);
                        }
                    }
                    enter(row, State::Ready, None, now)
                }
                (State::Ready, false) => enter(row, State::Unhealthy, why.clone(), now),
                _ => Ok(()),
            }
        })
        .await?;
        Ok(())
    }

    /// Keeps why the start-up is not over yet, so that an overdue start can say it.
    pub(crate) async fn record_waiting(&self, id: InstanceId, why: String) -> Result<()> {
        self.change_instance(id, move |_, row, now| {
            if row.state == State::Starting {
                enter(row, State::Starting, Some(why.clone()), now)
            } else {
                Ok(())
            }
        })
        .await?;
        Ok(())
    }
}
