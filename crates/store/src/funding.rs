//! Outputs on the chain that are ours, and the transactions that spend them for projects' agents.
//!
//! An output belongs to at most one transaction: whoever takes it finds it free in the same write, so two never spend it.

use ryokan_model::project::Network;
use ryokan_model::{Millis, ProjectId, ReservationId, Sats, TopUpId};

use crate::projects::Project;
use crate::{Result, Row, StoreError, Tx, params};

/// After so many refusals nothing is tried with an output any more: somebody has to look at it.
pub const MOST_REFUSALS: i64 = 3;

/// An output of ours, and what its key is derived by (BRC-29).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coin {
    pub txid: String,
    pub output: u32,
    pub network: Network,
    pub satoshis: Sats,
    /// An identity key: of who paid, or our own for change.
    pub counterparty: String,
    pub prefix: String,
    pub suffix: String,
}

/// Where a transaction to agents is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopUpState {
    /// Its outputs are taken; the network may know of it already.
    Open,
    /// The network has it, and the project was debited.
    Sent,
    /// The network will not have it; nothing was debited.
    Refused,
}

impl TopUpState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Sent => "sent",
            Self::Refused => "refused",
        }
    }
}

/// A transaction to a project's agents: what is taken in is `amount + fee + change`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopUp {
    pub id: TopUpId,
    pub project: ProjectId,
    pub network: Network,
    pub agent_key: String,
    pub reservation: ReservationId,
    pub amount: Sats,
    pub fee: Sats,
    pub change: Sats,
    pub state: TopUpState,
    /// Known once it is signed.
    pub txid: Option<String>,
    /// For the broadcast: from when it is signed until it is over.
    pub extended: Option<Vec<u8>>,
    pub reason: Option<String>,
    pub created_at: Millis,
    pub ended_at: Option<Millis>,
}

/// What was last seen of a project's agents' money.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Funding {
    pub balance: Option<Sats>,
    pub checked_at: Millis,
    /// Why they are not topped up.
    pub refused: Option<String>,
}

fn coin(row: &Row) -> Result<Coin> {
    Ok(Coin {
        txid: row.text("txid")?,
        output: u32::try_from(row.int("output")?)
            .map_err(|_| StoreError::Other("a coin's output is out of range".into()))?,
        network: row.parse("network")?,
        satoshis: Sats(row.int("satoshis")?),
        counterparty: row.text("counterparty")?,
        prefix: row.text("prefix")?,
        suffix: row.text("suffix")?,
    })
}

fn top_up(row: &Row) -> Result<TopUp> {
    let state = match row.text("state")?.as_str() {
        "open" => TopUpState::Open,
        "sent" => TopUpState::Sent,
        "refused" => TopUpState::Refused,
        other => return Err(StoreError::Other(format!("a top-up is {other}"))),
    };
    Ok(TopUp {
        id: row.parse("id")?,
        project: row.parse("project_id")?,
        network: row.parse("network")?,
        agent_key: row.text("agent_key")?,
        reservation: row.parse("reservation_id")?,
        amount: Sats(row.int("amount")?),
        fee: Sats(row.int("fee")?),
        change: Sats(row.int("change")?),
        state,
        txid: row.opt_text("txid")?,
        extended: row.opt_bytes("extended")?,
        reason: row.opt_text("reason")?,
        created_at: Millis(row.int("created_at")?),
        ended_at: row.opt_int("ended_at")?.map(Millis),
    })
}

impl Tx<'_> {
    /// An output that is ours from now on. The same again changes nothing.
    pub fn insert_coin(&mut self, c: &Coin, now: Millis) -> Result<()> {
        self.execute(
            "INSERT INTO coins (txid, output, network, satoshis, counterparty, prefix, suffix, refusals, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, 0, $8) ON CONFLICT (txid, output) DO NOTHING",
            params![
                &c.txid,
                c.output,
                c.network.as_str(),
                c.satoshis.0,
                &c.counterparty,
                &c.prefix,
                &c.suffix,
                now.0
            ],
        )
        .map(drop)
    }

    /// The largest that nothing spends.
    pub fn free_coins(&mut self, network: Network, limit: u32) -> Result<Vec<Coin>> {
        self.query(
            "SELECT * FROM coins WHERE network = $1 AND top_up_id IS NULL AND refusals < $2
             ORDER BY satoshis DESC, txid, output LIMIT $3",
            params![network.as_str(), MOST_REFUSALS, limit],
        )?
        .iter()
        .map(coin)
        .collect()
    }

    /// All that nothing spends, and how many they are.
    pub fn free_coins_sum(&mut self, network: Network) -> Result<(Sats, i64)> {
        let row = self.query_one(
            "SELECT CAST(coalesce(sum(satoshis), 0) AS BIGINT) AS total, CAST(count(*) AS BIGINT) AS n FROM coins
             WHERE network = $1 AND top_up_id IS NULL AND refusals < $2",
            params![network.as_str(), MOST_REFUSALS],
        )?;
        Ok((Sats(row.int("total")?), row.int("n")?))
    }

    /// What a top-up spends, in one order, so that it is always the same transaction.
    pub fn coins_of(&mut self, of: TopUpId) -> Result<Vec<Coin>> {
        self.query("SELECT * FROM coins WHERE top_up_id = $1 ORDER BY txid, output", params![of.to_string()])?
            .iter()
            .map(coin)
            .collect()
    }

    /// Begins a transaction that spends these outputs. Refused if one of them is not free. A second open one of the
    /// project is `UniqueViolation`.
    pub fn insert_top_up(&mut self, t: &TopUp, spends: &[Coin]) -> Result<()> {
        let id = t.id.to_string();
        self.execute(
            "INSERT INTO top_ups (id, project_id, network, agent_key, reservation_id, amount, fee, change, state,
                created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'open', $9)",
            params![
                &id,
                t.project.to_string(),
                t.network.as_str(),
                &t.agent_key,
                t.reservation.to_string(),
                t.amount.0,
                t.fee.0,
                t.change.0,
                t.created_at.0
            ],
        )?;
        for c in spends {
            let taken = self.execute(
                "UPDATE coins SET top_up_id = $3 WHERE txid = $1 AND output = $2 AND top_up_id IS NULL",
                params![&c.txid, c.output, &id],
            )?;
            if taken != 1 {
                return Err(StoreError::Other(format!("output {}:{} is not free", c.txid, c.output)));
            }
        }
        Ok(())
    }

    pub fn top_up(&mut self, id: TopUpId) -> Result<Option<TopUp>> {
        let row = self.query_opt("SELECT * FROM top_ups WHERE id = $1", params![id.to_string()])?;
        row.as_ref().map(top_up).transpose()
    }

    /// Those that are not over, the oldest first.
    pub fn open_top_ups(&mut self, limit: u32) -> Result<Vec<TopUp>> {
        self.query("SELECT * FROM top_ups WHERE state = 'open' ORDER BY id LIMIT $1", params![limit])?
            .iter()
            .map(top_up)
            .collect()
    }

    /// The project's, the newest first.
    pub fn top_ups_of(&mut self, project: ProjectId, limit: u32) -> Result<Vec<TopUp>> {
        self.query(
            "SELECT * FROM top_ups WHERE project_id = $1 ORDER BY created_at DESC, id DESC LIMIT $2",
            params![project.to_string(), limit],
        )?
        .iter()
        .map(top_up)
        .collect()
    }

    /// Keeps the signed transaction, before anybody is told of it; `false` if the top-up is over.
    pub fn keep_top_up(&mut self, id: TopUpId, txid: &str, extended: &[u8]) -> Result<bool> {
        let kept = self.execute(
            "UPDATE top_ups SET txid = $2, extended = $3 WHERE id = $1 AND state = 'open'",
            params![id.to_string(), txid, extended.to_vec()],
        )?;
        Ok(kept > 0)
    }

    /// Ends a top-up; `false` if it was over before. What a refused one wanted to spend is free again, with so many more
    /// refusals.
    pub fn end_top_up(
        &mut self,
        id: TopUpId,
        state: TopUpState,
        reason: Option<&str>,
        refusals: i64,
        now: Millis,
    ) -> Result<bool> {
        let ended = self.execute(
            "UPDATE top_ups SET state = $2, reason = $3, ended_at = $4, extended = NULL
             WHERE id = $1 AND state = 'open'",
            params![id.to_string(), state.as_str(), reason, now.0],
        )?;
        if ended > 0 && state == TopUpState::Refused {
            self.execute(
                "UPDATE coins SET top_up_id = NULL, refusals = refusals + $2 WHERE top_up_id = $1",
                params![id.to_string(), refusals],
            )?;
        }
        Ok(ended > 0)
    }

    /// What was sent, or is being sent, for the project since then: amounts with their fees.
    pub fn funded_since(&mut self, project: ProjectId, from: Millis) -> Result<Sats> {
        self.query_one(
            "SELECT CAST(coalesce(sum(amount + fee), 0) AS BIGINT) AS total FROM top_ups
             WHERE project_id = $1 AND created_at >= $2 AND state <> 'refused'",
            params![project.to_string(), from.0],
        )?
        .int("total")
        .map(Sats)
    }

    /// Live projects that ask for funding and were not looked at since `before`; those that waited longest first.
    pub fn projects_to_fund(&mut self, before: Millis, limit: u32) -> Result<Vec<Project>> {
        let rows = self.query(
            "SELECT p.id FROM projects p LEFT JOIN funding f ON f.project_id = p.id
             WHERE p.deleted_at IS NULL AND p.funding = $1 AND p.agent_key IS NOT NULL
                AND coalesce(f.checked_at, 0) <= $2
             ORDER BY coalesce(f.checked_at, 0), p.id LIMIT $3",
            params![true, before.0, limit],
        )?;
        let mut found = Vec::with_capacity(rows.len());
        for row in rows {
            found.extend(self.project(row.parse("id")?)?);
        }
        Ok(found)
    }

    pub fn funding(&mut self, project: ProjectId) -> Result<Option<Funding>> {
        let row =
            self.query_opt("SELECT * FROM funding WHERE project_id = $1", params![project.to_string()])?;
        row.map(|row| {
            Ok(Funding {
                balance: row.opt_int("balance")?.map(Sats),
                checked_at: Millis(row.int("checked_at")?),
                refused: row.opt_text("refused")?,
            })
        })
        .transpose()
    }

    pub fn put_funding(&mut self, project: ProjectId, f: &Funding) -> Result<()> {
        self.execute(
            "INSERT INTO funding (project_id, balance, checked_at, refused) VALUES ($1, $2, $3, $4)
             ON CONFLICT (project_id) DO UPDATE SET balance = excluded.balance, checked_at = excluded.checked_at,
                refused = excluded.refused",
            params![project.to_string(), f.balance.map(|b| b.0), f.checked_at.0, &f.refused],
        )
        .map(drop)
    }

    /// Top-ups that were sent and whose charge is not what they cost: at most 100.
    pub fn stray_top_ups(&mut self) -> Result<Vec<String>> {
        let rows = self.query(
            "SELECT t.id FROM top_ups t
             LEFT JOIN ledger_transactions l ON l.kind = 'funding' AND l.reference = t.id
             LEFT JOIN ledger_entries e ON e.transaction_id = l.id AND e.account_id = 'funding'
             WHERE (t.state = 'sent' AND coalesce(e.amount, 0) <> t.amount + t.fee)
                OR (t.state <> 'sent' AND l.id IS NOT NULL)
             ORDER BY t.id LIMIT 100",
            params![],
        )?;
        rows.iter().map(|row| row.text("id")).collect()
    }
}
