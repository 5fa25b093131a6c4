//! Volumes: named disks of an instance that outlive its containers.
//!
//! The engine gives a fresh volume the owner of the image's folder at that path, or root when there is none, and a
//! user other than root could not write to it. Its owner is then set through a second container that is made with the
//! volume and never started, because an archive cannot be put into a container whose root is read-only.

use std::collections::{BTreeSet, HashMap};

use bollard::models::{ContainerCreateBody, HostConfig, Mount, MountType, Volume, VolumeCreateRequest};
use bollard::query_parameters::{CreateContainerOptions, ListVolumesOptions, RemoveVolumeOptions};
use bytes::Bytes;
use ryokan_model::InstanceId;
use ryokan_ports::crash;
use ryokan_ports::runtime::{Result, RuntimeError, TornVolume, Workload};

use super::archive::{self, Kind};
use super::container::millis;
use super::owner::Owner;
use super::{Inner, label};

impl Inner {
    /// Makes the workload's volumes.
    pub(super) async fn ensure_volumes(&self, workload: &Workload) -> Result<()> {
        let api = self.link.api().await?;
        for volume in &workload.spec.volumes {
            let name = label::volume_name(self.server, workload.instance, &volume.name);
            let mut labels = label::of_instance(self.server, workload.project, workload.instance);
            labels.insert(label::VOLUME.to_owned(), volume.name.clone());
            let request = VolumeCreateRequest {
                name: Some(name.clone()),
                labels: Some(labels),
                ..VolumeCreateRequest::default()
            };
            let what = format!("volume {name}");
            // Idempotent in the engine, which then returns the volume that is there, whoever made it.
            let made = self.link.call(&what, api.create_volume(request)).await?;
            let ours = made.labels.get(label::SERVER) == Some(&self.server.to_string())
                && made.labels.get(label::INSTANCE) == Some(&workload.instance.to_string());
            // An engine that dies while it makes a volume comes back with the volume and without its labels. The name
            // holds our ids, so it is used as it is; whatever may be in it is kept.
            if !ours && !made.labels.is_empty() {
                return Err(RuntimeError::Other(format!(
                    "{what} exists and is not this instance's; rename or remove it"
                )));
            }
        }
        Ok(())
    }

    /// Lets the container's user write to volumes that root owns. `container` was made and has never run.
    pub(super) async fn own_volumes(&self, workload: &Workload, container: &str, owner: Owner) -> Result<()> {
        if owner.user == 0 {
            return Ok(());
        }
        for volume in workload.spec.volumes.iter().filter(|v| !v.read_only) {
            let root = self.entry_at(container, &volume.path).await?;
            if root.user != 0 || root.kind != Kind::Directory {
                continue;
            }
            let name = label::volume_name(self.server, workload.instance, &volume.name);
            self.set_owner(workload, &name, owner, root.mode).await?;
        }
        Ok(())
    }

    async fn set_owner(&self, workload: &Workload, volume: &str, owner: Owner, mode: u32) -> Result<()> {
        let api = self.link.api().await?;
        let mut labels = label::of_instance(self.server, workload.project, workload.instance);
        labels.insert(label::PURPOSE.to_owned(), "volume".to_owned());
        let body = ContainerCreateBody {
            image: Some(workload.image_id.clone()),
            entrypoint: Some(vec!["never-started".to_owned()]),
            labels: Some(labels),
            host_config: Some(HostConfig {
                network_mode: Some("none".to_owned()),
                mounts: Some(vec![Mount {
                    typ: Some(MountType::VOLUME),
                    source: Some(volume.to_owned()),
                    target: Some("/ryokan-volume".to_owned()),
                    ..Mount::default()
                }]),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let name = format!("{volume}-owner");
        let options =
            CreateContainerOptions { name: Some(name.clone()), ..CreateContainerOptions::default() };
        let create = || api.create_container(Some(options.clone()), body.clone());
        let made = match self.link.call(&name, create()).await {
            // Left behind by a death in this very place, and not swept up yet.
            Err(RuntimeError::Other(why)) if why.contains("already in use") => {
                self.remove_container(&name).await?;
                self.link.call(&name, create()).await?
            }
            other => other?,
        };
        let folder = archive::Entry::directory("ryokan-volume", mode | 0o700, owner.user, owner.group);
        let tar = [folder.header(), archive::end()].concat();
        let put = self.put(&made.id, "/", Bytes::from(tar)).await;
        crash::point("volume.owned");
        self.remove_container(&made.id).await?;
        put
    }

    async fn volumes(&self, instance: Option<InstanceId>) -> Result<Vec<(String, InstanceId)>> {
        let wanted = [
            (label::SERVER, Some(self.server.to_string())),
            (label::INSTANCE, instance.map(|i| i.to_string())),
        ];
        let options = ListVolumesOptions { filters: Some(label::filter(&wanted)) };
        let api = self.link.api().await?;
        let listed = self.link.call("volumes", api.list_volumes(Some(options))).await?;
        Ok(listed
            .volumes
            .unwrap_or_default()
            .into_iter()
            .filter(|v| label::carries(&v.labels, &wanted))
            .filter_map(|v| Some((v.name, v.labels.get(label::INSTANCE)?.parse().ok()?)))
            .collect())
    }

    /// Volumes with an instance's name that lost their labels to a dying engine.
    async fn unlabelled_volumes(&self, instance: InstanceId) -> Result<Vec<String>> {
        let named = self.named_volumes(label::volume_name(self.server, instance, "")).await?;
        Ok(named.into_iter().map(|v| v.name).collect())
    }

    /// Volumes without labels whose names begin so.
    async fn named_volumes(&self, prefix: String) -> Result<Vec<Volume>> {
        let filters = HashMap::from([("name".to_owned(), vec![prefix.clone()])]);
        let api = self.link.api().await?;
        let options = ListVolumesOptions { filters: Some(filters) };
        let listed = self.link.call("volumes", api.list_volumes(Some(options))).await?;
        let listed = listed.volumes.unwrap_or_default().into_iter();
        let torn = |v: &Volume| {
            v.labels.is_empty()
                && v.options.is_empty()
                && v.driver == "local"
                && v.name.starts_with(&prefix)
                && label::read_volume_name(self.server, &v.name).is_some()
        };
        Ok(listed.filter(torn).collect())
    }

    /// Volumes that look like ours by their name alone. Whoever gave one a label, a driver of its own or options did
    /// not have it from us.
    pub(super) async fn torn_volumes(&self) -> Result<Vec<TornVolume>> {
        let listed = self.named_volumes(label::volume_prefix(self.server)).await?;
        let torn = |v: &Volume| {
            let (end, volume) = label::read_volume_name(self.server, &v.name)?;
            let created_at = Some(millis(v.created_at.as_deref())).filter(|at| at.0 > 0)?;
            Some(TornVolume { id_end: end.to_owned(), volume: volume.to_owned(), created_at })
        };
        Ok(listed.iter().filter_map(torn).collect())
    }

    pub(super) async fn instances_with_volumes(&self) -> Result<Vec<InstanceId>> {
        let instances: BTreeSet<_> =
            self.volumes(None).await?.into_iter().map(|(_, instance)| instance).collect();
        Ok(instances.into_iter().collect())
    }

    pub(super) async fn remove_volumes(&self, instance: InstanceId) -> Result<()> {
        let api = self.link.api().await?;
        let labelled = self.volumes(Some(instance)).await?.into_iter().map(|(name, _)| name);
        for name in labelled.chain(self.unlabelled_volumes(instance).await?) {
            let options = RemoveVolumeOptions { force: false };
            // Deleting many files takes its time.
            let limit = self.link.patience * 4;
            let what = format!("volume {name}");
            match self.link.call_within(limit, &what, api.remove_volume(&name, Some(options))).await {
                Ok(()) | Err(RuntimeError::NotFound(_)) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}
