//! GPUs that instances hold.

use ryokan_model::InstanceId;
use ryokan_model::spec::InstanceSpec;

use crate::{Result, Tx, params};

impl Tx<'_> {
    /// Of all instances that are wanted running, but for this one.
    pub fn gpus_held(&mut self, except: InstanceId) -> Result<u32> {
        // Most specs ask for none, and then say nothing of them.
        let rows = self.query(
            r#"SELECT spec FROM instances
               WHERE deleted_at IS NULL AND desired = 'running' AND id <> $1 AND spec LIKE '%"gpus":%'"#,
            params![except.to_string()],
        )?;
        let mut held = 0u32;
        for row in &rows {
            held = held.saturating_add(row.json::<InstanceSpec>("spec")?.resources.gpus);
        }
        Ok(held)
    }
}
