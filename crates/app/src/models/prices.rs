//! Prices of models: versions that are only added, each in force from the moment it was set. A call is charged by the
//! version that was in force when it began.

use ryokan_model::models::{TokenPrices, check_model};
use ryokan_model::permission::Caller;
use ryokan_store::models::PriceRow;
use serde_json::json;

use crate::system::operators;
use crate::{App, Error, Result, events};

impl App {
    /// The newest first.
    pub async fn list_model_prices(&self) -> Result<Vec<PriceRow>> {
        Ok(self.store.read(|tx| tx.model_price_versions(500)).await?)
    }

    /// Prices of one model, or of all of a provider that have none of their own.
    pub async fn set_model_prices(
        &self,
        caller: &Caller,
        provider: &str,
        model: Option<&str>,
        prices: TokenPrices,
        reason: String,
    ) -> Result<PriceRow> {
        self.get_provider(caller, provider).await?;
        operators(caller)?;
        if let Some(model) = model {
            check_model("model", model)?;
        }
        prices.validate("prices")?;
        if reason.len() > 500 {
            return Err(Error::invalid("reason", "must have at most 500 characters"));
        }
        let (now, by, of) = (self.clock.now(), caller.clone(), provider.to_owned());
        let model = model.unwrap_or_default().to_owned();
        let row = self
            .store
            .write(move |tx| {
                let version = tx.add_model_price(&of, &model, prices, &by.login, &reason, now)?;
                let data = json!({"version": version, "model": model, "prices": prices, "reason": reason});
                events::by_caller(tx, now, &by, None, "provider.priced", "provider", &of, &of, data)?;
                let actor = by.login.clone();
                Ok::<_, Error>(PriceRow { version, provider: of, model, from: now, prices, actor, reason })
            })
            .await?;
        self.refresh_models().await?;
        Ok(row)
    }
}
