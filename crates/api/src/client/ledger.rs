//! Money.

use reqwest::Method;

use super::connection::Client;
use super::error::ClientError;
use crate::ledger::{Balance, LedgerLine, MoveMoney, UsageQuery, UsageSum, Verification};
use crate::{Page, Paging};

impl Client {
    pub async fn balance(&self, project: &str) -> Result<Balance, ClientError> {
        self.get(&["v1", "projects", project, "balance"], &()).await
    }

    /// The newest lines, at most `limit`.
    pub async fn ledger(&self, project: &str, limit: u32) -> Result<Page<LedgerLine>, ClientError> {
        self.get(&["v1", "projects", project, "ledger"], &Paging { limit: Some(limit), after: None }).await
    }

    pub async fn credit(&self, project: &str, request: &MoveMoney) -> Result<LedgerLine, ClientError> {
        self.create(&["v1", "projects", project, "credits"], request).await
    }

    pub async fn refund(&self, project: &str, request: &MoveMoney) -> Result<LedgerLine, ClientError> {
        self.create(&["v1", "projects", project, "refunds"], request).await
    }

    pub async fn usage(&self, project: &str, query: &UsageQuery) -> Result<Page<UsageSum>, ClientError> {
        self.get(&["v1", "projects", project, "usage"], query).await
    }

    /// Takes as long as the ledger is long.
    pub async fn verify_ledger(&self) -> Result<Verification, ClientError> {
        let url = self.url(&["v1", "ledger", "verify"], &())?;
        let request = self.request(Method::POST, url);
        self.decode(self.open(request).await?).await
    }
}
