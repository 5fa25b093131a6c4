//! The edge of projects' networks: doors, who comes to them, what the policy says, and whose keys are put in.

mod callers;
mod config;
mod doors;
mod inside;
mod judge;
mod keys;
mod oauth;
mod resolver;
pub(crate) mod trust;

use std::sync::Arc;

pub use config::EgressSection;
pub(crate) use doors::Doors;
use ryokan_app::App;
use ryokan_gateway::egress::{Egress, EgressLimits, EgressParts};
use ryokan_ports::DnsResolver;

use crate::config::Config;
use crate::ports::WallClock;

/// What an [`App`] does not have.
pub(crate) struct Outside {
    pub(crate) authority: Arc<ryokan_gateway::egress::Authority>,
    pub(crate) dns: Arc<dyn DnsResolver>,
    pub(crate) context: crate::http::Context,
}

/// Builds what stands at the edge. Nothing listens until a network is opened.
pub(crate) fn build(app: &Arc<App>, config: &Config, outside: Outside) -> anyhow::Result<Arc<Doors>> {
    let callers = Arc::new(callers::KnownCallers::new(app.clone()));
    let tls = config.egress.tls()?;
    let clock: Arc<dyn ryokan_gateway::Clock> = Arc::new(WallClock(app.clock.clone()));
    let keys = keys::KeyringKeys {
        app: app.clone(),
        callers: callers.clone(),
        tokens: oauth::Tokens::new(clock.clone(), config.egress.private_issuers),
    };
    let egress = Egress::new(EgressParts {
        callers: callers.clone(),
        judge: Arc::new(judge::PolicyJudge(app.clone())),
        keys: Arc::new(keys),
        resolver: Arc::new(resolver::ByDns(outside.dns)),
        inside: Arc::new(inside::Inside { router: inside::router(outside.context) }),
        clock,
        authority: outside.authority,
        tls,
        // The policy decides about addresses.
        exceptions: Vec::new(),
        limits: EgressLimits::default(),
    });
    Ok(Arc::new(Doors::new(egress, config.egress.port)))
}

/// Between two looks at the engine's networks.
const AGAIN: std::time::Duration = std::time::Duration::from_secs(15);

/// Opens the doors of the networks that there are: those of instances that ran before this server did, and of all of
/// them again when the engine has been away.
pub(crate) async fn keep_doors(app: Arc<App>, doors: Arc<Doors>, stop: tokio_util::sync::CancellationToken) {
    loop {
        match app.runtime.networks().await {
            Ok(networks) => {
                for network in networks {
                    if let Err(why) = ryokan_ports::edge::Edge::open(doors.as_ref(), &network).await {
                        tracing::error!(project = %network.project, why, "its instances have no way out");
                    }
                }
            }
            Err(error) => tracing::debug!(error = %error, "the engine's networks cannot be listed yet"),
        }
        count_drops(&app).await;
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}

/// What the machine's rules turned away, for the metrics.
async fn count_drops(app: &App) {
    let Ok(drops) = app.runtime.drops().await else { return };
    for drop in drops {
        let labels = [("project", drop.project.to_string()), ("reason", drop.reason.as_str().to_owned())];
        metrics::counter!("ryokan_egress_dropped_packets_total", &labels).absolute(drop.packets);
        metrics::counter!("ryokan_egress_dropped_bytes_total", &labels).absolute(drop.bytes);
    }
}
