//! Money.

use reqwest::Method;

use super::connection::Client;
use super::error::ClientError;
use crate::ledger::{
    Balance, Cap, LedgerLine, LeftOver, MoveMoney, Price, Prices, SetCap, SetPrices, UsageQuery, UsageSum,
    Verification,
};
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

    pub async fn caps(&self, project: &str) -> Result<Page<Cap>, ClientError> {
        self.get(&["v1", "projects", project, "caps"], &()).await
    }

    /// All caps, as they are then.
    pub async fn set_cap(&self, project: &str, request: &SetCap) -> Result<Page<Cap>, ClientError> {
        self.send(Method::PUT, &["v1", "projects", project, "caps"], request).await
    }

    pub async fn prices(&self, project: &str) -> Result<Prices, ClientError> {
        self.get(&["v1", "projects", project, "prices"], &()).await
    }

    pub async fn set_prices(&self, project: &str, request: &SetPrices) -> Result<Price, ClientError> {
        self.send(Method::PUT, &["v1", "projects", project, "prices"], request).await
    }

    /// Deleted projects that still have money.
    pub async fn left_over(&self) -> Result<Page<LeftOver>, ClientError> {
        self.get(&["v1", "ledger", "left-over"], &()).await
    }

    /// Takes as long as the ledger is long.
    pub async fn verify_ledger(&self) -> Result<Verification, ClientError> {
        let url = self.url(&["v1", "ledger", "verify"], &())?;
        let request = self.request(Method::POST, url);
        self.decode(self.open(request).await?).await
    }
}
