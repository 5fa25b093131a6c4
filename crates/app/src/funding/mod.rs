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
/// One run, unless somebody else's service answers.
const LONGEST: Duration = Duration::from_secs(50);
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
        // Cut off anywhere it goes on where it was, so that services which hang hold up neither a stop nor each other.
        once: |app| {
            Box::pin(async move { tokio::time::timeout(LONGEST, app.fund_agents()).await.unwrap_or(Ok(1)) })
        },
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
            let Some(held) = self.look_at_funds(chain.as_ref(), &project).await? else { break };
            if held >= funding.minimum {
                continue;
            }
            if let Some(top_up) = self.begin_top_up(project.id, held).await? {
                crate::crash::point("funding.begun");
                left += i64::from(!self.send_top_up(chain.as_ref(), top_up).await?);
            }
        }
        Ok(left)
    }

    /// What a project's address holds, which is kept with the project. `None` when nobody tells now: then the others are
    /// asked for in the next run, and this one in its turn.
    async fn look_at_funds(&self, chain: &dyn PaymentProvider, project: &Project) -> Result<Option<Sats>> {
        let (id, network, key) = (project.id, project.network, project.agent_key.clone().unwrap_or_default());
        let answer = chain.funds(network, &key).await;
        let now = self.clock.now();
        let held = answer.as_ref().ok().map(|held| Sats(i64::try_from(*held).unwrap_or(i64::MAX)));
        let enough = held.is_some_and(|held| held >= self.settings.billing.funding.minimum);
        self.store
            .write(move |tx| {
                let before = tx.funding(id)?.unwrap_or_default();
                let refused = before.refused.filter(|_| !enough);
                tx.put_funding(id, &Seen { balance: held.or(before.balance), checked_at: now, refused })
            })
            .await?;
        match answer {
            Ok(_) => {}
            Err(PaymentError::Unavailable(why)) => {
                tracing::warn!(project = %id, why, "its agents' address cannot be looked up now");
            }
            Err(error) => {
                tracing::error!(project = %id, error = %error, "its agents' address cannot be looked up");
            }
        }
        Ok(held)
    }
}
