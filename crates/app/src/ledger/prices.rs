//! Prices of one project: its own, or the server's. They hold from the moment they are set; what was used before is
//! charged as it was priced then.

use ryokan_model::permission::{Caller, Scope};
use ryokan_model::price::Rates;
use ryokan_store::prices::Price;
use serde_json::json;

use crate::{App, Error, Result, events};

impl App {
    /// What the project pays now, and the versions before, the newest first.
    pub async fn list_prices(&self, caller: &Caller, project: &str) -> Result<(Option<Price>, Vec<Price>)> {
        let project = self.find_project(caller, Scope::Read, project).await?;
        let now = self.clock.now();
        Ok(self
            .store
            .read(move |tx| {
                Ok::<_, ryokan_store::StoreError>((
                    tx.price_at(project.id, now)?,
                    tx.prices_of(project.id, 100)?,
                ))
            })
            .await?)
    }

    /// Gives the project rates of its own, or the server's again. Operators only.
    pub async fn set_prices(
        &self,
        caller: &Caller,
        project: &str,
        rates: Option<Rates>,
        reason: String,
    ) -> Result<Price> {
        let project = self.find_project(caller, Scope::Admin, project).await?;
        if !caller.is_operator() {
            return Err(Error::operators_only());
        }
        if let Some(rates) = &rates {
            rates.validate("rates")?;
        }
        if reason.len() > 500 {
            return Err(Error::invalid("reason", "must have at most 500 characters"));
        }
        let (now, by) = (self.clock.now(), caller.clone());
        self.store
            .write(move |tx| {
                let version = tx.add_price(Some(project.id), rates, now, &by.login, &reason, now)?;
                let data = json!({"version": version, "rates": rates, "reason": reason});
                events::by_caller(
                    tx,
                    now,
                    &by,
                    Some(project.id),
                    "project.priced",
                    "project",
                    &project.id.to_string(),
                    project.name.as_str(),
                    data,
                )?;
                tx.price(version)?
                    .ok_or_else(|| Error::internal("a price vanished inside its own transaction"))
            })
            .await
    }
}
