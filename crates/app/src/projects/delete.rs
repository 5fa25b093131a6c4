//! `delete`: the project with all that it has. The row stays, for the ledger and the audit refer to it.

use ryokan_model::instance::{Desired, State};
use ryokan_model::permission::{Caller, Role};
use ryokan_store::images::IMAGES;
use serde_json::json;

use super::{record, secrets_of};
use crate::instances::{enter, keep};
use crate::{App, Error, Result, events};

impl App {
    /// Without `cascade` its instances must be gone first; with it they go, and their volumes. Its network and the
    /// images that were built for it go last.
    pub async fn delete_project(&self, caller: &Caller, id_or_name: &str, cascade: bool) -> Result<()> {
        let project = self.find_project_as(caller, Role::Owner, id_or_name).await?;
        if project.personal {
            return Err(Error::Conflict("a personal project goes only with its user".into()));
        }
        let by = caller.clone();
        self.write_raced(move |tx, now| {
            tx.lock(&format!("project:{}", project.id))?;
            let instances = tx.instances_page(Some(project.id), None, "", u32::MAX)?;
            if !cascade && !instances.is_empty() {
                return Err(Error::Conflict(
                    "the project still has instances; delete them first, or ask for all to go with `cascade`"
                        .into(),
                )
                .into());
            }
            for mut row in instances {
                if row.state == State::Deleting && !row.keep_volumes {
                    continue;
                }
                let before = row.clone();
                row.desired = Desired::Deleted;
                row.keep_volumes = false;
                enter(&mut row, State::Deleting, None, now)?;
                keep(tx, &before, &mut row, now)?;
                let (id, name) = (row.id.to_string(), row.name.as_str());
                let data = json!({"project": project.name, "keep_volumes": false});
                events::by_caller(
                    tx,
                    now,
                    &by,
                    Some(project.id),
                    "instance.delete_requested",
                    "instance",
                    &id,
                    name,
                    data,
                )?;
            }
            tx.delete_project(project.id, now)?;
            tx.delete_secrets(&secrets_of(project.id))?;
            tx.delete_credentials_of(project.id)?;
            tx.notify(IMAGES);
            record(tx, now, &by, &project, "project.deleted", json!({"cascade": cascade}))?;
            Ok(())
        })
        .await?;
        crate::crash::point("project.deleted");
        self.refresh_identity().await?;
        self.refresh_keyring().await?;
        self.wake.notify_one();
        Ok(())
    }
}
