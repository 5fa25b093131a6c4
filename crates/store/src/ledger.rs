//! The ledger: accounts, transactions and their entries, append-only. A transaction's entries sum to zero, and an
//! account's balance is the sum of its entries; both are written in one step, so neither can be seen without the other.
//!
//! What a project has is the balance of its account: what it paid or was given, less what it used.

use ryokan_model::usage::Interval;
use ryokan_model::{Millis, ProjectId, Sats, TransactionId};

use crate::{Result, Row, StoreError, Tx, params};

/// Where money is or comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Account {
    /// What a project has.
    Project(ProjectId),
    /// What was earned: by resource or by kind of spending.
    Revenue(&'static str),
    /// What came in over the chain; it goes below zero by as much.
    Payments,
    /// What operators gave.
    Grants,
    /// What went back to whoever paid.
    Refunds,
    /// What was spent on chain for projects.
    Funding,
}

impl Account {
    pub fn id(self) -> String {
        match self {
            Self::Project(project) => format!("project:{project}"),
            Self::Revenue(of) => format!("revenue:{of}"),
            _ => self.kind().to_owned(),
        }
    }

    const fn kind(self) -> &'static str {
        match self {
            Self::Project(_) => "project",
            Self::Revenue(_) => "revenue",
            Self::Payments => "payments",
            Self::Grants => "grants",
            Self::Refunds => "refunds",
            Self::Funding => "funding",
        }
    }

    fn project(self) -> Option<String> {
        match self {
            Self::Project(project) => Some(project.to_string()),
            _ => None,
        }
    }
}

/// What is to be posted. Each account stands in it once.
#[derive(Debug, Clone)]
pub struct Posting {
    pub id: TransactionId,
    /// `usage`, `payment`, `credit`, `refund`, `models`, `tools`, `funding`.
    pub kind: &'static str,
    pub project: ProjectId,
    /// Of a charge for usage.
    pub interval: Option<Interval>,
    pub reason: String,
    pub actor: String,
    pub price_version: Option<i64>,
    /// What this kind of transaction may happen once for.
    pub reference: Option<String>,
    pub at: Millis,
    pub entries: Vec<(Account, Sats)>,
}

/// What a posting did to the project's account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Posted {
    pub before: Sats,
    pub after: Sats,
}

/// A transaction as a project's statement shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementLine {
    pub seq: i64,
    pub transaction: TransactionId,
    pub kind: String,
    pub interval: Option<Millis>,
    pub reason: String,
    pub actor: String,
    pub price_version: Option<i64>,
    pub reference: Option<String>,
    pub at: Millis,
    pub amount: Sats,
    pub balance_after: Sats,
}

/// One entry of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub account: String,
    pub amount: Sats,
}

/// An account with what its entries say about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountCheck {
    pub account: String,
    pub balance: Sats,
    pub entries: i64,
    pub sum: Sats,
    pub count: i64,
    pub last_seq: i64,
    /// Entries whose balance is not that of the entry before and their amount.
    pub broken: i64,
}

macro_rules! statement {
    ($rest:literal) => {
        concat!(
            "SELECT e.seq, e.amount, e.balance_after, t.id, t.kind, t.interval_start, t.reason, t.actor,
                t.price_version, t.reference, t.created_at
             FROM ledger_entries e JOIN ledger_transactions t ON t.id = e.transaction_id ",
            $rest
        )
    };
}

fn line(row: &Row) -> Result<StatementLine> {
    Ok(StatementLine {
        seq: row.int("seq")?,
        transaction: row.parse("id")?,
        kind: row.text("kind")?,
        interval: row.opt_int("interval_start")?.map(Millis),
        reason: row.text("reason")?,
        actor: row.text("actor")?,
        price_version: row.opt_int("price_version")?,
        reference: row.opt_text("reference")?,
        at: Millis(row.int("created_at")?),
        amount: Sats(row.int("amount")?),
        balance_after: Sats(row.int("balance_after")?),
    })
}

impl Tx<'_> {
    /// Posts a transaction. Refused unless its entries sum to zero and one of them is the project's. A second charge for
    /// an interval, or use of a reference, is `UniqueViolation`.
    pub fn post(&mut self, posting: &Posting) -> Result<Posted> {
        let broken = |why: &str| StoreError::Other(format!("a {} posting {why}", posting.kind));
        let mut entries = posting.entries.clone();
        // In one order, so that two transactions that share accounts never wait for each other in a circle.
        entries.sort_by_key(|(account, _)| account.id());
        if entries.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(broken("names an account twice"));
        }
        if Sats::sum(entries.iter().map(|(_, amount)| *amount)) != Some(Sats::ZERO) {
            return Err(broken("does not sum to zero"));
        }
        let id = posting.id.to_string();
        self.execute(
            "INSERT INTO ledger_transactions (id, kind, project_id, interval_start, reason, actor, price_version,
                reference, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            params![
                &id,
                posting.kind,
                posting.project.to_string(),
                posting.interval.map(|i| i.start().0),
                &posting.reason,
                &posting.actor,
                posting.price_version,
                &posting.reference,
                posting.at.0
            ],
        )?;
        let mut posted = None;
        for (account, amount) in entries {
            // The row stays locked until the commit: whoever posts to it next sees this balance.
            let row = self.query_one(
                "INSERT INTO accounts (id, kind, project_id, balance, entries) VALUES ($1, $2, $3, $4, 1)
                 ON CONFLICT (id) DO UPDATE SET balance = accounts.balance + excluded.balance,
                    entries = accounts.entries + 1
                 RETURNING balance, entries",
                params![account.id(), account.kind(), account.project(), amount.0],
            )?;
            let after = Sats(row.int("balance")?);
            self.execute(
                "INSERT INTO ledger_entries (account_id, seq, transaction_id, amount, balance_after)
                 VALUES ($1, $2, $3, $4, $5)",
                params![account.id(), row.int("entries")?, &id, amount.0, after.0],
            )?;
            if account == Account::Project(posting.project) {
                let before = after.minus(amount).ok_or_else(|| broken("overflows"))?;
                posted = Some(Posted { before, after });
            }
        }
        self.notify_row("ledger", posting.project);
        posted.ok_or_else(|| broken("has no entry of its project"))
    }

    /// What the project has; zero before its first transaction.
    pub fn balance(&mut self, project: ProjectId) -> Result<Sats> {
        let row = self.query_opt(
            "SELECT balance FROM accounts WHERE id = $1",
            params![Account::Project(project).id()],
        )?;
        row.map_or(Ok(Sats::ZERO), |row| row.int("balance").map(Sats))
    }

    /// Up to `limit` lines before the one numbered `before`, the newest first.
    pub fn statement(&mut self, project: ProjectId, before: i64, limit: u32) -> Result<Vec<StatementLine>> {
        self.query(
            statement!("WHERE e.account_id = $1 AND e.seq < $2 ORDER BY e.seq DESC LIMIT $3"),
            params![Account::Project(project).id(), before, limit],
        )?
        .iter()
        .map(line)
        .collect()
    }

    /// One transaction of the project's.
    pub fn statement_line(
        &mut self,
        project: ProjectId,
        transaction: TransactionId,
    ) -> Result<Option<StatementLine>> {
        self.query_opt(
            statement!("WHERE e.account_id = $1 AND e.transaction_id = $2"),
            params![Account::Project(project).id(), transaction.to_string()],
        )?
        .as_ref()
        .map(line)
        .transpose()
    }

    /// Sums by kind of what was posted to the project in `[from, to)`: kind, number, sum; and where the balance stood
    /// at the end of it.
    pub fn statement_sums(
        &mut self,
        project: ProjectId,
        from: Millis,
        to: Millis,
    ) -> Result<Vec<(String, String, i64, Sats)>> {
        let rows = self.query(
            "SELECT t.kind AS kind, o.account_id AS account, CAST(count(*) AS BIGINT) AS n,
                CAST(sum(o.amount) AS BIGINT) AS amount
             FROM ledger_transactions t JOIN ledger_entries o ON o.transaction_id = t.id
             WHERE t.project_id = $1 AND t.created_at >= $2 AND t.created_at < $3
             GROUP BY t.kind, o.account_id ORDER BY t.kind, o.account_id",
            params![project.to_string(), from.0, to.0],
        )?;
        rows.iter()
            .map(|row| Ok((row.text("kind")?, row.text("account")?, row.int("n")?, Sats(row.int("amount")?))))
            .collect()
    }

    /// The project's balance before the first transaction at or after `at`.
    pub fn balance_at(&mut self, project: ProjectId, at: Millis) -> Result<Sats> {
        let row = self.query_opt(
            "SELECT e.balance_after FROM ledger_entries e JOIN ledger_transactions t ON t.id = e.transaction_id
             WHERE e.account_id = $1 AND t.created_at < $2 ORDER BY e.seq DESC LIMIT 1",
            params![Account::Project(project).id(), at.0],
        )?;
        row.map_or(Ok(Sats::ZERO), |row| row.int("balance_after").map(Sats))
    }

    /// The entries of the charge for an interval, with the version of the price that it names.
    pub fn usage_entries(
        &mut self,
        project: ProjectId,
        interval: Interval,
    ) -> Result<Option<(Option<i64>, Vec<Entry>)>> {
        let rows = self.query(
            "SELECT t.price_version, e.account_id, e.amount FROM ledger_transactions t
             JOIN ledger_entries e ON e.transaction_id = t.id
             WHERE t.project_id = $1 AND t.interval_start = $2 ORDER BY e.account_id",
            params![project.to_string(), interval.start().0],
        )?;
        let Some(first) = rows.first() else { return Ok(None) };
        let version = first.opt_int("price_version")?;
        let entries = rows
            .iter()
            .map(|row| Ok(Entry { account: row.text("account_id")?, amount: Sats(row.int("amount")?) }))
            .collect::<Result<_>>()?;
        Ok(Some((version, entries)))
    }

    /// Transactions whose entries do not sum to zero, or are less than two: at most 100.
    pub fn unbalanced_transactions(&mut self) -> Result<Vec<String>> {
        let rows = self.query(
            "SELECT t.id FROM ledger_transactions t LEFT JOIN ledger_entries e ON e.transaction_id = t.id
             GROUP BY t.id HAVING coalesce(sum(e.amount), 1) <> 0 OR count(e.seq) < 2 ORDER BY t.id LIMIT 100",
            params![],
        )?;
        rows.iter().map(|row| row.text("id")).collect()
    }

    /// All accounts, beside what their entries say.
    pub fn account_checks(&mut self) -> Result<Vec<AccountCheck>> {
        let rows = self.query(
            "SELECT a.id, a.balance, a.entries, CAST(coalesce(sum(e.amount), 0) AS BIGINT) AS total,
                CAST(count(e.seq) AS BIGINT) AS n, CAST(coalesce(max(e.seq), 0) AS BIGINT) AS last,
                CAST(coalesce(sum(CASE WHEN e.balance_after <> e.amount + coalesce(e.before, 0)
                    THEN 1 ELSE 0 END), 0) AS BIGINT) AS broken
             FROM accounts a LEFT JOIN (
                SELECT account_id, seq, amount, balance_after,
                    lag(balance_after) OVER (PARTITION BY account_id ORDER BY seq) AS before FROM ledger_entries
             ) AS e ON e.account_id = a.id
             GROUP BY a.id, a.balance, a.entries ORDER BY a.id",
            params![],
        )?;
        let check = |row: &Row| {
            Ok(AccountCheck {
                account: row.text("id")?,
                balance: Sats(row.int("balance")?),
                entries: row.int("entries")?,
                sum: Sats(row.int("total")?),
                count: row.int("n")?,
                last_seq: row.int("last")?,
                broken: row.int("broken")?,
            })
        };
        rows.iter().map(check).collect()
    }
}
