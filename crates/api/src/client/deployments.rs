//! Deployments: create, upload, follow, cancel; and revisions.

use reqwest::Method;
use reqwest::header::CONTENT_LENGTH;
use tokio::fs::File;

use super::connection::{Client, accept_stream};
use super::error::ClientError;
use super::files::Source;
use super::ndjson::NdjsonStream;
use super::progress::Operation;
use crate::Paging;
use crate::deployment::{
    CreateDeployment, Deployment, DeploymentLine, DeploymentLogQuery, Revision, Rollback, Uploaded,
};

impl Client {
    pub async fn create_deployment(
        &self,
        project: &str,
        request: &CreateDeployment,
    ) -> Result<Deployment, ClientError> {
        self.create(&["v1", "projects", project, "deployments"], request).await
    }

    pub async fn deployments(&self, project: &str) -> Result<Vec<Deployment>, ClientError> {
        self.all(&["v1", "projects", project, "deployments"], &Paging::default()).await
    }

    pub async fn deployment(&self, id: &str) -> Result<Deployment, ClientError> {
        self.get(&["v1", "deployments", id], &()).await
    }

    pub async fn cancel_deployment(&self, id: &str) -> Result<Deployment, ClientError> {
        self.send(Method::POST, &["v1", "deployments", id, "cancel"], &()).await
    }

    /// With `follow` until the deployment is over, or the connection breaks.
    pub async fn deployment_logs(
        &self,
        id: &str,
        query: &DeploymentLogQuery,
    ) -> Result<NdjsonStream<DeploymentLine>, ClientError> {
        let url = self.url(&["v1", "deployments", id, "logs"], query)?;
        let request = self.request(Method::GET, url).header("accept", "application/x-ndjson");
        Ok(NdjsonStream::new(self.open(request).await?))
    }

    /// Sends the artifact to the address that the server gave. The path alone is taken of it: the server may be known
    /// to itself by another name than to us.
    pub async fn upload_artifact(
        &self,
        url: &str,
        file: File,
        length: u64,
        progress: impl FnMut(u64) + Send + 'static,
    ) -> Result<Uploaded, ClientError> {
        let path: Vec<&str> = url.split('/').skip(3).collect();
        let url = self.url(&path, &())?;
        let body = Source::body(file, length, progress);
        let request = self
            .request(Method::POST, url)
            .header(CONTENT_LENGTH, length)
            .header("content-type", "application/octet-stream")
            .body(body);
        self.decode(self.open(request).await?).await
    }

    pub async fn revisions(&self, instance: &str) -> Result<Vec<Revision>, ClientError> {
        let page: crate::Page<Revision> = self.get(&["v1", "instances", instance, "revisions"], &()).await?;
        Ok(page.items)
    }

    pub async fn rollback_watched(&self, instance: &str, body: &Rollback) -> Result<Operation, ClientError> {
        let url = self.url(&["v1", "instances", instance, "rollback"], &())?;
        let request = self.request(Method::POST, url).json(body);
        let response = self.open(accept_stream(request)).await?;
        self.operation(response).await
    }
}
