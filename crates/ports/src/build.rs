//! The port of image builders: a folder and a Dockerfile become an image of the engine that runs it.
//!
//! A build is bounded in time, memory, processor and log; dropping it ends it, and building the same tag again is fine.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use ryokan_model::image::ImageRef;
use ryokan_model::quantity::{Bytes, Cpus};
use ryokan_model::{DeploymentId, ProjectId};

use crate::runtime::Image;

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
    /// Of the log.
    pub log_bytes: u64,
    /// The engine's network that `RUN` steps are in: `none`, or one that leads to no service of ours.
    pub network: String,
}

/// Why there is no image.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BuildError {
    /// The artifact's fault; the log has the details.
    #[error("{0}")]
    Failed(String),
    #[error("the build took longer than {} s", .0.as_secs())]
    TooLong(Duration),
    /// The engine is away; the same build may succeed later.
    #[error("{0}")]
    Unavailable(String),
}

/// Called with each line that a build says.
pub type OnLine<'a> = &'a (dyn Fn(String) + Send + Sync);

#[async_trait]
pub trait ImageBuilder: Send + Sync + 'static {
    async fn build(&self, request: &BuildRequest, line: OnLine<'_>) -> Result<Image, BuildError>;

    /// Takes a built image's name away; the image goes when nothing uses it. Nothing there is fine.
    async fn forget(&self, tag: &ImageRef) -> Result<(), BuildError>;
}
