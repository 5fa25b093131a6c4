//! Releasing one image: the instance is made or changed in one transaction together with its revision, and then has to
//! become ready. One that does not is taken back by the reconciler, and what ran before goes on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use ryokan_model::addon::Addon;
use ryokan_model::instance::{Desired, State};
use ryokan_model::spec::InstanceSpec;
use ryokan_model::{InstanceId, Name};
use ryokan_store::deployments::Deployment;
use ryokan_store::instances::Instance;
use serde_json::json;

use super::databases::addons_of;
use super::note::Notes;
use super::run::Stop;
use crate::addons;
use crate::instances::create::{Origin, insert_new};
use crate::instances::follow::{Goal, Step};
use crate::instances::update::{SpecChange, change_spec};
use crate::instances::{Raced, enter, gpus, keep};
use crate::projects::{disk, quotas};
use crate::{App, Error, Result, events};

/// Beyond what the probe itself allows: for the image, the stop of the old container, and the engine's turn.
pub(super) const PATIENCE: Duration = Duration::from_mins(10);

/// What is released of a deployment.
#[derive(Clone)]
pub(super) struct Release {
    pub(super) name: Name,
    pub(super) spec: InstanceSpec,
    pub(super) manifest: String,
    /// What it is told of besides those that it has.
    pub(super) databases: BTreeSet<Addon>,
}

impl App {
    pub(super) async fn release_image(
        self: &Arc<Self>,
        row: &Deployment,
        release: Release,
        notes: &Notes,
    ) -> Result<(), Stop> {
        let name = release.name.clone();
        self.check_limits(&release.spec)?;
        self.check_engine(&release.spec).await?;
        let bound = State::Starting.bound(&release.spec).unwrap_or_default() + PATIENCE;
        let instance = self.write_release(row, release).await?;
        crate::crash::point("deployment.released");
        notes.say(format!("Released {name} as revision {}; waiting until it is ready", instance.generation));
        self.until_ready(&instance, bound, notes).await.map_err(|stop| match stop {
            Stop::Failed(why) => Stop::Failed(format!("{name}: {why}")),
            other => other,
        })?;
        notes.say(format!("{name} is ready at {}/", self.settings.agent_origin(name.as_str())));
        Ok(())
    }

    /// Waits until the instance is ready, and says what happens meanwhile.
    pub(super) async fn until_ready(
        self: &Arc<Self>,
        instance: &Instance,
        bound: Duration,
        notes: &Notes,
    ) -> Result<(), Stop> {
        let name = &instance.name;
        let mut steps = Box::pin(self.follow(instance, Goal::Ready));
        let waited = tokio::time::timeout(bound, async {
            let mut last = String::new();
            while let Some(step) = steps.next().await {
                match step {
                    Step::Pending { state, message, .. } => {
                        let text = message.map_or_else(|| state.to_string(), |m| format!("{state}: {m}"));
                        if text != last {
                            notes.say(format!("{name} is {text}"));
                            last = text;
                        }
                    }
                    Step::Reached(_) => return Ok(()),
                    Step::Failed(why) => return Err(Stop::Failed(why)),
                }
            }
            Err(Stop::Later(anyhow::anyhow!("{name} was lost sight of")))
        })
        .await;
        let late = || Stop::Failed(format!("it was not ready within {} s", bound.as_secs()));
        waited.unwrap_or_else(|_| Err(late()))
    }

    /// The instance as it was released. Released once for a deployment, however often this is called.
    async fn write_release(&self, row: &Deployment, release: Release) -> Result<Instance> {
        let fresh = InstanceId::from_parts(self.clock.now(), self.entropy.bytes());
        let row = row.clone();
        let Release { name, mut spec, manifest, databases } = release;
        let (seal, job_for) = (self.seal.clone(), self.image_job_maker());
        let (limit, most_gpus) = (self.limits().instances_per_project, self.settings.gpus);
        // What the artifact says of variables; others are the instance's own, and the project's.
        spec.artifact_env = std::mem::take(&mut spec.env);
        let written = self
            .write_raced(move |tx, now| {
                let done = tx.revisions_by(row.id)?;
                let by = row.user.to_string();
                let mut spec = spec.clone();
                let beside = addons_of(tx, &row, &name, &databases)?;
                let Some(mut instance) = tx.instance_by_name(name.as_str())? else {
                    if !done.is_empty()
                        && done.iter().any(|r| tx.instance(r.instance).is_ok_and(|i| i.is_none()))
                    {
                        return Err(Error::Conflict("its instance was deleted meanwhile".into()).into());
                    }
                    let told = addons::tell(tx, &seal, fresh, &mut spec, &beside)?;
                    let instance = Instance {
                        project_name: row.project_name.clone(),
                        template: "custom".into(),
                        ..Instance::new(fresh, row.project, name.clone(), spec, now)
                    };
                    let origin = Origin {
                        secrets: told.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(),
                        manifest: Some(manifest.clone()),
                        deployment: Some(row.id),
                        by,
                    };
                    gpus::check(tx, &instance, most_gpus)?;
                    let instance = insert_new(tx, &seal, instance, origin, limit, &job_for, now)?;
                    tell(tx, &row, &instance, "instance.created", now)?;
                    belong(tx, beside, instance.id, now)?;
                    return Ok(instance);
                };
                if instance.project != row.project {
                    let taken = format!("the name `{}` is taken; choose another", instance.name);
                    return Err(Error::Conflict(taken).into());
                }
                if let Some(revision) = done.iter().find(|r| r.instance == instance.id) {
                    instance.generation = revision.number;
                    return Ok(instance);
                }
                if instance.state == State::Deleting {
                    return Err(Error::Conflict(format!("{} is being deleted", instance.name)).into());
                }
                crate::billing::judge::must_not_be_suspended(tx, row.project)?;
                disk::must_have_room(tx, row.project, 0, now)?;
                let before = instance.clone();
                spec.addon_env.clone_from(&instance.spec.addon_env);
                let told = addons::tell(tx, &seal, instance.id, &mut spec, &beside)?;
                spec.env.clone_from(&instance.spec.env);
                spec.secret_env.clone_from(&instance.spec.secret_env);
                spec.inherited.clone_from(&instance.spec.inherited);
                let change = SpecChange {
                    spec,
                    secrets: told,
                    new_container: true,
                    manifest: Some(manifest.clone()),
                    deployment: Some(row.id),
                    by,
                };
                if instance.desired != Desired::Running || instance.state == State::Failed {
                    instance.desired = Desired::Running;
                    if instance.state != State::Stopping {
                        enter(&mut instance, State::Pending, Some("updating".into()), now)?;
                    }
                }
                change_spec(tx, &seal, &mut instance, change, &job_for, now)?;
                quotas::check(tx, &instance, limit)?;
                gpus::check(tx, &instance, most_gpus)?;
                keep(tx, &before, &mut instance, now)?;
                tell(tx, &row, &instance, "instance.updated", now)?;
                belong(tx, beside, instance.id, now)?;
                Ok(instance)
            })
            .await;
        self.wake.notify_one();
        written
    }
}

/// From now on what happens to the agent happens to these.
fn belong(
    tx: &mut ryokan_store::Tx<'_>,
    beside: Vec<Instance>,
    agent: InstanceId,
    now: ryokan_model::Millis,
) -> Result<(), Raced> {
    for mut row in beside {
        let before = row.clone();
        row.addon_of = Some(agent);
        keep(tx, &before, &mut row, now)?;
    }
    Ok(())
}

pub(super) fn tell(
    tx: &mut ryokan_store::Tx<'_>,
    row: &Deployment,
    instance: &Instance,
    kind: &str,
    now: ryokan_model::Millis,
) -> Result<()> {
    let data = json!({"deployment": row.id, "generation": instance.generation, "image": instance.spec.image});
    let id = instance.id.to_string();
    events::system(tx, now, kind, "instance", &id, instance.name.as_str(), Some(row.project), data)
}
