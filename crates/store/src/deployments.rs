//! Deployments as rows, and the lines that they say. The one use of an upload URL is a change of state, so that of two
//! uploads at the same time one wins here.

use ryokan_model::deployment::DeploymentState;
use ryokan_model::{DeploymentId, Millis, ProjectId, UserId};

use crate::{Result, Row, Tx, params};

/// The topic of all changes here.
pub const DEPLOYMENTS: &str = "deployments";
/// A log longer than this is cut.
pub const MAX_LINES: i64 = 20_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    pub id: DeploymentId,
    pub project: ProjectId,
    pub project_name: String,
    pub name: Option<String>,
    pub state: DeploymentState,
    pub message: Option<String>,
    pub user: UserId,
    pub upload_until: Millis,
    pub max_size: u64,
    pub wanted_sha256: Option<String>,
    pub blob: Option<String>,
    pub size: Option<u64>,
    pub sha256: Option<String>,
    pub cancel_wanted: bool,
    pub created_at: Millis,
    pub updated_at: Millis,
}

/// One line of a deployment's log; numbers begin with 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub number: i64,
    pub at: Millis,
    pub text: String,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT d.*, p.name AS project_name FROM deployments d JOIN projects p ON p.id = d.project_id ",
            $rest
        )
    };
}

fn deployment(row: &Row) -> Result<Deployment> {
    Ok(Deployment {
        id: row.parse("id")?,
        project: row.parse("project_id")?,
        project_name: row.text("project_name")?,
        name: row.opt_text("name")?,
        state: row.parse("state")?,
        message: row.opt_text("message")?,
        user: row.parse("user_id")?,
        upload_until: Millis(row.int("upload_until")?),
        max_size: u64::try_from(row.int("max_size")?).unwrap_or(0),
        wanted_sha256: row.opt_text("wanted_sha256")?,
        blob: row.opt_text("blob")?,
        size: row.opt_int("size")?.and_then(|n| u64::try_from(n).ok()),
        sha256: row.opt_text("sha256")?,
        cancel_wanted: row.bool("cancel_wanted")?,
        created_at: Millis(row.int("created_at")?),
        updated_at: Millis(row.int("updated_at")?),
    })
}

impl Tx<'_> {
    pub fn insert_deployment(&mut self, d: &Deployment) -> Result<()> {
        self.notify(DEPLOYMENTS);
        self.execute(
            "INSERT INTO deployments (id, project_id, name, state, user_id, upload_until, max_size, wanted_sha256,
                cancel_wanted, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10)",
            params![
                d.id.to_string(),
                d.project.to_string(),
                &d.name,
                d.state.as_str(),
                d.user.to_string(),
                d.upload_until.0,
                i64::try_from(d.max_size).unwrap_or(i64::MAX),
                &d.wanted_sha256,
                false,
                d.created_at.0
            ],
        )
        .map(drop)
    }

    pub fn deployment(&mut self, id: DeploymentId) -> Result<Option<Deployment>> {
        let row = self.query_opt(select!("WHERE d.id = $1"), params![id.to_string()])?;
        row.as_ref().map(deployment).transpose()
    }

    /// The newest first, those before the id `before`.
    pub fn deployments_of(
        &mut self,
        project: ProjectId,
        before: Option<DeploymentId>,
        limit: u32,
    ) -> Result<Vec<Deployment>> {
        let before = before.map_or_else(|| "g".to_owned(), |id| id.to_string());
        let rows = self.query(
            select!("WHERE d.project_id = $1 AND d.id < $2 ORDER BY d.id DESC LIMIT $3"),
            params![project.to_string(), before, limit],
        )?;
        rows.iter().map(deployment).collect()
    }

    /// How many of a project's are not over.
    pub fn count_open_deployments(&mut self, project: ProjectId) -> Result<i64> {
        self.query_one(
            "SELECT COUNT(*) AS n FROM deployments WHERE project_id = $1 AND state IN ('waiting', 'queued', 'building', 'releasing')",
            params![project.to_string()],
        )?
        .int("n")
    }

    /// Uses the upload URL up. `false` when it was used, cancelled, or ran out meanwhile.
    pub fn take_artifact(
        &mut self,
        id: DeploymentId,
        blob: &str,
        size: u64,
        sha256: &str,
        now: Millis,
    ) -> Result<bool> {
        self.notify(DEPLOYMENTS);
        let n = self.execute(
            "UPDATE deployments SET state = 'queued', blob = $2, size = $3, sha256 = $4, updated_at = $5
             WHERE id = $1 AND state = 'waiting' AND upload_until > $5",
            params![id.to_string(), blob, i64::try_from(size).unwrap_or(i64::MAX), sha256, now.0],
        )?;
        Ok(n == 1)
    }

    /// Moves it from `from`. `false` when it is not there any more.
    pub fn move_deployment(
        &mut self,
        id: DeploymentId,
        from: DeploymentState,
        to: DeploymentState,
        message: Option<&str>,
        now: Millis,
    ) -> Result<bool> {
        self.notify(DEPLOYMENTS);
        let n = self.execute(
            "UPDATE deployments SET state = $3, message = $4, updated_at = $5 WHERE id = $1 AND state = $2",
            params![id.to_string(), from.as_str(), to.as_str(), message.map(str::to_owned), now.0],
        )?;
        Ok(n == 1)
    }

    pub fn name_deployment(&mut self, id: DeploymentId, name: &str) -> Result<()> {
        self.notify(DEPLOYMENTS);
        self.execute("UPDATE deployments SET name = $2 WHERE id = $1", params![id.to_string(), name])
            .map(drop)
    }

    pub fn want_deployment_cancelled(&mut self, id: DeploymentId, now: Millis) -> Result<()> {
        self.notify(DEPLOYMENTS);
        self.execute(
            "UPDATE deployments SET cancel_wanted = $2, updated_at = $3 WHERE id = $1",
            params![id.to_string(), true, now.0],
        )
        .map(drop)
    }

    /// Ends those whose upload never came; how many.
    pub fn expire_deployments(&mut self, now: Millis) -> Result<u64> {
        self.notify(DEPLOYMENTS);
        self.execute(
            "UPDATE deployments SET state = 'failed', message = 'nothing was uploaded in time', updated_at = $1
             WHERE state = 'waiting' AND upload_until <= $1",
            params![now.0],
        )
    }

    /// The artifacts that are still needed.
    pub fn blobs_in_use(&mut self) -> Result<Vec<String>> {
        let rows = self.query(
            "SELECT blob FROM deployments WHERE blob IS NOT NULL AND state IN ('queued', 'building', 'releasing')",
            params![],
        )?;
        rows.iter().map(|row| row.text("blob")).collect()
    }

    /// Appends to the log, up to [`MAX_LINES`]; the last says that there was more.
    pub fn append_deployment_lines(&mut self, id: DeploymentId, lines: &[String], now: Millis) -> Result<()> {
        self.notify(DEPLOYMENTS);
        let id = id.to_string();
        let last = "SELECT COALESCE(MAX(line), 0) AS n FROM deployment_lines WHERE deployment_id = $1";
        let mut number = self.query_one(last, params![&id])?.int("n")?;
        for text in lines {
            number += 1;
            if number > MAX_LINES {
                break;
            }
            let text =
                if number == MAX_LINES { "… the log is cut here: it is too long" } else { text.as_str() };
            self.execute(
                "INSERT INTO deployment_lines (deployment_id, line, at, text) VALUES ($1, $2, $3, $4)",
                params![&id, number, now.0, text],
            )?;
        }
        Ok(())
    }

    /// Lines after the number `after`.
    pub fn deployment_lines(&mut self, id: DeploymentId, after: i64, limit: u32) -> Result<Vec<Line>> {
        let rows = self.query(
            "SELECT line, at, text FROM deployment_lines WHERE deployment_id = $1 AND line > $2 ORDER BY line LIMIT $3",
            params![id.to_string(), after, limit],
        )?;
        rows.iter()
            .map(|row| {
                Ok(Line { number: row.int("line")?, at: Millis(row.int("at")?), text: row.text("text")? })
            })
            .collect()
    }

    /// Deletes up to `limit` deployments that were over before `before_ms`, with what they said; the number deleted.
    pub fn purge_deployments(&mut self, before_ms: i64, limit: u32) -> Result<u64> {
        let old = self.query(
            "SELECT id FROM deployments WHERE updated_at < $1 AND state IN ('succeeded', 'failed', 'cancelled') LIMIT $2",
            params![before_ms, limit],
        )?;
        for row in &old {
            let id = row.text("id")?;
            self.execute("DELETE FROM deployment_lines WHERE deployment_id = $1", params![&id])?;
            self.execute("DELETE FROM deployments WHERE id = $1", params![&id])?;
        }
        Ok(u64::try_from(old.len()).unwrap_or(u64::MAX))
    }
}
