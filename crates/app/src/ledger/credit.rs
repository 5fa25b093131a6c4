//! What operators give and take back by hand, each with a reason.

use std::sync::Arc;

use ryokan_model::permission::{Caller, Scope};
use ryokan_model::{Sats, TransactionId};
use ryokan_store::ledger::{Account, Posting, StatementLine};
use serde_json::json;

use crate::idempotency::{self, IdempotencyKey};
use crate::{App, Error, Result, events};

const LONGEST_REASON: usize = 500;

/// Which way the money goes.
#[derive(Clone, Copy)]
enum Way {
    ToProject,
    FromProject,
}

impl App {
    /// Gives a project money that nobody paid here. Operators only.
    pub async fn credit_project(
        self: &Arc<Self>,
        caller: &Caller,
        project: &str,
        amount: Sats,
        reason: String,
        key: Option<IdempotencyKey>,
    ) -> Result<StatementLine> {
        self.move_money(caller, project, amount, reason, key, Way::ToProject).await
    }

    /// Takes money out of a project that was given back to whoever paid it. Never more than it has. A deleted project is
    /// named by its id. Operators only.
    pub async fn refund_project(
        self: &Arc<Self>,
        caller: &Caller,
        project: &str,
        amount: Sats,
        reason: String,
        key: Option<IdempotencyKey>,
    ) -> Result<StatementLine> {
        self.move_money(caller, project, amount, reason, key, Way::FromProject).await
    }

    async fn move_money(
        self: &Arc<Self>,
        caller: &Caller,
        project: &str,
        amount: Sats,
        reason: String,
        key: Option<IdempotencyKey>,
        way: Way,
    ) -> Result<StatementLine> {
        let project = match way {
            Way::ToProject => self.find_project(caller, Scope::Admin, project).await?,
            Way::FromProject => self.find_account(caller, Scope::Admin, project).await?,
        };
        if !caller.is_operator() {
            return Err(Error::operators_only());
        }
        let amount = amount.payable("amount")?;
        if reason.trim().is_empty() || reason.len() > LONGEST_REASON {
            return Err(Error::invalid(
                "reason",
                format!("must say why, in at most {LONGEST_REASON} characters"),
            ));
        }
        let (kind, event, other, sign) = match way {
            Way::ToProject => ("credit", "project.credited", Account::Grants, 1),
            Way::FromProject => ("refund", "project.refunded", Account::Refunds, -1),
        };
        let once = self.once(caller, key, kind, &(project.id, amount, &reason))?;
        let (now, by) = (self.clock.now(), caller.clone());
        let id = TransactionId::from_parts(now, self.entropy.bytes());
        let app = self.clone();
        self.store
            .write(move |tx| {
                if let Some(made) = once.claim(tx, &id.to_string(), now)? {
                    let made = made.parse().ok().map(|id| tx.statement_line(project.id, id)).transpose()?;
                    return made.flatten().ok_or_else(idempotency::gone);
                }
                tx.lock(&format!("bill:{}", project.id))?;
                if matches!(way, Way::FromProject) && tx.balance(project.id)? < amount {
                    return Err(Error::Conflict(
                        "the project does not have that much; a refund cannot leave it owing".into(),
                    ));
                }
                let posting = Posting {
                    id,
                    kind,
                    project: project.id,
                    interval: None,
                    reason: reason.clone(),
                    actor: by.login.clone(),
                    price_version: None,
                    reference: None,
                    at: now,
                    entries: vec![
                        (Account::Project(project.id), Sats(amount.0 * sign)),
                        (other, Sats(-amount.0 * sign)),
                    ],
                };
                app.post(tx, &posting)?;
                let data = json!({"amount": amount, "reason": reason, "transaction": id});
                events::by_caller(
                    tx,
                    now,
                    &by,
                    Some(project.id),
                    event,
                    "project",
                    &project.id.to_string(),
                    project.name.as_str(),
                    data,
                )?;
                tx.statement_line(project.id, id)?
                    .ok_or_else(|| Error::internal("a transaction vanished inside its own transaction"))
            })
            .await
    }
}
