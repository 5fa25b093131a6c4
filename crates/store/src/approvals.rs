//! Questions to people: asked once however often, and answered once however many decide at the same moment.

use ryokan_model::policy::{Level, RuleBody};
use ryokan_model::{ApprovalId, InstanceId, Millis, ProjectId, RuleId, TaskId, UserId};
use serde_json::json;

use crate::{Result, Row, StoreError, Tx, params};

/// Signalled when one is asked or answered.
pub const APPROVALS: &str = "approvals";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApprovalState {
    Open,
    Granted,
    Refused,
    Expired,
}

impl ApprovalState {
    const ALL: [Self; 4] = [Self::Open, Self::Granted, Self::Refused, Self::Expired];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Granted => "granted",
            Self::Refused => "refused",
            Self::Expired => "expired",
        }
    }
}

impl std::str::FromStr for ApprovalState {
    type Err = StoreError;
    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|state| state.as_str() == text);
        found.ok_or_else(|| StoreError::Other("not a state of an approval".into()))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    pub id: ApprovalId,
    /// Who asks for what, in one text.
    pub question: String,
    pub state: ApprovalState,
    /// Whose answer it takes.
    pub level: Level,
    pub actor: String,
    pub project: Option<ProjectId>,
    pub instance: Option<InstanceId>,
    pub task: Option<TaskId>,
    pub user: Option<UserId>,
    pub action: String,
    pub resource: String,
    /// The rule that a grant makes, without its end.
    pub body: RuleBody,
    /// In the asker's words.
    pub reason: String,
    /// How often it was asked while it was open.
    pub times: u64,
    pub asked_at: Millis,
    pub expires_at: Millis,
    pub decided_by: Option<String>,
    pub decided_at: Option<Millis>,
    pub until: Option<Millis>,
    pub rule: Option<RuleId>,
}

fn approval(row: &Row) -> Result<Approval> {
    let times = u64::try_from(row.int("times")?);
    Ok(Approval {
        id: row.parse("id")?,
        question: row.text("question")?,
        state: row.parse("state")?,
        level: row.parse("level")?,
        actor: row.text("actor")?,
        project: row.opt_parse("project_id")?,
        instance: row.opt_parse("instance_id")?,
        task: row.opt_parse("task_id")?,
        user: row.opt_parse("user_id")?,
        action: row.text("action")?,
        resource: row.text("resource")?,
        body: row.json("body")?,
        reason: row.text("reason")?,
        times: times.map_err(|_| StoreError::Decode { column: "times".into(), expected: "a count" })?,
        asked_at: Millis(row.int("asked_at")?),
        expires_at: Millis(row.int("expires_at")?),
        decided_by: row.opt_text("decided_by")?,
        decided_at: row.opt_int("decided_at")?.map(Millis),
        until: row.opt_int("until")?.map(Millis),
        rule: row.opt_parse("rule_id")?,
    })
}

/// How a question was answered.
#[derive(Debug, Clone)]
pub struct Answer {
    pub state: ApprovalState,
    pub by: String,
    pub at: Millis,
    /// Until when, and by which rule, if it is granted.
    pub grant: Option<(Millis, RuleId)>,
}

impl Tx<'_> {
    /// The same question that is open already is `UniqueViolation` of `approvals_open`.
    pub fn insert_approval(&mut self, new: &Approval) -> Result<()> {
        let body = serde_json::to_string(&new.body).map_err(|e| StoreError::Other(e.to_string()))?;
        self.execute(
            "INSERT INTO approvals (id, question, state, level, actor, project_id, instance_id, task_id, user_id, action,
                resource, body, reason, times, asked_at, expires_at)
             VALUES ($1, $2, 'open', $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 1, $13, $14)",
            params![
                new.id.to_string(),
                &new.question,
                new.level.as_str(),
                &new.actor,
                new.project.map(|id| id.to_string()),
                new.instance.map(|id| id.to_string()),
                new.task.map(|id| id.to_string()),
                new.user.map(|id| id.to_string()),
                &new.action,
                &new.resource,
                body,
                &new.reason,
                new.asked_at.0,
                new.expires_at.0
            ],
        )?;
        self.notify(APPROVALS);
        Ok(())
    }

    /// Counts one more asking of an open question, and gives it back.
    pub fn ask_again(&mut self, question: &str, now: Millis) -> Result<Option<Approval>> {
        let found = self.query_opt(
            "UPDATE approvals SET times = times + 1 WHERE question = $1 AND state = 'open' AND expires_at > $2 RETURNING *",
            params![question, now.0],
        )?;
        found.as_ref().map(approval).transpose()
    }

    /// When the same question was last refused, since a moment.
    pub fn refused_since(&mut self, question: &str, since: Millis) -> Result<Option<Millis>> {
        let row = self.query_one(
            "SELECT max(decided_at) AS at FROM approvals
             WHERE question = $1 AND state = 'refused' AND decided_at > $2",
            params![question, since.0],
        )?;
        Ok(row.opt_int("at")?.map(Millis))
    }

    /// How many questions an asker has open, and how many it has asked since a moment.
    pub fn count_asked(&mut self, actor: &str, since: Millis) -> Result<(i64, i64)> {
        let row = self.query_one(
            "SELECT CAST(coalesce(sum(CASE WHEN state = 'open' THEN 1 ELSE 0 END), 0) AS BIGINT) AS open,
                CAST(coalesce(sum(CASE WHEN asked_at > $2 THEN 1 ELSE 0 END), 0) AS BIGINT) AS asked
             FROM approvals WHERE actor = $1 AND (state = 'open' OR asked_at > $2)",
            params![actor, since.0],
        )?;
        Ok((row.int("open")?, row.int("asked")?))
    }

    pub fn approval(&mut self, id: ApprovalId) -> Result<Option<Approval>> {
        let found = self.query_opt("SELECT * FROM approvals WHERE id = $1", params![id.to_string()])?;
        found.as_ref().map(approval).transpose()
    }

    /// A page before the one with the id `before`, the newest first.
    pub fn approvals(
        &mut self,
        projects: Option<&[ProjectId]>,
        state: Option<ApprovalState>,
        before: Option<ApprovalId>,
        limit: u32,
    ) -> Result<Vec<Approval>> {
        let before = before.map_or_else(|| "g".to_owned(), |id| id.to_string());
        let projects = projects.map(|list| json!(list).to_string());
        self.query(
            "SELECT * FROM approvals WHERE id < $1
               AND (CAST($2 AS TEXT) IS NULL OR state = $2)
               AND (CAST($3 AS TEXT) IS NULL OR project_id IN (SELECT value FROM json_each(CAST($3 AS TEXT))))
             ORDER BY id DESC LIMIT $4",
            params![before, state.map(ApprovalState::as_str), projects, limit],
        )?
        .iter()
        .map(approval)
        .collect()
    }

    /// Answers an open question; `None` when it is not open any more: somebody else was first, or it was too late.
    pub fn decide_approval(&mut self, id: ApprovalId, answer: &Answer) -> Result<Option<Approval>> {
        let found = self.query_opt(
            "UPDATE approvals SET state = $2, decided_by = $3, decided_at = $4, until = $5, rule_id = $6
             WHERE id = $1 AND state = 'open' AND expires_at > $4 RETURNING *",
            params![
                id.to_string(),
                answer.state.as_str(),
                &answer.by,
                answer.at.0,
                answer.grant.map(|(until, _)| until.0),
                answer.grant.map(|(_, rule)| rule.to_string())
            ],
        )?;
        self.notify(APPROVALS);
        found.as_ref().map(approval).transpose()
    }

    /// Questions that nobody has answered in time become expired; some of them, in no order.
    pub fn expire_approvals(&mut self, now: Millis, limit: u32) -> Result<Vec<Approval>> {
        let rows = self.query(
            "UPDATE approvals SET state = 'expired', decided_at = $1 WHERE id IN
             (SELECT id FROM approvals WHERE state = 'open' AND expires_at <= $1 ORDER BY expires_at LIMIT $2) RETURNING *",
            params![now.0, limit],
        )?;
        if !rows.is_empty() {
            self.notify(APPROVALS);
        }
        rows.iter().map(approval).collect()
    }

    /// Nobody asks any more: its instance is gone.
    pub fn close_approvals_of(&mut self, instance: InstanceId, now: Millis) -> Result<()> {
        let n = self.execute(
            "UPDATE approvals SET state = 'expired', decided_at = $2 WHERE instance_id = $1 AND state = 'open'",
            params![instance.to_string(), now.0],
        )?;
        if n > 0 {
            self.notify(APPROVALS);
        }
        Ok(())
    }

    pub fn purge_approvals(&mut self, before: Millis, limit: u32) -> Result<u64> {
        self.execute(
            "DELETE FROM approvals WHERE id IN
             (SELECT id FROM approvals WHERE state <> 'open' AND decided_at < $1 LIMIT $2)",
            params![before.0, limit],
        )
    }
}
