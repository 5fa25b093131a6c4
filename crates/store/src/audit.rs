//! The audit: one row a decision, never changed but for how what was allowed ended, which is filled in once.
//!
//! An id begins with its time, so that pages, times and what may be forgotten all go by the one order of ids.

use ryokan_model::policy::{Level, Verdict};
use ryokan_model::{AuditId, InstanceId, Millis, ProjectId, RuleId, TaskId};
use serde_json::json;

use crate::{Result, Row, StoreError, Tx, params};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    pub id: AuditId,
    pub at: Millis,
    /// `user:LOGIN`, `instance:NAME`, `system`.
    pub actor: String,
    pub project: Option<ProjectId>,
    pub instance: Option<InstanceId>,
    pub task: Option<TaskId>,
    pub action: String,
    /// Host and path, or a name: no query, no payload.
    pub resource: String,
    pub decision: Verdict,
    pub rule: Option<RuleId>,
    pub level: Level,
    pub why: String,
    /// The name of the credential that was put in.
    pub credential: Option<String>,
    pub request_id: Option<String>,
    pub address: Option<String>,
    pub ended: Option<Ended>,
}

/// How what was allowed ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// An HTTP status, if there was one.
    pub status: Option<u16>,
    /// To the asker.
    pub bytes_in: u64,
    /// From the asker.
    pub bytes_out: u64,
    pub millis: u64,
}

/// Which rows; the default is all.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Of these only, and then none that are of no project.
    pub projects: Option<Vec<ProjectId>>,
    pub instance: Option<InstanceId>,
    pub actor: Option<String>,
    pub action: Option<String>,
    pub decision: Option<Verdict>,
    /// Resources that begin so, in this case.
    pub resource_prefix: Option<String>,
    /// From this moment on.
    pub since: Option<Millis>,
    /// Before this moment.
    pub until: Option<Millis>,
}

fn row(row: &Row) -> Result<AuditRow> {
    let count = |column: &str| -> Result<u64> {
        let n = row.opt_int(column)?.unwrap_or(0);
        u64::try_from(n).map_err(|_| StoreError::Decode { column: column.into(), expected: "a count" })
    };
    let ended = match row.opt_int("millis")? {
        None => None,
        Some(_) => Some(Ended {
            status: row.opt_int("status")?.and_then(|status| u16::try_from(status).ok()),
            bytes_in: count("bytes_in")?,
            bytes_out: count("bytes_out")?,
            millis: count("millis")?,
        }),
    };
    Ok(AuditRow {
        id: row.parse("id")?,
        at: Millis(row.int("at")?),
        actor: row.text("actor")?,
        project: row.opt_parse("project_id")?,
        instance: row.opt_parse("instance_id")?,
        task: row.opt_parse("task_id")?,
        action: row.text("action")?,
        resource: row.text("resource")?,
        decision: row.parse("decision")?,
        rule: row.opt_parse("rule_id")?,
        level: row.parse("level")?,
        why: row.text("why")?,
        credential: row.opt_text("credential")?,
        request_id: row.opt_text("request_id")?,
        address: row.opt_text("address")?,
        ended,
    })
}

/// The first id of a moment.
fn first_of(at: Millis) -> String {
    AuditId::from_parts(at, [0; 10]).to_string()
}

/// After all ids there are.
const LAST: &str = "g";

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT * FROM audit WHERE id < $1 AND id >= $2
             AND (CAST($3 AS TEXT) IS NULL OR actor = $3) AND (CAST($4 AS TEXT) IS NULL OR action = $4)
             AND (CAST($5 AS TEXT) IS NULL OR decision = $5)
             AND (CAST($6 AS TEXT) IS NULL OR substr(resource, 1, length(CAST($6 AS TEXT))) = $6)
             AND (CAST($7 AS TEXT) IS NULL OR project_id IN (SELECT value FROM json_each(CAST($7 AS TEXT))))",
            $rest,
            " ORDER BY id DESC LIMIT $8"
        )
    };
}

impl Tx<'_> {
    pub fn insert_audit(&mut self, new: &AuditRow) -> Result<()> {
        self.execute(
            "INSERT INTO audit (id, at, actor, project_id, instance_id, task_id, action, resource, decision, rule_id, level,
                why, credential, request_id, address)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
            params![
                new.id.to_string(),
                new.at.0,
                &new.actor,
                new.project.map(|id| id.to_string()),
                new.instance.map(|id| id.to_string()),
                new.task.map(|id| id.to_string()),
                &new.action,
                &new.resource,
                new.decision.as_str(),
                new.rule.map(|id| id.to_string()),
                new.level.as_str(),
                &new.why,
                &new.credential,
                &new.request_id,
                &new.address
            ],
        )
        .map(drop)
    }

    /// Fills in how it ended, unless that is known; whether it was not.
    pub fn end_audit(&mut self, id: AuditId, ended: &Ended) -> Result<bool> {
        let int = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let n = self.execute(
            "UPDATE audit SET status = $2, bytes_in = $3, bytes_out = $4, millis = $5 WHERE id = $1 AND millis IS NULL",
            params![
                id.to_string(),
                ended.status,
                int(ended.bytes_in),
                int(ended.bytes_out),
                int(ended.millis)
            ],
        )?;
        Ok(n > 0)
    }

    pub fn audit_row(&mut self, id: AuditId) -> Result<Option<AuditRow>> {
        let found = self.query_opt("SELECT * FROM audit WHERE id = $1", params![id.to_string()])?;
        found.as_ref().map(row).transpose()
    }

    /// A page before the row `before` (all when `None`), the newest first.
    pub fn audit(
        &mut self,
        filter: &AuditFilter,
        before: Option<AuditId>,
        limit: u32,
    ) -> Result<Vec<AuditRow>> {
        let until = filter.until.map_or_else(|| LAST.to_owned(), first_of);
        let before = before.map(|id| id.to_string()).filter(|id| *id < until).unwrap_or(until);
        let since = filter.since.map(first_of).unwrap_or_default();
        let projects = filter.projects.as_ref().map(|projects| json!(projects).to_string());
        let (decision, instance) =
            (filter.decision.map(Verdict::as_str), filter.instance.map(|id| id.to_string()));
        let mut values = params![
            before,
            since,
            &filter.actor,
            &filter.action,
            decision,
            &filter.resource_prefix,
            projects,
            limit
        ]
        .to_vec();
        // An optional filter would hide the index from the planner.
        let rows = match (instance, filter.projects.as_deref()) {
            (Some(instance), _) => {
                values.push(instance.into());
                self.query(select!(" AND instance_id = $9"), &values)?
            }
            (None, Some([project])) => {
                values.push(project.to_string().into());
                self.query(select!(" AND project_id = $9"), &values)?
            }
            (None, _) => self.query(select!(""), &values)?,
        };
        rows.iter().map(row).collect()
    }

    /// Deletes rows from before a moment, the oldest first; the number deleted.
    pub fn purge_audit(&mut self, before: Millis, limit: u32) -> Result<u64> {
        self.execute("UPDATE audit_horizon SET at = $1 WHERE at < $1", params![before.0])?;
        self.execute(
            "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE id < $1 ORDER BY id LIMIT $2)",
            params![first_of(before), limit],
        )
    }
}
