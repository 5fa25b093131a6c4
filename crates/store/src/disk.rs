//! What projects have on disks, as last measured, and which have reached what they may have.

use ryokan_model::quantity::Bytes;
use ryokan_model::usage::VOLUMES;
use ryokan_model::{Millis, ProjectId};

use crate::{Result, Tx, params};

/// A project whose disk is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskQuota {
    pub project: ProjectId,
    pub most: Bytes,
    /// Since when it has been at its bound, as far as that was told.
    pub reached_at: Option<Millis>,
}

impl Tx<'_> {
    /// What the project's volumes hold: those of its instances as last measured, and those that deleted ones left if
    /// they were measured since `recent`.
    pub fn disk_used(&mut self, project: ProjectId, recent: Millis) -> Result<Bytes> {
        let live = self.query_one(
            "SELECT CAST(coalesce(sum(s.disk_bytes), 0) AS BIGINT) AS bytes FROM instances i
             JOIN usage_samples s ON s.instance_id = i.id AND s.epoch = $2
             WHERE i.project_id = $1 AND i.deleted_at IS NULL AND s.at = (
                SELECT max(last.at) FROM usage_samples last WHERE last.instance_id = i.id AND last.epoch = $2)",
            params![project.to_string(), VOLUMES],
        )?;
        let kept = self.query_one(
            "SELECT CAST(coalesce(sum(s.disk_bytes), 0) AS BIGINT) AS bytes FROM usage_samples s
             WHERE s.at >= $3 AND s.epoch = $2 AND s.project_id = $1
                AND NOT EXISTS (SELECT 1 FROM usage_samples later
                    WHERE later.instance_id = s.instance_id AND later.epoch = $2 AND later.at > s.at)
                AND NOT EXISTS (SELECT 1 FROM instances i
                    WHERE i.id = s.instance_id AND (i.deleted_at IS NULL OR i.keep_volumes = $4))",
            params![project.to_string(), VOLUMES, recent.0, false],
        )?;
        let bytes = |n: i64| u64::try_from(n).unwrap_or(0);
        Ok(Bytes::new(bytes(live.int("bytes")?).saturating_add(bytes(kept.int("bytes")?))))
    }

    /// Of artifacts that are here and not released yet.
    pub fn artifact_bytes(&mut self, project: ProjectId) -> Result<u64> {
        let row = self.query_one(
            "SELECT CAST(coalesce(sum(size), 0) AS BIGINT) AS bytes FROM deployments
             WHERE project_id = $1 AND state IN ('queued', 'building', 'releasing')",
            params![project.to_string()],
        )?;
        Ok(u64::try_from(row.int("bytes")?).unwrap_or(0))
    }

    /// Of projects that live.
    pub fn disk_quotas(&mut self) -> Result<Vec<DiskQuota>> {
        let rows = self.query(
            "SELECT q.project_id, q.disk, q.disk_reached_at FROM quotas q JOIN projects p ON p.id = q.project_id
             WHERE q.disk IS NOT NULL AND p.deleted_at IS NULL ORDER BY q.project_id",
            params![],
        )?;
        rows.iter()
            .map(|row| {
                Ok(DiskQuota {
                    project: row.parse("project_id")?,
                    most: Bytes::new(u64::try_from(row.int("disk")?).unwrap_or(0)),
                    reached_at: row.opt_int("disk_reached_at")?.map(Millis),
                })
            })
            .collect()
    }

    pub fn set_disk_reached(&mut self, project: ProjectId, at: Option<Millis>) -> Result<()> {
        self.execute(
            "UPDATE quotas SET disk_reached_at = $2 WHERE project_id = $1",
            params![project.to_string(), at.map(|at| at.0)],
        )
        .map(drop)
    }
}
