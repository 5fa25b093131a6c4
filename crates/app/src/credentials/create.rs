//! `create`: seals the value and makes a placeholder for it.

use ryokan_model::credential::{Credential, PLACEHOLDER};
use ryokan_model::permission::{Caller, Role};
use ryokan_model::{CredentialId, Name, Secret};
use ryokan_store::credentials::CredentialRow;
use serde_json::json;

use super::{check_value, record};
use crate::idempotency::{self, IdempotencyKey};
use crate::{App, Error, Result};

/// For each project.
const MOST: i64 = 200;

pub struct NewCredential {
    pub name: Name,
    /// Id or name; the caller's own when absent.
    pub project: Option<String>,
    /// For all projects of the installation; operators only.
    pub system: bool,
    pub credential: Credential,
    pub value: Secret,
}

impl App {
    pub async fn create_credential(
        &self,
        caller: &Caller,
        new: NewCredential,
        key: Option<IdempotencyKey>,
    ) -> Result<CredentialRow> {
        let project = match (&new.project, new.system) {
            (Some(_), true) => {
                return Err(Error::invalid(
                    "project",
                    "is not for a credential of the whole system; leave one out",
                ));
            }
            (None, true) if !caller.is_operator() => return Err(Error::operators_only()),
            (None, true) => None,
            (Some(project), false) => Some(self.find_project_as(caller, Role::Developer, project).await?.id),
            (None, false) => {
                let project = self.default_project(caller).await?;
                caller
                    .may_as(Role::Developer, project.id)
                    .map_err(|refused| Error::refused(refused, "project", project.name.as_str()))?;
                Some(project.id)
            }
        };
        new.credential.validate()?;
        check_value(&new.value)?;
        let asked = (project, &new.name, &new.credential, new.value.expose());
        let once = self.once(caller, key, "create_credential", &asked)?;
        let now = self.clock.now();
        let row = CredentialRow {
            id: CredentialId::from_parts(now, self.entropy.bytes()),
            project,
            name: new.name,
            credential: new.credential,
            placeholder: format!("{PLACEHOLDER}{}", hex::encode(self.entropy.bytes::<16>())),
            enabled: true,
            revision: 1,
            created_at: now,
            rotated_at: now,
            last_used_at: None,
        };
        let (seal, by, value) = (self.seal.clone(), caller.clone(), new.value);
        let made = self
            .store
            .write(move |tx| {
                if let Some(made) = once.claim(tx, &row.id.to_string(), now)? {
                    let made = made.parse().ok().map(|id| tx.credential(id)).transpose()?.flatten();
                    return made.ok_or_else(idempotency::gone);
                }
                if let Some(project) = row.project {
                    tx.lock(&format!("project:{project}"))?;
                    tx.project(project)?.ok_or_else(|| Error::not_found("project", project.to_string()))?;
                }
                if tx.count_credentials(row.project)? >= MOST {
                    return Err(Error::QuotaExceeded(format!(
                        "a project has at most {MOST} credentials; delete one first"
                    )));
                }
                tx.insert_credential(&row, &seal, &value)?;
                let data = json!({"kind": row.credential.kind.as_str(), "hosts": row.credential.hosts});
                record(tx, now, &by, &row, "credential.created", data)?;
                Ok(row.clone())
            })
            .await?;
        crate::crash::point("credential.created");
        self.refresh_keyring().await?;
        Ok(made)
    }
}
