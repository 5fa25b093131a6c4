//! `create`: the promise of an upload, with the address to send it to.

use ryokan_model::deployment::DeploymentState;
use ryokan_model::permission::{Caller, Scope};
use ryokan_model::{DeploymentId, Name};
use ryokan_store::deployments::Deployment;
use serde_json::json;

use super::Bound;
use crate::idempotency::{self, IdempotencyKey};
use crate::projects::disk;
use crate::{App, Error, Result, events};

/// Deployments of one project that are not over.
const MOST_OPEN: i64 = 20;

/// What a deployment is asked for.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct DeploymentRequest {
    /// The instance that it makes or changes; generated when absent.
    pub name: Option<Name>,
    /// Of the artifact, when it is known already: 64 hexadecimal digits.
    pub sha256: Option<String>,
    /// Of the artifact in bytes, when it is known already; nothing larger is then taken.
    pub size: Option<u64>,
}

impl App {
    /// The row, and the address for the artifact.
    pub async fn create_deployment(
        &self,
        caller: &Caller,
        project: &str,
        request: DeploymentRequest,
        key: Option<IdempotencyKey>,
    ) -> Result<(Deployment, String)> {
        let project = self.find_project(caller, Scope::Write, project).await?;
        if let Some(name) = &request.name {
            name.may_be_asked_for()?;
        }
        let asked = request.clone();
        let sha256 = request.sha256.map(|s| s.to_ascii_lowercase());
        if sha256.as_ref().is_some_and(|s| s.len() != 64 || !s.bytes().all(|b| b.is_ascii_hexdigit())) {
            return Err(Error::invalid("sha256", "must be 64 hexadecimal digits"));
        }
        let most = self.settings.deploy.max_artifact.get();
        if request.size.is_some_and(|size| size > most) {
            return Err(Error::invalid(
                "size",
                format!("at most {} here", self.settings.deploy.max_artifact),
            ));
        }
        let once = self.once(caller, key, "create_deployment", &(project.id, &asked))?;
        let now = self.clock.now();
        let name = request.name.unwrap_or_else(|| Name::generated(self.entropy.bytes()));
        let row = Deployment {
            id: DeploymentId::from_parts(now, self.entropy.bytes()),
            project: project.id,
            project_name: project.name.to_string(),
            name: Some(name.to_string()),
            state: DeploymentState::Waiting,
            message: None,
            user: caller.user,
            upload_until: now.plus(self.settings.deploy.upload_time),
            max_size: request.size.unwrap_or(most),
            wanted_sha256: sha256,
            blob: None,
            size: None,
            sha256: None,
            cancel_wanted: false,
            created_at: now,
            updated_at: now,
        };
        let by = caller.clone();
        let made = self
            .store
            .write(move |tx| {
                if let Some(made) = once.claim(tx, &row.id.to_string(), now)? {
                    let made = made.parse().ok().map(|id| tx.deployment(id)).transpose()?.flatten();
                    return made.ok_or_else(idempotency::gone);
                }
                tx.lock(&format!("project:{}", row.project))?;
                for name in [name.clone(), name.frontend()] {
                    if tx.instance_by_name(name.as_str())?.is_some_and(|i| i.project != row.project) {
                        return Err(Error::Conflict("this name is taken; choose another".into()));
                    }
                }
                if tx.count_open_deployments(row.project)? >= MOST_OPEN {
                    let why =
                        format!("{MOST_OPEN} deployments of this project are under way; cancel one, or wait");
                    return Err(Error::QuotaExceeded(why));
                }
                disk::must_have_room(tx, row.project, asked.size.unwrap_or(0), now)?;
                tx.insert_deployment(&row)?;
                let data = json!({"name": row.name});
                let id = row.id.to_string();
                events::by_caller(
                    tx,
                    now,
                    &by,
                    Some(row.project),
                    "deployment.created",
                    "deployment",
                    &id,
                    &id,
                    data,
                )?;
                Ok(row)
            })
            .await?;
        let signature = self.upload_key.sign(&Bound::of(&made));
        let url = format!("{}/api/v1/upload/{}/{signature}", self.settings.public_url, made.id);
        Ok((made, url))
    }
}
