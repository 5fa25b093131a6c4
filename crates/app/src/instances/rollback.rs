//! `rollback`: an earlier revision's spec becomes a new revision. Nothing is built, and no secret is brought back:
//! variables keep the values that they have.

use ryokan_model::deployment::RevisionState;
use ryokan_model::image::ImageRef;
use ryokan_model::permission::{Caller, Scope};
use ryokan_store::instances::Instance;
use serde_json::json;

use crate::deployments::is_built_here;
use crate::instances::fit::PATIENCE;
use crate::instances::gpus;
use crate::instances::update::{SpecChange, change_spec};
use crate::{App, Error, Result, events};

impl App {
    /// To the revision that is named, or to the last that was live before the present one.
    pub async fn rollback_instance(
        &self,
        caller: &Caller,
        id_or_name: &str,
        to: Option<i64>,
    ) -> Result<Instance> {
        let row = self.find_instance(caller, Scope::Write, id_or_name).await?;
        let id = row.id;
        let revisions = self.store.read(move |tx| tx.revisions_of(id, 500)).await?;
        let target = match to {
            Some(number) => revisions
                .into_iter()
                .find(|r| r.number == number)
                .ok_or_else(|| Error::not_found("revision", number.to_string()))?,
            None => revisions
                .into_iter()
                .find(|r| {
                    r.number < row.generation && r.state == RevisionState::Superseded && r.image_id.is_some()
                })
                .ok_or_else(|| Error::Conflict("there is no earlier revision that was ever ready".into()))?,
        };
        let missing = target.spec.secret_env.iter().find(|name| !row.spec.secret_env.contains(*name));
        if let Some(missing) = missing {
            return Err(Error::Conflict(format!(
                "revision {} has the secret {missing}, which was removed since; set it again first",
                target.number
            )));
        }
        let mut spec = target.spec.clone();
        // Those that came since stay: a spec may do without a secret that is there, and is hard put without one.
        spec.secret_env.clone_from(&row.spec.secret_env);
        spec.env.retain(|name, _| !spec.secret_env.contains(name));
        spec.inherited.clone_from(&row.spec.inherited);
        spec.addon_env.clone_from(&row.spec.addon_env);
        super::create::check_image(&spec, row.project)?;
        self.check_image_is_kept(&spec.image, target.number).await?;
        self.check_limits(&spec)?;
        self.check_engine(&spec).await?;
        let (by, seal, job_for, number) =
            (caller.clone(), self.seal.clone(), self.image_job_maker(), target.number);
        let (base, most_gpus) = (row.generation, self.settings.gpus);
        let changed = self
            .change_instance(id, move |tx, row, now| {
                if row.generation != base || row.state == ryokan_model::instance::State::Deleting {
                    return Err(Error::Conflict(
                        "the instance was changed meanwhile; look at it and try again".into(),
                    ));
                }
                let change = SpecChange {
                    spec: spec.clone(),
                    secrets: std::collections::BTreeMap::new(),
                    new_container: true,
                    manifest: target.manifest.clone(),
                    deployment: None,
                    by: by.login.clone(),
                };
                change_spec(tx, &seal, row, change, &job_for, now)?;
                crate::projects::quotas::check(tx, row, usize::MAX)?;
                gpus::check(tx, row, most_gpus)?;
                let data = json!({"generation": row.generation, "rolled_back_to": number});
                events::by_caller(
                    tx,
                    now,
                    &by,
                    Some(row.project),
                    "instance.rolled_back",
                    "instance",
                    &id.to_string(),
                    row.name.as_str(),
                    data,
                )
            })
            .await?;
        crate::crash::point("rollback.committed");
        changed.ok_or_else(|| Error::not_found("instance", id_or_name))
    }

    /// An engine that does not answer soon is asked at the start.
    async fn check_image_is_kept(&self, image: &ImageRef, number: i64) -> Result<()> {
        if !is_built_here(image) {
            return Ok(());
        }
        match tokio::time::timeout(PATIENCE, self.runtime.find_image(image)).await {
            Ok(Ok(None)) => Err(Error::Conflict(format!(
                "the image of revision {number} is gone: kept are those of the last {} revisions that were ready; deploy that version again, or roll back to a later one",
                self.settings.deploy.keep_revisions
            ))),
            _ => Ok(()),
        }
    }
}
