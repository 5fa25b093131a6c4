//! Beginning a top-up: everything that may speak against it, then, in the same write, the money is set aside and the
//! outputs are taken.

use std::sync::Arc;
use std::time::Duration;

use ryokan_model::billing::Spend;
use ryokan_model::usage::day_and_month;
use ryokan_model::{Millis, ProjectId, ReservationId, Sats, TopUpId};
use ryokan_store::Tx;
use ryokan_store::billing::Reservation;
use ryokan_store::funding::{Coin, Funding as Seen, TopUp, TopUpState};
use serde_json::json;

use super::plan::plan;
use crate::billing::caps::full;
use crate::{App, Error, Result, events};

/// A service of addresses may not have seen what was sent for so long.
const SEEN_WITHIN: Duration = Duration::from_mins(15);
/// Outputs that are chosen from.
const COINS: u32 = 500;

/// What could be sent.
struct Draft {
    amount: Sats,
    fee: Sats,
    change: Sats,
    coins: Vec<Coin>,
}

impl App {
    /// `None` when nothing is to be sent now: the reason is kept with the project, and told once.
    pub(super) async fn begin_top_up(
        self: &Arc<Self>,
        project: ProjectId,
        held: Sats,
    ) -> Result<Option<TopUp>> {
        let (app, now) = (self.clone(), self.clock.now());
        let id = TopUpId::from_parts(now, self.entropy.bytes());
        let reservation = ReservationId::from_parts(now, self.entropy.bytes());
        self.store
            .write(move |tx| {
                tx.lock(&format!("caps:{project}"))?;
                tx.lock(&format!("bill:{project}"))?;
                let Some(row) = tx.project(project)?.filter(|row| row.funding) else { return Ok(None) };
                let Some(agent_key) = row.agent_key.clone() else { return Ok(None) };
                tx.lock(&format!("coins:{}", row.network))?;
                let before = tx.funding(project)?.unwrap_or_default();
                let seen = Seen { balance: Some(held), checked_at: now, refused: before.refused.clone() };
                let last = tx.top_ups_of(project, 1)?.pop();
                let recent = last.is_some_and(|last| match last.state {
                    TopUpState::Open => true,
                    TopUpState::Sent => last.ended_at.is_some_and(|at| now < at.plus(SEEN_WITHIN)),
                    TopUpState::Refused => false,
                });
                if recent {
                    tx.put_funding(project, &seen)?;
                    return Ok(None);
                }
                let draft = match app.draft(tx, project, row.network, held, now)? {
                    Ok(draft) => draft,
                    Err(why) => {
                        refuse(tx, &row, &before, seen, why, now)?;
                        return Ok(None);
                    }
                };
                tx.put_funding(project, &Seen { refused: None, ..seen })?;
                tx.insert_reservation(&Reservation {
                    id: reservation,
                    project,
                    instance: None,
                    kind: Spend::Funding,
                    amount: cost(draft.amount, draft.fee)?,
                    created_at: now,
                    // Only the top-up's own end closes it: the network may take it at any time until then.
                    expires_at: Millis(i64::MAX),
                    closed_at: None,
                    settled: None,
                })?;
                let top_up = TopUp {
                    id,
                    project,
                    network: row.network,
                    agent_key,
                    reservation,
                    amount: draft.amount,
                    fee: draft.fee,
                    change: draft.change,
                    state: TopUpState::Open,
                    txid: None,
                    extended: None,
                    reason: None,
                    created_at: now,
                    ended_at: None,
                };
                tx.insert_top_up(&top_up, &draft.coins)?;
                Ok(Some(top_up))
            })
            .await
    }

    /// What is to be sent, or why nothing is.
    fn draft(
        &self,
        tx: &mut Tx<'_>,
        project: ProjectId,
        network: ryokan_model::project::Network,
        held: Sats,
        now: Millis,
    ) -> Result<Result<Draft, String>> {
        let funding = &self.settings.billing.funding;
        let amount = funding.target.minus(held).filter(|amount| *amount > Sats::ZERO);
        let amount = amount.ok_or_else(|| Error::internal("a top-up of nothing"))?;
        let coins = tx.free_coins(network, COINS)?;
        let sizes: Vec<u64> = coins.iter().map(|c| c.satoshis.0.unsigned_abs()).collect();
        let Some(plan) = plan(&sizes, amount.0.unsigned_abs(), funding.fee_per_kb) else {
            return Ok(Err(format!(
                "this server was not paid enough on {network} to send {amount} satoshis on"
            )));
        };
        let (fee, change) = (whole(plan.fee)?, whole(plan.change)?);
        let cost = cost(amount, fee)?;
        if tx.standing(project)?.suspended_for.is_some() {
            return Ok(Err("the project is suspended".into()));
        }
        let more = |since: Sats| since.plus(cost).unwrap_or(Sats::SUPPLY);
        let (day, _) = day_and_month(now);
        if more(tx.funded_since(project, day)?) > funding.per_day {
            return Ok(Err(format!(
                "the project's agents may get {} satoshis a day from this server",
                funding.per_day
            )));
        }
        if more(tx.funded_since(project, Millis(0))?) > funding.in_all {
            return Ok(Err(format!(
                "the project's agents may get {} satoshis in all from this server",
                funding.in_all
            )));
        }
        if let Some(why) = full(&tx.caps(project, now)?, None, Spend::Funding, cost)? {
            return Ok(Err(why));
        }
        // Also where billing is off: what leaves for the chain is real.
        let free = tx.balance(project)?.minus(tx.reserved(project)?);
        if free.is_none_or(|free| free < cost) {
            return Ok(Err(format!("the project's balance leaves no room for {cost} satoshis")));
        }
        let coins = plan.spends.into_iter().filter_map(|place| coins.get(place).cloned()).collect();
        Ok(Ok(Draft { amount, fee, change, coins }))
    }
}

pub(super) fn cost(amount: Sats, fee: Sats) -> Result<Sats> {
    amount.plus(fee).ok_or_else(|| Error::internal("a top-up costs more than all money"))
}

fn whole(satoshis: u64) -> Result<Sats> {
    i64::try_from(satoshis).map(Sats).map_err(|_| Error::internal("more than all money"))
}

/// Keeps why nothing is sent, and tells of it when it is another reason than before.
fn refuse(
    tx: &mut Tx<'_>,
    project: &ryokan_store::projects::Project,
    before: &Seen,
    seen: Seen,
    why: String,
    now: Millis,
) -> Result<()> {
    let is_new = before.refused.as_deref() != Some(why.as_str());
    tx.put_funding(project.id, &Seen { refused: Some(why.clone()), ..seen })?;
    if is_new {
        let (id, name) = (project.id.to_string(), project.name.as_str());
        let data = json!({"reason": why, "held": seen.balance});
        events::system(tx, now, "project.funding_refused", "project", &id, name, Some(project.id), data)?;
    }
    Ok(())
}
