//! What the engine holds of ours that no row wants: removed, so that nothing leaks. Containers without a live row go.
//! Volumes go only when a tombstone says that their instance was deleted: a database that was restored from an older
//! copy must never cost anybody a disk. Things without our server's label are never looked at.

use std::collections::BTreeSet;

use ryokan_model::{InstanceId, ProjectId};
use ryokan_ports::runtime::{Holdings, Observed, Volumes};
use ryokan_store::instances::Instance;

use crate::{App, Result};

/// What is to go: instances with what becomes of their volumes, and networks that no instance uses.
pub(crate) struct Orphans {
    pub(crate) instances: Vec<(InstanceId, Volumes)>,
    pub(crate) networks: Vec<ProjectId>,
}

impl App {
    /// `observed` and `holdings` were read before; the rows are read now, so that whatever is new has its row.
    pub(crate) async fn find_orphans(&self, observed: &[Observed], holdings: &Holdings) -> Result<Orphans> {
        let (rows, tombstones) = self
            .store
            .read(|tx| Ok::<_, ryokan_store::StoreError>((tx.live_instances()?, tx.tombstones()?)))
            .await?;
        let live: BTreeSet<_> = rows.iter().map(|row| row.id).collect();
        let may_go = |id: &InstanceId| tombstones.get(id) == Some(&false);
        let containers = observed.iter().map(|o| o.instance).filter(|id| !live.contains(id));
        let volumes = holdings.volumes.iter().copied().filter(|id| !live.contains(id) && may_go(id));
        let instances = containers
            .chain(volumes)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .map(|id| (id, if may_go(&id) { Volumes::Remove } else { Volumes::Keep }))
            .collect();
        Ok(Orphans { instances, networks: unused_networks(&holdings.networks, &rows).into_iter().collect() })
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
