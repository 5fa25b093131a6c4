//! A project's name and settings.

use ryokan_model::Name;
use ryokan_model::permission::{Caller, Scope};
use ryokan_store::projects::Project;
use serde_json::json;

use super::env::renew_all;
use super::{agent_key, record};
use crate::{App, Error, Result};

/// What is to change; the rest stays.
#[derive(Debug, Clone, Default)]
pub struct ProjectChanges {
    pub name: Option<Name>,
    pub funding: Option<bool>,
}

impl App {
    pub async fn update_project(
        &self,
        caller: &Caller,
        id_or_name: &str,
        changes: ProjectChanges,
    ) -> Result<Project> {
        let project = self.find_project(caller, Scope::Admin, id_or_name).await?;
        let (by, seal, key, job_for) =
            (caller.clone(), self.seal.clone(), self.new_agent_key(), self.image_job_maker());
        let changed = self
            .write_raced(move |tx, now| {
                let gone = || Error::not_found("project", project.name.as_str());
                // Read again: a repeated request changes nothing and is no event.
                let before = tx.project(project.id)?.ok_or_else(gone)?;
                if let Some(name) = changes.name.as_ref().filter(|name| **name != before.name) {
                    tx.rename_project(project.id, name)?;
                    let data = json!({"from": before.name, "to": name});
                    record(tx, now, &by, &before, "project.renamed", data)?;
                }
                if let Some(funding) = changes.funding.filter(|funding| *funding != before.funding) {
                    if funding {
                        agent_key::ensure(tx, &seal, project.id, &key, now)?;
                    }
                    tx.set_project_funding(project.id, funding)?;
                    let secrets = [agent_key::PRIVATE_KEY.to_owned()].into();
                    renew_all(tx, &seal, project.id, &secrets, &by.login, &job_for, now)?;
                    let data = json!({"requires_blockchain_funding": funding});
                    record(tx, now, &by, &before, "project.settings_changed", data)?;
                }
                Ok(tx.project(project.id)?.ok_or_else(gone)?)
            })
            .await;
        self.wake.notify_one();
        changed
    }
}
