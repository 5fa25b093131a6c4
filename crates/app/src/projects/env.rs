//! Variables and secrets that all instances of a project are given. A change takes effect at once: every instance gets a
//! new container behind its health check, as with an update of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ryokan_model::instance::State;
use ryokan_model::permission::{Caller, Role};
use ryokan_model::project::Inherited;
use ryokan_model::spec::env_name;
use ryokan_model::{Millis, ProjectId, Secret};
use ryokan_store::Tx;
use ryokan_store::instances::Instance;
use ryokan_store::projects::{Project, Variable};
use ryokan_store::{NewJob, Seal, StoreError};
use serde_json::json;

use super::{agent_key, record, secrets_of};
use crate::instances::update::{SpecChange, change_spec};
use crate::instances::{Raced, keep};
use crate::{App, Error, Result};

const MOST: usize = 128;
const LONGEST: usize = 32 * 1024;

/// What a project gives its instances; the values of secrets stay sealed.
#[derive(Debug, Clone, Default)]
pub struct ProjectEnv {
    pub env: BTreeMap<String, String>,
    pub secrets: Vec<Variable>,
}

/// What an instance of the project is to be given, with the opened secrets.
pub(crate) struct Inheritance {
    pub(crate) inherited: Inherited,
    pub(crate) secrets: BTreeMap<String, Secret>,
}

/// A change of one variable: a plain value, a secret, or its end.
enum Change {
    Plain(String),
    Secret(Secret),
    Remove,
}

impl App {
    pub async fn get_project_env(&self, caller: &Caller, project: &str) -> Result<ProjectEnv> {
        let project = self.find_project_as(caller, Role::Viewer, project).await?.id;
        self.store.read(move |tx| Ok(shown(tx, project)?)).await
    }

    /// Sets plain variables, and removes those without a value. With `replace` all that are not named go, too.
    pub async fn change_project_env(
        &self,
        caller: &Caller,
        project: &str,
        changes: BTreeMap<String, Option<String>>,
        replace: bool,
    ) -> Result<ProjectEnv> {
        let changes =
            changes.into_iter().map(|(name, value)| (name, value.map_or(Change::Remove, Change::Plain)));
        self.alter_env(caller, project, "env", changes.collect(), replace).await
    }

    pub async fn put_project_secret(
        &self,
        caller: &Caller,
        project: &str,
        name: String,
        value: Secret,
    ) -> Result<ProjectEnv> {
        let changes = BTreeMap::from([(name, Change::Secret(value))]);
        self.alter_env(caller, project, "secrets", changes, false).await
    }

    pub async fn delete_project_secret(
        &self,
        caller: &Caller,
        project: &str,
        name: String,
    ) -> Result<ProjectEnv> {
        let known = self.get_project_env(caller, project).await?;
        if !known.secrets.iter().any(|secret| secret.name == name) {
            // Whoever may not change it is told so first.
            self.find_project_as(caller, Role::Developer, project).await?;
            return Err(Error::not_found("secret", name));
        }
        self.alter_env(caller, project, "secrets", BTreeMap::from([(name, Change::Remove)]), false).await
    }

    async fn alter_env(
        &self,
        caller: &Caller,
        project: &str,
        field: &'static str,
        changes: BTreeMap<String, Change>,
        replace: bool,
    ) -> Result<ProjectEnv> {
        let project = self.find_project_as(caller, Role::Developer, project).await?;
        for (name, change) in &changes {
            env_name(field, name)?;
            let text = match change {
                Change::Plain(text) => text.as_str(),
                Change::Secret(secret) => secret.expose(),
                Change::Remove => continue,
            };
            if text.len() > LONGEST || text.contains('\0') {
                return Err(Error::invalid(
                    format!("{field}.{name}"),
                    format!("is longer than {LONGEST} bytes or holds a NUL byte"),
                ));
            }
        }
        let (by, seal, job_for) = (caller.clone(), self.seal.clone(), self.image_job_maker());
        let changes = Arc::new(changes);
        let shown = self
            .write_raced(move |tx, now| {
                tx.lock(&format!("project:{}", project.id))?;
                if tx.project(project.id)?.is_none() {
                    return Err(Error::not_found("project", project.name.as_str()).into());
                }
                let Changed { names, secrets } = write(tx, &seal, &project, &changes, replace, now)?;
                if names.is_empty() {
                    return Ok(shown(tx, project.id)?);
                }
                if tx.project_env(project.id)?.len() > MOST {
                    return Err(
                        Error::invalid(field, format!("a project has at most {MOST} variables")).into()
                    );
                }
                renew_all(tx, &seal, project.id, &secrets, &by.login, &job_for, now)?;
                record(tx, now, &by, &project, "project.env_changed", json!({"names": names}))?;
                Ok(shown(tx, project.id)?)
            })
            .await?;
        crate::crash::point("project.env_changed");
        self.wake.notify_one();
        Ok(shown)
    }
}

/// Names whose value is another one now, and those of them that are or were secrets.
struct Changed {
    names: BTreeSet<String>,
    secrets: BTreeSet<String>,
}

fn write(
    tx: &mut Tx<'_>,
    seal: &Seal,
    project: &Project,
    changes: &BTreeMap<String, Change>,
    replace: bool,
    now: Millis,
) -> Result<Changed> {
    let (scope, id) = (secrets_of(project.id), project.id);
    let before: BTreeMap<String, Option<String>> =
        tx.project_env(id)?.into_iter().map(|v| (v.name, v.value)).collect();
    let mut changed = Changed { names: BTreeSet::new(), secrets: BTreeSet::new() };
    let unnamed =
        before.iter().filter(|(name, value)| replace && value.is_some() && !changes.contains_key(*name));
    let gone: Vec<_> = unnamed.map(|(name, _)| (name.clone(), &Change::Remove)).collect();
    for (name, change) in gone.into_iter().chain(changes.iter().map(|(name, change)| (name.clone(), change)))
    {
        let was = before.get(&name);
        match change {
            Change::Plain(value) if was == Some(&Some(value.clone())) => continue,
            Change::Remove if was.is_none() => continue,
            Change::Plain(value) => tx.put_project_env(id, &name, Some(value), now)?,
            Change::Secret(value) => {
                tx.put_project_env(id, &name, None, now)?;
                tx.put_secret(seal, &scope, &secret_name(&name), value, now.0)?;
            }
            Change::Remove => drop(tx.delete_project_env(id, &name)?),
        }
        if was == Some(&None) && !matches!(change, Change::Secret(_)) {
            tx.delete_secret(&scope, &secret_name(&name))?;
        }
        if was == Some(&None) || matches!(change, Change::Secret(_)) {
            changed.secrets.insert(name.clone());
        }
        changed.names.insert(name);
    }
    Ok(changed)
}

/// Gives all instances what the project gives now. `changed` names secrets whose value is another one.
pub(super) fn renew_all(
    tx: &mut Tx<'_>,
    seal: &Seal,
    project: ProjectId,
    changed: &BTreeSet<String>,
    by: &str,
    job_for: &impl Fn(&Instance) -> NewJob,
    now: Millis,
) -> Result<(), Raced> {
    let inheritance = inheritance(tx, seal, project)?;
    for mut row in tx.instances_page(Some(project), None, "", u32::MAX)? {
        if row.state == State::Deleting || row.addon.is_some() {
            continue;
        }
        let before = row.clone();
        let change = inheritance.change(&row.spec, changed, by);
        change_spec(tx, seal, &mut row, change, job_for, now)?;
        keep(tx, &before, &mut row, now)?;
    }
    Ok(())
}

/// What the project gives now.
pub(crate) fn inheritance(tx: &mut Tx<'_>, seal: &Seal, project: ProjectId) -> Result<Inheritance> {
    let mut found = Inheritance { inherited: Inherited::default(), secrets: BTreeMap::new() };
    if let Some((network, key)) = agent_key::given(tx, seal, project)? {
        found.inherited.env.insert(agent_key::NETWORK.to_owned(), network.to_string());
        found.inherited.secret_env.insert(agent_key::PRIVATE_KEY.to_owned());
        found.secrets.insert(agent_key::PRIVATE_KEY.to_owned(), key);
    }
    for variable in tx.project_env(project)? {
        if let Some(value) = variable.value {
            found.inherited.env.insert(variable.name, value);
        } else {
            let value = tx.get_secret(seal, &secrets_of(project), &secret_name(&variable.name))?;
            let value = value.ok_or_else(|| {
                Error::internal(format!("secret {} of project {project} is missing", variable.name))
            })?;
            found.inherited.secret_env.insert(variable.name.clone());
            found.secrets.insert(variable.name, value);
        }
    }
    Ok(found)
}

impl Inheritance {
    /// What becomes of an instance with this spec, when the values of the named secrets are other ones now.
    fn change(
        &self,
        spec: &ryokan_model::spec::InstanceSpec,
        changed: &BTreeSet<String>,
        by: &str,
    ) -> SpecChange {
        let secrets = changed.iter().map(|name| (inherited_name(name), self.secrets.get(name).cloned()));
        let spec = ryokan_model::spec::InstanceSpec { inherited: self.inherited.clone(), ..spec.clone() };
        SpecChange {
            spec,
            secrets: secrets.collect(),
            new_container: false,
            manifest: None,
            deployment: None,
            by: by.to_owned(),
        }
    }
}

/// How an instance's own scope names a secret that it has of its project. No variable can be named so.
pub(crate) fn inherited_name(name: &str) -> String {
    format!("project:{name}")
}

fn secret_name(name: &str) -> String {
    format!("env:{name}")
}

fn shown(tx: &mut Tx<'_>, project: ProjectId) -> Result<ProjectEnv, StoreError> {
    let mut shown = ProjectEnv::default();
    for variable in tx.project_env(project)? {
        match variable.value {
            Some(value) => drop(shown.env.insert(variable.name, value)),
            None => shown.secrets.push(variable),
        }
    }
    Ok(shown)
}
