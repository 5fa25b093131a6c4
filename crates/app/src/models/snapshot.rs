//! The snapshot: all that a call is decided by, read in one transaction. And the reconcilers: one keeps it fresh, one
//! looks at providers from time to time and gives back what was set aside for calls that nobody ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ryokan_model::Millis;
use ryokan_model::models::{Offer, Provider, Snapshot};
use ryokan_store::models::{MODELS, PriceRow, provider_secrets};
use ryokan_store::{Seal, Tx};

use crate::background::Simple;
use crate::{App, Result};

/// A provider is looked at again after so long.
const LOOK: Duration = Duration::from_mins(10);
/// One that could not be asked, sooner.
const LOOK_AGAIN: Duration = Duration::from_mins(1);

impl App {
    /// Reads the snapshot anew. After a change it is called before the change is answered.
    pub async fn refresh_models(&self) -> Result<()> {
        let _turn = self.models.turn.lock().await;
        let (seal, charging) = (self.seal.clone(), self.settings.billing.enabled);
        let fresh = self.store.read(move |tx| load(tx, &seal, charging)).await?;
        self.models.snapshot.store(Arc::new(fresh));
        Ok(())
    }
}

fn load(tx: &mut Tx<'_>, seal: &Seal, charging: bool) -> Result<Snapshot> {
    let mut providers = BTreeMap::new();
    for row in tx.model_providers()? {
        if !row.enabled {
            continue;
        }
        let key = if row.has_key { tx.get_secret(seal, &provider_secrets(&row.name), "key")? } else { None };
        let provider = Provider {
            name: row.name.clone(),
            kind: row.kind,
            base_url: row.base_url,
            key,
            enabled: true,
            local: row.local,
            options: row.options,
        };
        providers.insert(row.name, Arc::new(provider));
    }
    let prices: BTreeMap<(String, String), PriceRow> =
        tx.model_prices()?.into_iter().map(|p| ((p.provider.clone(), p.model.clone()), p)).collect();
    let mut snapshot = Snapshot { charging, ..Snapshot::default() };
    for row in tx.models(None)? {
        // What a provider does not list may still be there, if an operator says so.
        let stated = row.stated != ryokan_model::models::Capabilities::default();
        let Some(provider) = providers.get(&row.provider).filter(|_| row.enabled && (row.offered || stated))
        else {
            continue;
        };
        let own = prices.get(&(row.provider.clone(), row.name.clone()));
        let price = own.or_else(|| prices.get(&(row.provider.clone(), String::new())));
        let offer = Offer {
            provider: provider.clone(),
            model: row.name.clone(),
            can: row.found.with(row.stated),
            price_version: price.map(|p| p.version),
            prices: price.map(|p| p.prices).unwrap_or_default(),
        };
        snapshot.offers.entry(row.name).or_default().push(Arc::new(offer));
    }
    for offers in snapshot.offers.values_mut() {
        offers.sort_by_key(|offer| (!offer.provider.local, offer.provider.name.clone()));
    }
    snapshot.routes = tx.model_routes()?.into_iter().collect();
    for row in tx.model_rules()? {
        match row.project {
            None => snapshot.stopped = row.stopped_at.is_some(),
            Some(project) => {
                snapshot.rules.insert(project, row.rules());
            }
        }
    }
    snapshot.budgeted = tx.model_budgeted()?.into_iter().collect();
    Ok(snapshot)
}

/// Follows changes of other servers. Every server runs its own.
pub fn reconciler() -> Simple {
    Simple {
        name: "models",
        topics: &[MODELS],
        every: Duration::from_secs(20),
        once: |app| Box::pin(async move { app.refresh_models().await.map(|()| 0) }),
    }
}

/// Looks at providers, and gives back what was set aside for lost calls. Apart from the other, since a provider that does
/// not answer must not hold up news of a stop.
pub fn providers() -> Simple {
    Simple { name: "providers", topics: &[], every: Duration::from_secs(20), once: |app| Box::pin(look(app)) }
}

async fn look(app: Arc<App>) -> Result<i64> {
    app.release_lost_calls().await?;
    let now = app.clock.now();
    let due = |row: &ryokan_store::models::ProviderRow| {
        let every = if row.problem.is_some() { LOOK_AGAIN } else { LOOK };
        row.enabled && row.checked_at.is_none_or(|at: Millis| now.since(at) >= every || at > now)
    };
    let rows = app.store.read(|tx| tx.model_providers()).await?;
    for row in rows.into_iter().filter(due) {
        app.look_at_provider(&row.name).await?;
    }
    Ok(0)
}
