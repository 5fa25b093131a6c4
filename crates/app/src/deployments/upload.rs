//! Taking an artifact in, at the signed address. The address is used up in one statement once the artifact is whole and
//! on the disk; an upload that breaks off, is too large or is not what was announced leaves nothing, and the address is
//! good for another try.

use bytes::Bytes;
use ryokan_model::deployment::DeploymentState;
use ryokan_model::{DeploymentId, JobId};
use ryokan_ports::blob::BlobError;
use ryokan_ports::runtime::BoxStream;
use ryokan_store::deployments::Deployment;
use serde_json::json;

use super::{Bound, run};
use crate::jobs::{NewJobParts, new_job};
use crate::projects::disk;
use crate::{App, Error, Result, events};

impl App {
    /// Whether something may be sent there; asked before the body is read.
    pub async fn check_upload(
        &self,
        deployment: &str,
        signature: &str,
        size: Option<u64>,
    ) -> Result<Deployment> {
        // Whether there is such a deployment is nobody's business.
        let refused = || Error::not_found("upload address", deployment);
        let id: DeploymentId = deployment.parse().map_err(|_| refused())?;
        let row = self.store.read(move |tx| tx.deployment(id)).await?.ok_or_else(refused)?;
        if !self.upload_key.verify(&Bound::of(&row), signature) {
            return Err(refused());
        }
        if row.state != DeploymentState::Waiting {
            return Err(Error::Conflict(format!(
                "this upload address was used, and is good once only; the deployment is {}",
                row.state
            )));
        }
        if self.clock.now() >= row.upload_until {
            return Err(Error::Forbidden("this upload address has expired; ask for another".into()));
        }
        if size.is_some_and(|size| size > row.max_size) {
            return Err(too_large(row.max_size));
        }
        let (project, now) = (row.project, self.clock.now());
        self.store.read(move |tx| disk::must_have_room(tx, project, size.unwrap_or(0), now)).await?;
        Ok(row)
    }

    /// Takes the artifact and enqueues its job.
    pub async fn receive_artifact(
        &self,
        row: Deployment,
        content: BoxStream<Result<Bytes, String>>,
    ) -> Result<Deployment> {
        let random: [u8; 8] = self.entropy.bytes();
        // A name of its own for each try: two uploads at the same time must not write to one file.
        let blob = format!("{}-{}", row.id, hex::encode(random));
        let stored = self.blobs.put(&blob, row.max_size, content).await.map_err(|e| match e {
            BlobError::TooLarge(most) => too_large(most),
            BlobError::Interrupted(why) => Error::invalid(
                "",
                format!("the upload ended early ({why}); the address is good for another try"),
            ),
            BlobError::DiskFull => {
                Error::unavailable("the server's disk is full; the address is good for another try")
            }
            other => Error::Internal(other.into()),
        })?;
        crate::crash::point("upload.stored");
        if row.wanted_sha256.as_ref().is_some_and(|wanted| *wanted != stored.sha256) {
            self.discard(&blob).await;
            let why =
                format!("the artifact has the SHA-256 {}, not the one that was announced", stored.sha256);
            return Err(Error::invalid("sha256", why));
        }
        let now = self.clock.now();
        let job = new_job(NewJobParts {
            id: JobId::from_parts(now, self.entropy.bytes()),
            kind: run::KIND,
            key: row.id.to_string(),
            payload: json!({"deployment": row.id}),
            run_at: now,
            max_attempts: 4,
        });
        let (id, name) = (row.id, blob.clone());
        let taken = self
            .store
            .write(move |tx| {
                // One that came without a length was not counted before.
                disk::must_have_room(tx, row.project, stored.size, now)?;
                if !tx.take_artifact(id, &name, stored.size, &stored.sha256, now)? {
                    return Ok::<_, Error>(None);
                }
                tx.enqueue_job(&job, now.0)?;
                let data = json!({"size": stored.size, "sha256": stored.sha256});
                let text = id.to_string();
                events::system(
                    tx,
                    now,
                    "deployment.uploaded",
                    "deployment",
                    &text,
                    &text,
                    Some(row.project),
                    data,
                )?;
                Ok(tx.deployment(id)?)
            })
            .await;
        crate::crash::point("upload.taken");
        match taken {
            Ok(Some(row)) => Ok(row),
            Ok(None) => {
                self.discard(&blob).await;
                Err(Error::Conflict("this upload address was used meanwhile, and is good once only".into()))
            }
            Err(error) => {
                self.discard(&blob).await;
                Err(error)
            }
        }
    }

    pub(super) async fn discard(&self, blob: &str) {
        if let Err(error) = self.blobs.delete(blob).await {
            tracing::warn!(blob, error = %error, "an artifact could not be removed; housekeeping tries again");
        }
    }

    /// Ends deployments whose upload never came, and removes artifacts that nobody needs.
    pub(crate) async fn forget_artifacts(&self) -> Result<()> {
        // Listed first: what is stored later may be taken later.
        let held = self.blobs.list().await.map_err(|e| Error::Internal(e.into()))?;
        let now = self.clock.now();
        self.store.write(move |tx| tx.expire_deployments(now)).await?;
        let used = self.store.read(|tx| tx.blobs_in_use()).await?;
        for blob in held.iter().filter(|blob| !used.contains(blob)) {
            // One that is whole but not taken yet belongs to a deployment that still waits.
            let id = blob.get(..36).and_then(|id| id.parse::<DeploymentId>().ok());
            let waits = match id {
                Some(id) => self
                    .store
                    .read(move |tx| tx.deployment(id))
                    .await?
                    .is_some_and(|d| d.state == DeploymentState::Waiting),
                None => false,
            };
            if !waits {
                self.discard(blob).await;
            }
        }
        Ok(())
    }
}

fn too_large(most: u64) -> Error {
    Error::invalid(
        "",
        format!("the artifact is larger than {most} bytes, which is all that this address takes"),
    )
}
