//! Projects and their registries.

use reqwest::Method;

use super::connection::Client;
use super::error::ClientError;
use crate::project::{
    CreateProject, DeleteProject, Member, PatchEnv, Project, ProjectEnv, ProjectQuotas, ProjectSecret,
    PutMember, PutRegistry, PutSecret, Registry, UpdateProject,
};
use ryokan_model::project::Quotas;

const QUICK: std::time::Duration = std::time::Duration::from_secs(30);

impl Client {
    pub async fn projects(&self) -> Result<Vec<Project>, ClientError> {
        self.all(&["v1", "projects"], &()).await
    }

    pub async fn create_project(&self, request: &CreateProject) -> Result<Project, ClientError> {
        self.create(&["v1", "projects"], request).await
    }

    pub async fn update_project(
        &self,
        project: &str,
        request: &UpdateProject,
    ) -> Result<Project, ClientError> {
        self.send(Method::PATCH, &["v1", "projects", project], request).await
    }

    pub async fn delete_project(&self, project: &str, options: DeleteProject) -> Result<(), ClientError> {
        let url = self.url(&["v1", "projects", project], &options)?;
        self.open(self.request(Method::DELETE, url).timeout(QUICK)).await.map(drop)
    }

    pub async fn members(&self, project: &str) -> Result<Vec<Member>, ClientError> {
        self.all(&["v1", "projects", project, "members"], &()).await
    }

    pub async fn put_member(
        &self,
        project: &str,
        user: &str,
        request: &PutMember,
    ) -> Result<Member, ClientError> {
        self.send(Method::PUT, &["v1", "projects", project, "members", user], request).await
    }

    pub async fn delete_member(&self, project: &str, user: &str) -> Result<(), ClientError> {
        self.act(Method::DELETE, &["v1", "projects", project, "members", user]).await
    }

    pub async fn project_env(&self, project: &str) -> Result<ProjectEnv, ClientError> {
        self.get(&["v1", "projects", project, "env"], &()).await
    }

    pub async fn patch_project_env(
        &self,
        project: &str,
        request: &PatchEnv,
    ) -> Result<ProjectEnv, ClientError> {
        self.send(Method::PATCH, &["v1", "projects", project, "env"], request).await
    }

    pub async fn project_secrets(&self, project: &str) -> Result<Vec<ProjectSecret>, ClientError> {
        self.all(&["v1", "projects", project, "secrets"], &()).await
    }

    pub async fn put_project_secret(
        &self,
        project: &str,
        name: &str,
        request: &PutSecret,
    ) -> Result<(), ClientError> {
        let url = self.url(&["v1", "projects", project, "secrets", name], &())?;
        self.open(self.request(Method::PUT, url).json(request).timeout(QUICK)).await.map(drop)
    }

    pub async fn delete_project_secret(&self, project: &str, name: &str) -> Result<(), ClientError> {
        self.act(Method::DELETE, &["v1", "projects", project, "secrets", name]).await
    }

    pub async fn quotas(&self, project: &str) -> Result<ProjectQuotas, ClientError> {
        self.get(&["v1", "projects", project, "quotas"], &()).await
    }

    pub async fn put_quotas(&self, project: &str, request: &Quotas) -> Result<ProjectQuotas, ClientError> {
        self.send(Method::PUT, &["v1", "projects", project, "quotas"], request).await
    }

    pub async fn registries(&self, project: &str) -> Result<Vec<Registry>, ClientError> {
        self.all(&["v1", "projects", project, "registries"], &()).await
    }

    /// `host` with its port, as in `registry.example.com:5000`.
    pub async fn put_registry(
        &self,
        project: &str,
        host: &str,
        request: &PutRegistry,
    ) -> Result<(), ClientError> {
        let url = self.url(&["v1", "projects", project, "registries", host], &())?;
        self.open(self.request(Method::PUT, url).json(request).timeout(QUICK)).await.map(drop)
    }

    pub async fn delete_registry(&self, project: &str, host: &str) -> Result<(), ClientError> {
        self.act(Method::DELETE, &["v1", "projects", project, "registries", host]).await
    }
}
