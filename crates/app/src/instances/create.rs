//! `create`: checks, then one transaction with the row, its sealed secrets, an event and the job that fetches its image.

use std::collections::BTreeMap;

use ryokan_model::permission::{Caller, Scope};
use ryokan_model::request::InstanceRequest;
use ryokan_model::spec::InstanceSpec;
use ryokan_model::{DeploymentId, InstanceId, Millis, Name, Secret};
use ryokan_store::instances::Instance;
use ryokan_store::{NewJob, Seal, StoreError, Tx};
use serde_json::json;

use crate::idempotency::{self, IdempotencyKey, Once};
use crate::instances::fit::Lack;
use crate::instances::gpus;
use crate::instances::secrets_of;
use crate::instances::update::new_revision;
use crate::projects::{disk, inheritance, inherited_name, quotas};
use crate::{App, Error, Result, events};

/// A name is generated this often before we give up on finding a free one.
const NAME_TRIES: usize = 4;

impl App {
    /// Accepts an instance. It is `pending` when this returns; the reconciler does the rest. The same idempotency key
    /// and request give the same instance again; the same key with another request is a conflict.
    pub async fn create_instance(
        &self,
        caller: &Caller,
        mut request: InstanceRequest,
        key: Option<IdempotencyKey>,
    ) -> Result<Instance> {
        let project = match request.project.take() {
            Some(project) => self.find_project(caller, Scope::Write, &project).await?,
            None => self.default_project(caller).await?,
        };
        caller
            .may(Scope::Write, project.id)
            .map_err(|refused| Error::refused(refused, "project", project.name.as_str()))?;
        // Compared when the key is used again, so it must not depend on what the template says today.
        let asked = key.as_ref().is_none_or(|key| key.asked.is_none()).then_some(&request);
        let once = self.once(caller, key, "create_instance", &(project.id, asked))?;
        let template_name =
            request.template.take().map_or_else(|| "custom".to_owned(), |name| name.to_string());
        let template = self.get_template(&template_name).await.map_err(|e| match e {
            Error::NotFound { id, .. } => Error::invalid(
                "template",
                format!("there is no template `{id}`; `ryokan templates` lists them"),
            ),
            other => other,
        })?;
        let wanted_name = request.name.take();
        if let Some(name) = &wanted_name {
            name.may_be_asked_for()?;
        }
        let (mut spec, secrets) = request.into_spec(&template, &|| self.entropy.secret(""))?;
        // A template has no databases, whatever it says.
        spec.addon_env.clear();
        check_image(&spec, project.id)?;
        self.check_limits(&spec)?;
        self.check_engine(&spec).await?;

        let now = self.clock.now();
        let id = InstanceId::from_parts(now, self.entropy.bytes());

        for attempt in 0..NAME_TRIES {
            let name = wanted_name.clone().unwrap_or_else(|| Name::generated(self.entropy.bytes()));
            let row = Instance {
                project_name: project.name.to_string(),
                template: template.name.to_string(),
                ..Instance::new(id, project.id, name, spec.clone(), now)
            };
            match self.insert(caller, row, &secrets, once.clone()).await {
                Err(Error::Conflict(_)) if wanted_name.is_none() && attempt + 1 < NAME_TRIES => {}
                Ok(row) => {
                    crate::crash::point("create.committed");
                    return Ok(row);
                }
                Err(other) => return Err(other),
            }
        }
        Err(Error::internal("no free name was found"))
    }

    async fn insert(
        &self,
        caller: &Caller,
        row: Instance,
        secrets: &BTreeMap<String, Secret>,
        once: Once,
    ) -> Result<Instance> {
        let (now, by, secrets, seal, limit) = (
            self.clock.now(),
            caller.clone(),
            secrets.clone(),
            self.seal.clone(),
            self.limits().instances_per_project,
        );
        let (job_for, most_gpus) = (self.image_job_maker(), self.settings.gpus);
        self.store
            .write(move |tx| {
                if let Some(made) = once.claim(tx, &row.id.to_string(), now)? {
                    let made = made.parse().ok().map(|id| tx.instance(id)).transpose()?.flatten();
                    return made.ok_or_else(idempotency::gone);
                }
                gpus::check(tx, &row, most_gpus)?;
                let origin = Origin { secrets, manifest: None, deployment: None, by: by.login.clone() };
                let row = insert_new(tx, &seal, row, origin, limit, &job_for, now)?;
                let data = json!({"template": row.template, "image": row.spec.image});
                events::by_caller(
                    tx,
                    now,
                    &by,
                    Some(row.project),
                    "instance.created",
                    "instance",
                    &row.id.to_string(),
                    row.name.as_str(),
                    data,
                )?;
                Ok(row)
            })
            .await
            .map_err(|e: Error| match e {
                Error::Internal(inner)
                    if inner
                        .downcast_ref::<StoreError>()
                        .is_some_and(|s| matches!(s, StoreError::ForeignKey)) =>
                {
                    Error::Conflict("the project was deleted meanwhile".into())
                }
                other => other,
            })
    }

    /// What one project may ask for on this installation.
    pub(crate) fn check_limits(&self, spec: &InstanceSpec) -> Result<()> {
        let limits = self.limits();
        if spec.resources.memory > limits.memory_per_instance {
            return Err(Error::invalid(
                "memory",
                format!("at most {} an instance here", limits.memory_per_instance),
            ));
        }
        if spec.resources.cpus > limits.cpus_per_instance {
            return Err(Error::invalid(
                "cpus",
                format!("at most {} an instance here", limits.cpus_per_instance),
            ));
        }
        if let Some(most) = self.settings.gpus.filter(|most| *most > 0 && spec.resources.gpus > *most) {
            return Err(Error::invalid("gpus", format!("there are only {most} here; ask for fewer")));
        }
        Ok(())
    }

    /// What the engine will refuse anyway is refused at once, while it answers; else at the start.
    pub(crate) async fn check_engine(&self, spec: &InstanceSpec) -> Result<()> {
        let Some((lack, info)) = self.lack_soon(spec).await else { return Ok(()) };
        Err(match lack {
            Lack::Isolation => Error::invalid(
                "isolation",
                format!(
                    "`{}` is not installed on this engine; installed are {}",
                    spec.security.isolation,
                    info.isolations.join(", ")
                ),
            ),
            Lack::Cpus => Error::invalid("cpus", format!("the engine's host has only {}", info.cpus)),
            Lack::Memory => Error::invalid(
                "memory",
                format!("the engine's host has only {}", ryokan_model::quantity::Bytes::new(info.memory)),
            ),
            Lack::Gpus => Error::invalid("gpus", info.no_gpus.unwrap_or_default()),
        })
    }
}

/// Where a new instance comes from.
pub(crate) struct Origin {
    pub(crate) secrets: BTreeMap<String, Secret>,
    pub(crate) manifest: Option<String>,
    pub(crate) deployment: Option<DeploymentId>,
    pub(crate) by: String,
}

/// A new instance with its secrets, what it has of its project, its first revision and its image's job, if the project
/// may have one more. A database runs somebody else's program for the agent alone, and has nothing of the project.
pub(crate) fn insert_new(
    tx: &mut Tx<'_>,
    seal: &Seal,
    mut row: Instance,
    origin: Origin,
    limit: usize,
    job_for: &impl Fn(&Instance) -> NewJob,
    now: Millis,
) -> Result<Instance> {
    tx.lock(&format!("project:{}", row.project))?;
    if tx.project(row.project)?.is_none() {
        return Err(Error::not_found("project", &row.project_name));
    }
    quotas::check(tx, &row, limit)?;
    disk::must_have_room(tx, row.project, 0, now)?;
    crate::billing::judge::must_not_be_suspended(tx, row.project)?;
    let mut secrets = origin.secrets;
    if row.addon.is_none() {
        let given = inheritance(tx, seal, row.project)?;
        row.spec.inherited = given.inherited;
        secrets.extend(given.secrets.into_iter().map(|(name, value)| (inherited_name(&name), value)));
    }
    tx.insert_instance(&row)?;
    for (name, value) in secrets {
        tx.put_secret(seal, &secrets_of(row.id), &name, &value, now.0)?;
    }
    tx.enqueue_job(&job_for(&row), now.0)?;
    let revision = new_revision(&row, &row.spec, origin.manifest, origin.deployment, origin.by, now);
    tx.insert_revision(&revision)?;
    Ok(row)
}

/// What was built for one project is no other's to run: the engine would give it to whoever knows its name.
pub(crate) fn check_image(spec: &InstanceSpec, project: ryokan_model::ProjectId) -> Result<()> {
    if crate::deployments::is_foreign(&spec.image, project) {
        return Err(Error::invalid("image", format!("there is no image `{}`", spec.image)));
    }
    Ok(())
}
