//! What the engine holds of ours that no row wants: removed, so that nothing leaks. Containers without a live row go.
//! Volumes go only when a tombstone says that their instance was deleted: a database that was restored from an older
//! copy must never cost anybody a disk. Things without our server's label are never looked at, but for volumes that
//! lost their labels to a dying engine and bear the name of a tombstone's instance.

use std::collections::{BTreeMap, BTreeSet};

use ryokan_model::{InstanceId, ProjectId};
use ryokan_ports::runtime::{Holdings, Observed, TornVolume, Volumes};
use ryokan_store::instances::Tombstone;

use crate::{App, Result};

/// What is to go: instances with what becomes of their volumes, and networks that no instance uses.
pub(crate) struct Orphans {
    pub(crate) instances: Vec<(InstanceId, Volumes)>,
    pub(crate) networks: Vec<ProjectId>,
}

impl App {
    /// `observed` and `holdings` were read before; the rows are read now, so that whatever is new has its row. Only rows
    /// of what the engine holds are asked for, however many others there are.
    pub(crate) async fn find_orphans(&self, observed: &[Observed], holdings: &Holdings) -> Result<Orphans> {
        let held: Vec<InstanceId> =
            observed.iter().map(|o| o.instance).chain(holdings.volumes.iter().copied()).collect();
        let (networks, any_torn) = (holdings.networks.clone(), !holdings.torn.is_empty());
        let (live, tombstones, used) = self
            .store
            .read(move |tx| {
                // Whose a torn volume was is found among all.
                let live: BTreeSet<InstanceId> =
                    if any_torn { tx.live_versions()?.into_keys().collect() } else { tx.live_among(&held)? };
                let clean = !any_torn && held.iter().all(|id| live.contains(id));
                let tombstones = if clean { BTreeMap::new() } else { tx.tombstones()? };
                Ok::<_, ryokan_store::StoreError>((live, tombstones, tx.projects_in_use(&networks)?))
            })
            .await?;
        let may_go = |id: &InstanceId| tombstones.get(id).is_some_and(|t| !t.keep_volumes);
        let containers = observed.iter().map(|o| o.instance).filter(|id| !live.contains(id));
        let volumes = holdings.volumes.iter().copied().filter(|id| !live.contains(id) && may_go(id));
        let torn = holdings.torn.iter().filter_map(|volume| buried_owner(volume, &live, &tombstones));
        let instances = containers
            .chain(volumes)
            .chain(torn)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .map(|id| (id, if may_go(&id) { Volumes::Remove } else { Volumes::Keep }))
            .collect();
        let networks: BTreeSet<_> = holdings.networks.iter().copied().filter(|p| !used.contains(p)).collect();
        Ok(Orphans { instances, networks: networks.into_iter().collect() })
    }

    /// After a deletion: the project's network goes with its last instance.
    pub(crate) async fn remove_empty_network(&self, project: ProjectId) -> Result<()> {
        let empty = self
            .store
            .read(move |tx| Ok::<_, ryokan_store::StoreError>(tx.count_instances_of(project)? == 0))
            .await?;
        if empty {
            self.runtime.remove_network(project).await?;
        }
        Ok(())
    }
}

/// Whose a volume without labels was, if it may go: exactly one instance that we know of has an id that ends so, and
/// its tombstone, which is younger than the volume, lets its volumes go. What only happens to be named like ours fits
/// none and stays, and so does what somebody brought back under the old name.
fn buried_owner(
    volume: &TornVolume,
    live: &BTreeSet<InstanceId>,
    tombstones: &BTreeMap<InstanceId, Tombstone>,
) -> Option<InstanceId> {
    let mut owners =
        live.iter().chain(tombstones.keys()).filter(|id| id.to_string().ends_with(&volume.id_end));
    let owner = owners.next().copied()?;
    let alone = owners.next().is_none();
    let may_go = |t: &Tombstone| !t.keep_volumes && volume.created_at <= t.deleted_at;
    (alone && !live.contains(&owner) && tombstones.get(&owner).is_some_and(may_go)).then_some(owner)
}

#[cfg(test)]
mod tests {
    use ryokan_model::Millis;

    use super::*;

    fn id(at: i64, random: u8) -> InstanceId {
        InstanceId::from_parts(Millis(at), [random; 10])
    }

    #[test]
    fn a_volume_without_labels_goes_only_with_a_tombstone_of_its_own() {
        let torn = |id: InstanceId| TornVolume {
            id_end: id.to_string().split_off(24),
            volume: "data".into(),
            created_at: Millis(10),
        };
        let gone = |keep_volumes, at| Tombstone { keep_volumes, deleted_at: Millis(at) };
        let live: BTreeSet<_> = [id(1, 1)].into();
        let tombstones: BTreeMap<_, _> = [
            (id(2, 2), gone(false, 10)),
            (id(3, 3), gone(true, 20)),
            (id(4, 1), gone(false, 20)),
            (id(5, 5), gone(false, 20)),
            (id(6, 5), gone(true, 20)),
            (id(7, 7), gone(false, 9)),
        ]
        .into();
        let owner = |id| buried_owner(&torn(id), &live, &tombstones);
        assert_eq!(owner(id(2, 2)), Some(id(2, 2)));
        assert_eq!(owner(id(1, 1)), None, "it is in use, and a tombstone's id ends alike");
        assert_eq!(owner(id(3, 3)), None, "its owner keeps it");
        assert_eq!(owner(id(5, 5)), None, "two tombstones do not agree");
        assert_eq!(owner(id(7, 7)), None, "it was made since");
        assert_eq!(owner(id(9, 9)), None, "somebody else's");
    }
}
