//! What was spent on models, by day and model, and the calls themselves. No prompts: they are kept nowhere.

use std::time::Duration;

use ryokan_model::models::{Offer, Subject};
use ryokan_model::permission::{Caller, Role, Scope};
use ryokan_model::policy::{Action, Request, Resource, Who};
use ryokan_model::{Millis, ProjectId};
use ryokan_store::model_calls::{CallRow, CallSum};

use crate::page::one_more;
use crate::{App, Error, Page, Result};

const DAYS: u32 = 400;

impl App {
    /// Who a caller's call counts for: the project that it names, else its token's, else its own.
    pub async fn model_subject(&self, caller: &Caller, project: Option<&str>) -> Result<Subject> {
        let project = match project {
            Some(name) => self.find_project_as(caller, Role::Developer, name).await?.id,
            None => {
                let id = self.default_project(caller).await?.id;
                caller
                    .may_as(Role::Developer, id)
                    .map_err(|refused| Error::refused(refused, "project", id.to_string()))?;
                id
            }
        };
        Ok(Subject { project, user: Some(caller.user), instance: None })
    }

    /// Whether the policy lets `subject` call this model, which rules name as `PROVIDER/MODEL`; else why not.
    pub fn may_call_model(&self, subject: &Subject, offer: &Offer) -> Result<(), String> {
        let name = format!("{}/{}", offer.provider.name, offer.model);
        let who = Who {
            user: subject.user,
            project: Some(subject.project),
            instance: subject.instance,
            ..Who::default()
        };
        let now = self.clock.now();
        let decision =
            self.policies().judge(&Request::new(who, Action::ModelCall, Resource::named(name), now));
        if decision.is_allowed() { Ok(()) } else { Err(decision.why) }
    }

    /// By day, model and provider; of one project, or of all for operators.
    pub async fn model_usage(
        &self,
        caller: &Caller,
        project: Option<&str>,
        days: u32,
    ) -> Result<Vec<CallSum>> {
        let project = match project {
            Some(project) => Some(self.find_project(caller, Scope::Read, project).await?.id),
            None => {
                crate::system::operators(caller)?;
                None
            }
        };
        if !(1..=DAYS).contains(&days) {
            return Err(Error::invalid("days", format!("must be from 1 to {DAYS}")));
        }
        let from = self.clock.now().0 - i64::from(days) * 86_400_000;
        Ok(self.store.read(move |tx| tx.model_call_sums(project, Millis(from), 10_000)).await?)
    }

    /// The newest first.
    pub async fn list_model_calls(
        &self,
        caller: &Caller,
        project: &str,
        after: Option<String>,
        limit: u32,
    ) -> Result<Page<CallRow>> {
        let project: ProjectId = self.find_project(caller, Scope::Read, project).await?.id;
        let rows =
            self.store.read(move |tx| tx.model_calls(project, after.as_deref(), one_more(limit))).await?;
        Ok(Page::cut(rows, limit, |call| call.id.to_string()))
    }

    /// How long calls are kept.
    pub(crate) const KEEP_CALLS: Duration = Duration::from_hours(400 * 24);
}
