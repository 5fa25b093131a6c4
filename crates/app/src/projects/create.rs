//! `create`: whoever makes a project owns it.

use ryokan_model::permission::{Caller, Scope};
use ryokan_model::project::Network;
use ryokan_model::{Name, ProjectId, Secret};
use ryokan_store::projects::Project;
use serde_json::json;

use super::{agent_key, record};
use crate::idempotency::{self, IdempotencyKey};
use crate::{App, Error, Result};

/// What is asked for.
#[derive(Debug, Clone, serde::Serialize)]
pub struct NewProject {
    pub name: Name,
    pub network: Network,
    /// Its agents are given a key pair, and money on the chain.
    pub funding: bool,
    /// A private key that it brings; one is made when it is needed.
    #[serde(skip)]
    pub agent_key: Option<Secret>,
}

impl App {
    pub async fn create_project(
        &self,
        caller: &Caller,
        new: NewProject,
        key: Option<IdempotencyKey>,
    ) -> Result<Project> {
        if caller.scope < Scope::Write || caller.only_project.is_some() {
            return Err(Error::scope(Scope::Write));
        }
        let once = self.once(caller, key, "create_project", &new)?;
        let now = self.clock.now();
        let id = ProjectId::from_parts(now, self.entropy.bytes());
        let (owner, by, seal, made_key) =
            (caller.user, caller.clone(), self.seal.clone(), self.new_agent_key());
        let project = self
            .store
            .write(move |tx| {
                if let Some(made) = once.claim(tx, &id.to_string(), now)? {
                    let made = made.parse().ok().map(|id| tx.project(id)).transpose()?.flatten();
                    return made.ok_or_else(idempotency::gone);
                }
                tx.insert_project(id, &new.name, owner, false, new.network, now)?;
                if new.funding || new.agent_key.is_some() {
                    agent_key::ensure(tx, &seal, id, new.agent_key.as_ref().unwrap_or(&made_key), now)?;
                    tx.set_project_funding(id, new.funding)?;
                }
                let project = tx
                    .project(id)?
                    .ok_or_else(|| Error::internal("a project vanished inside its own transaction"))?;
                record(tx, now, &by, &project, "project.created", json!({"network": new.network}))?;
                Ok(project)
            })
            .await?;
        self.refresh_identity().await?;
        Ok(project)
    }
}
