//! Spending on models and tools: reserve what it may cost at most, settle what it did cost, release when it failed. A
//! reservation that nobody settles is released when it expires.

use std::sync::Arc;
use std::time::Duration;

use ryokan_model::billing::Spend;
use ryokan_model::{InstanceId, ProjectId, ReservationId, Sats, TransactionId};
use ryokan_store::billing::Reservation;
use ryokan_store::ledger::{Account, Posting};
use ryokan_store::{StoreError, Tx};

use super::caps::full;
use super::judge::must_not_be_suspended;
use crate::{App, Error, Result, events};

/// Released in one run of the housekeeping.
const EXPIRED: u32 = 500;

impl App {
    /// Sets `most` aside for `kind`, unless a cap or, where billing is on, the balance leaves no room for it.
    pub async fn reserve(
        self: &Arc<Self>,
        project: ProjectId,
        instance: Option<InstanceId>,
        kind: Spend,
        most: Sats,
        expires: Duration,
    ) -> Result<ReservationId> {
        if most.is_negative() || most > Sats::SUPPLY {
            return Err(Error::invalid("amount", "must not be negative, nor more than all money"));
        }
        let (app, now) = (self.clone(), self.clock.now());
        let id = ReservationId::from_parts(now, self.entropy.bytes());
        let wanted = Reservation {
            id,
            project,
            instance,
            kind,
            amount: most,
            created_at: now,
            expires_at: now.plus(expires),
            closed_at: None,
            settled: None,
        };
        self.store
            .write(move |tx| {
                tx.lock(&format!("caps:{project}"))?;
                app.set_aside(tx, &wanted)?;
                Ok(id)
            })
            .await
    }

    /// The same inside of a transaction that holds the lock of the project's caps.
    pub(crate) fn set_aside(&self, tx: &mut Tx<'_>, wanted: &Reservation) -> Result<()> {
        let (project, most) = (wanted.project, wanted.amount);
        must_not_be_suspended(tx, project)?;
        if let Some(why) = full(&tx.caps(project, wanted.created_at)?, wanted.instance, wanted.kind, most)? {
            return Err(Error::QuotaExceeded(why));
        }
        if self.settings.billing.enabled {
            let free = tx.balance(project)?.minus(tx.reserved(project)?);
            if free.is_none_or(|free| free < most) {
                return Err(Error::PaymentRequired(format!(
                    "the project's balance leaves no room for {most} satoshis"
                )));
            }
        }
        tx.insert_reservation(wanted)?;
        Ok(())
    }

    /// Spends `actual` of what was reserved, at most all of it, and gives the rest back. Again changes nothing.
    pub async fn settle(self: &Arc<Self>, id: ReservationId, actual: Sats, reason: String) -> Result<()> {
        let app = self.clone();
        self.store
            .write(move |tx| {
                let held =
                    tx.reservation(id)?.ok_or_else(|| Error::not_found("reservation", id.to_string()))?;
                if actual.is_negative() || actual > held.amount {
                    return Err(Error::invalid("amount", format!("must be from 0 to {}", held.amount)));
                }
                tx.lock(&format!("caps:{}", held.project))?;
                tx.lock(&format!("bill:{}", held.project))?;
                app.spend(tx, &held, actual, reason)
            })
            .await
    }

    /// The same inside of a transaction that holds the project's locks, for an amount that was checked.
    pub(crate) fn spend(
        &self,
        tx: &mut Tx<'_>,
        held: &Reservation,
        actual: Sats,
        reason: String,
    ) -> Result<()> {
        let now = self.clock.now();
        if !tx.close_reservation(held, actual, now)? {
            return Ok(());
        }
        if self.settings.billing.enabled && actual > Sats::ZERO {
            let posting = Posting {
                id: TransactionId::from_parts(now, self.entropy.bytes()),
                kind: held.kind.as_str(),
                project: held.project,
                interval: None,
                reason,
                actor: events::SYSTEM.into(),
                price_version: None,
                reference: Some(held.id.to_string()),
                at: now,
                entries: vec![
                    (Account::Project(held.project), Sats(-actual.0)),
                    (Account::Revenue(held.kind.as_str()), actual),
                ],
            };
            self.post(tx, &posting)?;
        }
        Ok(())
    }

    /// Gives all of it back.
    pub async fn release(self: &Arc<Self>, id: ReservationId) -> Result<()> {
        self.settle(id, Sats::ZERO, String::new()).await
    }

    /// Releases what nobody settled in time; how many there were.
    pub(crate) async fn release_expired(&self) -> Result<usize> {
        let now = self.clock.now();
        let expired = self
            .store
            .write(move |tx| {
                let expired = tx.expired_reservations(now, EXPIRED)?;
                for held in &expired {
                    tx.close_reservation(held, Sats::ZERO, now)?;
                }
                Ok::<_, StoreError>(expired.len())
            })
            .await?;
        Ok(expired)
    }
}
