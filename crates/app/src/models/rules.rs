//! The kill switch and what else is decided about all calls of a project, or of everybody.

use ryokan_model::models::Rules;
use ryokan_model::permission::{Caller, Scope};
use ryokan_store::models::RulesRow;
use serde_json::json;

use crate::system::operators;
use crate::{App, Error, Result, events};

/// How a stop of an operator's is marked: only operators undo it.
const OPERATOR: &str = "operator:";

impl App {
    pub async fn model_rules(&self, caller: &Caller, project: Option<&str>) -> Result<RulesRow> {
        let project = match project {
            Some(project) => Some(self.find_project(caller, Scope::Read, project).await?.id),
            None => {
                operators(caller)?;
                None
            }
        };
        let all = self.store.read(|tx| tx.model_rules()).await?;
        Ok(all.into_iter().find(|row| row.project == project).unwrap_or_else(|| unset(project)))
    }

    /// Stops calls or lets them go on, for a project or for all; takes effect with the next call.
    pub async fn set_model_rules(
        &self,
        caller: &Caller,
        project: Option<&str>,
        stopped: Option<bool>,
        external: Option<bool>,
        keep_prompts: Option<bool>,
    ) -> Result<RulesRow> {
        let project = match project {
            Some(project) => Some(self.find_project(caller, Scope::Admin, project).await?),
            None => {
                operators(caller)?;
                if external.is_some() || keep_prompts.is_some() {
                    return Err(Error::invalid(
                        "external",
                        "is a project's; for all there is only `stopped`",
                    ));
                }
                None
            }
        };
        if keep_prompts == Some(true) {
            return Err(Error::NotImplemented(
                "prompts are not kept by this version, for any project".into(),
            ));
        }
        let (now, by) = (self.clock.now(), caller.clone());
        let row = self
            .store
            .write(move |tx| {
                tx.lock("model_rules")?;
                let id = project.as_ref().map(|p| p.id);
                let mut row =
                    tx.model_rules()?.into_iter().find(|row| row.project == id).unwrap_or_else(|| unset(id));
                match stopped {
                    Some(true) => {
                        let who = if by.is_operator() { OPERATOR } else { "" };
                        // A member's stop does not take an operator's place.
                        if !row.stopped_by.as_ref().is_some_and(|by| by.starts_with(OPERATOR)) {
                            row.stopped_at = Some(now);
                            row.stopped_by = Some(format!("{who}{}", by.login));
                        }
                    }
                    Some(false) => {
                        let operators_own =
                            row.stopped_by.as_ref().is_some_and(|by| by.starts_with(OPERATOR));
                        if operators_own && !by.is_operator() {
                            return Err(Error::Forbidden(
                                "an operator has stopped the project's calls; ask one to let them go on"
                                    .into(),
                            ));
                        }
                        (row.stopped_at, row.stopped_by) = (None, None);
                    }
                    None => {}
                }
                row.external = external.unwrap_or(row.external);
                row.keep_prompts = keep_prompts.unwrap_or(row.keep_prompts);
                tx.put_model_rules(&row)?;
                let data = json!({"stopped": row.stopped_at.is_some(), "external": row.external});
                let (subject, name) = match &project {
                    Some(project) => (project.id.to_string(), project.name.to_string()),
                    None => ("all".to_owned(), "all".to_owned()),
                };
                events::by_caller(tx, now, &by, id, "models.ruled", "project", &subject, &name, data)?;
                Ok(row)
            })
            .await?;
        self.refresh_models().await?;
        Ok(row)
    }
}

fn unset(project: Option<ryokan_model::ProjectId>) -> RulesRow {
    let Rules { external, keep_prompts, .. } = Rules::default();
    RulesRow { project, stopped_at: None, stopped_by: None, external, keep_prompts }
}
