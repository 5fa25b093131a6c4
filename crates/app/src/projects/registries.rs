//! Credentials for pulls from registries; passwords are sealed and never shown.

use ryokan_model::permission::{Caller, Scope};
use ryokan_model::{ProjectId, Secret};
use ryokan_ports::runtime::RegistryCredentials;
use ryokan_store::StoreError;
use serde_json::json;

use super::secrets_of;
use crate::{App, Error, Result, events};

impl App {
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
