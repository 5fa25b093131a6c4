//! Providers of models, their prices, budgets, and what was spent.

use reqwest::Method;

use super::connection::Client;
use super::error::ClientError;
use crate::models::{
    CreateProvider, ModelBudget, ModelCall, ModelPrice, ModelRoute, ModelRules, ModelUsage, Provider,
    ProviderDetail, PutModelRoute, SetModelBudget, SetModelPrice, SetModelRules, UpdateProvider,
};
use crate::{Page, Paging};

impl Client {
    pub async fn providers(&self) -> Result<Page<Provider>, ClientError> {
        self.get(&["v1", "providers"], &()).await
    }

    pub async fn provider(&self, name: &str) -> Result<ProviderDetail, ClientError> {
        self.get(&["v1", "providers", name], &()).await
    }

    pub async fn create_provider(&self, request: &CreateProvider) -> Result<Provider, ClientError> {
        self.send(Method::POST, &["v1", "providers"], request).await
    }

    pub async fn update_provider(
        &self,
        name: &str,
        request: &UpdateProvider,
    ) -> Result<Provider, ClientError> {
        self.send(Method::PATCH, &["v1", "providers", name], request).await
    }

    pub async fn delete_provider(&self, name: &str) -> Result<(), ClientError> {
        self.act(Method::DELETE, &["v1", "providers", name]).await
    }

    /// Asks the provider what it offers.
    pub async fn refresh_provider(&self, name: &str) -> Result<ProviderDetail, ClientError> {
        let request = serde_json::json!({});
        self.send(Method::POST, &["v1", "providers", name, "refresh"], &request).await
    }

    pub async fn model_routes(&self) -> Result<Page<ModelRoute>, ClientError> {
        self.get(&["v1", "model-routes"], &()).await
    }

    pub async fn put_model_route(
        &self,
        name: &str,
        request: &PutModelRoute,
    ) -> Result<ModelRoute, ClientError> {
        self.send(Method::PUT, &["v1", "model-routes", name], request).await
    }

    pub async fn delete_model_route(&self, name: &str) -> Result<(), ClientError> {
        self.act(Method::DELETE, &["v1", "model-routes", name]).await
    }

    pub async fn model_prices(&self) -> Result<Page<ModelPrice>, ClientError> {
        self.get(&["v1", "model-prices"], &()).await
    }

    pub async fn set_model_price(&self, request: &SetModelPrice) -> Result<ModelPrice, ClientError> {
        self.send(Method::PUT, &["v1", "model-prices"], request).await
    }

    /// Of a project, or of everybody.
    pub async fn set_model_rules(
        &self,
        project: Option<&str>,
        request: &SetModelRules,
    ) -> Result<ModelRules, ClientError> {
        match project {
            Some(project) => {
                self.send(Method::PUT, &["v1", "projects", project, "model-rules"], request).await
            }
            None => self.send(Method::PUT, &["v1", "model-rules"], request).await,
        }
    }

    pub async fn model_budgets(&self, project: &str) -> Result<Page<ModelBudget>, ClientError> {
        self.get(&["v1", "projects", project, "model-budgets"], &()).await
    }

    pub async fn set_model_budget(
        &self,
        project: &str,
        request: &SetModelBudget,
    ) -> Result<Page<ModelBudget>, ClientError> {
        self.send(Method::PUT, &["v1", "projects", project, "model-budgets"], request).await
    }

    /// Of a project, or of everybody.
    pub async fn model_usage(
        &self,
        project: Option<&str>,
        days: u32,
    ) -> Result<Page<ModelUsage>, ClientError> {
        let query = [("days", days)];
        match project {
            Some(project) => self.get(&["v1", "projects", project, "model-usage"], &query).await,
            None => self.get(&["v1", "model-usage"], &query).await,
        }
    }

    /// The newest, at most `limit`.
    pub async fn model_calls(&self, project: &str, limit: u32) -> Result<Page<ModelCall>, ClientError> {
        let paging = Paging { limit: Some(limit), after: None };
        self.get(&["v1", "projects", project, "model-calls"], &paging).await
    }

    /// Names that calls may use, in the shape of OpenAI's list.
    pub async fn model_names(&self) -> Result<serde_json::Value, ClientError> {
        self.get(&["v1", "models"], &()).await
    }
}
