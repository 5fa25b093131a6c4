//! Projects: what owns instances, and has members with roles, variables, quotas and a bill.

mod agent_key;
mod create;
mod delete;
pub(crate) mod disk;
mod env;
mod members;
pub(crate) mod quotas;
mod registries;
mod settings;

pub use create::NewProject;
pub use env::ProjectEnv;
pub(crate) use env::{inheritance, inherited_name};
pub use quotas::QuotaUse;
pub use settings::ProjectChanges;

use ryokan_model::permission::{Caller, Role, Scope};
use ryokan_model::{Millis, ProjectId};
use ryokan_store::projects::Project;
use ryokan_store::{Scope as SealScope, Tx};
use serde_json::Value;

use crate::{App, Error, Result, events};

impl App {
    /// By id or name, if the caller may do `need` in it.
    pub async fn find_project(&self, caller: &Caller, need: Scope, id_or_name: &str) -> Result<Project> {
        self.find_project_as(caller, Role::least(need), id_or_name).await
    }

    /// By id or name, if the caller may do there what members with the role `need` may.
    pub async fn find_project_as(&self, caller: &Caller, need: Role, id_or_name: &str) -> Result<Project> {
        let wanted = id_or_name.to_owned();
        let project = self
            .store
            .read(move |tx| match wanted.parse::<ProjectId>() {
                Ok(id) => tx.project(id),
                Err(_) => tx.project_by_name(&wanted),
            })
            .await?
            .ok_or_else(|| Error::not_found("project", id_or_name))?;
        caller.may_as(need, project.id).map_err(|refused| Error::refused(refused, "project", id_or_name))?;
        Ok(project)
    }

    /// Where instances go when none is named: the token's one project, else the caller's personal one.
    pub async fn default_project(&self, caller: &Caller) -> Result<Project> {
        let (user, only) = (caller.user, caller.only_project);
        let project = self
            .store
            .read(move |tx| match only {
                Some(project) => tx.project(project),
                None => tx.personal_project(user),
            })
            .await?;
        project.ok_or_else(|| Error::invalid("project", "you have no personal project; name one"))
    }

    pub async fn list_projects(&self, caller: &Caller) -> Result<Vec<Project>> {
        let visible = caller.visible_projects();
        let projects = self.store.read(|tx| tx.projects()).await?;
        Ok(projects.into_iter().filter(|p| visible.as_ref().is_none_or(|v| v.contains(&p.id))).collect())
    }
}

/// Where a project's secrets are sealed.
fn secrets_of(project: ProjectId) -> SealScope {
    SealScope::new("project", project.to_string())
}

/// What a caller did to a project, for the log.
fn record(
    tx: &mut Tx<'_>,
    now: Millis,
    by: &Caller,
    project: &Project,
    kind: &str,
    data: Value,
) -> Result<()> {
    let (id, name) = (project.id.to_string(), project.name.as_str());
    events::by_caller(tx, now, by, Some(project.id), kind, "project", &id, name, data)
}
