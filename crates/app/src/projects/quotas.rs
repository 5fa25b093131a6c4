//! The most that a project may have. Checked in the transaction that would add to it, under the project's lock, so that
//! two requests never take the last place together.

use ryokan_model::ProjectId;
use ryokan_model::instance::Desired;
use ryokan_model::permission::{Caller, Role};
use ryokan_model::project::Quotas;
use ryokan_model::quantity::{Bytes, Cpus};
use ryokan_store::Tx;
use ryokan_store::instances::Instance;
use serde_json::json;

use super::{disk, record};
use crate::{App, Error, Result};

/// What a project has now of what is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaUse {
    pub instances: u32,
    pub cpus: Cpus,
    pub memory: Bytes,
    /// As last measured.
    pub disk: Bytes,
}

impl App {
    pub async fn get_quotas(&self, caller: &Caller, project: &str) -> Result<(Quotas, QuotaUse)> {
        let project = self.find_project_as(caller, Role::Viewer, project).await?.id;
        let now = self.clock.now();
        self.store
            .read(move |tx| {
                let disk = disk::used(tx, project, now)?;
                Ok((tx.quotas(project)?, QuotaUse { disk, ..in_use(tx, project, None)? }))
            })
            .await
    }

    /// Operators only. What is there already stays, also above the new bound.
    pub async fn put_quotas(&self, caller: &Caller, project: &str, quotas: Quotas) -> Result<Quotas> {
        crate::system::operators(caller)?;
        let project = self.find_project_as(caller, Role::Viewer, project).await?;
        let (now, by) = (self.clock.now(), caller.clone());
        self.store
            .write(move |tx| {
                tx.lock(&format!("project:{}", project.id))?;
                if tx.project(project.id)?.is_none() {
                    return Err(Error::not_found("project", project.name.as_str()));
                }
                tx.put_quotas(project.id, &quotas)?;
                record(tx, now, &by, &project, "project.quotas_set", json!(quotas))?;
                Ok(quotas)
            })
            .await
    }
}

/// Sums over the project's instances, with `candidate` as it is to be. Disk is left out.
fn in_use(tx: &mut Tx<'_>, project: ProjectId, candidate: Option<&Instance>) -> Result<QuotaUse> {
    let rows = tx.instances_page(Some(project), None, "", u32::MAX)?;
    let others = rows.iter().filter(|row| candidate.is_none_or(|c| c.id != row.id));
    let (mut count, mut cpus, mut memory) = (0u32, 0u32, 0u64);
    for row in others.chain(candidate) {
        count = count.saturating_add(1);
        if row.desired == Desired::Running {
            cpus = cpus.saturating_add(row.spec.resources.cpus.millis());
            memory = memory.saturating_add(row.spec.resources.memory.get());
        }
    }
    let (cpus, memory) = (Cpus::from_millis(cpus), Bytes::new(memory));
    Ok(QuotaUse { instances: count, cpus, memory, disk: Bytes::new(0) })
}

/// Refuses what would be above a bound with `candidate` as it is to be. Takes the project's lock.
pub(crate) fn check(tx: &mut Tx<'_>, candidate: &Instance, most_instances: usize) -> Result<()> {
    tx.lock(&format!("project:{}", candidate.project))?;
    let quotas = tx.quotas(candidate.project)?;
    let most = quotas.instances.map_or(most_instances, |n| usize::try_from(n).unwrap_or(usize::MAX));
    let is_new = tx.instance(candidate.id)?.is_none();
    if is_new && usize::try_from(tx.count_instances_of(candidate.project)?).is_ok_and(|count| count >= most) {
        return Err(Error::QuotaExceeded(format!(
            "the project has {most} instances, which is all it may have; delete one first"
        )));
    }
    if candidate.desired != Desired::Running || (quotas.cpus.is_none() && quotas.memory.is_none()) {
        return Ok(());
    }
    let would_use = in_use(tx, candidate.project, Some(candidate))?;
    let over = |what: &str, most: &dyn std::fmt::Display, with: &dyn std::fmt::Display| {
        Err(Error::QuotaExceeded(format!(
            "the project's running instances may have {most} of {what} together, and would have {with}; stop one, make one smaller, or ask an operator for more"
        )))
    };
    match (quotas.cpus, quotas.memory) {
        (Some(most), _) if would_use.cpus > most => over("cpus", &most, &would_use.cpus),
        (_, Some(most)) if would_use.memory > most => over("memory", &most, &would_use.memory),
        _ => Ok(()),
    }
}
