//! What the gateway must know of each instance: of all at first, and then of those that changed.

use std::collections::{BTreeMap, BTreeSet};

use ryokan_model::spec::UpstreamAuth;
use ryokan_model::{InstanceId, Secret};
use ryokan_store::instances::Instance;

use super::rows::Rows;
use crate::{App, Result};

/// One instance, with the opened secret that its upstream wants of the gateway.
#[derive(Debug, Clone)]
pub struct RouteSource {
    pub row: Instance,
    pub upstream_secret: Option<Secret>,
}

/// What became of some instances.
#[derive(Debug, Default)]
pub struct RouteChanges {
    pub changed: Vec<RouteSource>,
    /// Deleted, a database, or their secret cannot be opened: not to be served.
    pub gone: Vec<InstanceId>,
}

/// Follows the rows for one gateway.
pub struct RouteSources {
    rows: Rows,
    /// The opened secret of an instance, with the generation and the variable that it is of.
    opened: BTreeMap<InstanceId, (i64, String, Secret)>,
    left_out: BTreeSet<InstanceId>,
}

impl RouteSources {
    pub fn new(app: &App) -> Self {
        Self { rows: Rows::new(&app.store), opened: BTreeMap::new(), left_out: BTreeSet::new() }
    }

    /// Waits until an instance changed; `false` once the store is gone. Cancel safe.
    pub async fn changed(&mut self) -> bool {
        self.rows.changed().await
    }

    /// Has everything compared at the next look: signals may have been lost, and secrets may open now.
    pub fn compare(&mut self) {
        self.rows.compare();
    }

    /// Whether there is something to look at.
    pub fn is_behind(&self) -> bool {
        self.rows.is_behind()
    }

    /// How many are not served because their secret cannot be opened.
    pub fn left_out(&self) -> usize {
        self.left_out.len()
    }

    /// Some of the changes; look again until nothing is left. An instance whose secret cannot be opened is logged and
    /// tried again when all are compared; the others are served.
    pub async fn look(&mut self, app: &App) -> Result<RouteChanges> {
        let look = self.rows.look(&app.store).await?;
        let mut changes = RouteChanges { changed: Vec::with_capacity(look.read.len()), gone: look.gone };
        for id in &changes.gone {
            self.opened.remove(id);
            self.left_out.remove(id);
        }
        for row in look.read {
            // Whatever it listens on is for its own project's network.
            if row.addon.is_some() {
                changes.gone.push(row.id);
                continue;
            }
            match self.secret(app, &row).await {
                Ok(upstream_secret) => {
                    self.left_out.remove(&row.id);
                    changes.changed.push(RouteSource { row, upstream_secret });
                }
                Err(why) => {
                    tracing::error!(instance = %row.id, error = %why, "its upstream secret cannot be opened; it is not served");
                    self.rows.forget(row.id);
                    self.left_out.insert(row.id);
                    changes.gone.push(row.id);
                }
            }
        }
        Ok(changes)
    }

    /// What its upstream wants, if anything, opened once for each generation.
    async fn secret(&mut self, app: &App, row: &Instance) -> std::result::Result<Option<Secret>, String> {
        let Some(name) = wanted_secret(&row.spec.gateway.upstream_auth) else {
            self.opened.remove(&row.id);
            return Ok(None);
        };
        if let Some((generation, variable, secret)) = self.opened.get(&row.id)
            && (*generation, variable.as_str()) == (row.generation, name)
        {
            return Ok(Some(secret.clone()));
        }
        let mut all: BTreeMap<String, Secret> =
            app.open_variables(row).await.map_err(|error| error.to_string())?;
        let secret = all.remove(name).ok_or("it is missing")?;
        self.opened.insert(row.id, (row.generation, name.to_owned(), secret.clone()));
        Ok(Some(secret))
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
