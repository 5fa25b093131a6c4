//! `GET /api/v1/public`: what the node is, and what it costs.

use axum::Json;
use axum::extract::State;
use ryokan_app::Error;
use ryokan_model::project::Network;
use serde_json::{Value, json};

use super::answer::MandalaResult;
use crate::http::Context;

pub(super) async fn public(State(context): State<Context>) -> MandalaResult<Json<Value>> {
    let app = &context.app;
    let now = app.clock.now();
    let price = app.store.read(move |tx| tx.own_price(None, now)).await.map_err(Error::from)?;
    let rates = price.map_or(app.settings.billing.rates, |price| price.rates);
    let key = |key: &ryokan_brc::PrivateKey| json!({"publicKey": key.public().to_string()});
    Ok(Json(json!({
        "network": Network::Mainnet, "platform": "ryokan", "version": env!("CARGO_PKG_VERSION"),
        "description": "A self-hosted cloud for AI agents",
        "supportedAgentTypes": ["openclaw", "agidentity", "custom"],
        "supportedRuntimes": ["node", "python", "docker"],
        "mainnetPublicKey": key(&app.settings.identity.mainnet),
        "testnetPublicKey": key(&app.settings.identity.testnet),
        "pricing": {
            "currency": "satoshis", "interval": "5 minutes", "charged": app.settings.billing.enabled,
            "cpu_rate_per_core": rates.core, "mem_rate_per_gb": rates.memory_gb,
            "disk_rate_per_gb": rates.disk_gb, "net_rate_per_gb": rates.network_gb, "gpu_rate": rates.gpu,
            "cpu_rate_per_5min": rates.core, "mem_rate_per_gb_5min": rates.memory_gb,
            "disk_rate_per_gb_5min": rates.disk_gb, "net_rate_per_gb_5min": rates.network_gb,
        },
        "projectDeploymentDomain": app.settings.zone,
    })))
}
