//! Recomputing the ledger: sums from samples where these are still kept, charges from sums and prices, remainders from one
//! interval to the next, balances from entries. Every difference is reported, none is mended.

use std::collections::BTreeMap;

use ryokan_model::permission::Caller;
use ryokan_model::price::{Carried, Charge, microsats};
use ryokan_model::usage::Usage;
use ryokan_model::{InstanceId, Millis, ProjectId, Sats};
use ryokan_store::usage::BilledInterval;
use ryokan_store::{StoreError, Tx};

use crate::metering::close::{entries, sum_up};
use crate::{App, Error, Result};

/// Intervals that are looked at in one read, so that nobody waits long.
const BATCH: u32 = 500;
/// Differences that are listed; all are counted.
const LISTED: usize = 100;

/// What was looked at, and what was found to be different.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Verified {
    pub intervals: u64,
    /// Of these, how many were summed up again from their samples.
    pub from_samples: u64,
    pub accounts: u64,
    pub differences: u64,
    /// The first hundred, in words.
    pub examples: Vec<String>,
}

impl Verified {
    fn differs(&mut self, text: String) {
        self.differences += 1;
        if self.examples.len() < LISTED {
            self.examples.push(text);
        }
    }
}

impl App {
    /// Recomputes everything that is kept. Operators only.
    pub async fn verify_ledger(&self, caller: &Caller) -> Result<Verified> {
        if !caller.is_operator() {
            return Err(Error::operators_only());
        }
        self.verify().await
    }

    pub(crate) async fn verify(&self) -> Result<Verified> {
        let mut report = self.store.read(books).await?;
        let mut last: Option<BilledInterval> = None;
        loop {
            let before = last;
            let (some, batch) = self.store.read(move |tx| intervals(tx, before)).await?;
            report.intervals += some.intervals;
            report.from_samples += some.from_samples;
            report.differences += some.differences;
            let room = LISTED.saturating_sub(report.examples.len());
            report.examples.extend(some.examples.into_iter().take(room));
            match batch {
                Some(end) => last = Some(end),
                None => return Ok(report),
            }
        }
    }
}

/// Accounts and transactions among themselves.
fn books(tx: &mut Tx<'_>) -> Result<Verified, StoreError> {
    let mut report = Verified::default();
    for id in tx.unbalanced_transactions()? {
        report.differs(format!("transaction {id}: its entries do not sum to zero"));
    }
    for id in tx.stray_charges()? {
        report.differs(format!("transaction {id}: charges an interval that was closed without a charge"));
    }
    for id in tx.stray_top_ups()? {
        report.differs(format!("top-up {id}: what was sent is not what was charged"));
    }
    let checks = tx.account_checks()?;
    for check in &checks {
        report.accounts += 1;
        if (check.balance, check.entries) != (check.sum, check.count) || check.last_seq != check.count {
            report.differs(format!(
                "account {}: holds {} in {} entries, its entries sum to {} in {}",
                check.account, check.balance, check.entries, check.sum, check.count
            ));
        }
        if check.broken > 0 {
            report.differs(format!(
                "account {}: {} entries do not follow from the one before",
                check.account, check.broken
            ));
        }
    }
    if Sats::sum(checks.iter().map(|check| check.balance)) != Some(Sats::ZERO) {
        report.differs("all accounts together do not sum to zero".into());
    }
    Ok(report)
}

/// Closed intervals after `last`; where to go on.
fn intervals(
    tx: &mut Tx<'_>,
    last: Option<BilledInterval>,
) -> Result<(Verified, Option<BilledInterval>), StoreError> {
    let mut report = Verified::default();
    let (project, start) =
        last.map_or((String::new(), Millis(0)), |b| (b.project.to_string(), b.interval.start()));
    let kept = tx.samples_kept_from()?;
    let batch = tx.billed_after(&project, start, BATCH)?;
    let mut before = last;
    for billed in &batch {
        report.intervals += 1;
        let carried = before.filter(|b| b.project == billed.project).map(|b| b.carried);
        one(tx, &mut report, billed, carried, kept)?;
        before = Some(*billed);
    }
    Ok((report, before.filter(|_| batch.len() == BATCH as usize)))
}

fn one(
    tx: &mut Tx<'_>,
    report: &mut Verified,
    billed: &BilledInterval,
    carried: Option<Carried>,
    kept: Millis,
) -> Result<(), StoreError> {
    let (project, interval) = (billed.project, billed.interval);
    let what = format!("project {project}, interval {}", interval.start());
    let recorded = tx.usage_of(project, interval)?;
    let sums: BTreeMap<InstanceId, Usage> = recorded.iter().map(|r| (r.instance, r.usage)).collect();
    if interval.start() >= kept {
        report.from_samples += 1;
        let again = sum_up(&tx.samples_of(project, interval)?, interval);
        if again != sums {
            report.differs(format!("{what}: its samples come to {again:?}, recorded is {sums:?}"));
        }
    }
    let charge = match billed.price_version {
        None => None,
        Some(version) => {
            let Some(price) = tx.price(version)? else {
                report.differs(format!("{what}: its price, version {version}, does not exist"));
                return Ok(());
            };
            for r in &recorded {
                if r.microsats != microsats(&r.usage, &price.rates) {
                    report
                        .differs(format!("{what}: the share of instance {} is {}", r.instance, r.microsats));
                }
            }
            if tx.price_at(project, interval.start())?.map(|p| p.version) != Some(version) {
                report.differs(format!("{what}: version {version} was not the price in force"));
            }
            // The first interval that is kept has a remainder of one that is not: it is taken as it was recorded.
            let total = sums.into_values().fold(Usage::default(), Usage::plus);
            let Some(carried) = carried else {
                return first(tx, report, billed, &what);
            };
            Charge::of(&total, &price.rates, carried)
        }
    };
    compare(tx, report, billed, charge, carried, &what, project)
}

/// An interval whose remainder from before is not known: only that the ledger says the same as the record.
fn first(
    tx: &mut Tx<'_>,
    report: &mut Verified,
    billed: &BilledInterval,
    what: &str,
) -> Result<(), StoreError> {
    let recorded = tx.usage_of(billed.project, billed.interval)?;
    let total = recorded.iter().map(|r| r.usage).fold(Usage::default(), Usage::plus);
    let price = billed.price_version.map(|version| tx.price(version)).transpose()?.flatten();
    // Nothing of this project was forgotten: it began with nothing left over.
    let began = price.and_then(|price| Charge::of(&total, &price.rates, Carried::default()));
    if let Some(charge) = began.filter(|charge| charge.carried == billed.carried) {
        return compare(tx, report, billed, Some(charge), Some(Carried::default()), what, billed.project);
    }
    if !tx.forgot_intervals()? {
        report.differs(format!("{what}: what is carried on does not follow from its usage"));
    }
    Ok(())
}

fn compare(
    tx: &mut Tx<'_>,
    report: &mut Verified,
    billed: &BilledInterval,
    charge: Option<Charge>,
    carried: Option<Carried>,
    what: &str,
    project: ProjectId,
) -> Result<(), StoreError> {
    let posted = tx.usage_entries(project, billed.interval)?;
    let Some(charge) = charge else {
        if billed.charged != Sats::ZERO || posted.is_some() {
            report.differs(format!("{what}: charged, although nothing was to be charged"));
        }
        if carried.is_some_and(|carried| carried != billed.carried) {
            report.differs(format!("{what}: what is carried on changed without a charge"));
        }
        return Ok(());
    };
    if charge.total() != Some(billed.charged) || charge.carried != billed.carried {
        report.differs(format!(
            "{what}: comes to {:?} satoshis, recorded are {}",
            charge.total().map(|t| t.0),
            billed.charged
        ));
    }
    let mut wanted: Vec<(String, Sats)> = if billed.charged == Sats::ZERO {
        Vec::new()
    } else {
        let entries = entries(project, &charge).unwrap_or_default();
        entries.into_iter().map(|(account, amount)| (account.id(), amount)).collect()
    };
    wanted.sort();
    let (version, found) = posted.map_or((billed.price_version, Vec::new()), |(version, entries)| {
        (version, entries.into_iter().map(|e| (e.account, e.amount)).collect::<Vec<_>>())
    });
    let mut found = found;
    found.sort();
    if wanted != found || version != billed.price_version {
        report.differs(format!("{what}: posted is {found:?}, it comes to {wanted:?}"));
    }
    Ok(())
}
