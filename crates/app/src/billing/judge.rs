//! Suspending and resuming. What should be follows from balance, grace, caps and clock alone; this makes it so for each
//! project, again and again. Suspended instances are stopped with all their data, their users' wish is kept, and they run
//! again as soon as nothing is in the way.

use std::collections::BTreeSet;
use std::sync::Arc;

use ryokan_model::billing::{Period, Spend, Suspension};
use ryokan_model::usage::day_and_month;
use ryokan_model::{InstanceId, Millis, ProjectId, Sats};
use ryokan_store::Tx;
use ryokan_store::billing::{CapUse, Standing};
use serde_json::json;

use crate::{App, Error, Result, events};

impl App {
    /// Looks at every project that owes, is suspended or has caps.
    pub async fn judge_projects(self: &Arc<Self>) -> Result<()> {
        for project in self.store.read(|tx| tx.projects_to_judge()).await? {
            let (app, now) = (self.clone(), self.clock.now());
            self.store.write(move |tx| app.judge_bills(tx, project, now)).await?;
        }
        Ok(())
    }

    fn judge_bills(&self, tx: &mut Tx<'_>, project: ProjectId, now: Millis) -> Result<()> {
        tx.lock(&format!("bill:{project}"))?;
        let Some(name) = tx.project(project)?.map(|p| p.name.to_string()) else { return Ok(()) };
        let (billing, before) = (&self.settings.billing, tx.standing(project)?);
        let owes = billing.enabled && tx.balance(project)? < Sats::ZERO;
        let mut after = Standing { below_since: None, ..before.clone() };
        if owes {
            // A clock that went back must not make the grace longer.
            after.below_since = Some(before.below_since.map_or(now, |since| since.min(now)));
        }
        let overdue = after.below_since.is_some_and(|since| now >= since.plus(billing.grace));
        let caps: Vec<CapUse> = tx
            .caps(project, now)?
            .into_iter()
            .filter(|cap| cap.cap.kind == Spend::Compute && cap.is_reached())
            .collect();
        let capped = caps.iter().filter(|cap| cap.cap.instance.is_none());
        let turns: Vec<_> = capped.map(|cap| turn_of(cap.cap.period, now)).collect();
        let why = match (overdue, turns.is_empty()) {
            (true, _) => Some(Suspension::Balance),
            (false, true) => None,
            (false, false) => Some(Suspension::Cap),
        };
        after.suspended_for = why;
        // One that never turns outlasts all others.
        let turn = turns.into_iter().collect::<Option<Vec<_>>>().and_then(|turns| turns.into_iter().max());
        after.suspended_until = turn.filter(|_| why == Some(Suspension::Cap));
        after.suspended_at = why.map(|_| before.suspended_at.unwrap_or(now));
        if after != before {
            tx.put_standing(project, &after)?;
        }
        suspend(tx, project, why, &caps, now)?;
        if why != before.suspended_for {
            let kind = if why.is_some() { "project.suspended" } else { "project.resumed" };
            let data = json!({"reason": why, "before": before.suspended_for});
            events::system(tx, now, kind, "project", &project.to_string(), &name, Some(project), data)?;
            crate::crash::point("billing.judged");
        }
        Ok(())
    }
}

/// Refuses what would make a suspended project spend more.
pub(crate) fn must_not_be_suspended(tx: &mut Tx<'_>, project: ProjectId) -> Result<()> {
    match tx.standing(project)?.suspended_for {
        None => Ok(()),
        Some(Suspension::Balance) => Err(Error::PaymentRequired(format!(
            "the project is suspended because it owes {} satoshis; pay, and it goes on by itself",
            -i128::from(tx.balance(project)?.0)
        ))),
        Some(Suspension::Cap) => Err(Error::PaymentRequired(
            "the project is suspended because it reached a cap; raise the cap, or wait for its period to turn"
                .into(),
        )),
    }
}

/// All instances of a suspended project, else those whose own cap is reached.
fn suspend(
    tx: &mut Tx<'_>,
    project: ProjectId,
    why: Option<Suspension>,
    caps: &[CapUse],
    now: Millis,
) -> Result<()> {
    if why.is_some() {
        tx.suspend_instances(project, None, why, now)?;
        return Ok(());
    }
    let mut capped: BTreeSet<InstanceId> = caps.iter().filter_map(|cap| cap.cap.instance).collect();
    for agent in capped.clone() {
        capped.extend(tx.addons_of(agent)?.into_iter().map(|database| database.id));
    }
    for (instance, is) in tx.suspended_instances(project)? {
        if is != Suspension::Cap || !capped.contains(&instance) {
            tx.suspend_instances(project, Some(instance), None, now)?;
        }
    }
    for instance in capped {
        tx.suspend_instances(project, Some(instance), Some(Suspension::Cap), now)?;
    }
    Ok(())
}

/// When a period that `now` is in is over; never, for all time.
fn turn_of(period: Period, now: Millis) -> Option<Millis> {
    const DAY: i64 = 86_400_000;
    let (day, month) = day_and_month(now);
    match period {
        Period::Day => Some(Millis(day.0 + DAY)),
        // The first moment of the month that is at least 31 days after this one's.
        Period::Month => Some(day_and_month(Millis(month.0 + 31 * DAY)).1),
        Period::Total => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_turn() {
        let at = |text: &str| ryokan_model::usage::month_named(text).unwrap().0;
        let february = Millis(at("2026-02").0 + 5 * 86_400_000 + 7);
        assert_eq!(turn_of(Period::Month, february), Some(at("2026-03")));
        assert_eq!(turn_of(Period::Month, Millis(at("2026-12").0)), Some(at("2027-01")));
        assert_eq!(turn_of(Period::Day, february), Some(Millis(at("2026-02").0 + 6 * 86_400_000)));
        assert_eq!(turn_of(Period::Total, february), None);
    }
}
