//! Looking at deployments and revisions, and cancelling.

use ryokan_model::DeploymentId;
use ryokan_model::deployment::DeploymentState;
use ryokan_model::permission::{Caller, Scope};
use ryokan_store::deployments::{Deployment, Line};
use ryokan_store::revisions::Revision;
use serde_json::json;

use crate::page::one_more;
use crate::{App, Error, Page, Result, events};

impl App {
    pub async fn find_deployment(&self, caller: &Caller, need: Scope, id: &str) -> Result<Deployment> {
        let missing = || Error::not_found("deployment", id);
        let wanted: DeploymentId = id.parse().map_err(|_| missing())?;
        let row = self.store.read(move |tx| tx.deployment(wanted)).await?.ok_or_else(missing)?;
        caller.may(need, row.project).map_err(|refused| Error::refused(refused, "deployment", id))?;
        Ok(row)
    }

    /// The newest first, after (so before) the id `after`.
    pub async fn list_deployments(
        &self,
        caller: &Caller,
        project: &str,
        after: Option<String>,
        limit: u32,
    ) -> Result<Page<Deployment>> {
        let project = self.find_project(caller, Scope::Read, project).await?;
        let before = after.map(|id| id.parse::<DeploymentId>()).transpose();
        let before = before.map_err(|_| Error::invalid("after", "must be what `next` said"))?;
        let wanted = one_more(limit);
        let rows = self.store.read(move |tx| tx.deployments_of(project.id, before, wanted)).await?;
        Ok(Page::cut(rows, limit, |row| row.id.to_string()))
    }

    /// Lines after the number `after`, and the deployment as it was when they were read.
    pub async fn deployment_lines(
        &self,
        id: DeploymentId,
        after: i64,
    ) -> Result<(Option<Deployment>, Vec<Line>)> {
        Ok(self
            .store
            .read(move |tx| {
                let row = tx.deployment(id)?;
                Ok::<_, ryokan_store::StoreError>((row, tx.deployment_lines(id, after, 500)?))
            })
            .await?)
    }

    /// What is not over ends soon; what was released already stays. Cancelling what is over is refused.
    pub async fn cancel_deployment(&self, caller: &Caller, id: &str) -> Result<Deployment> {
        let row = self.find_deployment(caller, Scope::Write, id).await?;
        let (by, now, id) = (caller.clone(), self.clock.now(), row.id);
        let row = self
            .store
            .write(move |tx| {
                let row = tx.deployment(id)?.ok_or_else(|| Error::not_found("deployment", id.to_string()))?;
                if row.state.is_over() {
                    return Err(Error::Conflict(format!("the deployment is over: it {}", row.state)));
                }
                tx.want_deployment_cancelled(id, now)?;
                if row.state == DeploymentState::Waiting {
                    tx.move_deployment(id, row.state, DeploymentState::Cancelled, Some("cancelled"), now)?;
                }
                let text = id.to_string();
                events::by_caller(
                    tx,
                    now,
                    &by,
                    Some(row.project),
                    "deployment.cancelled",
                    "deployment",
                    &text,
                    &text,
                    json!({}),
                )?;
                Ok(tx.deployment(id)?.unwrap_or(row))
            })
            .await?;
        Ok(row)
    }

    /// An instance's revisions, the newest first.
    pub async fn list_revisions(&self, caller: &Caller, instance: &str) -> Result<Vec<Revision>> {
        let row = self.find_instance(caller, Scope::Read, instance).await?;
        Ok(self.store.read(move |tx| tx.revisions_of(row.id, 100)).await?)
    }
}
