//! The rules of the policy. The topic `policies` is signalled at every change: all servers hold them in memory.

use ryokan_model::policy::{Level, Rule, RuleBody, Scope};
use ryokan_model::{ApprovalId, InstanceId, Millis, ProjectId, RuleId};

use crate::{Result, Row, StoreError, Tx, params};

/// Signalled when rules changed.
pub const POLICIES: &str = "policies";

/// A rule, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRule {
    pub rule: Rule,
    /// The question that it answers; such a rule is a grant.
    pub approval: Option<ApprovalId>,
    pub created_by: String,
    pub created_at: Millis,
}

fn stored(row: &Row) -> Result<StoredRule> {
    let missing =
        |column: &str| StoreError::Decode { column: column.into(), expected: "an id, at this level" };
    let project = || row.opt_parse("project_id")?.ok_or_else(|| missing("project_id"));
    let scope = match row.parse("level")? {
        Level::System => Scope::System,
        Level::Project => Scope::Project(project()?),
        Level::Instance => {
            Scope::Instance(project()?, row.opt_parse("instance_id")?.ok_or_else(|| missing("instance_id"))?)
        }
    };
    let approval = row.opt_parse("approval_id")?;
    let body: RuleBody = row.json("body")?;
    Ok(StoredRule {
        rule: Rule { id: row.parse("id")?, scope, body, grant: approval.is_some() },
        approval,
        created_by: row.text("created_by")?,
        created_at: Millis(row.int("created_at")?),
    })
}

/// Which rules are listed.
#[derive(Debug, Clone, Default)]
pub struct RuleFilter {
    pub level: Option<Level>,
    pub project: Option<ProjectId>,
    pub instance: Option<InstanceId>,
}

impl Tx<'_> {
    pub fn insert_rule(&mut self, new: &StoredRule) -> Result<()> {
        let Rule { id, scope, body, .. } = &new.rule;
        let json = serde_json::to_string(body).map_err(|e| StoreError::Other(e.to_string()))?;
        self.execute(
            "INSERT INTO policy_rules (id, level, project_id, instance_id, body, until, approval_id, created_by, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            params![
                id.to_string(),
                scope.level().as_str(),
                scope.project().map(|p| p.to_string()),
                scope.instance().map(|i| i.to_string()),
                json,
                body.conditions.until.map(|at| at.0),
                new.approval.map(|a| a.to_string()),
                &new.created_by,
                new.created_at.0
            ],
        )?;
        self.notify(POLICIES);
        Ok(())
    }

    /// All that have not ended by themselves, for the snapshot. A few thousand at most: the use cases bound them.
    pub fn rules_in_force(&mut self, now: Millis) -> Result<Vec<StoredRule>> {
        self.query(
            "SELECT * FROM policy_rules WHERE until IS NULL OR until > $1 ORDER BY id",
            params![now.0],
        )?
        .iter()
        .map(stored)
        .collect()
    }

    /// A page, by id.
    pub fn rules(&mut self, filter: &RuleFilter, after: &str, limit: u32) -> Result<Vec<StoredRule>> {
        self.query(
            "SELECT * FROM policy_rules
             WHERE id > $1 AND (CAST($2 AS TEXT) IS NULL OR level = $2)
               AND (CAST($3 AS TEXT) IS NULL OR project_id = $3)
               AND (CAST($4 AS TEXT) IS NULL OR instance_id = $4)
             ORDER BY id LIMIT $5",
            params![
                after,
                filter.level.map(Level::as_str),
                filter.project.map(|p| p.to_string()),
                filter.instance.map(|i| i.to_string()),
                limit
            ],
        )?
        .iter()
        .map(stored)
        .collect()
    }

    pub fn rule(&mut self, id: RuleId) -> Result<Option<StoredRule>> {
        let found = self.query_opt("SELECT * FROM policy_rules WHERE id = $1", params![id.to_string()])?;
        found.as_ref().map(stored).transpose()
    }

    /// How many of a level there are, of one project or instance.
    pub fn count_rules(&mut self, scope: Scope) -> Result<i64> {
        self.query_one(
            "SELECT count(*) AS n FROM policy_rules
             WHERE level = $1 AND coalesce(project_id, '') = $2 AND coalesce(instance_id, '') = $3",
            params![
                scope.level().as_str(),
                scope.project().map(|p| p.to_string()).unwrap_or_default(),
                scope.instance().map(|i| i.to_string()).unwrap_or_default()
            ],
        )?
        .int("n")
    }

    /// Whether there was one.
    pub fn delete_rule(&mut self, id: RuleId) -> Result<bool> {
        let n = self.execute("DELETE FROM policy_rules WHERE id = $1", params![id.to_string()])?;
        self.notify(POLICIES);
        Ok(n > 0)
    }

    pub fn delete_rules_of(&mut self, instance: InstanceId) -> Result<()> {
        let n =
            self.execute("DELETE FROM policy_rules WHERE instance_id = $1", params![instance.to_string()])?;
        if n > 0 {
            self.notify(POLICIES);
        }
        Ok(())
    }

    /// Those that have ended by themselves; the number deleted.
    pub fn purge_rules(&mut self, before: Millis, limit: u32) -> Result<u64> {
        self.execute(
            "DELETE FROM policy_rules WHERE id IN (SELECT id FROM policy_rules WHERE until <= $1 LIMIT $2)",
            params![before.0, limit],
        )
    }
}
