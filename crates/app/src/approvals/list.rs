//! `list` and `get`: members see what is asked in their projects, operators everything.

use ryokan_model::ApprovalId;
use ryokan_model::permission::{Caller, Role};
use ryokan_store::approvals::{Approval, ApprovalState};

use crate::page::one_more;
use crate::{App, Error, Page, Result};

impl App {
    pub async fn list_approvals(
        &self,
        caller: &Caller,
        project: Option<&str>,
        state: Option<ApprovalState>,
        after: Option<String>,
        limit: u32,
    ) -> Result<Page<Approval>> {
        let projects: Option<Vec<_>> = match project {
            Some(project) => Some(vec![self.find_project_as(caller, Role::Viewer, project).await?.id]),
            None => caller.visible_projects().map(|all| all.into_iter().collect()),
        };
        let before = after.map(|id| id.parse::<ApprovalId>()).transpose();
        let before = before.map_err(|_| Error::invalid("after", "must be the `next` of the page before"))?;
        let wanted = one_more(limit);
        let rows =
            self.store.read(move |tx| tx.approvals(projects.as_deref(), state, before, wanted)).await?;
        Ok(Page::cut(rows, limit, |row| row.id.to_string()))
    }

    pub async fn get_approval(&self, caller: &Caller, id: &str) -> Result<Approval> {
        let missing = || Error::not_found("approval", id);
        let wanted: ApprovalId = id.parse().map_err(|_| missing())?;
        let found = self.store.read(move |tx| tx.approval(wanted)).await?.ok_or_else(missing)?;
        match found.project {
            Some(project) => {
                caller.may_as(Role::Viewer, project).map_err(|r| Error::refused(r, "approval", id))?;
            }
            None if caller.is_operator() || found.user == Some(caller.user) => {}
            None => return Err(missing()),
        }
        Ok(found)
    }
}
