//! Setting aside what a call may use at most, against every budget that it counts for and, where it costs money, in the
//! ledger: one durable transaction before anything is sent, under the locks of all that it counts for.

use std::sync::Arc;

use ryokan_model::billing::Spend;
use ryokan_model::models::{BudgetUnit, Need, Subject};
use ryokan_model::{ModelCallId, ReservationId, Sats};
use ryokan_store::Tx;
use ryokan_store::billing::{MICROS, Reservation};
use ryokan_store::model_calls::Hold;

use crate::billing::judge::must_not_be_suspended;
use crate::{App, Error, Result};

/// Of a user's budget, which is over all projects. Taken after those of projects, always.
pub(super) fn user_lock(user: ryokan_model::UserId) -> String {
    format!("models:{user}")
}

impl App {
    pub async fn reserve_model_call(self: &Arc<Self>, subject: &Subject, need: Need) -> Result<ModelCallId> {
        let (app, now) = (self.clone(), self.clock.now());
        let id = ModelCallId::from_parts(now, self.entropy.bytes());
        let reservation = ReservationId::from_parts(now, self.entropy.bytes());
        let microsats = if self.settings.billing.enabled { need.microsats } else { 0 };
        // Whatever is left of a satoshi from earlier calls fits into what is rounded up here.
        let most = Sats(microsats / MICROS + i64::from(microsats % MICROS > 0));
        if most > Sats::SUPPLY {
            return Err(Error::invalid("max_tokens", "would cost more than all money; ask for less"));
        }
        let expires_at = now.plus(need.expires);
        let mut hold = Hold {
            id,
            subject: subject.clone(),
            model: need.model,
            tokens: need.tokens,
            microsats,
            reservation: None,
            created_at: now,
            expires_at,
        };
        self.store
            .write(move |tx| {
                let subject = hold.subject.clone();
                tx.lock(&format!("caps:{}", subject.project))?;
                if let Some(user) = subject.user {
                    tx.lock(&user_lock(user))?;
                }
                must_not_be_suspended(tx, subject.project)?;
                must_fit(tx, &hold)?;
                if most > Sats::ZERO {
                    let wanted = Reservation {
                        id: reservation,
                        project: subject.project,
                        instance: subject.instance,
                        kind: Spend::Models,
                        amount: most,
                        created_at: now,
                        expires_at,
                        closed_at: None,
                        settled: None,
                    };
                    app.set_aside(tx, &wanted)?;
                    hold.reservation = Some(reservation);
                }
                tx.insert_model_hold(&hold)?;
                Ok(id)
            })
            .await
    }
}

/// Refuses what does not fit into a budget.
fn must_fit(tx: &mut Tx<'_>, hold: &Hold) -> Result<()> {
    for (scope, id) in hold.subject.scopes() {
        for budget in tx.model_budgets(scope, &id)? {
            let spent = tx.model_spent(scope, &id, budget.period, hold.created_at)?;
            let (used, more, limit) = match budget.unit {
                BudgetUnit::Tokens => {
                    (spent.tokens.saturating_add(spent.tokens_held), hold.tokens, budget.amount)
                }
                BudgetUnit::Satoshis => (
                    spent.microsats.saturating_add(spent.microsats_held),
                    hold.microsats,
                    budget.amount.saturating_mul(MICROS),
                ),
            };
            if used.saturating_add(more) > limit {
                let (unit, period, amount) = (budget.unit, budget.period, budget.amount);
                let left = (limit - used).max(0) / if unit == BudgetUnit::Tokens { 1 } else { MICROS };
                return Err(Error::QuotaExceeded(format!(
                    "the {scope}'s budget for models ({period}, {amount} {unit}) leaves no room for this call: about \
                     {left} {unit} are left; ask for fewer `max_tokens`, or have the budget raised"
                )));
            }
        }
    }
    Ok(())
}
