//! Deployments, their lines, and revisions.

use ryokan_model::deployment::{DeploymentState, RevisionState};
use ryokan_model::spec::InstanceSpec;
use ryokan_model::{DeploymentId, InstanceId, Millis, ProjectId, UserId};
use ryokan_store::deployments::{Deployment, MAX_LINES};
use ryokan_store::revisions::Revision;
use ryokan_store::test_util::for_each_engine;
use ryokan_store::users::User;
use ryokan_store::{Store, StoreError};

const NOW: Millis = Millis(1000);

fn user() -> UserId {
    UserId::from_parts(NOW, [1; 10])
}

pub(crate) fn project() -> ProjectId {
    ProjectId::from_parts(NOW, [2; 10])
}

pub(crate) fn deployment(n: u8) -> Deployment {
    Deployment {
        id: DeploymentId::from_parts(Millis(i64::from(n)), [n; 10]),
        project: project(),
        project_name: "p".into(),
        name: Some("bot".into()),
        state: DeploymentState::Waiting,
        message: None,
        user: user(),
        upload_until: Millis(2000),
        max_size: 10,
        wanted_sha256: None,
        blob: None,
        size: None,
        sha256: None,
        cancel_wanted: false,
        created_at: NOW,
        updated_at: NOW,
    }
}

pub(crate) async fn with_project(store: &Store) {
    store
        .write(|tx| {
            let user = User {
                email: None,
                id: user(),
                login: "ada".into(),
                name: String::new(),
                operator: false,
                password_hash: None,
                disabled: false,
                created_at: NOW,
            };
            tx.insert_user(&user)?;
            tx.insert_project(
                project(),
                &"p".parse().unwrap(),
                user.id,
                false,
                ryokan_model::project::Network::Mainnet,
                NOW,
            )
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn an_upload_is_taken_once_and_in_time() {
    for_each_engine(|database| async move {
        let store = database.open().await;
        with_project(&store).await;
        let (row, late) = (deployment(1), deployment(2));
        let (id, other) = (row.id, late.id);
        let outcome = store
            .write(move |tx| {
                tx.insert_deployment(&row)?;
                tx.insert_deployment(&late)?;
                assert_eq!(tx.deployment(row.id)?.as_ref(), Some(&row));
                let first = tx.take_artifact(id, "blob", 7, "hash", Millis(1500))?;
                let second = tx.take_artifact(id, "blob2", 7, "hash", Millis(1500))?;
                let too_late = tx.take_artifact(other, "blob3", 7, "hash", Millis(2000))?;
                Ok::<_, StoreError>((first, second, too_late))
            })
            .await
            .unwrap();
        assert_eq!(outcome, (true, false, false));
        store
            .write(move |tx| {
                assert_eq!(tx.blobs_in_use()?, ["blob"]);
                assert_eq!(tx.count_open_deployments(project())?, 2);
                assert_eq!(tx.expire_deployments(Millis(2000))?, 1);
                assert_eq!(tx.deployment(other)?.unwrap().state, DeploymentState::Failed);
                let from = DeploymentState::Queued;
                assert!(tx.move_deployment(id, from, DeploymentState::Building, None, NOW)?);
                assert!(!tx.move_deployment(id, from, DeploymentState::Failed, Some("x"), NOW)?);
                tx.want_deployment_cancelled(id, NOW)?;
                let row = tx.deployment(id)?.unwrap();
                assert_eq!((row.cancel_wanted, row.size, row.blob.as_deref()), (true, Some(7), Some("blob")));
                let all = tx.deployments_of(project(), None, 10)?;
                assert_eq!(all.iter().map(|d| d.id).collect::<Vec<_>>(), [other, id], "the newest first");
                assert_eq!(tx.deployments_of(project(), Some(other), 10)?.len(), 1);
                Ok::<_, StoreError>(())
            })
            .await
            .unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_log_is_cut_and_goes_with_its_deployment() {
    for_each_engine(|database| async move {
        let store = database.open().await;
        with_project(&store).await;
        let row = deployment(1);
        let id = row.id;
        store
            .write(move |tx| {
                tx.insert_deployment(&row)?;
                let many: Vec<_> = (1..=MAX_LINES + 5).map(|n| n.to_string()).collect();
                tx.append_deployment_lines(id, &many[..2], NOW)?;
                tx.append_deployment_lines(id, &many[2..], NOW)?;
                tx.append_deployment_lines(id, &many[..2], NOW)
            })
            .await
            .unwrap();
        store
            .write(move |tx| {
                let first = tx.deployment_lines(id, 0, 3)?;
                assert_eq!(first.iter().map(|l| l.text.as_str()).collect::<Vec<_>>(), ["1", "2", "3"]);
                let last = tx.deployment_lines(id, MAX_LINES - 2, 10)?;
                assert_eq!(last.len(), 2);
                assert!(last[1].text.contains("cut here"));
                assert_eq!(tx.purge_deployments(5000, 10)?, 0, "it is not over");
                tx.move_deployment(id, DeploymentState::Waiting, DeploymentState::Cancelled, None, NOW)?;
                assert_eq!(tx.purge_deployments(NOW.0, 10)?, 0, "it is not old");
                assert_eq!(tx.purge_deployments(NOW.0 + 1, 10)?, 1);
                assert!(tx.deployment_lines(id, 0, 10)?.is_empty() && tx.deployment(id)?.is_none());
                Ok::<_, StoreError>(())
            })
            .await
            .unwrap();
    })
    .await;
}

#[tokio::test]
async fn one_revision_is_live() {
    for_each_engine(|database| async move {
        let store = database.open().await;
        let instance = InstanceId::from_parts(NOW, [3; 10]);
        let revision = move |number| Revision {
            instance,
            number,
            spec: InstanceSpec::new("a".parse().unwrap()),
            manifest: Some("{}".into()),
            deployment: Some(deployment(1).id),
            image_id: None,
            image_digest: None,
            state: RevisionState::Rolling,
            reason: None,
            created_by: "ada".into(),
            created_at: NOW,
        };
        store
            .write(move |tx| {
                tx.insert_revision(&revision(1))?;
                assert_eq!(tx.revisions_by(deployment(1).id)?, [revision(1)]);
                tx.revision_is_live(instance, 1, Some("sha256:a"), None)?;
                tx.insert_revision(&revision(2))?;
                tx.revision_has_failed(instance, 2, "why")?;
                // What went back to the first has a number of its own, which no revision has.
                tx.revision_is_live(instance, 3, None, None)?;
                tx.insert_revision(&revision(4))?;
                tx.revision_is_live(instance, 4, None, None)?;
                tx.revision_has_failed(instance, 4, "too late")?;
                let states: Vec<_> =
                    tx.revisions_of(instance, 9)?.iter().map(|r| (r.number, r.state)).collect();
                use RevisionState::{Failed, Live, Superseded};
                assert_eq!(states, [(4, Live), (2, Failed), (1, Superseded)]);
                tx.insert_revision(&revision(300))?;
                let kept: Vec<_> = tx.revisions_of(instance, 9)?.iter().map(|r| r.number).collect();
                assert_eq!(kept, [300, 4], "the live one is kept, whatever its number");
                tx.delete_revisions(instance)?;
                assert!(tx.revisions_of(instance, 9)?.is_empty());
                Ok::<_, StoreError>(())
            })
            .await
            .unwrap();
    })
    .await;
}
