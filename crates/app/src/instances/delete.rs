//! `delete`: gracefully through the reconciler, or at once with `force`, which needs no engine at all: the row becomes a
//! tombstone, its name is free, and the orphan search removes what the engine still holds as soon as it can.

use ryokan_model::instance::{Desired, State};
use ryokan_model::permission::{Caller, Scope};
use ryokan_model::{Millis, Name};
use ryokan_store::Tx;
use ryokan_store::images::IMAGES;
use ryokan_store::instances::Instance;
use serde_json::json;

use crate::addons::{delete_beside, must_not_be_needed};
use crate::instances::{enter, keep, previous_secrets_of, secrets_of};
use crate::{App, Error, Result, events};

#[derive(Debug, Clone, Copy, Default)]
pub struct DeleteOptions {
    pub force: bool,
    pub keep_volumes: bool,
}

impl App {
    /// The row as it is afterwards; `deleted_at` is set when it was forced.
    pub async fn delete_instance(
        &self,
        caller: &Caller,
        id_or_name: &str,
        options: DeleteOptions,
    ) -> Result<Instance> {
        let row = self.find_instance(caller, Scope::Write, id_or_name).await?;
        let (id, by) = (row.id, caller.clone());
        let changed = self
            .write_raced(move |tx, now| {
                let Some(mut row) = tx.instance(id)? else { return Ok(None) };
                must_not_be_needed(tx, &row, options)?;
                delete_beside(tx, &row, options, &by, now)?;
                let before = row.clone();
                ask_deletion(tx, &mut row, options, &by, None, now)?;
                keep(tx, &before, &mut row, now)?;
                Ok(Some(row))
            })
            .await?;
        crate::crash::point("delete.committed");
        // Forced or not, the engine's part begins now rather than at the next resync.
        self.wake.notify_one();
        changed.ok_or_else(|| Error::not_found("instance", id_or_name))
    }
}

/// Writes into the row that it is to go, with an event; `with` the agent whose database it is. Asked again, only force
/// makes a difference.
pub(crate) fn ask_deletion(
    tx: &mut Tx<'_>,
    row: &mut Instance,
    options: DeleteOptions,
    by: &Caller,
    with: Option<&Name>,
    now: Millis,
) -> Result<()> {
    let first = row.state != State::Deleting;
    if !first && !options.force {
        return Ok(());
    }
    row.desired = Desired::Deleted;
    // Forcing a deletion that keeps volumes is no order to remove them.
    row.keep_volumes = options.keep_volumes || (!first && row.keep_volumes);
    enter(row, State::Deleting, None, now)?;
    let mut data = json!({"force": options.force, "keep_volumes": row.keep_volumes});
    if let Some(agent) = with {
        data["with"] = json!(agent);
    }
    let (id, name) = (row.id.to_string(), row.name.as_str());
    events::by_caller(
        tx,
        now,
        by,
        Some(row.project),
        "instance.delete_requested",
        "instance",
        &id,
        name,
        data,
    )?;
    if options.force { bury(tx, row, now) } else { Ok(()) }
}

/// Turns the row into a tombstone: gone for everybody, remembered so that its volumes may be removed.
pub(crate) fn bury(tx: &mut Tx<'_>, row: &mut Instance, now: Millis) -> Result<()> {
    row.deleted_at = Some(now);
    row.endpoints.clear();
    tx.delete_secrets(&secrets_of(row.id))?;
    tx.delete_secrets(&previous_secrets_of(row.id))?;
    tx.delete_revisions(row.id)?;
    tx.delete_domains_of(row.id)?;
    tx.delete_rules_of(row.id)?;
    tx.close_approvals_of(row.id, now)?;
    if crate::deployments::is_built_here(&row.spec.image) {
        tx.notify(IMAGES);
    }
    events::system(
        tx,
        now,
        "instance.deleted",
        "instance",
        &row.id.to_string(),
        row.name.as_str(),
        Some(row.project),
        json!({"keep_volumes": row.keep_volumes}),
    )
}
