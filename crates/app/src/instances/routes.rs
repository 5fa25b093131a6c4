//! What the gateway must know of each instance, read in one go for its next snapshot.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError};

use ryokan_model::spec::UpstreamAuth;
use ryokan_model::{InstanceId, Secret};
use ryokan_store::instances::Instance;

use crate::{App, Result};

/// One instance, with the opened secret that its upstream wants of the gateway.
#[derive(Debug, Clone)]
pub struct RouteSource {
    pub row: Instance,
    pub upstream_secret: Option<Secret>,
}

/// All instances that can be served, by name.
#[derive(Debug, Default)]
pub struct RouteSources {
    pub sources: Vec<RouteSource>,
    /// How many were left out because their secret cannot be opened.
    pub left_out: usize,
}

/// Opened secrets by instance, generation and variable, so that a refresh opens only what is new.
type Opened = HashMap<(InstanceId, i64, String), Secret>;

/// Keeps what [`App::route_sources`] has opened before.
#[derive(Default)]
pub struct RouteMemory {
    opened: std::sync::Mutex<Opened>,
}

impl App {
    /// All live instances by name. One whose secret cannot be opened is left out and logged; the others are served.
    pub async fn route_sources(&self, memory: &Arc<RouteMemory>) -> Result<RouteSources> {
        let rows = self.store.read(|tx| tx.live_instances()).await?;
        let known = memory.opened.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let count = rows.len();
        let (mut sources, mut opened) = (Vec::with_capacity(rows.len()), HashMap::new());
        for row in rows {
            let Some(name) = wanted_secret(&row.spec.gateway.upstream_auth) else {
                sources.push(RouteSource { row, upstream_secret: None });
                continue;
            };
            let key = (row.id, row.generation, name.to_owned());
            let secret = match known.get(&key) {
                Some(secret) => Ok(Some(secret.clone())),
                None => self
                    .open_variables(&row)
                    .await
                    .map(|all: BTreeMap<String, Secret>| all.get(name).cloned()),
            };
            match secret {
                Ok(Some(secret)) => {
                    opened.insert(key, secret.clone());
                    sources.push(RouteSource { row, upstream_secret: Some(secret) });
                }
                Ok(None) => {
                    tracing::error!(instance = %row.id, "its upstream secret is missing; it is not served");
                }
                Err(error) => {
                    tracing::error!(instance = %row.id, error = %error, "its upstream secret cannot be opened; it is not served");
                }
            }
        }
        *memory.opened.lock().unwrap_or_else(PoisonError::into_inner) = opened;
        Ok(RouteSources { left_out: count - sources.len(), sources })
    }
}

fn wanted_secret(auth: &UpstreamAuth) -> Option<&str> {
    match auth {
        UpstreamAuth::Bearer { secret }
        | UpstreamAuth::Basic { secret, .. }
        | UpstreamAuth::Query { secret, .. } => Some(secret),
        UpstreamAuth::None
        | UpstreamAuth::TrustedProxy { .. }
        | UpstreamAuth::TokenInFrame
        | UpstreamAuth::SignedJwt { .. } => None,
    }
}
