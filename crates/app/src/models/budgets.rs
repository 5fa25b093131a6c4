//! Budgets: the most that a project, one of its instances, or a user over all projects may spend on models, in tokens or
//! satoshis, in a period. They are hard: what a call may use at most is set aside against them before it is sent.

use ryokan_model::billing::Period;
use ryokan_model::models::{BudgetScope, BudgetUnit};
use ryokan_model::permission::{Caller, Scope};
use ryokan_store::model_calls::Spent;
use ryokan_store::models::Budget;
use serde_json::json;

use crate::system::operators;
use crate::{App, Error, Result, events};

/// Whose budget.
pub enum BudgetOf<'a> {
    Project(&'a str),
    Instance { project: &'a str, instance: &'a str },
    User(&'a str),
}

/// A budget with what counts against it now.
#[derive(Debug, Clone)]
pub struct BudgetUse {
    pub budget: Budget,
    pub spent: Spent,
}

impl App {
    async fn budget_scope(
        &self,
        caller: &Caller,
        need: Scope,
        of: &BudgetOf<'_>,
    ) -> Result<(BudgetScope, String, Option<ryokan_model::ProjectId>)> {
        match of {
            BudgetOf::Project(project) => {
                let project = self.find_project(caller, need, project).await?.id;
                Ok((BudgetScope::Project, project.to_string(), Some(project)))
            }
            BudgetOf::Instance { project, instance } => {
                let project = self.find_project(caller, need, project).await?.id;
                let row = self.find_instance(caller, need, instance).await?;
                if row.project != project {
                    return Err(Error::not_found("instance", *instance));
                }
                Ok((BudgetScope::Instance, row.id.to_string(), Some(project)))
            }
            BudgetOf::User(user) => {
                operators(caller)?;
                let wanted = (*user).to_owned();
                let found = self
                    .store
                    .read(move |tx| match wanted.parse() {
                        Ok(id) => tx.user(id),
                        Err(_) => tx.user_by_login(&wanted),
                    })
                    .await?;
                let found = found.ok_or_else(|| Error::not_found("user", *user))?;
                Ok((BudgetScope::User, found.id.to_string(), None))
            }
        }
    }

    pub async fn list_model_budgets(&self, caller: &Caller, of: BudgetOf<'_>) -> Result<Vec<BudgetUse>> {
        let (scope, id, _) = self.budget_scope(caller, Scope::Read, &of).await?;
        let now = self.clock.now();
        self.store
            .read(move |tx| {
                let budgets = tx.model_budgets(scope, &id)?;
                budgets
                    .into_iter()
                    .map(|budget| {
                        let spent = tx.model_spent(scope, &id, budget.period, now)?;
                        Ok(BudgetUse { budget, spent })
                    })
                    .collect()
            })
            .await
    }

    /// Sets a budget, or takes it away. It holds for the next call.
    pub async fn set_model_budget(
        &self,
        caller: &Caller,
        of: BudgetOf<'_>,
        unit: BudgetUnit,
        period: Period,
        amount: Option<i64>,
    ) -> Result<Vec<BudgetUse>> {
        const MOST: i64 = 1_000_000_000_000;
        let (scope, id, project) = self.budget_scope(caller, Scope::Admin, &of).await?;
        if amount.is_some_and(|amount| !(0..=MOST).contains(&amount)) {
            return Err(Error::invalid("amount", format!("must be from 0 to {MOST}")));
        }
        let (now, by) = (self.clock.now(), caller.clone());
        self.store
            .write(move |tx| {
                let budget = Budget { scope, scope_id: id, unit, period, amount: amount.unwrap_or(0) };
                tx.put_model_budget(&budget, amount, now)?;
                let data = json!({"unit": unit, "period": period, "amount": amount});
                events::by_caller(
                    tx,
                    now,
                    &by,
                    project,
                    "models.budgeted",
                    scope.as_str(),
                    &budget.scope_id,
                    &budget.scope_id,
                    data,
                )
            })
            .await?;
        self.refresh_models().await?;
        self.list_model_budgets(caller, of).await
    }
}
