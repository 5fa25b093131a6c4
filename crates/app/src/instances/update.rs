//! `update`: a new image, other resources, other variables, in place. The container is replaced, volumes stay.

use ryokan_model::deployment::RevisionState;
use ryokan_model::instance::{Desired, State};
use ryokan_model::permission::{Caller, Scope};
use ryokan_model::request::InstanceRequest;
use ryokan_model::spec::{InstanceSpec, PullPolicy};
use ryokan_model::{InstanceId, Millis};
use ryokan_store::instances::{Instance, Previous};
use ryokan_store::revisions::Revision;
use ryokan_store::{NewJob, Seal, Tx};
use serde_json::json;

use crate::instances::{enter, gpus, previous_secrets_of, secrets_of};
use crate::projects::quotas;
use crate::{App, Error, Result, events};

impl App {
    /// Applies the request to the spec. Only the gateway's policy changed: no new container. Nothing changed: nothing
    /// happens, except that `pull = always` asks the registry again.
    pub async fn update_instance(
        &self,
        caller: &Caller,
        id_or_name: &str,
        request: InstanceRequest,
    ) -> Result<Instance> {
        for (field, given) in [
            ("name", request.name.is_some()),
            ("project", request.project.is_some()),
            ("template", request.template.is_some()),
        ] {
            if given {
                return Err(Error::invalid(field, "cannot be changed; make a new instance"));
            }
        }
        let row = self.find_instance(caller, Scope::Write, id_or_name).await?;
        if row.state == State::Deleting {
            return Err(Error::Conflict("the instance is being deleted".into()));
        }
        crate::addons::check_update(&row, &request)?;
        let template = self.get_template(&row.template).await.ok();
        if request.image.is_some()
            && template.is_some_and(|t| t.image == ryokan_model::template::ImageChoice::Fixed)
        {
            return Err(Error::invalid(
                "image",
                format!("the template `{}` brings its own image", row.template),
            ));
        }
        let pull_again = request.pull == Some(PullPolicy::Always);
        let mut spec = row.spec.clone();
        let secrets = request.apply(&mut spec)?;
        super::create::check_image(&spec, row.project)?;
        self.check_limits(&spec)?;
        self.check_engine(&spec).await?;
        let (by, id, seal) = (caller.clone(), row.id, self.seal.clone());
        let base = row.clone();
        let (job_for, most_gpus) = (self.image_job_maker(), self.settings.gpus);
        // A row and its spec are large; the future of every caller would hold them several times.
        let changed = Box::pin(self.change_instance(id, move |tx, row, now| {
                if row.spec != base.spec || row.state == State::Deleting {
                    return Err(Error::Conflict("the instance was changed by somebody else in the meantime; look at it and try again".into()));
                }
                if row.spec == spec && secrets.is_empty() && !pull_again {
                    return Ok(());
                }
                let change = SpecChange {
                    spec: spec.clone(),
                    secrets: secrets.clone(),
                    new_container: pull_again,
                    manifest: None,
                    deployment: None,
                    by: by.login.clone(),
                };
                let new_container = change_spec(tx, &seal, row, change, &job_for, now)?;
                quotas::check(tx, row, usize::MAX)?;
                gpus::check(tx, row, most_gpus)?;
                let data = json!({"generation": row.generation, "image": row.spec.image, "new_container": new_container});
                events::by_caller(tx, now, &by, Some(row.project), "instance.updated", "instance", &id.to_string(), row.name.as_str(), data)
            }))
            .await?;
        crate::crash::point("update.committed");
        changed.ok_or_else(|| Error::not_found("instance", id_or_name))
    }
}

/// What becomes of an instance's spec.
pub(crate) struct SpecChange {
    pub(crate) spec: InstanceSpec,
    pub(crate) secrets: ryokan_model::request::SecretChanges,
    /// Whether there is to be a new container in any case.
    pub(crate) new_container: bool,
    pub(crate) manifest: Option<String>,
    pub(crate) deployment: Option<ryokan_model::DeploymentId>,
    pub(crate) by: String,
}

/// Writes the new spec into the row, with what it goes back to should it fail, its revision, and its image's job.
/// Whether there will be a new container; without one there is no revision either.
pub(crate) fn change_spec(
    tx: &mut Tx<'_>,
    seal: &Seal,
    row: &mut Instance,
    change: SpecChange,
    job_for: &impl Fn(&Instance) -> NewJob,
    now: Millis,
) -> Result<bool> {
    let id = row.id;
    let SpecChange { spec, secrets, new_container, manifest, deployment, by } = change;
    let new_container = new_container || needs_new_container(&row.spec, &spec) || !secrets.is_empty();
    // What runs now goes on until the new image is there, and again if it never comes.
    let goes_on = new_container
        && row.previous.is_none()
        && row.image_generation == row.generation
        && matches!(row.state, State::Ready | State::Unhealthy);
    if (goes_on || row.previous.is_some()) && !secrets.is_empty() {
        keep_secrets(tx, seal, id, now)?;
    }
    for (name, value) in &secrets {
        match value {
            Some(value) => tx.put_secret(seal, &secrets_of(id), name, value, now.0)?,
            None => drop(tx.delete_secret(&secrets_of(id), name)?),
        }
    }
    if new_container {
        if goes_on {
            row.previous = Some(Previous {
                generation: row.generation,
                spec: row.spec.clone(),
                image_id: row.image_id.clone(),
                image_digest: row.image_digest.clone(),
                since: now,
            });
        }
        // A number never stands for two specs, not even when an update was given up.
        row.generation = row.generation.max(tx.last_revision(id)?) + 1;
        row.taken_back = None;
        row.crashes = 0;
        row.retry_at = None;
        if row.desired == Desired::Running && row.previous.is_none() {
            enter(row, State::Pending, Some("updating".into()), now)?;
        }
        tx.enqueue_job(&job_for(row), now.0)?;
        tx.insert_revision(&new_revision(row, &spec, manifest, deployment, by, now))?;
    }
    row.spec = spec;
    // Nobody asks it any more, so nothing would find it well again.
    if row.state == State::Unhealthy && row.spec.readiness.is_none() {
        enter(row, State::Ready, None, now)?;
    }
    Ok(new_container)
}

/// Keeps the secrets of what runs for the way back. Once they are kept, later updates on the way change nothing of it.
fn keep_secrets(tx: &mut Tx<'_>, seal: &Seal, id: InstanceId, now: Millis) -> Result<()> {
    if tx.get_secrets(seal, &previous_secrets_of(id))?.is_empty() {
        for (name, value) in tx.get_secrets(seal, &secrets_of(id))? {
            tx.put_secret(seal, &previous_secrets_of(id), &name, &value, now.0)?;
        }
    }
    Ok(())
}

/// What is asked of the instance from its present generation on.
pub(crate) fn new_revision(
    row: &Instance,
    spec: &InstanceSpec,
    manifest: Option<String>,
    deployment: Option<ryokan_model::DeploymentId>,
    created_by: String,
    now: Millis,
) -> Revision {
    Revision {
        instance: row.id,
        number: row.generation,
        spec: spec.clone(),
        manifest,
        deployment,
        image_id: None,
        image_digest: None,
        state: RevisionState::Rolling,
        reason: None,
        created_by,
        created_at: now,
    }
}

/// The gateway's policy, probes, restart policy, stop grace and whether two may write are read by us, not by the engine.
fn needs_new_container(old: &InstanceSpec, new: &InstanceSpec) -> bool {
    let strip = |spec: &InstanceSpec| {
        let mut spec = spec.clone();
        spec.gateway = ryokan_model::spec::GatewayPolicy::default();
        spec.startup = None;
        spec.readiness = None;
        spec.restart = ryokan_model::spec::RestartPolicy::default();
        spec.stop_grace = ryokan_model::quantity::Span::seconds(0);
        spec.pull = PullPolicy::default();
        spec.single_writer = true;
        spec
    };
    strip(old) != strip(new)
}
