//! Revisions as rows: what was asked of an instance, by generation. Only the state and its reason ever change.

use ryokan_model::deployment::RevisionState;
use ryokan_model::spec::InstanceSpec;
use ryokan_model::{DeploymentId, InstanceId, Millis};

use crate::{Result, Row, StoreError, Tx, params};

/// How many numbers back an instance's revisions are kept; the live one always is.
const KEPT: i64 = 100;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    pub instance: InstanceId,
    /// The generation that the instance had with it.
    pub number: i64,
    pub spec: InstanceSpec,
    /// As it was in the artifact.
    pub manifest: Option<String>,
    pub deployment: Option<DeploymentId>,
    pub image_id: Option<String>,
    pub image_digest: Option<String>,
    pub state: RevisionState,
    pub reason: Option<String>,
    pub created_by: String,
    pub created_at: Millis,
}

fn revision(row: &Row) -> Result<Revision> {
    Ok(Revision {
        instance: row.parse("instance_id")?,
        number: row.int("number")?,
        spec: row.json("spec")?,
        manifest: row.opt_text("manifest")?,
        deployment: row.opt_parse("deployment_id")?,
        image_id: row.opt_text("image_id")?,
        image_digest: row.opt_text("image_digest")?,
        state: row.parse("state")?,
        reason: row.opt_text("reason")?,
        created_by: row.text("created_by")?,
        created_at: Millis(row.int("created_at")?),
    })
}

impl Tx<'_> {
    pub fn insert_revision(&mut self, r: &Revision) -> Result<()> {
        let spec = serde_json::to_string(&r.spec)
            .map_err(|e| StoreError::Other(format!("a spec cannot be written as JSON: {e}")))?;
        self.execute(
            "INSERT INTO revisions (instance_id, number, spec, manifest, deployment_id, state, created_by, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            params![
                r.instance.to_string(),
                r.number,
                spec,
                &r.manifest,
                r.deployment.map(|d| d.to_string()),
                r.state.as_str(),
                &r.created_by,
                r.created_at.0
            ],
        )?;
        self.execute(
            "DELETE FROM revisions WHERE instance_id = $1 AND number < $2 AND state <> 'live'",
            params![r.instance.to_string(), r.number - KEPT],
        )
        .map(drop)
    }

    /// It was found well: it is the live one from now on.
    pub fn revision_is_live(
        &mut self,
        instance: InstanceId,
        number: i64,
        image: Option<&str>,
        digest: Option<&str>,
    ) -> Result<()> {
        let id = instance.to_string();
        let n = self.execute(
            "UPDATE revisions SET state = 'live', reason = NULL, image_id = $3, image_digest = $4
             WHERE instance_id = $1 AND number = $2 AND state <> 'live'",
            params![&id, number, image.map(str::to_owned), digest.map(str::to_owned)],
        )?;
        if n > 0 {
            self.execute(
                "UPDATE revisions SET state = 'superseded' WHERE instance_id = $1 AND number <> $2 AND state IN ('live', 'rolling')",
                params![&id, number],
            )?;
        }
        Ok(())
    }

    pub fn revision_has_failed(&mut self, instance: InstanceId, number: i64, reason: &str) -> Result<()> {
        self.execute(
            "UPDATE revisions SET state = 'failed', reason = $3 WHERE instance_id = $1 AND number = $2 AND state = 'rolling'",
            params![instance.to_string(), number, reason.chars().take(2000).collect::<String>()],
        )
        .map(drop)
    }

    /// The highest number that any of them has had; 0 when there is none.
    pub fn last_revision(&mut self, instance: InstanceId) -> Result<i64> {
        let rows = self.query(
            "SELECT COALESCE(MAX(number), 0) AS last FROM revisions WHERE instance_id = $1",
            params![instance.to_string()],
        )?;
        rows.first().map_or(Ok(0), |row| row.int("last"))
    }

    /// The newest first.
    pub fn revisions_of(&mut self, instance: InstanceId, limit: u32) -> Result<Vec<Revision>> {
        let rows = self.query(
            "SELECT * FROM revisions WHERE instance_id = $1 ORDER BY number DESC LIMIT $2",
            params![instance.to_string(), limit],
        )?;
        rows.iter().map(revision).collect()
    }

    /// What a deployment has released so far.
    pub fn revisions_by(&mut self, deployment: DeploymentId) -> Result<Vec<Revision>> {
        let rows =
            self.query("SELECT * FROM revisions WHERE deployment_id = $1", params![deployment.to_string()])?;
        rows.iter().map(revision).collect()
    }

    pub fn delete_revisions(&mut self, instance: InstanceId) -> Result<()> {
        self.execute("DELETE FROM revisions WHERE instance_id = $1", params![instance.to_string()]).map(drop)
    }
}
