//! Databases beside agents. Each is an instance of its own, with sealed credentials that never change; what happens to
//! the agent happens to its databases in the same transaction.
//!
//! The databases' own credentials are the one truth. What an agent is told of them is sealed with its own secrets, and
//! worked out anew with each release.

mod cascade;

use std::collections::BTreeMap;

use ryokan_model::request::{InstanceRequest, SecretChanges};
use ryokan_model::spec::InstanceSpec;
use ryokan_model::{InstanceId, Secret};
use ryokan_store::instances::Instance;
use ryokan_store::{Seal, Tx};

pub(crate) use cascade::{delete_beside, must_not_be_needed, steer_beside};

use crate::instances::secrets_of;
use crate::{App, Error, Result};

impl App {
    /// The databases beside an instance, by name.
    pub async fn addons_of(&self, row: &Instance) -> Result<Vec<Instance>> {
        let id = row.id;
        Ok(self.store.read(move |tx| tx.addons_of(id)).await?)
    }
}

/// How an instance's own scope names a secret that it has of its databases. No variable can be named so.
pub(crate) fn given_name(name: &str) -> String {
    format!("addon:{name}")
}

/// What an agent is to be told of these databases.
fn variables(tx: &mut Tx<'_>, seal: &Seal, beside: &[Instance]) -> Result<BTreeMap<String, Secret>> {
    let mut known = Vec::new();
    for row in beside {
        let Some(addon) = row.addon else { continue };
        let password = tx.get_secret(seal, &secrets_of(row.id), addon.password())?;
        let password =
            password.ok_or_else(|| Error::internal(format!("instance {} has no password", row.id)))?;
        known.push((addon, &row.name, password));
    }
    Ok(ryokan_model::addon::variables(known.iter().map(|(addon, name, password)| (*addon, *name, password))))
}

/// Tells the agent of these databases and of no others: names in its spec, and what is to be done to its secrets.
pub(crate) fn tell(
    tx: &mut Tx<'_>,
    seal: &Seal,
    agent: InstanceId,
    spec: &mut InstanceSpec,
    beside: &[Instance],
) -> Result<SecretChanges> {
    let wanted = variables(tx, seal, beside)?;
    let sealed: BTreeMap<String, Secret> = tx.get_secrets(seal, &secrets_of(agent))?.into_iter().collect();
    let gone = spec.addon_env.iter().filter(|name| !wanted.contains_key(*name));
    let mut changes: SecretChanges = gone.map(|name| (given_name(name), None)).collect();
    for (name, value) in &wanted {
        let sealed_as = given_name(name);
        if sealed.get(&sealed_as) != Some(value) {
            changes.insert(sealed_as, Some(value.clone()));
        }
    }
    spec.addon_env = wanted.into_keys().collect();
    Ok(changes)
}

/// What of a database its user may change: its size and its image. What its data were made with may not be another.
pub(crate) fn check_update(row: &Instance, request: &InstanceRequest) -> Result<()> {
    const MAY: [&str; 6] = ["image", "pull", "cpus", "memory", "pids", "stop_grace"];
    if row.addon.is_none() {
        return Ok(());
    }
    let asked = serde_json::to_value(request).map_err(|e| Error::internal(format!("a request: {e}")))?;
    match asked.as_object().into_iter().flatten().find(|(field, _)| !MAY.contains(&field.as_str())) {
        None => Ok(()),
        Some((field, _)) => Err(Error::invalid(
            field.as_str(),
            format!("cannot be changed for a database; {} can", MAY.join(", ")),
        )),
    }
}
