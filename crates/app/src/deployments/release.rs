//! Releasing one image: the instance is made or changed in one transaction together with its revision, and then has to
//! become ready. One that does not is taken back by the reconciler, and what ran before goes on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use ryokan_model::instance::{Desired, State};
use ryokan_model::spec::InstanceSpec;
use ryokan_model::{InstanceId, Name};
use ryokan_store::deployments::Deployment;
use ryokan_store::instances::Instance;
use serde_json::json;

use super::note::Notes;
use super::run::Stop;
use crate::instances::create::{Origin, insert_new};
use crate::instances::follow::{Goal, Step};
use crate::instances::update::{SpecChange, change_spec};
use crate::instances::{enter, gpus, keep};
use crate::projects::{disk, quotas};
use crate::{App, Error, Result, events};

/// Beyond what the probe itself allows: for the image, the stop of the old container, and the engine's turn.
const PATIENCE: Duration = Duration::from_mins(10);

impl App {
    pub(super) async fn release_image(
        self: &Arc<Self>,
        row: &Deployment,
        name: &Name,
        spec: InstanceSpec,
        manifest: &str,
        notes: &Notes,
    ) -> Result<(), Stop> {
        self.check_limits(&spec)?;
        self.check_engine(&spec).await?;
        let bound = State::Starting.bound(&spec).unwrap_or_default() + PATIENCE;
        let instance = self.write_release(row, name, spec, manifest).await?;
        crate::crash::point("deployment.released");
        notes.say(format!("Released {name} as revision {}; waiting until it is ready", instance.generation));
        let mut steps = Box::pin(self.follow(&instance, Goal::Ready));
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
                    Step::Failed(why) => return Err(Stop::Failed(format!("{name}: {why}"))),
                }
            }
            Err(Stop::Later(anyhow::anyhow!("{name} was lost sight of")))
        })
        .await;
        match waited {
            Ok(Ok(())) => {
                notes.say(format!("{name} is ready at {}/", self.settings.agent_origin(name.as_str())));
                Ok(())
            }
            Ok(Err(stop)) => Err(stop),
            Err(_) => Err(Stop::Failed(format!("{name} was not ready within {} s", bound.as_secs()))),
        }
    }

    /// The instance as it was released. Released once for a deployment, however often this is called.
    async fn write_release(
        &self,
        row: &Deployment,
        name: &Name,
        spec: InstanceSpec,
        manifest: &str,
    ) -> Result<Instance> {
        let fresh = InstanceId::from_parts(self.clock.now(), self.entropy.bytes());
        let (row, name, manifest) = (row.clone(), name.clone(), manifest.to_owned());
        let (seal, job_for) = (self.seal.clone(), self.image_job_maker());
        let (limit, most_gpus) = (self.limits().instances_per_project, self.settings.gpus);
        // What the artifact says of variables; others are the instance's own, and the project's.
        let mut spec = spec;
        spec.artifact_env = std::mem::take(&mut spec.env);
        let written = self
            .write_raced(move |tx, now| {
                let done = tx.revisions_by(row.id)?;
                let by = row.user.to_string();
                let Some(mut instance) = tx.instance_by_name(name.as_str())? else {
                    if !done.is_empty()
                        && done.iter().any(|r| tx.instance(r.instance).is_ok_and(|i| i.is_none()))
                    {
                        return Err(Error::Conflict("its instance was deleted meanwhile".into()).into());
                    }
                    let instance = Instance {
                        project_name: row.project_name.clone(),
                        template: "custom".into(),
                        ..Instance::new(fresh, row.project, name.clone(), spec.clone(), now)
                    };
                    let origin = Origin {
                        secrets: BTreeMap::new(),
                        manifest: Some(manifest.clone()),
                        deployment: Some(row.id),
                        by,
                    };
                    gpus::check(tx, &instance, most_gpus)?;
                    let instance = insert_new(tx, &seal, instance, origin, limit, &job_for, now)?;
                    tell(tx, &row, &instance, "instance.created", now)?;
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
                let mut spec = spec.clone();
                spec.env.clone_from(&instance.spec.env);
                spec.secret_env.clone_from(&instance.spec.secret_env);
                spec.inherited.clone_from(&instance.spec.inherited);
                let change = SpecChange {
                    spec,
                    secrets: BTreeMap::new(),
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
                Ok(instance)
            })
            .await;
        self.wake.notify_one();
        written
    }
}

fn tell(
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
