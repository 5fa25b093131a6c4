//! The port of container engines: Docker, Podman, later Kubernetes, Nomad and a remote node.
//!
//! It is level-triggered: the caller says what should be ([`Runtime::ensure`], [`Runtime::stop`], [`Runtime::remove`])
//! as often as it likes, and the engine is moved there from wherever it is. Every call is idempotent, may be cut off
//! at any point by the death of the process, and leaves nothing that a later call does not find: everything that an
//! engine holds for us is labelled with the server's, the project's and the instance's id. Nothing without our
//! server's label is ever touched.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;
use futures_util::future::BoxFuture;
use ryokan_model::image::ImageRef;
use ryokan_model::probe::Check;
use ryokan_model::spec::InstanceSpec;
use ryokan_model::{InstanceId, Millis, Name, ProjectId, Secret};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use crate::edge::{Door, Drops, Edge, EdgeNetwork};

pub type BoxStream<T> = Pin<Box<dyn Stream<Item = T> + Send>>;
pub type Result<T, E = RuntimeError> = std::result::Result<T, E>;

/// Why an engine did not do it. `Display` is for people and holds no secret.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RuntimeError {
    /// No such container (or volume, or path) of ours.
    #[error("{0} does not exist")]
    NotFound(String),
    #[error("the container is not running")]
    NotRunning,
    /// The engine does not answer: down, restarting, hanging, or out of sockets. Try again later.
    #[error("the container engine does not answer: {0}")]
    Unavailable(String),
    /// The spec asks for what this engine will never give; trying again is pointless. `field` is its path in the spec.
    #[error("{field}: {reason}")]
    Refused { field: String, reason: String },
    #[error("image {image}: {reason}")]
    Image { image: String, reason: String, retry: bool },
    /// The engine's disk, memory or process table is full.
    #[error("the engine's host is out of {0}")]
    Exhausted(String),
    #[error("{0}")]
    Other(String),
}

impl RuntimeError {
    /// Whether the same call may succeed later without anybody changing the spec.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::Exhausted(_) | Self::Other(_) => true,
            Self::Image { retry, .. } => *retry,
            Self::NotFound(_) | Self::NotRunning | Self::Refused { .. } => false,
        }
    }
}

/// What an engine is asked to run for one instance.
#[derive(Debug, Clone)]
pub struct Workload {
    pub instance: InstanceId,
    pub project: ProjectId,
    pub name: Name,
    /// Grows with every change of the spec; a container of an older generation is replaced.
    pub generation: i64,
    pub spec: InstanceSpec,
    /// What [`Runtime::find_image`] or [`Runtime::pull`] returned for the spec's image; run exactly this.
    pub image_id: String,
    /// Values of the spec's `secret_env`.
    pub secret_env: BTreeMap<String, Secret>,
    /// Variables by which the agent learns where it lives. The engine adds [`PROXY`]; the spec's own variables of the
    /// same name go before. They belong to no generation: a running container keeps those that it was made with.
    pub facts: BTreeMap<String, String>,
    /// The older generation that goes on serving beside it, until [`Runtime::retire`] ends it.
    pub beside: Option<i64>,
    /// What it needs to use the door, unless its egress is `none`. A container keeps what it was made with.
    pub door: Option<Door>,
    /// A folder of this machine with `ca.crt` (our authority) and `ca-bundle.crt` (it and all that are trusted anyway),
    /// to be seen read-only at [`TRUST`].
    pub trust: Option<PathBuf>,
}

/// Where an instance sees the authorities that it is to trust.
pub const TRUST: &str = "/run/ryokan";

/// The address from which the gateway's connections reach the agent, as the agent sees it.
pub const PROXY: &str = "RYOKAN_PROXY";

/// Which container of an instance is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    pub instance: InstanceId,
    /// The generation that serves, should several run; the oldest of them when it is absent or not among them.
    pub serving: Option<i64>,
}

impl From<InstanceId> for Target {
    fn from(instance: InstanceId) -> Self {
        Self { instance, serving: None }
    }
}

/// What an engine holds for an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    pub instance: InstanceId,
    pub project: ProjectId,
    pub generation: i64,
    /// The engine's own id of the container.
    pub engine_id: String,
    pub phase: Phase,
    /// Port name to address; empty unless running.
    pub endpoints: BTreeMap<String, SocketAddr>,
    /// Its own in its project's closed network, by which the door knows who comes; empty unless running.
    pub addresses: Vec<IpAddr>,
    pub reach: Reach,
    /// A newer generation's container beside this one, which runs.
    pub candidate: Option<Box<Observed>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Made but never started.
    Created,
    Running {
        started_at: Millis,
    },
    Paused {
        started_at: Millis,
    },
    Exited {
        started_at: Millis,
        finished_at: Millis,
        code: i64,
        out_of_memory: bool,
    },
}

impl Phase {
    /// Running or frozen.
    pub const fn is_up(&self) -> bool {
        matches!(self, Self::Running { .. } | Self::Paused { .. })
    }

    pub const fn is_running(&self) -> bool {
        matches!(self, Self::Running { .. })
    }
}

/// How the gateway gets to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// At its own address on the engine's bridge.
    Bridge,
    /// At a port published on the loopback address (rootless engines, Docker Desktop).
    Loopback,
}

impl Reach {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Loopback => "loopback",
        }
    }
}

/// What an engine is and offers.
#[derive(Debug, Clone)]
pub struct EngineInfo {
    /// `docker`, `podman`, `fake`.
    pub engine: String,
    pub version: String,
    /// Runtimes that `security.isolation` may name.
    pub isolations: Vec<String>,
    pub rootless: bool,
    pub reach: Reach,
    pub cpus: u32,
    pub memory: u64,
    /// Why it gives containers no GPUs, with the remedy; `None` when it does.
    pub no_gpus: Option<String>,
    /// Of `memory`, `cpus` and `pids`, what this engine cannot hold containers to; it refuses them unless told not to.
    pub unlimited: Vec<String>,
    /// What whoever runs the engine must know and mend: sentences, each with its remedy.
    pub warnings: Vec<String>,
}

/// Something happened to a workload of ours; look at it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Instance(InstanceId),
    /// Events may have been missed; look at everything.
    Resync,
}

pub struct PullRequest {
    pub image: ImageRef,
    /// What the registry is shown; nothing means that it is asked as anybody.
    pub credentials: Option<RegistryCredentials>,
}

#[derive(Debug, Clone)]
pub struct RegistryCredentials {
    pub username: String,
    pub password: Secret,
}

/// An image that the engine has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The engine's content id (`sha256:…` of the config); what containers are made from.
    pub id: String,
    /// The registry's manifest digest, `sha256:…`; absent for images made locally.
    pub digest: Option<String>,
}

/// A pull's progress: bytes over all layers so far, and what the engine is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullProgress {
    pub message: String,
    pub done: u64,
    pub total: u64,
}

pub type OnProgress<'a> = &'a (dyn Fn(PullProgress) + Send + Sync);

#[derive(Debug, Clone, Default)]
pub struct LogOptions {
    pub follow: bool,
    /// Whole lines from the end; all when absent.
    pub tail: Option<u64>,
    pub since: Option<Millis>,
    pub until: Option<Millis>,
    /// Of this generation's container, whether it runs or not.
    pub generation: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    Stdout,
    Stderr,
}

/// One line without its line end; longer than 64 KiB is cut into several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    pub at: Millis,
    pub output: Output,
    pub text: String,
}

#[derive(Debug, Clone, Default)]
pub struct ExecSpec {
    pub command: Vec<String>,
    /// Attach a standard input; without one the command sees end of file.
    pub stdin: bool,
    /// A terminal of this size (columns, rows); output is then all `Stdout`.
    pub tty: Option<(u16, u16)>,
    pub env: BTreeMap<String, String>,
    pub workdir: Option<String>,
    pub user: Option<String>,
}

pub enum ExecInput {
    Data(Bytes),
    /// End of standard input.
    Eof,
    /// The terminal's new size (columns, rows).
    Resize(u16, u16),
}

/// A command that runs inside a container. Dropping it detaches; what runs is then ended by the adapter.
pub struct Exec {
    pub input: mpsc::Sender<ExecInput>,
    pub output: BoxStream<Result<(Output, Bytes)>>,
    /// Resolves to the exit code once the output has ended.
    pub exit: BoxFuture<'static, Result<i64>>,
}

/// A sample of what a container uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Stats {
    pub at: Millis,
    /// Total since the container's start, in nanoseconds of one core.
    pub cpu_nanos: u64,
    /// In hundredths of one core's percent since the previous sample: 100 % of one core is 10,000.
    pub cpu_centipercent: u64,
    /// Without the page cache.
    pub memory_bytes: u64,
    pub memory_limit_bytes: u64,
    pub network_rx_bytes: u64,
    pub network_tx_bytes: u64,
    pub block_read_bytes: u64,
    pub block_write_bytes: u64,
    pub pids: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    /// Last part of the path.
    pub name: String,
    pub kind: FileKind,
    pub size: u64,
    pub mode: u32,
    pub modified: Millis,
    /// Target of a symbolic link.
    pub link: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    File,
    Directory,
    Symlink,
    Other,
}

/// What to leave behind on removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Volumes {
    Keep,
    Remove,
}

/// What the engine holds of ours besides containers, for the search for orphans.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Instances that have at least one volume.
    pub volumes: Vec<InstanceId>,
    /// Volumes that carry no label and are named as if they were ours: an engine that dies while it makes a volume
    /// comes back with it in that state. They belong to whom the caller knows for certain, and else to nobody.
    pub torn: Vec<TornVolume>,
    /// Projects that have a network.
    pub networks: Vec<ProjectId>,
}

/// A volume of which only its name says whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornVolume {
    /// How the text of its instance's id ends: 48 random bits.
    pub id_end: String,
    /// Its name within the instance.
    pub volume: String,
    pub created_at: Millis,
}

/// A two-way byte stream to a port of a container.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A container engine. All calls are bounded in time by the adapter; a hanging engine is `Unavailable`.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    async fn info(&self) -> Result<EngineInfo>;

    /// The image as the engine has it. Nothing is fetched. References are names: an image's id finds nothing.
    async fn find_image(&self, image: &ImageRef) -> Result<Option<Image>>;

    /// Asks its registry for the image and fetches what the engine lacks of it. Concurrent calls for one image are
    /// fine.
    async fn pull(&self, request: &PullRequest, progress: OnProgress<'_>) -> Result<Image>;

    /// Makes the workload run: network, volumes, files and a started container of this generation. An older
    /// generation's container is stopped (with the spec's grace) and removed before the new one starts, but for the one
    /// that it is to run beside; a stopped one of this generation is started again, keeping its disk. Returns what this
    /// generation's container then is; not whether the agent is ready.
    async fn ensure(&self, workload: &Workload) -> Result<Observed>;

    /// Stops (with `grace`) and removes the containers of all generations but `keep`. Volumes stay.
    async fn retire(&self, instance: InstanceId, keep: i64, grace: std::time::Duration) -> Result<()>;

    /// Ends the container's processes: its stop signal, then after `grace` SIGKILL. Keeps the container and its disk.
    /// No container, or one already stopped, is fine.
    async fn stop(&self, instance: InstanceId, grace: std::time::Duration) -> Result<()>;

    /// Removes containers (killing them) and, when told, volumes of the instance. Nothing there is fine.
    async fn remove(&self, instance: InstanceId, volumes: Volumes) -> Result<()>;

    /// Removes the project's networks once nothing is attached. Nothing there is fine.
    async fn remove_network(&self, project: ProjectId) -> Result<()>;

    /// The networks that projects have.
    async fn networks(&self) -> Result<Vec<EdgeNetwork>>;

    /// Who is told of networks from now on. The first one stays.
    fn set_edge(&self, edge: Arc<dyn Edge>);

    /// What was dropped at the edge of projects' networks; nothing where nothing is counted.
    async fn drops(&self) -> Result<Vec<Drops>>;

    /// Of several containers the one that runs, and of several that run the oldest generation: it is what serves, and
    /// what all calls for the instance mean. The newest generation is then its candidate. Of those that do not run, the
    /// newest.
    async fn observe(&self, instance: InstanceId) -> Result<Option<Observed>>;

    /// Everything of this server's, as [`Runtime::observe`] shows it.
    async fn list(&self) -> Result<Vec<Observed>>;

    async fn holdings(&self) -> Result<Holdings>;

    /// Changes as the engine reports them. Starts with `Resync`; an engine that goes away ends the stream with an
    /// error, and the caller watches again.
    async fn watch(&self) -> Result<BoxStream<Result<Change>>>;

    /// Asks the agent once. `Ok(Err(why))` when it is not well; `Err` when the engine could not ask.
    async fn probe(
        &self,
        observed: &Observed,
        check: &Check,
        timeout: std::time::Duration,
    ) -> Result<std::result::Result<(), String>>;

    async fn logs(&self, of: Target, options: LogOptions) -> Result<BoxStream<Result<LogLine>>>;

    async fn exec(&self, of: Target, spec: ExecSpec) -> Result<Exec>;

    /// Samples about once a second, until dropped or the container ends.
    async fn stats(&self, of: Target) -> Result<BoxStream<Result<Stats>>>;

    /// A stream to a named port of the spec.
    async fn dial(&self, of: Target, port: &str) -> Result<Box<dyn Io>>;

    /// The path itself when it is a file, its entries when a directory (at most 10,000), sorted by name. Works on
    /// stopped containers too. Paths are absolute inside the container, links are followed inside it only.
    async fn list_files(&self, of: Target, path: &str) -> Result<Vec<FileInfo>>;

    /// A regular file's size and content.
    async fn read_file(&self, of: Target, path: &str) -> Result<(FileInfo, BoxStream<Result<Bytes>>)>;

    /// Writes a regular file of exactly `size` bytes, replacing one that is there; parent folders are made. A content
    /// that ends early or late is an error, and the old file is kept.
    async fn write_file(
        &self,
        of: Target,
        path: &str,
        mode: u32,
        size: u64,
        content: BoxStream<std::io::Result<Bytes>>,
    ) -> Result<()>;

    /// The last call, when the server stops: ends what still runs inside containers on our behalf and lets go of the
    /// engine. Containers go on.
    async fn close(&self) {}
}
