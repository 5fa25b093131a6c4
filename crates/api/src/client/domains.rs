//! Custom domains.

use reqwest::Method;

use super::connection::Client;
use super::error::ClientError;
use crate::domain::{AddDomain, Domain};

impl Client {
    pub async fn domains(&self, instance: &str) -> Result<Vec<Domain>, ClientError> {
        self.all(&["v1", "instances", instance, "domains"], &()).await
    }

    pub async fn domain(&self, instance: &str, domain: &str) -> Result<Domain, ClientError> {
        self.get(&["v1", "instances", instance, "domains", domain], &()).await
    }

    pub async fn add_domain(&self, instance: &str, request: &AddDomain) -> Result<Domain, ClientError> {
        self.send(Method::POST, &["v1", "instances", instance, "domains"], request).await
    }

    pub async fn check_domain(&self, instance: &str, domain: &str) -> Result<Domain, ClientError> {
        self.send(Method::POST, &["v1", "instances", instance, "domains", domain, "check"], &()).await
    }

    pub async fn remove_domain(&self, instance: &str, domain: &str) -> Result<(), ClientError> {
        self.act(Method::DELETE, &["v1", "instances", instance, "domains", domain]).await
    }
}
