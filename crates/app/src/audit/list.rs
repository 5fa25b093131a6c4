//! `list`, and what an export goes by. Operators see all; a project's admins what happened in it.

use ryokan_model::AuditId;
use ryokan_model::Millis;
use ryokan_model::permission::{Caller, Role};
use ryokan_model::policy::Verdict;
use ryokan_store::audit::{AuditFilter, AuditRow};

use crate::page::one_more;
use crate::{App, Error, Page, Result};

/// Which rows somebody asks for.
#[derive(Debug, Clone, Default)]
pub struct AuditQuery {
    pub project: Option<String>,
    pub instance: Option<String>,
    /// A login.
    pub user: Option<String>,
    pub action: Option<String>,
    pub decision: Option<Verdict>,
    pub resource: Option<String>,
    pub since: Option<Millis>,
    pub until: Option<Millis>,
}

impl App {
    /// Turns a query into a filter that shows the caller only what it may see.
    pub async fn audit_filter(&self, caller: &Caller, query: AuditQuery) -> Result<AuditFilter> {
        let mut filter = AuditFilter {
            actor: query.user.map(|login| format!("user:{login}")),
            action: query.action,
            decision: query.decision,
            resource_prefix: query.resource.filter(|text| !text.is_empty()),
            since: query.since,
            until: query.until,
            ..AuditFilter::default()
        };
        if let Some(project) = query.project {
            filter.projects = Some(vec![self.find_project_as(caller, Role::Admin, &project).await?.id]);
        }
        if let Some(instance) = query.instance {
            let row = self.instance_as(caller, Role::Admin, &instance).await?;
            if filter.projects.as_ref().is_some_and(|projects| !projects.contains(&row.project)) {
                return Err(Error::invalid("instance", "is in another project"));
            }
            (filter.projects, filter.instance) = (Some(vec![row.project]), Some(row.id));
        }
        if filter.projects.is_none()
            && let Some(visible) = caller.visible_projects()
        {
            let administered: Vec<_> =
                visible.into_iter().filter(|project| caller.may_as(Role::Admin, *project).is_ok()).collect();
            if administered.is_empty() {
                return Err(Error::Forbidden(
                    "the audit is for operators and for admins of projects; you are neither".into(),
                ));
            }
            filter.projects = Some(administered);
        }
        Ok(filter)
    }

    /// A page, the newest first.
    pub async fn list_audit(
        &self,
        filter: AuditFilter,
        after: Option<String>,
        limit: u32,
    ) -> Result<Page<AuditRow>> {
        let before = after.map(|id| id.parse::<AuditId>()).transpose();
        let before = before.map_err(|_| Error::invalid("after", "must be the `next` of the page before"))?;
        let wanted = one_more(limit);
        let rows = self.store.read(move |tx| tx.audit(&filter, before, wanted)).await?;
        Ok(Page::cut(rows, limit, |row| row.id.to_string()))
    }
}
