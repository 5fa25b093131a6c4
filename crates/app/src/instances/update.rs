//! `update`: a new image, other resources, other variables, in place. The container is replaced, volumes stay.

use std::collections::BTreeMap;

use ryokan_model::instance::{Desired, State};
use ryokan_model::permission::{Caller, Scope};
use ryokan_model::request::InstanceRequest;
use ryokan_model::spec::{InstanceSpec, PullPolicy};
use ryokan_model::{Millis, Secret};
use ryokan_store::instances::{Instance, Previous};
use ryokan_store::{NewJob, Seal, Tx};
use serde_json::json;

use crate::instances::{enter, previous_secrets_of, secrets_of};
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
        self.check_limits(&spec)?;
        self.check_engine(&spec).await?;
        let (by, id, seal) = (caller.clone(), row.id, self.seal.clone());
        let base = row.clone();
        let job_for = self.image_job_maker();
        // A row and its spec are large; the future of every caller would hold them several times.
        let changed = Box::pin(self.change_instance(id, move |tx, row, now| {
                if row.spec != base.spec || row.state == State::Deleting {
                    return Err(Error::Conflict("the instance was changed by somebody else in the meantime; look at it and try again".into()));
                }
                if row.spec == spec && secrets.is_empty() && !pull_again {
                    return Ok(());
                }
                let renewal = Renewal { spec: spec.clone(), secrets: secrets.clone(), again: pull_again };
                let new_container = renew(tx, &seal, row, &renewal, &job_for, now)?;
                quotas::check(tx, row, usize::MAX)?;
                let data = json!({"generation": row.generation, "image": row.spec.image, "new_container": new_container});
                events::by_caller(tx, now, &by, Some(row.project), "instance.updated", "instance", &id.to_string(), row.name.as_str(), data)
            }))
            .await?;
        crate::crash::point("update.committed");
        changed.ok_or_else(|| Error::not_found("instance", id_or_name))
    }
}

/// What an instance is to be from now on.
pub(crate) struct Renewal {
    pub(crate) spec: InstanceSpec,
    /// By their names in the instance's scope: new values, and `None` for what is to be forgotten.
    pub(crate) secrets: BTreeMap<String, Option<Secret>>,
    /// A new container even if nothing is different.
    pub(crate) again: bool,
}

/// Puts a new spec and new secrets into a row. Whether it gets a new container; what runs now then goes on until the
/// new image is there, and again if it never comes.
pub(crate) fn renew(
    tx: &mut Tx<'_>,
    seal: &Seal,
    row: &mut Instance,
    renewal: &Renewal,
    job_for: &impl Fn(&Instance) -> NewJob,
    now: Millis,
) -> Result<bool> {
    let Renewal { spec, secrets, again } = renewal;
    let new_container = needs_new_container(&row.spec, spec) || !secrets.is_empty() || *again;
    let goes_on = new_container
        && row.image_generation == row.generation
        && matches!(row.state, State::Ready | State::Unhealthy);
    if goes_on && !secrets.is_empty() {
        for (name, value) in tx.get_secrets(seal, &secrets_of(row.id))? {
            tx.put_secret(seal, &previous_secrets_of(row.id), &name, &value, now.0)?;
        }
    }
    for (name, value) in secrets {
        match value {
            Some(value) => tx.put_secret(seal, &secrets_of(row.id), name, value, now.0)?,
            None => drop(tx.delete_secret(&secrets_of(row.id), name)?),
        }
    }
    if new_container {
        if goes_on {
            row.previous = Some(Previous {
                generation: row.generation,
                spec: row.spec.clone(),
                image_id: row.image_id.clone(),
                image_digest: row.image_digest.clone(),
            });
        }
        row.generation += 1;
        row.taken_back = None;
        row.crashes = 0;
        row.retry_at = None;
        if row.desired == Desired::Running && row.previous.is_none() {
            enter(row, State::Pending, Some("updating".into()), now)?;
        }
        tx.enqueue_job(&job_for(row), now.0)?;
    }
    row.spec.clone_from(spec);
    // Nobody asks it any more, so nothing would find it well again.
    if row.state == State::Unhealthy && row.spec.readiness.is_none() {
        enter(row, State::Ready, None, now)?;
    }
    Ok(new_container)
}

/// The gateway's policy, probes, restart policy and stop grace are read by us, not by the engine.
fn needs_new_container(old: &InstanceSpec, new: &InstanceSpec) -> bool {
    let strip = |spec: &InstanceSpec| {
        let mut spec = spec.clone();
        spec.gateway = ryokan_model::spec::GatewayPolicy::default();
        spec.startup = None;
        spec.readiness = None;
        spec.restart = ryokan_model::spec::RestartPolicy::default();
        spec.stop_grace = ryokan_model::quantity::Span::seconds(0);
        spec.pull = PullPolicy::default();
        spec
    };
    strip(old) != strip(new)
}
