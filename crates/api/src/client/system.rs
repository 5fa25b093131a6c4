//! What operators look at.

use reqwest::Method;

use super::connection::Client;
use super::error::ClientError;
use crate::system::{Job, Readiness, Reconciler, System};

impl Client {
    pub async fn system(&self) -> Result<System, ClientError> {
        self.get(&["v1", "system"], &()).await
    }

    /// The server's settings, secrets left out.
    pub async fn system_config(&self) -> Result<serde_json::Value, ClientError> {
        self.get(&["v1", "system", "config"], &()).await
    }

    pub async fn jobs(&self) -> Result<Vec<Job>, ClientError> {
        self.all(&["v1", "system", "jobs"], &()).await
    }

    pub async fn retry_job(&self, id: &str) -> Result<(), ClientError> {
        self.act(Method::POST, &["v1", "system", "jobs", id, "retry"]).await
    }

    pub async fn reconcilers(&self) -> Result<Vec<Reconciler>, ClientError> {
        self.all(&["v1", "system", "reconcilers"], &()).await
    }

    /// Also when the server is not ready: then the answer is 503 with the reasons.
    pub async fn readiness(&self) -> Result<Readiness, ClientError> {
        let request = self
            .request(Method::GET, self.url(&["readyz"], &())?)
            .timeout(std::time::Duration::from_secs(30));
        let response = request.send().await.map_err(|e| ClientError::from_reqwest(&self.base(), &e))?;
        if response.status().as_u16() == 503 {
            return self.decode(response).await;
        }
        let response = self.check(response).await?;
        self.decode(response).await
    }
}
