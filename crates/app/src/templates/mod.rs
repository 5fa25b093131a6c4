//! Templates: seeded from the TOML files of the repository, kept in the store, edited by operators.

pub mod check;

use ryokan_model::permission::Caller;
use ryokan_model::template::Template;
use serde_json::json;

use crate::idempotency::{self, IdempotencyKey};
use crate::system::operators;
use crate::{App, Error, Result, events};

macro_rules! builtin {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../../templates/", $name, ".toml")))),*]
    };
}

/// The templates that come with the binary.
const BUILTIN: &[(&str, &str)] = builtin! {
    "hello",
    "custom",
    "openclaw",
    "hermes",
    "nanobot",
    "opencode",
    "ironclaw",
    "ironclaw-classic",
    "ironclaw-dind",
    "agidentity",
    "crabshack-openclaw",
    "crabshack-ironclaw",
    "crabshack-ironclaw-dind",
};

pub(crate) fn builtin() -> Result<Vec<Template>> {
    BUILTIN
        .iter()
        .map(|(name, text)| {
            let template: Template =
                toml::from_str(text).map_err(|e| Error::internal(format!("templates/{name}.toml: {e}")))?;
            template.validate().map_err(|e| Error::internal(format!("templates/{name}.toml: {e}")))?;
            Ok(template)
        })
        .collect()
}

impl App {
    /// Brings the builtin templates up to this binary's, except where somebody edited them.
    pub async fn seed_templates(&self) -> Result<()> {
        let (templates, now) = (builtin()?, self.clock.now());
        self.store.write(move |tx| templates.iter().try_for_each(|t| tx.seed_template(t, now))).await?;
        Ok(())
    }

    pub async fn list_templates(&self) -> Result<Vec<Template>> {
        Ok(self.store.read(|tx| tx.templates()).await?)
    }

    pub async fn get_template(&self, name: &str) -> Result<Template> {
        let wanted = name.to_owned();
        self.store
            .read(move |tx| tx.template(&wanted))
            .await?
            .ok_or_else(|| Error::not_found("template", name))
    }

    pub async fn create_template(
        &self,
        caller: &Caller,
        template: Template,
        key: Option<IdempotencyKey>,
    ) -> Result<Template> {
        operators(caller)?;
        template.validate()?;
        let once = self.once(caller, key, "create_template", &template)?;
        let (now, by) = (self.clock.now(), caller.clone());
        self.store
            .write(move |tx| {
                if let Some(made) = once.claim(tx, template.name.as_str(), now)? {
                    return tx.template(&made)?.ok_or_else(idempotency::gone);
                }
                tx.insert_template(&template, now)?;
                let name = template.name.as_str();
                events::by_caller(tx, now, &by, None, "template.created", "template", name, name, json!({}))?;
                Ok(template)
            })
            .await
    }

    pub async fn update_template(&self, caller: &Caller, name: &str, template: Template) -> Result<Template> {
        if template.name.as_str() != name {
            return Err(Error::invalid("name", "must be the name in the path; a template cannot be renamed"));
        }
        operators(caller)?;
        template.validate()?;
        let (now, by) = (self.clock.now(), caller.clone());
        self.store
            .write(move |tx| {
                let name = template.name.as_str();
                if !tx.update_template(&template, now)? {
                    return Err(Error::not_found("template", name));
                }
                events::by_caller(tx, now, &by, None, "template.updated", "template", name, name, json!({}))?;
                Ok(template)
            })
            .await
    }

    /// A builtin one comes back at the next start.
    pub async fn delete_template(&self, caller: &Caller, name: &str) -> Result<()> {
        operators(caller)?;
        let (now, by, name) = (self.clock.now(), caller.clone(), name.to_owned());
        self.store
            .write(move |tx| {
                if !tx.delete_template(&name)? {
                    return Err(Error::not_found("template", &name));
                }
                events::by_caller(tx, now, &by, None, "template.deleted", "template", &name, &name, json!({}))
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn builtin_templates_are_valid_and_named_by_their_file() {
        let templates = super::builtin().unwrap();
        assert!(templates.iter().zip(super::BUILTIN).all(|(t, (name, _))| t.name.as_str() == *name));
    }
}
