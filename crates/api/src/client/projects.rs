//! Projects and their registries.

use reqwest::Method;

use super::connection::Client;
use super::error::ClientError;
use crate::project::{CreateProject, Project, PutRegistry, Registry, UpdateProject};

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

    pub async fn delete_project(&self, project: &str) -> Result<(), ClientError> {
        self.act(Method::DELETE, &["v1", "projects", project]).await
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
        let request =
            self.request(Method::PUT, url).json(request).timeout(std::time::Duration::from_secs(30));
        self.open(request).await.map(drop)
    }

    pub async fn delete_registry(&self, project: &str, host: &str) -> Result<(), ClientError> {
        self.act(Method::DELETE, &["v1", "projects", project, "registries", host]).await
    }
}
