//! What the engine holds of ours that no row wants: removed, so that nothing leaks. Containers without a live row go.
//! Volumes go only when a tombstone says that their instance was deleted: a database that was restored from an older
//! copy must never cost anybody a disk. Things without our server's label are never looked at.

use std::collections::BTreeSet;

use ryokan_model::ProjectId;
use ryokan_ports::runtime::{Observed, Volumes};
use ryokan_store::instances::Instance;

use crate::{App, Result};

impl App {
    /// `observed` and the holdings are read before the rows, so that whatever is new has its row. Returns how many
    /// things could not be removed yet.
    pub(crate) async fn remove_orphans(&self, observed: &[Observed]) -> Result<i64> {
        let holdings = self.runtime.holdings().await?;
        let (rows, tombstones) = self
            .store
            .read(|tx| Ok::<_, ryokan_store::StoreError>((tx.live_instances()?, tx.tombstones()?)))
            .await?;
        let live: BTreeSet<_> = rows.iter().map(|row| row.id).collect();
        let mut left = 0;
        let containers = observed.iter().map(|o| o.instance).filter(|id| !live.contains(id));
        let volumes = holdings
            .volumes
            .iter()
            .copied()
            .filter(|id| !live.contains(id) && tombstones.get(id) == Some(&false));
        for id in containers.chain(volumes).collect::<BTreeSet<_>>() {
            let volumes = if tombstones.get(&id) == Some(&false) { Volumes::Remove } else { Volumes::Keep };
            tracing::info!(instance = %id, ?volumes, "removing an orphan");
            if let Err(error) = self.runtime.remove(id, volumes).await {
                tracing::warn!(instance = %id, error = %error, "an orphan could not be removed yet");
                left += 1;
            }
        }
        for project in unused_networks(&holdings.networks, &rows) {
            if let Err(error) = self.runtime.remove_network(project).await {
                tracing::debug!(project = %project, error = %error, "a network could not be removed yet");
                left += 1;
            }
        }
        Ok(left)
    }

    /// After a deletion: the project's network goes with its last instance.
    pub(crate) async fn remove_empty_network(&self, project: ProjectId) -> Result<()> {
        let empty = self
            .store
            .read(move |tx| Ok::<_, ryokan_store::StoreError>(tx.instances_of(project)?.is_empty()))
            .await?;
        if empty {
            self.runtime.remove_network(project).await?;
        }
        Ok(())
    }
}

fn unused_networks(networks: &[ProjectId], rows: &[Instance]) -> BTreeSet<ProjectId> {
    let used: BTreeSet<_> = rows.iter().map(|row| row.project).collect();
    networks.iter().copied().filter(|p| !used.contains(p)).collect()
}
