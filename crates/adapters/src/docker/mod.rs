//! Docker, and engines that speak its API (Podman's socket): the adapter of [`ryokan_ports::Runtime`].
//!
//! What always holds: an object without our server's label is never touched; names are made from ids, so that making
//! something twice meets itself; nothing here remembers what an engine holds, it is asked every time. Calls for one
//! instance that change it are taken one after the other; starts in flight are bounded for the whole engine.
//!
//! The engine must be on this machine. This module reads no environment, draws no random number and keeps no clock.

mod apart;
mod archive;
mod build;
mod built;
mod config_file;
mod connect;
mod container;
mod creation;
pub mod discover;
mod door;
mod engine;
mod error;
mod events;
mod exec;
mod files;
mod gpus;
mod image;
mod label;
mod logs;
mod look;
mod measure;
mod names;
mod network;
mod owner;
mod podman;
mod probe;
mod start;
mod stats;
mod transfer;
pub(crate) mod usage;
mod volume;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use ryokan_model::image::ImageRef;
use ryokan_model::probe::Check;
use ryokan_model::{InstanceId, ProjectId, ServerId};
use ryokan_ports::edge::{Drops, EdgeNetwork};
use ryokan_ports::runtime::{
    BoxStream, Change, EngineInfo, Exec, ExecSpec, FileInfo, Holdings, Image, Io, LogLine, LogOptions,
    Observed, OnProgress, PullRequest, Reach, Result, RuntimeError, Stats, Target, Volumes, Workload,
};
use ryokan_ports::{Edge, Runtime};
use tokio::sync::{OwnedMutexGuard, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use connect::{Address, Link};

use crate::firewall::{self, Firewall};

/// How to reach an engine, and what to allow it.
#[derive(Debug, Clone)]
pub struct Options {
    /// As in `DOCKER_HOST`; `/var/run/docker.sock` when absent.
    pub socket: Option<String>,
    pub server: ServerId,
    /// Found out when absent.
    pub reach: Option<Reach>,
    /// Run containers on an engine that does not enforce their limits. Such an engine is refused otherwise.
    pub allow_unlimited: bool,
    /// How many GPUs there are, if whoever runs the server says so; else the engine is asked whether it can give any.
    pub gpus: Option<u32>,
    /// Containers that are being started at a time; twice the engine's cores when absent. More only adds latency.
    pub start_limit: Option<usize>,
    /// How long the engine may take to answer a plain call.
    pub patience: Duration,
    /// How long a pull may stand still.
    pub pull_stall: Duration,
    /// How long a pull may take altogether.
    pub pull_limit: Duration,
    /// What the machine's rules let through at projects' networks.
    pub firewall: firewall::Settings,
    /// Where a file rests on its way into a container, so that only whole files arrive.
    pub spool: PathBuf,
}

impl Options {
    pub fn new(server: ServerId) -> Self {
        Self {
            socket: None,
            server,
            reach: None,
            allow_unlimited: false,
            gpus: None,
            start_limit: None,
            patience: Duration::from_secs(15),
            pull_stall: Duration::from_mins(2),
            pull_limit: Duration::from_hours(1),
            firewall: firewall::Settings::default(),
            spool: PathBuf::from("/var/tmp"),
        }
    }
}

/// A Docker engine. Clones share everything.
#[derive(Clone)]
pub struct Docker(Arc<Inner>);

struct Inner {
    link: Link,
    server: ServerId,
    options: Options,
    facts: engine::Cache,
    /// The engine said that it has none; see [`podman::lacks_init`].
    no_init: AtomicBool,
    /// What the log was last told of the engine.
    said: Mutex<Vec<String>>,
    locks: Locks,
    starts: Semaphore,
    firewall: Firewall,
    names: names::Names,
    edge: OnceLock<Arc<dyn Edge>>,
    /// Held shared while a network is made, and alone while it is settled which there are.
    making: tokio::sync::RwLock<()>,
    /// Listings stream whole trees through the engine; two at a time are enough work for it.
    listings: Semaphore,
    sizes: usage::Sizes,
    /// Containers of builds that do not run, and since when.
    idle_builds: Mutex<HashMap<String, Instant>>,
    tasks: TaskTracker,
    ending: CancellationToken,
}

impl Docker {
    /// Checks the address only; the engine may be down.
    pub fn connect(options: Options) -> Result<Self> {
        let address = Address::parse(options.socket.as_deref().unwrap_or(connect::DEFAULT_SOCKET))?;
        let (tasks, ending) = (TaskTracker::new(), CancellationToken::new());
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self(Arc::new(Inner {
            link: Link::new(address, options.patience, tasks.clone(), ending.clone())?,
            server: options.server,
            facts: engine::Cache::default(),
            no_init: AtomicBool::new(false),
            said: Mutex::default(),
            locks: Locks::default(),
            starts: Semaphore::new(options.start_limit.unwrap_or(2 * cores).max(1)),
            names: names::Names::default(),
            firewall: Firewall::new(options.server, options.firewall.clone()),
            edge: OnceLock::new(),
            making: tokio::sync::RwLock::default(),
            listings: Semaphore::new(2),
            sizes: usage::Sizes::default(),
            idle_builds: Mutex::default(),
            tasks,
            ending,
            options,
        })))
    }
}

/// One lock for each instance and project that is being changed.
#[derive(Default)]
struct Locks(Mutex<HashMap<Uuid, Arc<tokio::sync::Mutex<()>>>>);

impl Locks {
    async fn lock(&self, id: Uuid) -> OwnedMutexGuard<()> {
        self.of(id).lock_owned().await
    }

    fn try_lock(&self, id: Uuid) -> Option<OwnedMutexGuard<()>> {
        self.of(id).try_lock_owned().ok()
    }

    fn of(&self, id: Uuid) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if locks.len() >= 1024 {
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        }
        locks.entry(id).or_default().clone()
    }
}

#[async_trait]
impl Runtime for Docker {
    async fn info(&self) -> Result<EngineInfo> {
        Ok(self.0.current_facts().await?.info.clone())
    }

    async fn find_image(&self, image: &ImageRef) -> Result<Option<Image>> {
        self.0.find_image(image).await
    }

    async fn pull(&self, request: &PullRequest, progress: OnProgress<'_>) -> Result<Image> {
        self.0.pull(request, progress).await
    }

    async fn ensure(&self, workload: &Workload) -> Result<Observed> {
        self.0.ensure(workload).await
    }

    async fn stop(&self, instance: InstanceId, grace: Duration) -> Result<()> {
        self.0.stop(instance, grace).await
    }

    async fn retire(&self, instance: InstanceId, keep: i64, grace: Duration) -> Result<()> {
        self.0.retire(instance, keep, grace).await
    }

    async fn remove(&self, instance: InstanceId, volumes: Volumes) -> Result<()> {
        self.0.remove(instance, volumes).await
    }

    async fn remove_network(&self, project: ProjectId) -> Result<()> {
        self.0.remove_network(project).await
    }

    async fn networks(&self) -> Result<Vec<EdgeNetwork>> {
        self.0.edge_networks().await
    }

    fn set_edge(&self, edge: Arc<dyn Edge>) {
        // A second one is overlooked, as the port says.
        let _ = self.0.edge.set(edge);
    }

    async fn drops(&self) -> Result<Vec<Drops>> {
        self.0.firewall.drops().await.map_err(RuntimeError::Other)
    }

    async fn observe(&self, instance: InstanceId) -> Result<Option<Observed>> {
        self.0.observe(instance).await
    }

    async fn list(&self) -> Result<Vec<Observed>> {
        self.0.list().await
    }

    async fn holdings(&self) -> Result<Holdings> {
        Ok(Holdings {
            volumes: self.0.instances_with_volumes().await?,
            torn: self.0.torn_volumes().await?,
            networks: self.0.survey_networks().await?,
        })
    }

    async fn watch(&self) -> Result<BoxStream<Result<Change>>> {
        self.0.clone().watch().await
    }

    async fn probe(
        &self,
        observed: &Observed,
        check: &Check,
        timeout: Duration,
    ) -> Result<std::result::Result<(), String>> {
        self.0.clone().probe(observed, check, timeout).await
    }

    async fn logs(&self, of: Target, options: LogOptions) -> Result<BoxStream<Result<LogLine>>> {
        self.0.clone().logs(of, options).await
    }

    async fn exec(&self, of: Target, spec: ExecSpec) -> Result<Exec> {
        self.0.clone().exec(of, spec).await
    }

    async fn stats(&self, of: Target) -> Result<BoxStream<Result<Stats>>> {
        self.0.clone().stats(of).await
    }

    async fn dial(&self, of: Target, port: &str) -> Result<Box<dyn Io>> {
        self.0.dial(of, port).await
    }

    async fn list_files(&self, of: Target, path: &str) -> Result<Vec<FileInfo>> {
        self.0.list_files(of, path).await
    }

    async fn read_file(&self, of: Target, path: &str) -> Result<(FileInfo, BoxStream<Result<Bytes>>)> {
        self.0.clone().read_file(of, path).await
    }

    async fn write_file(
        &self,
        of: Target,
        path: &str,
        mode: u32,
        size: u64,
        content: BoxStream<std::io::Result<Bytes>>,
    ) -> Result<()> {
        self.0.write_file(of, path, mode, size, content).await
    }

    async fn close(&self) {
        self.0.ending.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}
