//! Calls of models: what is set aside for those under way, what was spent, and a row for each. Whoever sets aside and
//! checks holds the locks of all that the call is counted for, so that of any number of concurrent calls no more fit than
//! there is room for.

use ryokan_model::billing::Period;
use ryokan_model::models::{BudgetScope, Call, CallOutcome, Subject, Tokens};
use ryokan_model::usage::day_and_month;
use ryokan_model::{Millis, ModelCallId, ProjectId, ReservationId};

use crate::{Result, Row, Tx, params};

/// What counts against a budget, money in millionths of a satoshi.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spent {
    pub tokens: i64,
    pub tokens_held: i64,
    pub microsats: i64,
    pub microsats_held: i64,
}

/// What is set aside for one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    pub id: ModelCallId,
    pub subject: Subject,
    pub model: String,
    pub tokens: i64,
    pub microsats: i64,
    pub reservation: Option<ReservationId>,
    pub created_at: Millis,
    pub expires_at: Millis,
}

/// A call as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallRow {
    pub id: ModelCallId,
    pub at: Millis,
    pub project: ProjectId,
    pub user: Option<String>,
    pub instance: Option<String>,
    pub endpoint: String,
    pub model: String,
    pub provider: String,
    pub upstream_model: String,
    pub reason: String,
    pub outcome: CallOutcome,
    pub status: i64,
    pub tokens: Tokens,
    pub estimated: bool,
    pub microsats: i64,
    pub satoshis: i64,
    pub price_version: Option<i64>,
    pub millis: i64,
    pub first_byte_millis: Option<i64>,
}

/// Calls of one model in one day, or of what else they were summed up by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallSum {
    /// The day's start.
    pub day: Millis,
    pub model: String,
    pub provider: String,
    pub calls: i64,
    pub failed: i64,
    pub tokens: Tokens,
    pub microsats: i64,
    pub satoshis: i64,
}

fn began(period: Period, at: Millis) -> Millis {
    let (day, month) = day_and_month(at);
    match period {
        Period::Day => day,
        Period::Month => month,
        Period::Total => Millis(0),
    }
}

fn text<T: ToString>(id: Option<T>) -> String {
    id.map(|id| id.to_string()).unwrap_or_default()
}

fn hold(row: &Row) -> Result<Hold> {
    let filled = |name: &str| -> Result<bool> { Ok(!row.text(name)?.is_empty()) };
    Ok(Hold {
        id: row.parse("id")?,
        subject: Subject {
            project: row.parse("project_id")?,
            user: if filled("user_id")? { Some(row.parse("user_id")?) } else { None },
            instance: if filled("instance_id")? { Some(row.parse("instance_id")?) } else { None },
        },
        model: row.text("model")?,
        tokens: row.int("tokens")?,
        microsats: row.int("microsats")?,
        reservation: row.opt_parse("reservation_id")?,
        created_at: Millis(row.int("created_at")?),
        expires_at: Millis(row.int("expires_at")?),
    })
}

fn tokens(row: &Row) -> Result<Tokens> {
    Ok(Tokens { input: row.int("input")?, cached: row.int("cached")?, output: row.int("output")? })
}

fn call(row: &Row) -> Result<CallRow> {
    let opt = |name: &str| -> Result<Option<String>> { Ok(Some(row.text(name)?).filter(|t| !t.is_empty())) };
    Ok(CallRow {
        id: row.parse("id")?,
        at: Millis(row.int("at")?),
        project: row.parse("project_id")?,
        user: opt("user_id")?,
        instance: opt("instance_id")?,
        endpoint: row.text("endpoint")?,
        model: row.text("model")?,
        provider: row.text("provider")?,
        upstream_model: row.text("upstream_model")?,
        reason: row.text("reason")?,
        outcome: row.parse("outcome")?,
        status: row.int("status")?,
        tokens: tokens(row)?,
        estimated: row.bool("estimated")?,
        microsats: row.int("microsats")?,
        satoshis: row.int("satoshis")?,
        price_version: row.opt_int("price_version")?,
        millis: row.int("millis")?,
        first_byte_millis: row.opt_int("first_byte_millis")?,
    })
}

impl Tx<'_> {
    /// What was spent and is set aside in the period that `now` is in.
    pub fn model_spent(
        &mut self,
        scope: BudgetScope,
        id: &str,
        period: Period,
        now: Millis,
    ) -> Result<Spent> {
        let row = self.query_opt(
            "SELECT tokens, tokens_held, microsats, microsats_held FROM model_spending
             WHERE scope = $1 AND scope_id = $2 AND period = $3 AND period_start = $4",
            params![scope.as_str(), id, period.as_str(), began(period, now).0],
        )?;
        row.map_or(Ok(Spent::default()), |row| {
            Ok(Spent {
                tokens: row.int("tokens")?,
                tokens_held: row.int("tokens_held")?,
                microsats: row.int("microsats")?,
                microsats_held: row.int("microsats_held")?,
            })
        })
    }

    /// Adds to all that `subject` is counted for, in the periods of `at`.
    pub fn add_model_spending(&mut self, subject: &Subject, at: Millis, more: Spent) -> Result<()> {
        for (scope, id) in subject.scopes() {
            for period in Period::ALL {
                self.execute(
                    "INSERT INTO model_spending (scope, scope_id, period, period_start, tokens, tokens_held, microsats,
                        microsats_held)
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
                     ON CONFLICT (scope, scope_id, period, period_start) DO UPDATE
                        SET tokens = model_spending.tokens + excluded.tokens,
                            tokens_held = model_spending.tokens_held + excluded.tokens_held,
                            microsats = model_spending.microsats + excluded.microsats,
                            microsats_held = model_spending.microsats_held + excluded.microsats_held",
                    params![
                        scope.as_str(),
                        &id,
                        period.as_str(),
                        began(*period, at).0,
                        more.tokens,
                        more.tokens_held,
                        more.microsats,
                        more.microsats_held
                    ],
                )?;
            }
        }
        Ok(())
    }

    /// Sets aside. Whoever calls has checked that it fits.
    pub fn insert_model_hold(&mut self, h: &Hold) -> Result<()> {
        self.execute(
            "INSERT INTO model_holds (id, project_id, user_id, instance_id, model, tokens, microsats, reservation_id,
                created_at, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            params![
                h.id.to_string(),
                h.subject.project.to_string(),
                text(h.subject.user),
                text(h.subject.instance),
                &h.model,
                h.tokens,
                h.microsats,
                h.reservation.map(|id| id.to_string()),
                h.created_at.0,
                h.expires_at.0
            ],
        )?;
        let held = Spent { tokens_held: h.tokens, microsats_held: h.microsats, ..Spent::default() };
        self.add_model_spending(&h.subject, h.created_at, held)
    }

    /// Gives back what was set aside; `None` if that was done before.
    pub fn take_model_hold(&mut self, id: ModelCallId) -> Result<Option<Hold>> {
        let row =
            self.query_opt("DELETE FROM model_holds WHERE id = $1 RETURNING *", params![id.to_string()])?;
        let Some(held) = row.as_ref().map(hold).transpose()? else { return Ok(None) };
        let back = Spent { tokens_held: -held.tokens, microsats_held: -held.microsats, ..Spent::default() };
        self.add_model_spending(&held.subject, held.created_at, back)?;
        Ok(Some(held))
    }

    pub fn expired_model_holds(&mut self, now: Millis, limit: u32) -> Result<Vec<Hold>> {
        self.query(
            "SELECT * FROM model_holds WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2",
            params![now.0, limit],
        )?
        .iter()
        .map(hold)
        .collect()
    }

    pub fn count_model_holds(&mut self) -> Result<i64> {
        self.query_one("SELECT count(*) AS n FROM model_holds", params![])?.int("n")
    }

    /// Adds millionths of a satoshi to what the project owes, and takes the whole satoshis out of it.
    pub fn take_whole_satoshis(&mut self, project: ProjectId, microsats: i64) -> Result<i64> {
        let row = self.query_one(
            "INSERT INTO model_rules (project_id, external, keep_prompts, rest) VALUES ($1, $2, $3, $4)
             ON CONFLICT (project_id) DO UPDATE SET rest = model_rules.rest + excluded.rest
             RETURNING rest",
            params![project.to_string(), true, false, microsats],
        )?;
        let rest = row.int("rest")?;
        let whole = rest / crate::billing::MICROS;
        if whole > 0 {
            self.execute(
                "UPDATE model_rules SET rest = $2 WHERE project_id = $1",
                params![project.to_string(), rest % crate::billing::MICROS],
            )?;
        }
        Ok(whole)
    }

    pub fn insert_model_call(&mut self, id: ModelCallId, c: &Call, satoshis: i64) -> Result<()> {
        self.execute(
            "INSERT INTO model_calls (id, at, project_id, user_id, instance_id, endpoint, model, provider,
                upstream_model, reason, outcome, status, input, cached, output, estimated, microsats, satoshis,
                price_version, millis, first_byte_millis)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)",
            params![
                id.to_string(),
                c.at.0,
                c.subject.project.to_string(),
                text(c.subject.user),
                text(c.subject.instance),
                c.endpoint,
                &c.model,
                &c.provider,
                &c.upstream_model,
                &c.reason,
                c.outcome.as_str(),
                u32::from(c.status),
                c.tokens.input,
                c.tokens.cached,
                c.tokens.output,
                c.estimated,
                c.microsats,
                satoshis,
                c.price_version,
                c.millis,
                c.first_byte_millis
            ],
        )
        .map(drop)
    }

    /// A project's calls, the newest first, before the call `before`.
    pub fn model_calls(
        &mut self,
        project: ProjectId,
        before: Option<&str>,
        limit: u32,
    ) -> Result<Vec<CallRow>> {
        self.query(
            "SELECT * FROM model_calls WHERE project_id = $1 AND (CAST($2 AS TEXT) IS NULL OR id < $2)
             ORDER BY id DESC LIMIT $3",
            params![project.to_string(), before, limit],
        )?
        .iter()
        .map(call)
        .collect()
    }

    /// A project's (or everybody's) calls from `from` on, by day, model and provider.
    pub fn model_call_sums(
        &mut self,
        project: Option<ProjectId>,
        from: Millis,
        limit: u32,
    ) -> Result<Vec<CallSum>> {
        const DAY: i64 = 86_400_000;
        let rows = self.query(
            "SELECT at / $1 AS day, model, provider, count(*) AS calls,
                CAST(sum(CASE WHEN outcome = 'ok' THEN 0 ELSE 1 END) AS BIGINT) AS failed,
                CAST(sum(input) AS BIGINT) AS input, CAST(sum(cached) AS BIGINT) AS cached,
                CAST(sum(output) AS BIGINT) AS output, CAST(sum(microsats) AS BIGINT) AS microsats,
                CAST(sum(satoshis) AS BIGINT) AS satoshis
             FROM model_calls
             WHERE at >= $2 AND (CAST($3 AS TEXT) IS NULL OR project_id = $3)
             GROUP BY 1, model, provider ORDER BY day DESC, model, provider LIMIT $4",
            params![DAY, from.0, project.map(|id| id.to_string()), limit],
        )?;
        rows.iter()
            .map(|row| {
                Ok(CallSum {
                    day: Millis(row.int("day")? * DAY),
                    model: row.text("model")?,
                    provider: row.text("provider")?,
                    calls: row.int("calls")?,
                    failed: row.int("failed")?,
                    tokens: tokens(row)?,
                    microsats: row.int("microsats")?,
                    satoshis: row.int("satoshis")?,
                })
            })
            .collect()
    }

    /// Forgets calls, and days and months that are over.
    pub fn purge_model_calls(&mut self, before: Millis, limit: u32) -> Result<u64> {
        self.execute(
            "DELETE FROM model_spending WHERE period <> 'total' AND period_start < $1 AND tokens_held = 0",
            params![before.0],
        )?;
        self.execute(
            "DELETE FROM model_calls WHERE id IN (SELECT id FROM model_calls WHERE at < $1 ORDER BY at LIMIT $2)",
            params![before.0, limit],
        )
    }
}
