//! Credentials that agents use and never see.

use reqwest::Method;

use super::connection::Client;
use super::error::ClientError;
use crate::credential::{CreateCredential, Credential, UpdateCredential};

impl Client {
    /// Of one project, or of all that the caller sees.
    pub async fn credentials(&self, project: Option<&str>) -> Result<Vec<Credential>, ClientError> {
        self.all(&["v1", "credentials"], &[("project", project)]).await
    }

    pub async fn create_credential(&self, request: &CreateCredential) -> Result<Credential, ClientError> {
        self.create(&["v1", "credentials"], request).await
    }

    pub async fn update_credential(
        &self,
        id_or_name: &str,
        request: &UpdateCredential,
    ) -> Result<Credential, ClientError> {
        self.send(Method::PATCH, &["v1", "credentials", id_or_name], request).await
    }

    pub async fn delete_credential(&self, id_or_name: &str) -> Result<(), ClientError> {
        self.act(Method::DELETE, &["v1", "credentials", id_or_name]).await
    }
}
