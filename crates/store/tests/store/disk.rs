//! What projects have on disks, which images they need, and which GPUs they hold.

use std::collections::BTreeSet;

use ryokan_model::deployment::{DeploymentState, RevisionState};
use ryokan_model::project::Quotas;
use ryokan_model::quantity::Bytes;
use ryokan_model::spec::InstanceSpec;
use ryokan_model::usage::{Sample, VOLUMES};
use ryokan_model::{DeploymentId, InstanceId, Millis, ProjectId};
use ryokan_store::StoreError;
use ryokan_store::instances::Instance;
use ryokan_store::revisions::Revision;
use ryokan_store::test_util::for_each_engine;
use ryokan_store::usage::UsageSample;

use crate::deployments::{deployment, project, with_project};

fn id(n: u8) -> InstanceId {
    InstanceId::from_parts(Millis(1), [n; 10])
}

fn instance(n: u8, image: &str) -> Instance {
    let spec = InstanceSpec::new(image.parse().unwrap());
    Instance::new(id(n), project(), format!("i{n}").parse().unwrap(), spec, Millis(1))
}

fn sample(n: u8, epoch: &str, at: i64, disk_bytes: u64) -> UsageSample {
    let sample = Sample { at: Millis(at), disk_bytes, ..Sample::default() };
    UsageSample { instance: id(n), project: project(), epoch: epoch.into(), sample }
}

#[tokio::test]
async fn disks_count_as_last_measured() {
    for_each_engine(|database| async move {
        let store = database.open().await;
        with_project(&store).await;
        let used = store
            .write(|tx| {
                for n in 1..=4 {
                    let mut row = instance(n, "img");
                    tx.insert_instance(&row)?;
                    row.deleted_at = (n > 2).then_some(Millis(2));
                    row.keep_volumes = n == 4;
                    tx.update_instance(&mut row, Millis(2))?;
                }
                let samples = [
                    sample(1, VOLUMES, 100, 1),
                    sample(1, VOLUMES, 200, 5),
                    // A run of a container has no disk; whatever is there does not count.
                    sample(1, "run", 300, 1_000),
                    // Not measured for long, and live.
                    sample(2, VOLUMES, 10, 7),
                    sample(3, VOLUMES, 200, 100),
                    sample(4, VOLUMES, 150, 1_000),
                    sample(4, VOLUMES, 200, 20),
                    // Without a row: forgotten, and still there.
                    sample(5, VOLUMES, 200, 300),
                ];
                for sample in samples {
                    tx.add_samples(&[sample])?;
                }
                let other = ProjectId::from_parts(Millis(1), [9; 10]);
                let used = [150, 201].map(|recent| tx.disk_used(project(), Millis(recent)));
                assert_eq!(tx.disk_used(other, Millis(0))?, Bytes::new(0));
                let [recent, late] = used;
                Ok::<_, StoreError>((recent?.get(), late?.get()))
            })
            .await
            .unwrap();
        assert_eq!(used, (5 + 7 + 20 + 300, 5 + 7));
    })
    .await;
}

#[tokio::test]
async fn a_quota_that_is_reached_is_remembered_until_it_is_another() {
    for_each_engine(|database| async move {
        let store = database.open().await;
        with_project(&store).await;
        store
            .write(|tx| {
                let disk = |mebi| Quotas { disk: Some(Bytes::mebi(mebi)), ..Quotas::default() };
                assert_eq!(tx.disk_quotas()?, []);
                tx.put_quotas(project(), &disk(1))?;
                tx.set_disk_reached(project(), Some(Millis(5)))?;
                tx.put_quotas(project(), &Quotas { instances: Some(3), ..disk(1) })?;
                let [quota] = tx.disk_quotas()?[..] else { panic!("one quota") };
                assert_eq!((quota.most, quota.reached_at), (Bytes::mebi(1), Some(Millis(5))));
                tx.put_quotas(project(), &disk(2))?;
                assert_eq!(tx.disk_quotas()?[0].reached_at, None);
                tx.put_quotas(project(), &Quotas::default())?;
                assert_eq!(tx.disk_quotas()?, []);
                Ok::<_, StoreError>(())
            })
            .await
            .unwrap();
    })
    .await;
}

#[tokio::test]
async fn artifacts_count_until_they_are_released() {
    for_each_engine(|database| async move {
        let store = database.open().await;
        with_project(&store).await;
        store
            .write(|tx| {
                for n in 1..=2 {
                    tx.insert_deployment(&deployment(n))?;
                    assert!(tx.take_artifact(deployment(n).id, "b", u64::from(n) * 10, "h", Millis(1500))?);
                }
                tx.insert_deployment(&deployment(3))?;
                assert_eq!(tx.artifact_bytes(project())?, 30);
                let from = DeploymentState::Queued;
                tx.move_deployment(deployment(1).id, from, DeploymentState::Failed, None, Millis(5))?;
                assert_eq!(tx.artifact_bytes(project())?, 20);
                Ok::<_, StoreError>(())
            })
            .await
            .unwrap();
    })
    .await;
}

#[tokio::test]
async fn gpus_are_held_by_what_is_wanted_running() {
    for_each_engine(|database| async move {
        let store = database.open().await;
        with_project(&store).await;
        store
            .write(|tx| {
                for n in 1..=4 {
                    let mut row = instance(n, "img");
                    row.spec.resources.gpus = u32::from(n) - 1;
                    row.spec.env.insert("X".into(), "\"gpus\":9".into());
                    tx.insert_instance(&row)?;
                    if n == 3 {
                        row.desired = ryokan_model::instance::Desired::Stopped;
                        tx.update_instance(&mut row, Millis(2))?;
                    }
                }
                assert_eq!(tx.gpus_held(id(9))?, 1 + 3);
                assert_eq!(tx.gpus_held(id(4))?, 1);
                let mut gone = tx.instance(id(4))?.unwrap();
                gone.deleted_at = Some(Millis(3));
                tx.update_instance(&mut gone, Millis(3))?;
                assert_eq!(tx.gpus_held(id(9))?, 1);
                Ok::<_, StoreError>(())
            })
            .await
            .unwrap();
    })
    .await;
}

#[tokio::test]
async fn images_are_needed_by_instances_and_their_newest_revisions() {
    for_each_engine(|database| async move {
        let store = database.open().await;
        with_project(&store).await;
        let needed = store
            .write(|tx| {
                let mut row = instance(1, "img:6");
                tx.insert_instance(&row)?;
                for number in 1..=6 {
                    let revision = Revision {
                        instance: row.id,
                        number,
                        spec: InstanceSpec::new(format!("img:{number}").parse().unwrap()),
                        manifest: None,
                        deployment: None,
                        image_id: None,
                        image_digest: None,
                        state: RevisionState::Rolling,
                        reason: None,
                        created_by: "ada".into(),
                        created_at: Millis(number),
                    };
                    tx.insert_revision(&revision)?;
                    match number {
                        // Overtaken before it was ever ready, failed, and under way.
                        3 | 6 => {}
                        4 => tx.revision_has_failed(row.id, number, "no")?,
                        _ => tx.revision_is_live(row.id, number, Some("sha256:x"), None)?,
                    }
                }
                row.previous = Some(ryokan_store::instances::Previous {
                    generation: 5,
                    spec: InstanceSpec::new("img:before".parse().unwrap()),
                    image_id: None,
                    image_digest: None,
                    since: Millis(1),
                });
                tx.update_instance(&mut row, Millis(2))?;
                let mut gone = instance(2, "img:gone");
                tx.insert_instance(&gone)?;
                gone.deleted_at = Some(Millis(2));
                tx.update_instance(&mut gone, Millis(2))?;
                for n in 1..=3 {
                    tx.insert_deployment(&deployment(n))?;
                }
                tx.take_artifact(deployment(1).id, "b", 1, "h", Millis(1500))?;
                tx.take_artifact(deployment(2).id, "b", 1, "h", Millis(1500))?;
                let from = DeploymentState::Queued;
                tx.move_deployment(deployment(2).id, from, DeploymentState::Failed, None, Millis(5))?;
                tx.images_needed(project(), 2)
            })
            .await
            .unwrap();
        let images: BTreeSet<_> = needed.images.iter().map(|image| image.as_str()).collect();
        assert_eq!(images, ["img:2", "img:5", "img:6", "img:before"].into());
        assert_eq!(needed.deployments, BTreeSet::<DeploymentId>::from([deployment(1).id]));
    })
    .await;
}
