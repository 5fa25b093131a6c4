//! Templates: seeded from the TOML files of the repository, kept in the store, edited by operators.

pub mod check;

use ryokan_model::permission::Caller;
use ryokan_model::template::Template;
use serde_json::json;

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

    pub async fn create_template(&self, caller: &Caller, template: Template) -> Result<Template> {
        self.write_template(caller, template, true).await
    }

    pub async fn update_template(&self, caller: &Caller, name: &str, template: Template) -> Result<Template> {
        if template.name.as_str() != name {
            return Err(Error::invalid("name", "must be the name in the path; a template cannot be renamed"));
        }
        self.write_template(caller, template, false).await
    }

    async fn write_template(&self, caller: &Caller, template: Template, new: bool) -> Result<Template> {
        if !caller.is_operator() {
            return Err(Error::operators_only());
        }
        template.validate()?;
        let (now, by, row) = (self.clock.now(), caller.clone(), template.clone());
        self.store
            .write(move |tx| {
                if new {
                    tx.insert_template(&row, now)?;
                } else if !tx.update_template(&row, now)? {
                    return Err(Error::not_found("template", row.name.as_str()));
                }
                let kind = if new { "template.created" } else { "template.updated" };
                events::by_caller(
                    tx,
                    now,
                    &by,
                    None,
                    kind,
                    "template",
                    row.name.as_str(),
                    row.name.as_str(),
                    json!({}),
                )
            })
            .await?;
        Ok(template)
    }

    /// A builtin one comes back at the next start.
    pub async fn delete_template(&self, caller: &Caller, name: &str) -> Result<()> {
        if !caller.is_operator() {
            return Err(Error::operators_only());
        }
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
