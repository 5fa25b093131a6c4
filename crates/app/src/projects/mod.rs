//! Projects: what owns instances. Members and quotas come with a later step; now each has one owner.

use ryokan_model::permission::{Caller, Scope};
use ryokan_model::{Name, ProjectId, Secret};
use ryokan_ports::runtime::RegistryCredentials;
use ryokan_store::users::Project;
use ryokan_store::{Scope as SealScope, StoreError};
use serde_json::json;

use crate::idempotency::{self, IdempotencyKey};
use crate::{App, Error, Result, events};

impl App {
    /// By id or name, if the caller may do `need` in it.
    pub async fn find_project(&self, caller: &Caller, need: Scope, id_or_name: &str) -> Result<Project> {
        let wanted = id_or_name.to_owned();
        let project = self
            .store
            .read(move |tx| match wanted.parse::<ProjectId>() {
                Ok(id) => tx.project(id),
                Err(_) => tx.project_by_name(&wanted),
            })
            .await?
            .ok_or_else(|| Error::not_found("project", id_or_name))?;
        caller.may(need, project.id).map_err(|refused| Error::refused(refused, "project", id_or_name))?;
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

    pub async fn create_project(
        &self,
        caller: &Caller,
        name: Name,
        key: Option<IdempotencyKey>,
    ) -> Result<Project> {
        if caller.scope < Scope::Write || caller.only_project.is_some() {
            return Err(Error::scope(Scope::Write));
        }
        let once = self.once(caller, key, "create_project", &name)?;
        let now = self.clock.now();
        let id = ProjectId::from_parts(now, self.entropy.bytes());
        let (owner, by) = (caller.user, caller.clone());
        let project = self
            .store
            .write(move |tx| {
                if let Some(made) = once.claim(tx, &id.to_string(), now)? {
                    let made = made.parse().ok().map(|id| tx.project(id)).transpose()?.flatten();
                    return made.ok_or_else(idempotency::gone);
                }
                tx.insert_project(id, &name, owner, false, now)?;
                events::by_caller(
                    tx,
                    now,
                    &by,
                    Some(id),
                    "project.created",
                    "project",
                    &id.to_string(),
                    name.as_str(),
                    json!({}),
                )?;
                tx.project(id)?
                    .ok_or_else(|| Error::internal("a project vanished inside its own transaction"))
            })
            .await?;
        self.refresh_identity().await?;
        Ok(project)
    }

    pub async fn rename_project(&self, caller: &Caller, id_or_name: &str, name: Name) -> Result<Project> {
        let project = self.find_project(caller, Scope::Admin, id_or_name).await?;
        let (now, by) = (self.clock.now(), caller.clone());
        self.store
            .write(move |tx| {
                tx.rename_project(project.id, &name)?;
                let data = json!({"from": project.name});
                events::by_caller(
                    tx,
                    now,
                    &by,
                    Some(project.id),
                    "project.renamed",
                    "project",
                    &project.id.to_string(),
                    name.as_str(),
                    data,
                )?;
                tx.project(project.id)?.ok_or_else(|| Error::not_found("project", name.as_str()))
            })
            .await
    }

    /// Its instances must be gone first. Its network goes with it.
    pub async fn delete_project(&self, caller: &Caller, id_or_name: &str) -> Result<()> {
        let project = self.find_project(caller, Scope::Admin, id_or_name).await?;
        if project.personal {
            return Err(Error::Conflict("a personal project goes only with its user".into()));
        }
        let (now, by) = (self.clock.now(), caller.clone());
        self.store
            .write(move |tx| {
                tx.lock(&format!("project:{}", project.id))?;
                if tx.count_instances_of(project.id)? > 0 {
                    return Err(Error::Conflict("the project still has instances; delete them first".into()));
                }
                tx.delete_project(project.id, now)?;
                tx.delete_secrets(&secrets_of(project.id))?;
                events::by_caller(
                    tx,
                    now,
                    &by,
                    Some(project.id),
                    "project.deleted",
                    "project",
                    &project.id.to_string(),
                    project.name.as_str(),
                    json!({}),
                )?;
                Ok(())
            })
            .await?;
        self.refresh_identity().await?;
        self.wake.notify_one();
        Ok(())
    }

    /// Stores credentials for pulls from `host`; the password is sealed.
    pub async fn put_registry(
        &self,
        caller: &Caller,
        project: &str,
        host: &str,
        username: String,
        password: Secret,
    ) -> Result<()> {
        let project = self.find_project(caller, Scope::Write, project).await?;
        let host = registry_host(host)?;
        if username.is_empty()
            || username.len() > 200
            || password.expose().is_empty()
            || password.expose().len() > 8192
        {
            return Err(Error::invalid(
                "username",
                "user name and password must be given, at most 200 and 8192 characters",
            ));
        }
        let (now, by, id) = (self.clock.now(), caller.clone(), project.id);
        let seal = self.seal.clone();
        self.store
            .write(move |tx| {
                tx.put_registry(id, &host, &username)?;
                tx.put_secret(&seal, &secrets_of(id), &secret_name(&host), &password, now.0)?;
                events::by_caller(
                    tx,
                    now,
                    &by,
                    Some(id),
                    "registry.set",
                    "project",
                    &id.to_string(),
                    &host,
                    json!({"username": username}),
                )
            })
            .await
    }

    pub async fn list_registries(&self, caller: &Caller, project: &str) -> Result<Vec<(String, String)>> {
        let project = self.find_project(caller, Scope::Read, project).await?;
        Ok(self.store.read(move |tx| tx.registries(project.id)).await?)
    }

    pub async fn delete_registry(&self, caller: &Caller, project: &str, host: &str) -> Result<()> {
        let project = self.find_project(caller, Scope::Write, project).await?;
        let host = registry_host(host)?;
        let (now, by, id) = (self.clock.now(), caller.clone(), project.id);
        self.store
            .write(move |tx| {
                if !tx.delete_registry(id, &host)? {
                    return Err(Error::not_found("registry", &host));
                }
                tx.delete_secret(&secrets_of(id), &secret_name(&host))?;
                events::by_caller(
                    tx,
                    now,
                    &by,
                    Some(id),
                    "registry.deleted",
                    "project",
                    &id.to_string(),
                    &host,
                    json!({}),
                )
            })
            .await
    }

    /// The project's credentials for the registry at `host`, if it has any.
    pub(crate) async fn registry_credentials(
        &self,
        project: ProjectId,
        host: &str,
    ) -> Result<Option<RegistryCredentials>> {
        let (wanted, seal) = (host.to_owned(), self.seal.clone());
        let found = self
            .store
            .read(move |tx| {
                let username =
                    tx.registries(project)?.into_iter().find(|(h, _)| *h == wanted).map(|(_, u)| u);
                let password = tx.get_secret(&seal, &secrets_of(project), &secret_name(&wanted))?;
                Ok::<_, StoreError>(username.zip(password))
            })
            .await?;
        Ok(found.map(|(username, password)| RegistryCredentials { username, password }))
    }
}

/// Where a project's secrets are sealed.
fn secrets_of(project: ProjectId) -> SealScope {
    SealScope::new("project", project.to_string())
}

fn secret_name(host: &str) -> String {
    format!("registry:{host}")
}

fn registry_host(host: &str) -> Result<String> {
    let ok = !host.is_empty()
        && host.len() <= 255
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b));
    if ok {
        Ok(host.to_ascii_lowercase())
    } else {
        Err(Error::invalid(
            "host",
            "must be a registry's host, as in \"registry.example.com:5000\" or \"docker.io\"",
        ))
    }
}
