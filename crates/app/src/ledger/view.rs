//! What a project may look at: balance, statement, usage, invoices.

use ryokan_model::permission::{Caller, Scope};
use ryokan_model::usage::{INTERVAL, month_named};
use ryokan_model::{Millis, ProjectId, Sats};
use ryokan_store::StoreError;
use ryokan_store::billing::Standing;
use ryokan_store::funding::Funding;
use ryokan_store::ledger::StatementLine;
use ryokan_store::prices::Price;
use ryokan_store::projects::Project;
use ryokan_store::usage::UsageSum;

use crate::page::one_more;
use crate::{App, Error, Page, Result};

/// Where a project stands.
#[derive(Debug, Clone)]
pub struct Balance {
    pub project: ProjectId,
    pub balance: Sats,
    pub reserved: Sats,
    pub standing: Standing,
    pub price: Option<Price>,
    /// What was last seen of its agents' address, while it asks for funding.
    pub agents: Option<Funding>,
}

/// By which steps usage is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Interval,
    Hour,
    Day,
}

impl Step {
    pub const fn millis(self) -> i64 {
        match self {
            Self::Interval => INTERVAL,
            Self::Hour => 3_600_000,
            Self::Day => 86_400_000,
        }
    }
}

/// What one month came to.
#[derive(Debug, Clone)]
pub struct Invoice {
    pub project: ProjectId,
    pub month: String,
    pub opening: Sats,
    pub closing: Sats,
    /// Kind, account, number of entries, sum: of the accounts at the other end.
    pub lines: Vec<(String, String, i64, Sats)>,
    pub usage: Option<UsageSum>,
}

/// The most steps in one answer.
const STEPS: u32 = 2_000;

/// What a deleted project still has.
#[derive(Debug, Clone)]
pub struct LeftOver {
    pub project: Project,
    pub balance: Sats,
}

/// The most deleted projects in one answer.
const LEFT_OVER: u32 = 500;

impl App {
    /// A project, or for operators one that is deleted, by its id: its money is still its.
    pub(super) async fn find_account(
        &self,
        caller: &Caller,
        need: Scope,
        id_or_name: &str,
    ) -> Result<Project> {
        if caller.is_operator()
            && let Ok(id) = id_or_name.parse::<ProjectId>()
            && let Some(gone) = self.store.read(move |tx| tx.any_project(id)).await?
            && gone.deleted_at.is_some()
        {
            return Ok(gone);
        }
        self.find_project(caller, need, id_or_name).await
    }

    /// Deleted projects that have money or owe some, the last deleted first. Operators only.
    pub async fn list_left_over(&self, caller: &Caller) -> Result<Vec<LeftOver>> {
        if !caller.is_operator() {
            return Err(Error::operators_only());
        }
        let found = self.store.read(|tx| tx.deleted_with_balance(LEFT_OVER)).await?;
        Ok(found.into_iter().map(|(project, balance)| LeftOver { project, balance }).collect())
    }

    pub async fn balance(&self, caller: &Caller, project: &str) -> Result<Balance> {
        let found = self.find_account(caller, Scope::Read, project).await?;
        let (project, now) = (found.id, self.clock.now());
        Ok(self
            .store
            .read(move |tx| {
                Ok::<_, StoreError>(Balance {
                    agents: if found.funding { tx.funding(project)? } else { None },
                    project,
                    balance: tx.balance(project)?,
                    reserved: tx.reserved(project)?,
                    standing: tx.standing(project)?,
                    price: tx.price_at(project, now)?,
                })
            })
            .await?)
    }

    /// A page of the project's statement, the newest first, after the line numbered `after`.
    pub async fn list_ledger(
        &self,
        caller: &Caller,
        project: &str,
        after: Option<i64>,
        limit: u32,
    ) -> Result<Page<StatementLine>> {
        let project = self.find_account(caller, Scope::Read, project).await?.id;
        let (before, most) = (after.unwrap_or(i64::MAX), one_more(limit));
        let rows = self.store.read(move |tx| tx.statement(project, before, most)).await?;
        Ok(Page::cut(rows, limit, |line| line.seq.to_string()))
    }

    /// Sums of what the project (or one instance of it, by id or name) used, of closed intervals that began in
    /// `[from, to)`; the last day when no times are given.
    pub async fn usage(
        &self,
        caller: &Caller,
        project: &str,
        instance: Option<&str>,
        from: Option<Millis>,
        to: Option<Millis>,
        step: Step,
    ) -> Result<Vec<UsageSum>> {
        let project = self.find_project(caller, Scope::Read, project).await?;
        let instance = match instance {
            Some(name) => {
                let row = self.find_instance(caller, Scope::Read, name).await?;
                if row.project != project.id {
                    return Err(Error::not_found("instance", name));
                }
                Some(row.id)
            }
            None => None,
        };
        let to = to.unwrap_or_else(|| self.clock.now());
        let from = from.unwrap_or(Millis(to.0.saturating_sub(86_400_000)));
        if from.0 < 0 || to <= from {
            return Err(Error::invalid("from", "must be before `to`"));
        }
        if (to.0 - from.0) / step.millis() >= i64::from(STEPS) {
            return Err(Error::invalid(
                "step",
                format!("there are more than {STEPS} of these between `from` and `to`; take longer steps"),
            ));
        }
        let step = step.millis();
        Ok(self.store.read(move |tx| tx.usage_sums(project.id, instance, from, to, step, STEPS + 1)).await?)
    }

    /// One month, `2026-11`; the current one is what it comes to so far.
    pub async fn invoice(&self, caller: &Caller, project: &str, month: &str) -> Result<Invoice> {
        let project = self.find_account(caller, Scope::Read, project).await?.id;
        let (from, to) = month_named(month)
            .ok_or_else(|| Error::invalid("month", "must be a month, as in \"2026-11\""))?;
        let month = month.to_owned();
        Ok(self
            .store
            .read(move |tx| {
                let lines = tx.statement_sums(project, from, to)?;
                let own = ryokan_store::ledger::Account::Project(project).id();
                let used = tx.usage_sums(project, None, from, to, i64::MAX, 1)?;
                Ok::<_, StoreError>(Invoice {
                    project,
                    month,
                    opening: tx.balance_at(project, from)?,
                    closing: tx.balance_at(project, to)?,
                    lines: lines.into_iter().filter(|(_, account, ..)| *account != own).collect(),
                    usage: used.into_iter().next(),
                })
            })
            .await?)
    }
}
