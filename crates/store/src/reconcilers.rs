//! The last run of each reconciler, for the page that shows whether they work.
//!
//! One row a name; when several servers run the same reconciler, the latest start wins.

use crate::error::Result;
use crate::params;
use crate::row::Row;
use crate::tx::Tx;

/// A reconciler's last run. Times are UTC milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReconcilerRun {
    pub name: String,
    pub started_at: i64,
    /// `None` while it runs, or if its server died in it.
    pub finished_at: Option<i64>,
    /// Whether the last finished run succeeded; `None` before the first.
    pub succeeded: Option<bool>,
    /// How many things the last finished run left to do.
    pub backlog: i64,
    /// Why the last finished run failed.
    pub error: Option<String>,
    /// How many runs finished, and how many of them failed.
    pub runs: i64,
    pub failures: i64,
}

impl Tx<'_> {
    /// A run starts.
    pub fn start_reconciler(&mut self, name: &str, now_ms: i64) -> Result<()> {
        self.execute(
            "INSERT INTO reconcilers (name, started_at, backlog, runs, failures) VALUES ($1, $2, 0, 0, 0)
             ON CONFLICT (name) DO UPDATE SET started_at = excluded.started_at, finished_at = NULL",
            params![name, now_ms],
        )
        .map(drop)
    }

    /// A run ends: what it left to do, or why it failed.
    pub fn finish_reconciler(&mut self, name: &str, outcome: Result<i64, &str>, now_ms: i64) -> Result<()> {
        let (word, backlog, error, failures) = match outcome {
            Ok(backlog) => ("done", Some(backlog), None, 0),
            Err(error) => ("failed", None, Some(error), 1),
        };
        self.execute(
            "INSERT INTO reconcilers (name, started_at, finished_at, outcome, backlog, error, runs, failures)
             VALUES ($1, $2, $2, $3, coalesce(CAST($4 AS BIGINT), 0), $5, 1, $6)
             ON CONFLICT (name) DO UPDATE SET finished_at = excluded.finished_at, outcome = excluded.outcome,
                backlog = coalesce(CAST($4 AS BIGINT), reconcilers.backlog), error = excluded.error,
                runs = reconcilers.runs + 1, failures = reconcilers.failures + excluded.failures",
            params![name, now_ms, word, backlog, error, failures],
        )
        .map(drop)
    }

    /// All reconcilers by name.
    pub fn list_reconcilers(&mut self) -> Result<Vec<ReconcilerRun>> {
        let rows = self.query(
            "SELECT name, started_at, finished_at, outcome, backlog, error, runs, failures FROM reconcilers
             ORDER BY name",
            params![],
        )?;
        let run = |row: &Row| {
            Ok(ReconcilerRun {
                name: row.text("name")?,
                started_at: row.int("started_at")?,
                finished_at: row.opt_int("finished_at")?,
                succeeded: row.opt_text("outcome")?.map(|outcome| outcome == "done"),
                backlog: row.int("backlog")?,
                error: row.opt_text("error")?,
                runs: row.int("runs")?,
                failures: row.int("failures")?,
            })
        };
        rows.iter().map(run).collect()
    }
}
