//! Prices: versions that are only ever added, each in force from a moment on, for one project or for all that have none of
//! their own.

use ryokan_model::price::Rates;
use ryokan_model::{Millis, ProjectId};

use crate::{Result, Row, Tx, params};

/// A price in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price {
    pub version: i64,
    /// `None` for the server's own.
    pub project: Option<ProjectId>,
    pub from: Millis,
    /// The project goes back to the server's price.
    pub cleared: bool,
    pub rates: Rates,
    pub actor: String,
    pub reason: String,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT version, project_id, from_at, cleared, core, memory_gb, disk_gb, network_gb, gpu, actor, reason
             FROM prices ",
            $rest
        )
    };
}

fn price(row: &Row) -> Result<Price> {
    let project = row.text("project_id")?;
    Ok(Price {
        version: row.int("version")?,
        project: if project.is_empty() { None } else { Some(row.parse("project_id")?) },
        from: Millis(row.int("from_at")?),
        cleared: row.bool("cleared")?,
        rates: Rates {
            core: row.int("core")?,
            memory_gb: row.int("memory_gb")?,
            disk_gb: row.int("disk_gb")?,
            network_gb: row.int("network_gb")?,
            gpu: row.int("gpu")?,
        },
        actor: row.text("actor")?,
        reason: row.text("reason")?,
    })
}

/// As the column has it.
fn whose(project: Option<ProjectId>) -> String {
    project.map(|id| id.to_string()).unwrap_or_default()
}

impl Tx<'_> {
    /// Adds a version; `rates` of `None` clear the project's own.
    pub fn add_price(
        &mut self,
        project: Option<ProjectId>,
        rates: Option<Rates>,
        from: Millis,
        actor: &str,
        reason: &str,
        now: Millis,
    ) -> Result<i64> {
        self.lock("prices")?;
        let next = self.query_one("SELECT coalesce(max(version), 0) + 1 AS next FROM prices", params![])?;
        let (version, cleared) = (next.int("next")?, rates.is_none());
        let rates = rates.unwrap_or(Rates::FREE);
        self.execute(
            "INSERT INTO prices (version, project_id, from_at, cleared, core, memory_gb, disk_gb, network_gb, gpu, actor,
                reason, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
            params![
                version,
                whose(project),
                from.0,
                cleared,
                rates.core,
                rates.memory_gb,
                rates.disk_gb,
                rates.network_gb,
                rates.gpu,
                actor,
                reason,
                now.0
            ],
        )?;
        self.notify("prices");
        Ok(version)
    }

    /// The last price of the project's (or the server's) own that is in force at `at`, cleared or not.
    pub fn own_price(&mut self, project: Option<ProjectId>, at: Millis) -> Result<Option<Price>> {
        self.query_opt(
            select!("WHERE project_id = $1 AND from_at <= $2 ORDER BY from_at DESC, version DESC LIMIT 1"),
            params![whose(project), at.0],
        )?
        .as_ref()
        .map(price)
        .transpose()
    }

    /// What the project pays at `at`; `None` when not even the server has a price yet.
    pub fn price_at(&mut self, project: ProjectId, at: Millis) -> Result<Option<Price>> {
        match self.own_price(Some(project), at)? {
            Some(own) if !own.cleared => Ok(Some(own)),
            _ => self.own_price(None, at),
        }
    }

    pub fn price(&mut self, version: i64) -> Result<Option<Price>> {
        self.query_opt(select!("WHERE version = $1"), params![version])?.as_ref().map(price).transpose()
    }

    /// The versions that the project was, is or will be charged by, the newest first: its own and the server's.
    pub fn prices_of(&mut self, project: ProjectId, limit: u32) -> Result<Vec<Price>> {
        self.query(
            select!("WHERE project_id = $1 OR project_id = '' ORDER BY version DESC LIMIT $2"),
            params![project.to_string(), limit],
        )?
        .iter()
        .map(price)
        .collect()
    }
}
