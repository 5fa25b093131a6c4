//! Rules, the audit, questions to people, and groups.

use reqwest::Method;

use super::connection::Client;
use super::error::ClientError;
use super::ndjson::NdjsonStream;
use crate::Page;
use crate::approval::{Approval, ApprovalQuery, Grant};
use crate::audit::{AuditEntry, AuditQuery};
use crate::group::{CreateGroup, Group, ProjectGroup, PutProjectGroup};
use crate::policy::{CreateRule, Explain, Explanation, Rule, RuleQuery};

impl Client {
    pub async fn rules(&self, query: &RuleQuery) -> Result<Vec<Rule>, ClientError> {
        self.all(&["v1", "policies"], query).await
    }

    pub async fn create_rule(&self, request: &CreateRule) -> Result<Rule, ClientError> {
        self.create(&["v1", "policies"], request).await
    }

    pub async fn delete_rule(&self, id: &str) -> Result<(), ClientError> {
        self.act(Method::DELETE, &["v1", "policies", id]).await
    }

    pub async fn explain_policy(&self, request: &Explain) -> Result<Explanation, ClientError> {
        self.send(Method::POST, &["v1", "policies", "explain"], request).await
    }

    /// One page.
    pub async fn audit(&self, query: &AuditQuery) -> Result<Page<AuditEntry>, ClientError> {
        self.get(&["v1", "audit"], query).await
    }

    /// All that match, as they arrive.
    pub async fn export_audit(&self, query: &AuditQuery) -> Result<NdjsonStream<AuditEntry>, ClientError> {
        let url = self.url(&["v1", "audit", "export"], query)?;
        let response = self.open(self.request(Method::GET, url)).await?;
        Ok(NdjsonStream::new(response))
    }

    pub async fn approvals(&self, query: &ApprovalQuery) -> Result<Vec<Approval>, ClientError> {
        self.all(&["v1", "approvals"], query).await
    }

    pub async fn grant_approval(&self, id: &str, request: &Grant) -> Result<Approval, ClientError> {
        self.send(Method::POST, &["v1", "approvals", id, "grant"], request).await
    }

    pub async fn refuse_approval(&self, id: &str) -> Result<Approval, ClientError> {
        self.send(Method::POST, &["v1", "approvals", id, "refuse"], &()).await
    }

    pub async fn groups(&self) -> Result<Vec<Group>, ClientError> {
        self.all(&["v1", "groups"], &()).await
    }

    pub async fn create_group(&self, request: &CreateGroup) -> Result<Group, ClientError> {
        self.create(&["v1", "groups"], request).await
    }

    pub async fn delete_group(&self, group: &str) -> Result<(), ClientError> {
        self.act(Method::DELETE, &["v1", "groups", group]).await
    }

    pub async fn put_group_member(&self, group: &str, user: &str) -> Result<Group, ClientError> {
        self.send(Method::PUT, &["v1", "groups", group, "members", user], &()).await
    }

    pub async fn delete_group_member(&self, group: &str, user: &str) -> Result<(), ClientError> {
        self.act(Method::DELETE, &["v1", "groups", group, "members", user]).await
    }

    pub async fn project_groups(&self, project: &str) -> Result<Vec<ProjectGroup>, ClientError> {
        self.all(&["v1", "projects", project, "groups"], &()).await
    }

    pub async fn put_project_group(
        &self,
        project: &str,
        group: &str,
        request: &PutProjectGroup,
    ) -> Result<ProjectGroup, ClientError> {
        self.send(Method::PUT, &["v1", "projects", project, "groups", group], request).await
    }

    pub async fn delete_project_group(&self, project: &str, group: &str) -> Result<(), ClientError> {
        self.act(Method::DELETE, &["v1", "projects", project, "groups", group]).await
    }
}
