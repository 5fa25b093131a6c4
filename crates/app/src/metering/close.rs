//! Closing intervals: what each instance used in five minutes, and one ledger transaction for each project.
//!
//! An interval is sealed (no more samples), then each project is summed up and charged in a transaction of its own, then
//! the interval is marked as closed. After a death at any point the same steps are done again, and those that were done
//! are found to be done. After a downtime every interval that has samples is caught up, in order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ryokan_model::billing::Spend;
use ryokan_model::price::{Carried, Charge, microsats};
use ryokan_model::usage::{Interval, Sample, Usage};
use ryokan_model::{InstanceId, Millis, ProjectId, Sats, TransactionId};
use ryokan_store::billing::MICROS;
use ryokan_store::ledger::{Account, Posting};
use ryokan_store::usage::{BilledInterval, InstanceUsage, UsageSample};
use ryokan_store::{StoreError, Tx};

use crate::background::Simple;
use crate::{App, Error, Result, events};

/// A sample that is under way when its interval ends has this long to be written.
const SETTLE: Duration = Duration::from_secs(20);
/// Since when billing is on, without a break; empty while it is off.
const BILLING_SINCE: &str = "billing.since";
/// Intervals caught up in one run, so that others are not held up for long.
const AT_A_TIME: usize = 500;

pub fn reconciler() -> Simple {
    Simple {
        name: "billing",
        topics: &["billing", "ledger"],
        every: Duration::from_secs(5),
        once: |app| {
            Box::pin(async move {
                let left = app.close_intervals().await?;
                app.judge_projects().await?;
                Ok(left)
            })
        },
    }
}

/// What each instance used, of a project's samples in an interval (and each series' last one before it), by series and
/// time. Pure: `verify` does the same again.
pub(crate) fn sum_up(samples: &[UsageSample], interval: Interval) -> BTreeMap<InstanceId, Usage> {
    let mut sums: BTreeMap<InstanceId, Usage> = BTreeMap::new();
    let series = samples.chunk_by(|a, b| a.instance == b.instance && a.epoch == b.epoch);
    for series in series {
        let all: Vec<Sample> = series.iter().map(|s| s.sample).collect();
        let inside = all.partition_point(|sample| sample.at <= interval.start());
        let before = inside.checked_sub(1).map(|last| &all[last]);
        let used = Usage::of_series(before, &all[inside..]);
        let sum = sums.entry(series[0].instance).or_default();
        *sum = sum.plus(used);
    }
    sums
}

/// The entries of a charge: from the project to what was earned by each resource.
pub(crate) fn entries(project: ProjectId, charge: &Charge) -> Option<Vec<(Account, Sats)>> {
    let total = charge.total()?;
    let mut entries = vec![(Account::Project(project), total.negated()?)];
    let earned = charge.by_resource().filter(|(_, amount)| *amount > Sats::ZERO);
    entries.extend(earned.map(|(resource, amount)| (Account::Revenue(resource.as_str()), amount)));
    Some(entries)
}

impl App {
    /// Once at the start: puts the configured price in force, and remembers since when billing is on.
    pub async fn start_billing(&self) -> Result<()> {
        let (billing, now) = (self.settings.billing.clone(), self.clock.now());
        self.store
            .write(move |tx| {
                tx.lock("prices")?;
                match tx.own_price(None, Millis(i64::MAX))? {
                    Some(last) if last.rates == billing.rates => {}
                    last => {
                        // The first price holds for all that was sampled before, too.
                        let from = if last.is_some() { now } else { Millis(0) };
                        tx.add_price(None, Some(billing.rates), from, events::SYSTEM, "configuration", now)?;
                    }
                }
                let since = tx.setting(BILLING_SINCE)?.filter(|since| !since.is_empty());
                match (billing.enabled, since) {
                    (true, None) => tx.put_setting(BILLING_SINCE, &now.0.to_string(), now.0),
                    (false, Some(_)) => tx.put_setting(BILLING_SINCE, "", now.0),
                    _ => Ok(()),
                }
            })
            .await
            .map_err(|error: StoreError| Error::from(error))
    }

    /// Closes what is over; how many intervals are left.
    pub async fn close_intervals(self: &Arc<Self>) -> Result<i64> {
        let settle = i64::try_from(SETTLE.as_millis()).unwrap_or(i64::MAX);
        for _ in 0..AT_A_TIME {
            let due = Interval::ended_by(Millis(self.clock.now().0.saturating_sub(settle)));
            let open = self.store.read(|tx| tx.next_open_interval()).await?;
            let Some(interval) = open.filter(|open| *open <= due) else { return Ok(0) };
            let now = self.clock.now();
            self.store.write(move |tx| tx.seal_interval(interval, now)).await?;
            crate::crash::point("billing.sealed");
            for project in self.store.read(move |tx| tx.projects_sampled(interval)).await? {
                self.close_project(project, interval).await?;
                crate::crash::point("billing.posted");
            }
            let now = self.clock.now();
            self.store.write(move |tx| tx.close_interval(interval, now)).await?;
            crate::crash::point("billing.closed");
        }
        Ok(1)
    }

    async fn close_project(self: &Arc<Self>, project: ProjectId, interval: Interval) -> Result<()> {
        let (app, now) = (self.clone(), self.clock.now());
        let id = TransactionId::from_parts(now, self.entropy.bytes());
        self.store
            .write(move |tx| {
                tx.lock(&format!("bill:{project}"))?;
                let last = tx.last_billed(project)?;
                if last.is_some_and(|last| last.interval >= interval) {
                    return Ok(());
                }
                let carried = last.map_or(Carried::default(), |last| last.carried);
                let samples = tx.samples_of(project, interval)?;
                let sums = sum_up(&samples, interval);
                let price = if app.bills_from(tx, interval)? {
                    tx.price_at(project, interval.start())?
                } else {
                    None
                };
                for (instance, usage) in &sums {
                    let share = price.as_ref().map_or(0, |price| microsats(usage, &price.rates));
                    tx.insert_usage(&InstanceUsage {
                        project,
                        interval,
                        instance: *instance,
                        usage: *usage,
                        microsats: share,
                    })?;
                    if share > 0 {
                        tx.add_spending(
                            project,
                            Some(*instance),
                            Spend::Compute,
                            interval.start(),
                            share,
                            0,
                        )?;
                    }
                }
                let total = sums.into_values().fold(Usage::default(), Usage::plus);
                let too_much = || Error::internal(format!("what {project} used costs more than all money"));
                let charge = match &price {
                    Some(price) => Charge::of(&total, &price.rates, carried).ok_or_else(too_much)?,
                    None => Charge { amounts: [Sats::ZERO; 5], carried },
                };
                let charged = charge.total().ok_or_else(too_much)?;
                let version = price.map(|price| price.version);
                tx.insert_billed(&BilledInterval {
                    project,
                    interval,
                    price_version: version,
                    charged,
                    carried: charge.carried,
                })?;
                if charged == Sats::ZERO {
                    return Ok(());
                }
                let posting = Posting {
                    id,
                    kind: "usage",
                    project,
                    interval: Some(interval),
                    reason: "usage".into(),
                    actor: events::SYSTEM.into(),
                    price_version: version,
                    reference: None,
                    at: now,
                    entries: entries(project, &charge).ok_or_else(too_much)?,
                };
                app.post(tx, &posting)?;
                let spent = charged.0.checked_mul(MICROS).ok_or_else(too_much)?;
                tx.add_spending(project, None, Spend::Compute, interval.start(), spent, 0)?;
                Ok(())
            })
            .await
    }

    /// Whether billing was on when the interval began.
    fn bills_from(&self, tx: &mut Tx<'_>, interval: Interval) -> Result<bool> {
        if !self.settings.billing.enabled {
            return Ok(false);
        }
        let since = tx.setting(BILLING_SINCE)?.and_then(|since| since.parse().ok());
        Ok(since.is_some_and(|since: i64| interval.start().0 >= since))
    }
}
