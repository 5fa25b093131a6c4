//! The port of image builders: a folder and a Dockerfile become an image of the engine that runs it.
//!
//! A build is bounded in time, memory, processor, disk and log; dropping it ends it, and building the same tag again is fine.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use ryokan_model::image::ImageRef;
use ryokan_model::quantity::{Bytes, Cpus};
use ryokan_model::{DeploymentId, Millis, ProjectId};

use crate::runtime::Image;

/// The registry in the names of all images that are built here. Nobody can push to it: it is a name only.
pub const REGISTRY: &str = "ryokan.local";

/// What is to be built. Nothing in it is interpreted by a shell or a template of ours.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    pub deployment: DeploymentId,
    pub project: ProjectId,
    /// What the image is called afterwards.
    pub tag: ImageRef,
    /// An unpacked folder; links in it are sent as links.
    pub context: PathBuf,
    /// The Dockerfile's text; it need not be in the folder.
    pub dockerfile: String,
    pub limits: BuildLimits,
}

#[derive(Debug, Clone)]
pub struct BuildLimits {
    pub time: Duration,
    pub memory: Bytes,
    pub cpus: Cpus,
    /// What it may write altogether, beside the images that it begins from.
    pub disk: Bytes,
    /// Of the log.
    pub log_bytes: u64,
    /// The engine's network that `RUN` steps are in: `none`, or one that leads to no service of ours.
    pub network: String,
}

/// What a build left on the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The engine's content id.
    pub id: String,
    /// One of its names; an image with several is listed with each. One without is what a build ended at that failed, or
    /// what another build has taken the name of.
    pub tag: Option<ImageRef>,
    pub project: ProjectId,
    pub created_at: Millis,
}

/// What became of an image that is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forgotten {
    Gone,
    /// A container, or another image, needs it.
    InUse,
}

/// Why there is no image.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BuildError {
    /// The artifact's fault; the log has the details.
    #[error("{0}")]
    Failed(String),
    #[error("the build took longer than {} s", .0.as_secs())]
    TooLong(Duration),
    #[error(
        "it writes more than {0}, which is all that a build may take of the disk here; make it smaller, or ask whoever runs the server for more (`build.disk`)"
    )]
    TooLarge(Bytes),
    /// The engine is away; the same build may succeed later.
    #[error("{0}")]
    Unavailable(String),
}

/// Called with each line that a build says.
pub type OnLine<'a> = &'a (dyn Fn(String) + Send + Sync);

#[async_trait]
pub trait ImageBuilder: Send + Sync + 'static {
    async fn build(&self, request: &BuildRequest, line: OnLine<'_>) -> Result<Image, BuildError>;

    /// What this server's builds left on the engine. Whatever else is there is never in it, and neither is an image
    /// whose only names somebody else gave it.
    async fn built(&self) -> Result<Vec<Built>, BuildError>;

    /// Takes the name away, and with the last one the image and what only it was made of; one without a name goes
    /// itself. Nothing there is fine, and what is in use stays.
    async fn forget(&self, image: &Built) -> Result<Forgotten, BuildError>;
}
