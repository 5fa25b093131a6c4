//! Whom to tell of a project's balance: an address, and a webhook whose messages are signed with the project's secret.

use ryokan_model::Secret;
use ryokan_model::permission::{Caller, Scope};
use ryokan_store::Scope as SealScope;
use ryokan_store::billing::Standing;
use serde_json::json;

use super::notify::webhook_url;
use crate::{App, Error, Result, events};

pub(crate) const WEBHOOK_SECRET: &str = "billing-webhook";

pub(crate) fn secrets_of(project: ryokan_model::ProjectId) -> SealScope {
    SealScope::new("project", project.to_string())
}

impl App {
    pub async fn billing_settings(&self, caller: &Caller, project: &str) -> Result<Standing> {
        let project = self.find_project(caller, Scope::Read, project).await?.id;
        Ok(self.store.read(move |tx| tx.standing(project)).await?)
    }

    /// Sets all of it; what is not given is taken away. The webhook's secret is shown never again, and stays when only
    /// the address changes.
    pub async fn set_billing_settings(
        &self,
        caller: &Caller,
        project: &str,
        email: Option<String>,
        webhook: Option<String>,
        secret: Option<Secret>,
    ) -> Result<Standing> {
        let project = self.find_project(caller, Scope::Admin, project).await?;
        if let Some(email) = &email
            && !is_address(email)
        {
            return Err(Error::invalid("email", "must be an address, as in \"ada@example.com\""));
        }
        if let Some(url) = &webhook {
            webhook_url(url).map_err(|why| Error::invalid("webhook_url", why))?;
        }
        if secret.as_ref().is_some_and(|s| s.expose().len() < 16 || s.expose().len() > 512) {
            return Err(Error::invalid("webhook_secret", "must have 16 to 512 characters"));
        }
        let (now, by, seal) = (self.clock.now(), caller.clone(), self.seal.clone());
        self.store
            .write(move |tx| {
                tx.lock(&format!("bill:{}", project.id))?;
                let scope = secrets_of(project.id);
                match (&webhook, &secret) {
                    (None, _) => drop(tx.delete_secret(&scope, WEBHOOK_SECRET)?),
                    (Some(_), Some(secret)) => tx.put_secret(&seal, &scope, WEBHOOK_SECRET, secret, now.0)?,
                    (Some(_), None) => {
                        if tx.get_secret(&seal, &scope, WEBHOOK_SECRET)?.is_none() {
                            return Err(Error::invalid(
                                "webhook_secret",
                                "is missing: messages are signed with it",
                            ));
                        }
                    }
                }
                let standing = Standing { email, webhook_url: webhook, ..tx.standing(project.id)? };
                tx.put_standing(project.id, &standing)?;
                let data =
                    json!({"email": standing.email.is_some(), "webhook": standing.webhook_url.is_some()});
                events::by_caller(
                    tx,
                    now,
                    &by,
                    Some(project.id),
                    "project.billing_settings_set",
                    "project",
                    &project.id.to_string(),
                    project.name.as_str(),
                    data,
                )?;
                Ok(standing)
            })
            .await
    }
}

/// Roughly; whether anybody reads it only mail can tell.
fn is_address(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let plain = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c);
    !local.is_empty()
        && text.len() <= 254
        && local.chars().all(plain)
        && domain.contains('.')
        && domain.chars().all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '-')
}
