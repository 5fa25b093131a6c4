//! The job: unpack, read the manifest, build, release, wait. Each run begins from the artifact and may be cut off at any
//! point; images are named by the deployment and releases are revisions of it, so that doing it again meets itself.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ryokan_model::deployment::DeploymentState;
use ryokan_model::dockerfile;
use ryokan_model::image::ImageRef;
use ryokan_model::manifest::{self, Manifest, Part, Role, Source};
use ryokan_model::{DeploymentId, Name};
use ryokan_ports::blob::BlobError;
use ryokan_ports::build::{BuildError, BuildRequest};
use ryokan_store::deployments::{DEPLOYMENTS, Deployment};
use ryokan_store::images::IMAGES;
use serde::Deserialize;
use serde_json::json;

use super::note::Notes;
use super::release::Release;
use super::{dockerfiles, image_name, is_foreign, unpack};
use crate::jobs::JobError;
use crate::projects::disk;
use crate::{App, Error, Result, events};

pub(crate) const KIND: &str = "deployment";

/// Why a deployment goes no further.
#[derive(Debug)]
pub(super) enum Stop {
    /// Its author, or whoever runs the engine, has to change something. The text is for them.
    Failed(String),
    Cancelled,
    /// Ours; another run may help.
    Later(anyhow::Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        match error {
            Error::Internal(_) | Error::Unavailable { .. } => Self::Later(error.into()),
            other => Self::Failed(other.to_string()),
        }
    }
}

#[derive(Debug, Deserialize)]
struct Payload {
    deployment: DeploymentId,
}

impl App {
    pub(crate) async fn run_deployment_job(
        self: &Arc<Self>,
        payload: serde_json::Value,
        last_try: bool,
    ) -> Result<(), JobError> {
        let payload: Payload =
            serde_json::from_value(payload).map_err(|e| JobError::fatal(format!("payload: {e}")))?;
        let id = payload.deployment;
        let row = self.store.read(move |tx| tx.deployment(id)).await.map_err(JobError::retry)?;
        let Some(row) = row.filter(|row| !row.state.is_over() && row.state != DeploymentState::Waiting)
        else {
            return Ok(());
        };
        let notes = Notes::new(id);
        if row.state != DeploymentState::Queued {
            notes.say("The server was stopped in the middle; this begins again from the artifact.");
        }
        let work = self.settings.deploy.work.join(id.to_string());
        let outcome = tokio::select! {
            outcome = self.deploy(&row, &work, &notes) => outcome,
            () = self.cancelled(id) => Err(Stop::Cancelled),
            () = notes.keep(self) => Err(Stop::Later(anyhow::anyhow!("the log ended"))),
        };
        remove(&work).await;
        let (state, message) = match outcome {
            Ok(()) => (DeploymentState::Succeeded, None),
            Err(Stop::Cancelled) => (DeploymentState::Cancelled, Some("cancelled".to_owned())),
            Err(Stop::Failed(why)) => (DeploymentState::Failed, Some(why)),
            Err(Stop::Later(error)) if last_try => {
                tracing::error!(deployment = %id, error = format!("{error:#}"), "a deployment is given up");
                (
                    DeploymentState::Failed,
                    Some("something went wrong on the server; its log has more".to_owned()),
                )
            }
            Err(Stop::Later(error)) => {
                notes.say(format!("{error}; trying again"));
                notes.flush(self).await.map_err(JobError::retry)?;
                return Err(JobError::retry(error));
            }
        };
        notes.say(match (&message, state) {
            (Some(why), DeploymentState::Failed) => format!("Failed: {why}"),
            (_, DeploymentState::Cancelled) => "Cancelled.".to_owned(),
            _ => "Done.".to_owned(),
        });
        notes.flush(self).await.map_err(JobError::retry)?;
        crate::crash::point("deployment.ending");
        self.end_deployment(&row, state, message).await.map_err(JobError::retry)?;
        if let Some(blob) = &row.blob {
            self.discard(blob).await;
        }
        Ok(())
    }

    async fn end_deployment(
        &self,
        row: &Deployment,
        state: DeploymentState,
        message: Option<String>,
    ) -> Result<()> {
        let (id, project, now) = (row.id, row.project, self.clock.now());
        let name = row.name.clone();
        self.store
            .write(move |tx| {
                let Some(row) = tx.deployment(id)? else { return Ok(()) };
                if row.state.is_over() {
                    return Ok(());
                }
                // From `building`, say, straight to `succeeded` is no step of its own: it was released on the way.
                let from = row.state;
                tx.move_deployment(id, from, state, message.as_deref(), now)?;
                if state != DeploymentState::Succeeded {
                    // What was built for nothing may go.
                    tx.notify(IMAGES);
                }
                let data = json!({"name": name, "message": message});
                let text = id.to_string();
                events::system(
                    tx,
                    now,
                    &format!("deployment.{state}"),
                    "deployment",
                    &text,
                    &text,
                    Some(project),
                    data,
                )
            })
            .await
    }

    /// Resolves once somebody wants it cancelled.
    async fn cancelled(&self, id: DeploymentId) {
        let mut changes = self.store.subscribe();
        loop {
            if let Ok(Some(row)) = self.store.read(move |tx| tx.deployment(id)).await
                && row.cancel_wanted
            {
                return;
            }
            tokio::select! {
                more = changes.wait_for(DEPLOYMENTS) => if !more { std::future::pending::<()>().await },
                () = tokio::time::sleep(Duration::from_secs(2)) => {}
            }
        }
    }

    async fn advance(&self, row: &Deployment, to: DeploymentState) -> Result<(), Stop> {
        let (id, now) = (row.id, self.clock.now());
        self.store
            .write(move |tx| {
                let Some(row) = tx.deployment(id)? else { return Ok::<_, Error>(()) };
                if row.state != to {
                    if !row.state.may_become(to) {
                        return Err(Error::internal(format!(
                            "{} may not become {to} (deployment {id})",
                            row.state
                        )));
                    }
                    tx.move_deployment(id, row.state, to, None, now)?;
                }
                Ok(())
            })
            .await?;
        Ok(())
    }

    async fn deploy(self: &Arc<Self>, row: &Deployment, work: &Path, notes: &Notes) -> Result<(), Stop> {
        if !self.identity().still_has(row.user, row.project) {
            return Err(Stop::Failed("whoever asked for it may not deploy to this project any more".into()));
        }
        let (project, now) = (row.project, self.clock.now());
        self.store.read(move |tx| disk::must_have_room(tx, project, 0, now)).await?;
        self.advance(row, DeploymentState::Building).await?;
        crate::crash::point("deployment.building");
        let name: Name = row
            .name
            .as_deref()
            .unwrap_or_default()
            .parse()
            .map_err(|e: ryokan_model::Invalid| Stop::Failed(e.to_string()))?;
        let folder = self.unpack_artifact(row, work, notes).await?;
        crate::crash::point("deployment.unpacked");
        let (manifest, text) = read_manifest(&folder).await?;
        let plan = manifest.plan().map_err(|e| Stop::Failed(format!("{}: {e}", manifest::FILE)))?;
        // Before anything is built for nothing.
        for part in plan.parts() {
            self.check_limits(&part.spec).map_err(in_manifest)?;
            self.check_engine(&part.spec).await.map_err(in_manifest)?;
        }
        let mut built = Vec::new();
        for part in plan.parts() {
            let name = instance_name(&name, part.role);
            let image = self.image_of(row, &name, part, &folder, notes).await?;
            built.push((name, part, image));
        }
        self.advance(row, DeploymentState::Releasing).await?;
        self.release_addons(row, &name, &plan, notes).await?;
        for (name, part, image) in built {
            let mut spec = part.spec.clone();
            if let Source::Image(_) = part.source {
            } else {
                // It is nowhere else.
                spec.pull = ryokan_model::spec::PullPolicy::Never;
            }
            spec.image = image;
            // A frontend is for browsers, and knows of no database.
            let databases = if part.role == Role::Agent { plan.addons.clone() } else { BTreeSet::new() };
            let release = Release { name, spec, manifest: text.clone(), databases };
            self.release_image(row, release, notes).await?;
        }
        Ok(())
    }

    async fn unpack_artifact(&self, row: &Deployment, work: &Path, notes: &Notes) -> Result<PathBuf, Stop> {
        let later = |e: std::io::Error| Stop::Later(anyhow::Error::from(e).context("the folder for builds"));
        // What an earlier run left.
        remove(work).await;
        let folder = work.join("artifact");
        tokio::fs::create_dir_all(&folder).await.map_err(later)?;
        let blob = row.blob.as_deref().unwrap_or_default();
        let artifact = self.blobs.open(blob).await.map_err(|e| match e {
            BlobError::NotFound(_) => {
                Stop::Failed("the artifact is gone from the server; deploy again".into())
            }
            other => Stop::Later(other.into()),
        })?;
        notes.say(format!(
            "Unpacking {} bytes, SHA-256 {}",
            row.size.unwrap_or(0),
            row.sha256.as_deref().unwrap_or("?")
        ));
        let (limits, to) = (self.settings.deploy.unpack.clone(), folder.clone());
        let unpacked = tokio::task::spawn_blocking(move || unpack::unpack(artifact, &to, &limits)).await;
        match unpacked {
            Ok(Ok(files)) => notes.say(format!("{files} files")),
            Ok(Err(unpack::UnpackError::Server(why))) => {
                return Err(Stop::Later(anyhow::anyhow!("unpacking: {why}")));
            }
            Ok(Err(refused)) => return Err(Stop::Failed(refused.to_string())),
            Err(panicked) => return Err(Stop::Later(panicked.into())),
        }
        // Packed as a folder, as the Mandala command line does when it is told to.
        Ok(folder)
    }

    /// Builds it unless it is finished already.
    async fn image_of(
        &self,
        row: &Deployment,
        name: &Name,
        part: &Part,
        folder: &Path,
        notes: &Notes,
    ) -> Result<ImageRef, Stop> {
        let (context, text) = match &part.source {
            Source::Image(image) => {
                if is_foreign(image, row.project) {
                    return Err(Stop::Failed(format!("there is no image `{image}`")));
                }
                return Ok(image.clone());
            }
            Source::Dockerfile { context, dockerfile } => {
                let text = read(folder, dockerfile.as_str(), "agent.dockerfile").await?;
                (context, text)
            }
            Source::Generated { context, kind } => {
                let at = inside(folder, context.as_str(), context_field(part.role)).await?;
                let settings = &self.settings.deploy;
                let text = dockerfiles::write(kind, &at, part.spec.command.is_some(), settings)
                    .map_err(Stop::Failed)?;
                (context, text)
            }
        };
        let context = inside(folder, context.as_str(), context_field(part.role)).await?;
        self.check_bases(row, &text).await?;
        let tag = image_name(row.project, name, row.id)?;
        notes.say(format!("Building {name}"));
        let request = BuildRequest {
            deployment: row.id,
            project: row.project,
            tag: tag.clone(),
            context,
            dockerfile: text,
            limits: self.settings.deploy.limits.clone(),
        };
        let say = |line: String| notes.say(line);
        let outcome = self.builder.build(&request, &say).await;
        crate::crash::point("deployment.built");
        match outcome {
            Ok(image) => {
                notes.say(format!("Built {name}: {}", image.id));
                Ok(tag)
            }
            Err(BuildError::Unavailable(why)) => Err(Stop::Later(anyhow::anyhow!("{why}"))),
            Err(failed) => Err(Stop::Failed(format!("the build of {name} failed: {failed}"))),
        }
    }

    /// The engine has the images of all projects, and its builder would begin from any of them.
    async fn check_bases(&self, row: &Deployment, text: &str) -> Result<(), Stop> {
        let images =
            dockerfile::base_images(text).map_err(|e| Stop::Failed(format!("the Dockerfile: {e}")))?;
        for image in images {
            let repository = image.repository();
            let private =
                self.store.read(move |tx| tx.is_private_image(&repository)).await.map_err(Error::from)?;
            if private || is_foreign(&image, row.project) {
                return Err(Stop::Failed(format!(
                    "the Dockerfile: `{image}` cannot be built from here; begin from an image that everybody may pull"
                )));
            }
        }
        Ok(())
    }
}

/// A manifest has its own word for it.
fn in_manifest(refused: Error) -> Stop {
    match refused {
        Error::Invalid(refused) if refused.field == "gpus" => {
            Stop::Failed(format!("{}: resources.gpu: {}", manifest::FILE, refused.problem))
        }
        other => other.into(),
    }
}

fn instance_name(name: &Name, role: Role) -> Name {
    match role {
        Role::Agent => name.clone(),
        Role::Frontend => name.frontend(),
    }
}

const fn context_field(role: Role) -> &'static str {
    match role {
        Role::Agent => "agent.buildContext",
        Role::Frontend => "frontend.directory",
    }
}

/// A path of the manifest on the disk, if it is there and links do not lead out.
async fn inside(folder: &Path, path: &str, field: &str) -> Result<PathBuf, Stop> {
    let missing = || Stop::Failed(format!("{field}: there is no `{path}` in the artifact"));
    let top = tokio::fs::canonicalize(folder).await.map_err(|e| Stop::Later(e.into()))?;
    let real = tokio::fs::canonicalize(folder.join(path)).await.map_err(|_| missing())?;
    if real.starts_with(&top) { Ok(real) } else { Err(missing()) }
}

async fn read(folder: &Path, path: &str, field: &str) -> Result<String, Stop> {
    let file = inside(folder, path, field).await?;
    let meta = tokio::fs::metadata(&file).await.map_err(|e| Stop::Later(e.into()))?;
    let most = u64::try_from(manifest::MAX_BYTES).unwrap_or(u64::MAX);
    if !meta.is_file() || meta.len() > most {
        return Err(Stop::Failed(format!(
            "{field}: `{path}` is no file, or longer than {} KiB",
            most / 1024
        )));
    }
    let bytes = tokio::fs::read(&file).await.map_err(|e| Stop::Later(e.into()))?;
    String::from_utf8(bytes).map_err(|_| Stop::Failed(format!("{field}: `{path}` is not UTF-8")))
}

async fn read_manifest(folder: &Path) -> Result<(Manifest, String), Stop> {
    if tokio::fs::symlink_metadata(folder.join(manifest::FILE)).await.is_err() {
        let why =
            format!("there is no `{}` at the top of the artifact; `ryokan init` writes one", manifest::FILE);
        return Err(Stop::Failed(why));
    }
    let text = read(folder, manifest::FILE, manifest::FILE).await?;
    let parsed =
        Manifest::parse(text.as_bytes()).map_err(|e| Stop::Failed(format!("{}: {e}", manifest::FILE)))?;
    Ok((parsed, text))
}

async fn remove(folder: &Path) {
    match tokio::fs::remove_dir_all(folder).await {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(folder = %folder.display(), error = %e, "what was unpacked could not be removed");
        }
        _ => {}
    }
}
