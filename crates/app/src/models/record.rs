//! Writing calls down: one row each, with what was set aside given back, what was used counted, and what it costs posted,
//! in batches of one transaction. And what happens to calls that were never ended, since their server died.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use ryokan_model::models::{Call, CallOutcome, Tokens};
use ryokan_model::{ModelCallId, ProjectId, Sats};
use ryokan_store::Tx;
use ryokan_store::billing::MICROS;
use ryokan_store::model_calls::{Hold, Spent};
use tokio_util::sync::CancellationToken;

use super::reserve::user_lock;
use crate::{App, Result};

/// Calls in one transaction.
const BATCH: usize = 200;
/// Holds released in one.
const EXPIRED: u32 = 200;

/// Writes calls down until `stop`, and then those that are left. Every server does its own.
pub async fn run(app: Arc<App>, stop: CancellationToken) {
    let inbox = app.models.inbox.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(mut inbox) = inbox else { return };
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        tokio::select! {
            // What is under way when the server stops has left its calls here before.
            biased;
            received = inbox.recv_many(&mut batch, BATCH) => if received == 0 { return },
            () = stop.cancelled() => return,
        }
        let calls = Arc::new(std::mem::take(&mut batch));
        let mut tries = 0;
        while let Err(error) = app.write_calls(calls.clone()).await {
            tries += 1;
            tracing::warn!(%error, calls = calls.len(), "calls of models cannot be written down; trying again");
            // What was set aside for them is given back when it expires.
            if stop.is_cancelled() && tries > 3 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

impl App {
    async fn write_calls(self: &Arc<Self>, calls: Arc<Vec<Call>>) -> Result<()> {
        let app = self.clone();
        self.store
            .write(move |tx| {
                lock_all(tx, calls.iter().map(|call| &call.subject))?;
                for call in calls.iter() {
                    app.write_call(tx, call)?;
                }
                Ok(())
            })
            .await
    }

    fn write_call(&self, tx: &mut Tx<'_>, call: &Call) -> Result<()> {
        let held = match call.hold {
            Some(id) => tx.take_model_hold(id)?,
            None => None,
        };
        let id =
            held.as_ref().map_or_else(|| ModelCallId::from_parts(call.at, self.entropy.bytes()), |h| h.id);
        if call.hold.is_some() && held.is_none() {
            tracing::warn!(
                provider = call.provider,
                "a call ended after what was set aside for it had expired"
            );
        }
        let satoshis = match &held {
            Some(held) => self.charge(tx, held, call)?,
            None => Sats::ZERO,
        };
        let used = Spent { tokens: call.tokens.total(), microsats: call.microsats, ..Spent::default() };
        tx.add_model_spending(&call.subject, call.at, used)?;
        tx.insert_model_call(id, call, satoshis.0)?;
        Ok(())
    }

    /// Whole satoshis of what the project owes, never more than was set aside.
    fn charge(&self, tx: &mut Tx<'_>, held: &Hold, call: &Call) -> Result<Sats> {
        let Some(reservation) = held.reservation else { return Ok(Sats::ZERO) };
        let Some(reservation) = tx.reservation(reservation)?.filter(|r| r.closed_at.is_none()) else {
            return Ok(Sats::ZERO);
        };
        let bound = held.microsats.min(reservation.amount.0.saturating_mul(MICROS));
        if call.microsats > bound {
            tracing::warn!(
                provider = call.provider,
                model = call.upstream_model,
                "a call used more than it could"
            );
        }
        let whole = tx.take_whole_satoshis(call.subject.project, call.microsats.clamp(0, bound))?;
        let actual = Sats(whole.min(reservation.amount.0));
        self.spend(tx, &reservation, actual, format!("{} of {}", call.upstream_model, call.provider))?;
        Ok(actual)
    }

    /// Gives back what was set aside for calls that nobody ended in time. Nothing is charged: nobody knows what was used.
    pub async fn release_lost_calls(self: &Arc<Self>) -> Result<usize> {
        let (app, now) = (self.clone(), self.clock.now());
        let lost = self.store.read(move |tx| tx.expired_model_holds(now, EXPIRED)).await?;
        if lost.is_empty() {
            return Ok(0);
        }
        self.store
            .write(move |tx| {
                lock_all(tx, lost.iter().map(|hold| &hold.subject))?;
                for hold in &lost {
                    // Another server may have been quicker.
                    if tx.take_model_hold(hold.id)?.is_some() {
                        app.write_lost(tx, hold)?;
                    }
                }
                Ok(lost.len())
            })
            .await
    }

    fn write_lost(&self, tx: &mut Tx<'_>, hold: &Hold) -> Result<()> {
        if let Some(id) = hold.reservation
            && let Some(reservation) = tx.reservation(id)?
        {
            self.spend(tx, &reservation, Sats::ZERO, String::new())?;
        }
        let call = Call {
            hold: Some(hold.id),
            at: hold.created_at,
            subject: hold.subject.clone(),
            endpoint: "",
            model: hold.model.clone(),
            provider: String::new(),
            upstream_model: String::new(),
            reason: String::new(),
            outcome: CallOutcome::Lost,
            status: 0,
            tokens: Tokens::default(),
            estimated: true,
            microsats: 0,
            price_version: None,
            millis: 0,
            first_byte_millis: None,
        };
        tx.insert_model_call(hold.id, &call, 0)?;
        Ok(())
    }
}

/// All locks that these need, in the one order in which everybody takes them.
fn lock_all<'a>(
    tx: &mut Tx<'_>,
    subjects: impl Iterator<Item = &'a ryokan_model::models::Subject> + Clone,
) -> Result<()> {
    let projects: BTreeSet<ProjectId> = subjects.clone().map(|subject| subject.project).collect();
    for project in &projects {
        tx.lock(&format!("caps:{project}"))?;
    }
    for project in &projects {
        tx.lock(&format!("bill:{project}"))?;
    }
    for user in subjects.filter_map(|subject| subject.user).collect::<BTreeSet<_>>() {
        tx.lock(&user_lock(user))?;
    }
    Ok(())
}
