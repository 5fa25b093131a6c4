//! Where projects stand with their money: what is owed, suspended, capped, spent, reserved, and asked to be paid.
//!
//! Whoever checks a cap and spends holds the project's lock, so that of any number of concurrent reservations no more fit
//! than there is room for.

use ryokan_model::billing::{Period, Spend, Suspension};
use ryokan_model::usage::day_and_month;
use ryokan_model::{InstanceId, Millis, ProjectId, ReservationId, Sats, TransactionId};

use crate::{Result, Row, StoreError, Tx, params};

/// Millionths of a satoshi in one.
pub const MICROS: i64 = 1_000_000;

/// A project's standing, and whom to tell of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// Since when the balance has been below zero.
    pub below_since: Option<Millis>,
    pub suspended_at: Option<Millis>,
    pub suspended_for: Option<Suspension>,
    /// When the cap's period turns, if it does.
    pub suspended_until: Option<Millis>,
    pub email: Option<String>,
    pub webhook_url: Option<String>,
}

/// The most that may be spent in a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cap {
    /// `None`: of the whole project.
    pub instance: Option<InstanceId>,
    pub kind: Spend,
    pub period: Period,
    pub amount: Sats,
}

/// A cap with what counts against it now, in millionths of a satoshi.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CapUse {
    pub cap: Cap,
    pub spent: i64,
    pub reserved: i64,
}

impl CapUse {
    /// Whether `more` millionths fit.
    pub fn has_room(&self, more: i64) -> bool {
        let limit = self.cap.amount.0.saturating_mul(MICROS);
        self.spent.saturating_add(self.reserved).saturating_add(more) <= limit
    }

    /// Nothing is left of it.
    pub fn is_reached(&self) -> bool {
        self.spent >= self.cap.amount.0.saturating_mul(MICROS)
    }
}

/// Money that is set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    pub id: ReservationId,
    pub project: ProjectId,
    pub instance: Option<InstanceId>,
    pub kind: Spend,
    pub amount: Sats,
    pub created_at: Millis,
    pub expires_at: Millis,
    pub closed_at: Option<Millis>,
    pub settled: Option<Sats>,
}

/// A request to pay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentRequest {
    pub prefix: String,
    pub project: ProjectId,
    pub identity: String,
    pub amount: Sats,
    pub created_at: Millis,
    pub expires_at: Millis,
    pub txid: Option<String>,
    pub transaction: Option<TransactionId>,
    pub received: Option<Received>,
}

/// A transaction that answers a request to pay, and whose proof is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    pub txid: String,
    /// What its output holds.
    pub amount: Sats,
    /// What its output was derived with, beside the prefix; not known of payments from before it was kept.
    pub suffix: Option<String>,
    /// For the broadcast; empty once it was credited.
    pub extended: Vec<u8>,
}

fn whose(instance: Option<InstanceId>) -> String {
    instance.map(|id| id.to_string()).unwrap_or_default()
}

fn of_instance(row: &Row) -> Result<Option<InstanceId>> {
    if row.text("instance_id")?.is_empty() { Ok(None) } else { row.parse("instance_id").map(Some) }
}

/// When the period that `at` is in began.
fn began(period: Period, at: Millis) -> Millis {
    let (day, month) = day_and_month(at);
    match period {
        Period::Day => day,
        Period::Month => month,
        Period::Total => Millis(0),
    }
}

fn standing(row: &Row) -> Result<Standing> {
    Ok(Standing {
        below_since: row.opt_int("below_since")?.map(Millis),
        suspended_at: row.opt_int("suspended_at")?.map(Millis),
        suspended_for: row.opt_parse("suspended_for")?,
        suspended_until: row.opt_int("suspended_until")?.map(Millis),
        email: row.opt_text("email")?,
        webhook_url: row.opt_text("webhook_url")?,
    })
}

fn reservation(row: &Row) -> Result<Reservation> {
    Ok(Reservation {
        id: row.parse("id")?,
        project: row.parse("project_id")?,
        instance: of_instance(row)?,
        kind: row.parse("kind")?,
        amount: Sats(row.int("amount")?),
        created_at: Millis(row.int("created_at")?),
        expires_at: Millis(row.int("expires_at")?),
        closed_at: row.opt_int("closed_at")?.map(Millis),
        settled: row.opt_int("settled")?.map(Sats),
    })
}

impl Tx<'_> {
    pub fn standing(&mut self, project: ProjectId) -> Result<Standing> {
        let row =
            self.query_opt("SELECT * FROM billing WHERE project_id = $1", params![project.to_string()])?;
        row.as_ref().map_or(Ok(Standing::default()), standing)
    }

    pub fn put_standing(&mut self, project: ProjectId, s: &Standing) -> Result<()> {
        self.execute(
            "INSERT INTO billing (project_id, below_since, suspended_at, suspended_for, suspended_until, email,
                webhook_url)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (project_id) DO UPDATE SET below_since = excluded.below_since,
                suspended_at = excluded.suspended_at, suspended_for = excluded.suspended_for,
                suspended_until = excluded.suspended_until, email = excluded.email,
                webhook_url = excluded.webhook_url",
            params![
                project.to_string(),
                s.below_since.map(|t| t.0),
                s.suspended_at.map(|t| t.0),
                s.suspended_for.map(Suspension::as_str),
                s.suspended_until.map(|t| t.0),
                &s.email,
                &s.webhook_url
            ],
        )?;
        self.notify_row("billing", project);
        Ok(())
    }

    /// Live projects that owe, are suspended, or have an instance that is: those to look after.
    pub fn projects_to_judge(&mut self) -> Result<Vec<ProjectId>> {
        let rows = self.query(
            "SELECT b.project_id AS id FROM billing b WHERE b.below_since IS NOT NULL OR b.suspended_at IS NOT NULL
             UNION SELECT project_id AS id FROM accounts WHERE kind = 'project' AND balance < 0
             UNION SELECT project_id AS id FROM caps
             UNION SELECT project_id AS id FROM instances WHERE deleted_at IS NULL AND suspended IS NOT NULL
             ORDER BY id",
            params![],
        )?;
        rows.iter().map(|row| row.parse("id")).collect()
    }

    /// Suspends live instances of the project (or one of them), or lets them go on; the number changed.
    pub fn suspend_instances(
        &mut self,
        project: ProjectId,
        only: Option<InstanceId>,
        why: Option<Suspension>,
        now: Millis,
    ) -> Result<u64> {
        let why = why.map(Suspension::as_str);
        let only = only.map(|id| id.to_string());
        let changed = self.query(
            "UPDATE instances SET suspended = $2, version = version + 1, updated_at = $3
             WHERE project_id = $1 AND deleted_at IS NULL AND coalesce(suspended, '') <> coalesce(CAST($2 AS TEXT), '')
                AND (CAST($4 AS TEXT) IS NULL OR id = $4)
             RETURNING id",
            params![project.to_string(), why, now.0, only],
        )?;
        for row in &changed {
            self.notify_row("instances", row.text("id")?);
        }
        Ok(u64::try_from(changed.len()).unwrap_or(u64::MAX))
    }

    /// Live instances of the project that are suspended.
    pub fn suspended_instances(&mut self, project: ProjectId) -> Result<Vec<(InstanceId, Suspension)>> {
        let rows = self.query(
            "SELECT id, suspended FROM instances
             WHERE project_id = $1 AND deleted_at IS NULL AND suspended IS NOT NULL ORDER BY id",
            params![project.to_string()],
        )?;
        rows.iter().map(|row| Ok((row.parse("id")?, row.parse("suspended")?))).collect()
    }

    /// Sets a cap, or takes it away.
    pub fn put_cap(
        &mut self,
        project: ProjectId,
        instance: Option<InstanceId>,
        kind: Spend,
        period: Period,
        amount: Option<Sats>,
        now: Millis,
    ) -> Result<()> {
        let key = (project.to_string(), whose(instance), kind.as_str(), period.as_str());
        match amount {
            Some(amount) => self.execute(
                "INSERT INTO caps (project_id, instance_id, kind, period, amount, updated_at)
                 VALUES ($1, $2, $3, $4, $5, $6)
                 ON CONFLICT (project_id, instance_id, kind, period) DO UPDATE SET amount = excluded.amount,
                    updated_at = excluded.updated_at",
                params![key.0, key.1, key.2, key.3, amount.0, now.0],
            )?,
            None => self.execute(
                "DELETE FROM caps WHERE project_id = $1 AND instance_id = $2 AND kind = $3 AND period = $4",
                params![key.0, key.1, key.2, key.3],
            )?,
        };
        self.notify_row("billing", project);
        Ok(())
    }

    /// The project's caps, each with what counts against it at `at`.
    pub fn caps(&mut self, project: ProjectId, at: Millis) -> Result<Vec<CapUse>> {
        let (day, month) = day_and_month(at);
        let rows = self.query(
            "SELECT c.instance_id, c.kind, c.period, c.amount, coalesce(s.spent, 0) AS spent,
                coalesce(s.reserved, 0) AS reserved
             FROM caps c LEFT JOIN spending s ON s.project_id = c.project_id AND s.instance_id = c.instance_id
                AND s.kind = c.kind AND s.period = c.period
                AND s.period_start = CASE c.period WHEN 'day' THEN CAST($2 AS BIGINT)
                    WHEN 'month' THEN CAST($3 AS BIGINT) ELSE 0 END
             WHERE c.project_id = $1 ORDER BY c.instance_id, c.kind, c.period",
            params![project.to_string(), day.0, month.0],
        )?;
        rows.iter()
            .map(|row| {
                Ok(CapUse {
                    cap: Cap {
                        instance: of_instance(row)?,
                        kind: row.parse("kind")?,
                        period: row.parse("period")?,
                        amount: Sats(row.int("amount")?),
                    },
                    spent: row.int("spent")?,
                    reserved: row.int("reserved")?,
                })
            })
            .collect()
    }

    /// Adds to what is spent and reserved, in the periods that `at` is in: of the project, or of one instance of it.
    pub fn add_spending(
        &mut self,
        project: ProjectId,
        instance: Option<InstanceId>,
        kind: Spend,
        at: Millis,
        spent: i64,
        reserved: i64,
    ) -> Result<()> {
        for period in Period::ALL {
            self.execute(
                "INSERT INTO spending (project_id, instance_id, kind, period, period_start, spent, reserved)
                 VALUES ($1, $2, $3, $4, $5, $6, $7)
                 ON CONFLICT (project_id, instance_id, kind, period, period_start) DO UPDATE SET
                    spent = spending.spent + excluded.spent, reserved = spending.reserved + excluded.reserved",
                params![
                    project.to_string(),
                    whose(instance),
                    kind.as_str(),
                    period.as_str(),
                    began(*period, at).0,
                    spent,
                    reserved
                ],
            )?;
        }
        Ok(())
    }

    /// All that is set aside for the project now.
    pub fn reserved(&mut self, project: ProjectId) -> Result<Sats> {
        self.query_one(
            "SELECT CAST(coalesce(sum(amount), 0) AS BIGINT) AS total FROM reservations
             WHERE project_id = $1 AND closed_at IS NULL",
            params![project.to_string()],
        )?
        .int("total")
        .map(Sats)
    }

    /// Sets money aside. Whoever calls holds the project's lock and has checked that it fits.
    pub fn insert_reservation(&mut self, r: &Reservation) -> Result<()> {
        self.execute(
            "INSERT INTO reservations (id, project_id, instance_id, kind, amount, created_at, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
            params![
                r.id.to_string(),
                r.project.to_string(),
                whose(r.instance),
                r.kind.as_str(),
                r.amount.0,
                r.created_at.0,
                r.expires_at.0
            ],
        )?;
        self.set_aside(r, 0, 1)
    }

    /// Closes a reservation with what was spent; `false` if it was closed before.
    pub fn close_reservation(&mut self, r: &Reservation, settled: Sats, now: Millis) -> Result<bool> {
        let closed = self.execute(
            "UPDATE reservations SET closed_at = $2, settled = $3 WHERE id = $1 AND closed_at IS NULL",
            params![r.id.to_string(), now.0, settled.0],
        )?;
        if closed == 0 {
            return Ok(false);
        }
        self.set_aside(r, settled.0, -1)?;
        Ok(true)
    }

    /// In the periods in which it was reserved, whenever it is settled.
    fn set_aside(&mut self, r: &Reservation, spent: i64, times: i64) -> Result<()> {
        let too_much = || StoreError::Other("a reservation is larger than all money".into());
        let spent = spent.checked_mul(MICROS).ok_or_else(too_much)?;
        let reserved = r.amount.0.checked_mul(MICROS * times).ok_or_else(too_much)?;
        self.add_spending(r.project, None, r.kind, r.created_at, spent, reserved)?;
        if r.instance.is_some() {
            self.add_spending(r.project, r.instance, r.kind, r.created_at, spent, reserved)?;
        }
        Ok(())
    }

    pub fn reservation(&mut self, id: ReservationId) -> Result<Option<Reservation>> {
        self.query_opt("SELECT * FROM reservations WHERE id = $1", params![id.to_string()])?
            .as_ref()
            .map(reservation)
            .transpose()
    }

    /// Open reservations that nobody settled in time.
    pub fn expired_reservations(&mut self, now: Millis, limit: u32) -> Result<Vec<Reservation>> {
        self.query(
            "SELECT * FROM reservations WHERE closed_at IS NULL AND expires_at <= $1 ORDER BY expires_at LIMIT $2",
            params![now.0, limit],
        )?
        .iter()
        .map(reservation)
        .collect()
    }

    pub fn insert_payment_request(&mut self, r: &PaymentRequest) -> Result<()> {
        self.execute(
            "INSERT INTO payment_requests (prefix, project_id, identity, amount, created_at, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6)",
            params![
                &r.prefix,
                r.project.to_string(),
                &r.identity,
                r.amount.0,
                r.created_at.0,
                r.expires_at.0
            ],
        )
        .map(drop)
    }

    pub fn payment_request(&mut self, prefix: &str) -> Result<Option<PaymentRequest>> {
        let row = self.query_opt("SELECT * FROM payment_requests WHERE prefix = $1", params![prefix])?;
        row.map(|row| {
            Ok(PaymentRequest {
                prefix: row.text("prefix")?,
                project: row.parse("project_id")?,
                identity: row.text("identity")?,
                amount: Sats(row.int("amount")?),
                created_at: Millis(row.int("created_at")?),
                expires_at: Millis(row.int("expires_at")?),
                txid: row.opt_text("txid")?,
                transaction: row.opt_parse("transaction_id")?,
                received: match row.opt_text("received_txid")? {
                    Some(txid) => Some(Received {
                        txid,
                        amount: Sats(row.int("received_amount")?),
                        suffix: row.opt_text("received_suffix")?,
                        extended: row.opt_bytes("received")?.unwrap_or_default(),
                    }),
                    None => None,
                },
            })
        })
        .transpose()
    }

    /// Keeps what came for a prefix; `false` if something came before.
    pub fn receive_payment(&mut self, prefix: &str, received: &Received) -> Result<bool> {
        let kept = self.execute(
            "UPDATE payment_requests SET received_txid = $2, received_amount = $3, received = $4, received_suffix = $5
             WHERE prefix = $1 AND txid IS NULL AND received_txid IS NULL",
            params![prefix, &received.txid, received.amount.0, &received.extended, &received.suffix],
        )?;
        Ok(kept > 0)
    }

    /// What came was no payment: another may come for the prefix.
    pub fn forget_received(&mut self, prefix: &str, txid: &str) -> Result<()> {
        self.execute(
            "UPDATE payment_requests SET received_txid = NULL, received_amount = NULL, received = NULL,
                received_suffix = NULL
             WHERE prefix = $1 AND received_txid = $2 AND txid IS NULL",
            params![prefix, txid],
        )
        .map(drop)
    }

    /// The prefix that a payment was spent on, or came for.
    pub fn prefix_of_payment(&mut self, txid: &str) -> Result<Option<String>> {
        let row = self.query_opt(
            "SELECT prefix FROM payment_requests WHERE txid = $1 OR received_txid = $1",
            params![txid],
        )?;
        row.map(|row| row.text("prefix")).transpose()
    }

    /// Uses a prefix up; `false` if it was used before. A payment that was credited for another prefix is
    /// `UniqueViolation`.
    pub fn spend_payment_request(
        &mut self,
        prefix: &str,
        txid: &str,
        transaction: TransactionId,
    ) -> Result<bool> {
        let spent = self.execute(
            "UPDATE payment_requests SET txid = $2, transaction_id = $3, received = NULL
             WHERE prefix = $1 AND txid IS NULL",
            params![prefix, txid, transaction.to_string()],
        )?;
        Ok(spent > 0)
    }

    /// Forgets what nobody paid, days and months that are over, and reservations that were closed.
    pub fn purge_billing(&mut self, now: Millis, before: Millis) -> Result<u64> {
        let asked = self.execute(
            "DELETE FROM payment_requests WHERE txid IS NULL AND received_txid IS NULL AND expires_at <= $1",
            params![now.0],
        )?;
        let spent = self.execute(
            "DELETE FROM spending WHERE period <> 'total' AND period_start < $1 AND reserved = 0",
            params![before.0],
        )?;
        let reserved = self.execute(
            "DELETE FROM reservations WHERE closed_at IS NOT NULL AND closed_at < $1",
            params![before.0],
        )?;
        Ok(asked + spent + reserved)
    }
}
