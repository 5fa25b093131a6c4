//! The databases of a deployment: made or started in one transaction, and ready before the agent is released, so that a
//! database that cannot run costs no running agent anything.
//!
//! What is there already stays as it is, also when the manifest no longer asks for it: data must not go by a forgotten
//! line.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::try_join_all;
use ryokan_model::addon::Addon;
use ryokan_model::instance::{Desired, State};
use ryokan_model::manifest::Plan;
use ryokan_model::spec::InstanceSpec;
use ryokan_model::{InstanceId, Name, Secret};
use ryokan_store::Tx;
use ryokan_store::deployments::Deployment;
use ryokan_store::instances::Instance;

use super::note::Notes;
use super::release::{PATIENCE, tell};
use super::run::Stop;
use crate::instances::create::{Origin, insert_new};
use crate::instances::keep;
use crate::instances::lifecycle::start_if_resting;
use crate::instances::plan::CRASHES_AWAITED;
use crate::projects::quotas;
use crate::{App, Error, Result};

/// What a database is made from, if it is not there yet.
#[derive(Clone)]
struct New {
    id: InstanceId,
    addon: Addon,
    name: Name,
    spec: InstanceSpec,
    secrets: BTreeMap<String, Secret>,
}

impl App {
    /// Returns once all that the manifest asks for are ready.
    pub(super) async fn release_addons(
        self: &Arc<Self>,
        row: &Deployment,
        agent: &Name,
        plan: &Plan,
        notes: &Notes,
    ) -> Result<(), Stop> {
        let mut wanted = Vec::new();
        for addon in &plan.addons {
            let new = self.new_addon(*addon, agent)?;
            self.check_limits(&new.spec)?;
            self.check_engine(&new.spec).await?;
            wanted.push(new);
        }
        let beside = self.write_addons(row, agent, wanted, plan.agent.spec.clone()).await?;
        crate::crash::point("deployment.databases");
        self.wake.notify_one();
        let (asked, kept): (Vec<_>, Vec<_>) =
            beside.into_iter().partition(|r| r.addon.is_some_and(|addon| plan.addons.contains(&addon)));
        for left in kept {
            let name = left.name;
            notes.say(format!(
                "{name} stays, with its data, though the manifest does not ask for it any more; `ryokan rm --force {name}` deletes both"
            ));
        }
        try_join_all(asked.iter().map(|addon| self.addon_ready(addon, agent, notes))).await.map(drop)
    }

    fn new_addon(&self, addon: Addon, agent: &Name) -> Result<New> {
        let name = agent.addon(addon);
        let image = self.settings.deploy.databases.get(&addon).cloned();
        let image = image.ok_or_else(|| Error::internal(format!("no image is set for {addon}")))?;
        let secrets = addon.secrets().iter();
        Ok(New {
            id: InstanceId::from_parts(self.clock.now(), self.entropy.bytes()),
            addon,
            spec: addon.spec(image, &name),
            name,
            secrets: secrets.map(|name| ((*name).to_owned(), self.entropy.secret(""))).collect(),
        })
    }

    async fn addon_ready(
        self: &Arc<Self>,
        addon: &Instance,
        agent: &Name,
        notes: &Notes,
    ) -> Result<(), Stop> {
        let (name, id) = (&addon.name, addon.id);
        let bound = State::Starting.bound(&addon.spec).unwrap_or_default() + PATIENCE;
        let crashing = async {
            let mut changes = self.store.subscribe();
            loop {
                if let Ok(Some(row)) = self.store.read(move |tx| tx.instance(id)).await
                    && row.crashes >= CRASHES_AWAITED
                    && row.state != State::Ready
                {
                    break Stop::Failed(row.message.unwrap_or_else(|| "it keeps ending".into()));
                }
                if !changes.wait_for("instances").await {
                    std::future::pending::<()>().await;
                }
            }
        };
        let waited = tokio::select! {
            waited = self.until_ready(addon, bound, notes) => waited,
            stop = crashing => Err(stop),
        };
        match waited {
            Ok(()) => {
                notes.say(format!("{name} is ready, for this project only"));
                Ok(())
            }
            Err(Stop::Failed(why)) => Err(Stop::Failed(format!("{name}, a database of {agent}: {why}"))),
            Err(other) => Err(other),
        }
    }

    /// All databases beside the agent, those that it has from earlier too. All or none are made, and only when the
    /// project may have the agent as well.
    async fn write_addons(
        &self,
        row: &Deployment,
        agent: &Name,
        wanted: Vec<New>,
        agent_spec: InstanceSpec,
    ) -> Result<Vec<Instance>> {
        let (row, agent) = (row.clone(), agent.clone());
        let (seal, job_for) = (self.seal.clone(), self.image_job_maker());
        let limit = self.limits().instances_per_project;
        let would_be = InstanceId::from_parts(self.clock.now(), self.entropy.bytes());
        self.write_raced(move |tx, now| {
            let kinds = wanted.iter().map(|new| new.addon).collect();
            let mut beside = addons_of(tx, &row, &agent, &kinds)?;
            if wanted.is_empty() && beside.is_empty() {
                return Ok(beside);
            }
            let there = tx.instance_by_name(agent.as_str())?;
            if there.as_ref().is_some_and(|there| there.project != row.project) {
                return Err(Error::Conflict(format!("the name `{agent}` is taken; choose another")).into());
            }
            tx.lock(&format!("project:{}", row.project))?;
            crate::billing::judge::must_not_be_suspended(tx, row.project)?;
            for found in &mut beside {
                let before = found.clone();
                if !start_if_resting(tx, found, &job_for, None, now)? && found.state != State::Ready {
                    // Somebody may have mended what it keeps ending by.
                    found.crashes = 0;
                    found.retry_at = None;
                }
                keep(tx, &before, found, now)?;
            }
            for new in &wanted {
                if beside.iter().any(|found| found.addon == Some(new.addon)) {
                    continue;
                }
                if let Some(taken) = tx.instance_by_name(new.name.as_str())? {
                    return Err(in_the_way(&taken, &row, &agent).into());
                }
                let made = Instance {
                    project_name: row.project_name.clone(),
                    template: "custom".into(),
                    addon: Some(new.addon),
                    ..Instance::new(new.id, row.project, new.name.clone(), new.spec.clone(), now)
                };
                let origin = Origin {
                    secrets: new.secrets.clone(),
                    manifest: None,
                    deployment: Some(row.id),
                    by: row.user.to_string(),
                };
                let made = insert_new(tx, &seal, made, origin, limit, &job_for, now)?;
                tell(tx, &row, &made, "instance.created", now)?;
                beside.push(made);
            }
            let candidate = match there {
                Some(agent) => Instance { desired: Desired::Running, spec: agent_spec.clone(), ..agent },
                None => Instance::new(would_be, row.project, agent.clone(), agent_spec.clone(), now),
            };
            quotas::check(tx, &candidate, limit)?;
            Ok(beside)
        })
        .await
    }
}

/// The databases that the agent has, and those of the wanted ones that were made for it by a deployment that did not come
/// to the agent itself.
pub(super) fn addons_of(
    tx: &mut Tx<'_>,
    row: &Deployment,
    agent: &Name,
    wanted: &BTreeSet<Addon>,
) -> Result<Vec<Instance>> {
    let owner = tx.instance_by_name(agent.as_str())?.map(|agent| agent.id);
    let mut found = Vec::new();
    for addon in Addon::ALL {
        let there = tx.instance_by_name(agent.addon(addon).as_str())?;
        found.extend(there.filter(|i| {
            let is_theirs = wanted.contains(&addon) || owner.is_some() && i.addon_of == owner;
            i.project == row.project && i.addon == Some(addon) && is_theirs && !is_going(i)
        }));
    }
    Ok(found)
}

fn is_going(instance: &Instance) -> bool {
    instance.state == State::Deleting
}

/// Why a database cannot have its name.
fn in_the_way(taken: &Instance, row: &Deployment, agent: &Name) -> Error {
    let name = &taken.name;
    Error::Conflict(if taken.project != row.project {
        format!(
            "the name `{name}`, which a database of `{agent}` would have, is taken; choose another name for the agent"
        )
    } else if is_going(taken) {
        format!("{name} is being deleted; deploy again when it is gone")
    } else {
        format!(
            "the name `{name}`, which a database of `{agent}` would have, is that of another instance; delete that, or choose another name for the agent"
        )
    })
}
