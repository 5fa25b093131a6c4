//! Money on the chain for the agents of projects that ask for it (`requiresBlockchainFunding`): what their address holds
//! is looked up, and when it is low it is topped up from what was paid to this server, at the project's cost.
//!
//! What must hold: an output is spent by one transaction; a transaction is kept before the network is told of it, and is
//! the same one whenever it is told again; the project is debited in the write that says that it was sent, once; and what
//! may be debited was set aside before anything was signed. Without a balance, or over a cap, nothing is sent.

mod begin;
mod plan;
mod send;

use std::sync::Arc;
use std::time::Duration;

use ryokan_model::Sats;
use ryokan_ports::PaymentProvider;
use ryokan_ports::payment::PaymentError;
use ryokan_store::funding::Funding as Seen;
use ryokan_store::projects::Project;

use crate::background::Simple;
use crate::{App, Result};

/// Projects looked at in one run: each is a question to somebody else's service.
const AT_A_TIME: u32 = 50;
/// How often what is under way is looked after.
const TICK: Duration = Duration::from_secs(15);

/// What an operator decides about it.
#[derive(Debug, Clone)]
pub struct Funding {
    pub enabled: bool,
    /// How often an address is looked up.
    pub every: Duration,
    /// Below it an address is topped up,
    pub minimum: Sats,
    /// to this.
    pub target: Sats,
    /// Satoshis for a thousand bytes of a transaction.
    pub fee_per_kb: u64,
    /// The most that is spent for one project in a day (UTC), with fees.
    pub per_day: Sats,
    /// The most that is ever spent for one project, with fees.
    pub in_all: Sats,
}

impl Default for Funding {
    fn default() -> Self {
        Self {
            enabled: true,
            every: Duration::from_mins(5),
            minimum: Sats(100),
            target: Sats(500),
            fee_per_kb: 100,
            per_day: Sats(10_000),
            in_all: Sats(1_000_000),
        }
    }
}

pub fn reconciler() -> Simple {
    Simple {
        name: "funding",
        topics: &["funding"],
        every: TICK,
        once: |app| Box::pin(async move { app.fund_agents().await }),
    }
}

impl App {
    /// Sees to what is under way, then looks at the projects whose turn it is; how many top-ups are still under way. What
    /// somebody else's service does not answer is asked again later, and is no failure of this run.
    pub async fn fund_agents(self: &Arc<Self>) -> Result<i64> {
        let Some(chain) = self.payments.clone() else { return Ok(0) };
        let mut left = 0;
        for top_up in self.store.read(|tx| tx.open_top_ups(AT_A_TIME)).await? {
            left += i64::from(!self.send_top_up(chain.as_ref(), top_up).await?);
        }
        let funding = &self.settings.billing.funding;
        if !funding.enabled {
            return Ok(left);
        }
        let every = i64::try_from(funding.every.as_millis()).unwrap_or(i64::MAX);
        let before = ryokan_model::Millis(self.clock.now().0.saturating_sub(every));
        for project in self.store.read(move |tx| tx.projects_to_fund(before, AT_A_TIME)).await? {
            if let Some(top_up) = self.look_at_funds(chain.as_ref(), &project).await? {
                crate::crash::point("funding.begun");
                left += i64::from(!self.send_top_up(chain.as_ref(), top_up).await?);
            }
        }
        Ok(left)
    }

    /// Looks one address up, and begins a top-up if it is low.
    async fn look_at_funds(
        self: &Arc<Self>,
        chain: &dyn PaymentProvider,
        project: &Project,
    ) -> Result<Option<ryokan_store::funding::TopUp>> {
        let Some(key) = project.agent_key.clone() else { return Ok(None) };
        let held = match chain.funds(project.network, &key).await {
            Ok(held) => Sats(i64::try_from(held).unwrap_or(i64::MAX)),
            Err(error) => {
                if !matches!(error, PaymentError::Unavailable(_)) {
                    tracing::error!(project = %project.id, error = %error, "its agents' address cannot be looked up");
                } else {
                    tracing::warn!(project = %project.id, error = %error, "its agents' address cannot be looked up now");
                }
                let (id, now) = (project.id, self.clock.now());
                let asked = self.store.write(move |tx| {
                    let before = tx.funding(id)?.unwrap_or_default();
                    tx.put_funding(id, &Seen { checked_at: now, ..before })
                });
                asked.await?;
                return Ok(None);
            }
        };
        if held >= self.settings.billing.funding.minimum {
            let (id, now) = (project.id, self.clock.now());
            let seen = Seen { balance: Some(held), checked_at: now, refused: None };
            self.store.write(move |tx| tx.put_funding(id, &seen)).await?;
            return Ok(None);
        }
        self.begin_top_up(project.id, held).await
    }
}
