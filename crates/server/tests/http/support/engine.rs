//! An engine in memory that the tests command: it may be down or hang, its containers crash, vanish and fall ill on
//! request. It outlives the servers that use it, as a real engine does. One small HTTP agent answers for all.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use ryokan_app::entropy::SystemClock;
use ryokan_model::probe::Check;
use ryokan_model::{Clock as _, InstanceId, Millis, ProjectId};
use ryokan_ports::Runtime;
use ryokan_ports::runtime::{
    BoxStream, Change, EngineInfo, Exec, ExecInput, ExecSpec, FileInfo, FileKind, Holdings, Image,
    ImageRequest, Io, LogLine, LogOptions, Observed, OnProgress, Output, Phase, PullProgress, Reach, Result,
    RuntimeError, Stats, TornVolume, Volumes, Workload,
};
use tokio::sync::{broadcast, mpsc};

/// How long a hanging engine keeps its callers before it counts as not answering, as the adapters' timeouts do.
const PATIENCE: Duration = Duration::from_millis(400);

/// What a container made from an image does.
#[derive(Debug, Clone, Default)]
pub(crate) struct Behaviour {
    /// Exits at once with this code after each start.
    pub exits: Option<i64>,
    /// Why its probes fail, if they do.
    pub ill: Option<String>,
    /// Written at each start.
    pub log: Vec<String>,
    /// User name and password without which the registry gives nothing.
    pub credentials: Option<(String, String)>,
    /// The engine refuses to start it: the field and the reason.
    pub refused: Option<(String, String)>,
    /// It is gone by the time of each start.
    pub vanishes: bool,
    /// A pull stands still until it is let go.
    pub pull_waits: bool,
    /// The registry refuses for now, with this reason.
    pub pull_fails: Option<String>,
    /// The engine itself cannot: its disk is full.
    pub pull_breaks: bool,
}

struct Container {
    workload: Workload,
    engine_id: String,
    phase: Phase,
    ill: Option<String>,
    log: Vec<LogLine>,
    files: BTreeMap<String, Vec<u8>>,
    starts: u32,
}

#[derive(Default)]
struct State {
    down: bool,
    hanging: bool,
    /// Removals of these hang.
    stuck: BTreeSet<InstanceId>,
    images: BTreeMap<String, Behaviour>,
    containers: BTreeMap<InstanceId, Container>,
    volumes: BTreeSet<InstanceId>,
    /// Those that lost their labels.
    torn: BTreeMap<InstanceId, Millis>,
    networks: BTreeSet<ProjectId>,
    calls: Vec<String>,
    most_at_once: usize,
    starting: usize,
}

pub(crate) struct Engine {
    state: Mutex<State>,
    changes: broadcast::Sender<Option<Change>>,
    ids: AtomicU64,
    agent: SocketAddr,
    released: tokio::sync::Notify,
    start_takes: Mutex<Duration>,
}

impl Engine {
    /// `agent` is where all containers answer.
    pub(crate) fn new(agent: SocketAddr) -> Arc<Self> {
        let engine = Self {
            state: Mutex::default(),
            changes: broadcast::channel(1024).0,
            ids: AtomicU64::new(1),
            agent,
            released: tokio::sync::Notify::new(),
            start_takes: Mutex::default(),
        };
        engine.image_does("ryokan/hello:0.1.0", Behaviour::default());
        engine.image_does("img", Behaviour::default());
        Arc::new(engine)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes an image known, or changes what its next containers do.
    pub(crate) fn image_does(&self, name: &str, behaviour: Behaviour) {
        self.state().images.insert(name.to_owned(), behaviour);
    }

    pub(crate) fn forget_image(&self, name: &str) {
        self.state().images.remove(name);
    }

    /// Whether the engine answers at all. Going down ends all watches.
    pub(crate) fn set_down(&self, down: bool) {
        self.state().down = down;
        if down {
            let _ = self.changes.send(None);
        }
    }

    /// Whether every call keeps its caller waiting and then gives up.
    pub(crate) fn set_hanging(&self, hanging: bool) {
        self.state().hanging = hanging;
        if hanging {
            let _ = self.changes.send(None);
        }
    }

    /// Whether this one container cannot be stopped or removed.
    pub(crate) fn set_stuck(&self, id: InstanceId, stuck: bool) {
        if stuck {
            self.state().stuck.insert(id);
        } else {
            self.state().stuck.remove(&id);
        }
    }

    pub(crate) fn set_start_takes(&self, time: Duration) {
        *self.start_takes.lock().unwrap_or_else(PoisonError::into_inner) = time;
    }

    /// Lets waiting pulls go on.
    pub(crate) fn release_pulls(&self) {
        for behaviour in self.state().images.values_mut() {
            behaviour.pull_waits = false;
        }
        self.released.notify_waiters();
    }

    /// The container's process ends by itself.
    pub(crate) fn crash(&self, id: InstanceId, code: i64) {
        if let Some(container) = self.state().containers.get_mut(&id) {
            container.exit(code);
        }
        self.tell(id);
    }

    /// Somebody runs `docker rm -f`.
    pub(crate) fn vanish(&self, id: InstanceId) {
        self.state().containers.remove(&id);
        self.tell(id);
    }

    pub(crate) fn set_ill(&self, id: InstanceId, why: Option<&str>) {
        if let Some(container) = self.state().containers.get_mut(&id) {
            container.ill = why.map(str::to_owned);
        }
    }

    /// Makes every server look at everything again, as after a lost event.
    pub(crate) fn nudge(&self) {
        let _ = self.changes.send(Some(Change::Resync));
    }

    pub(crate) fn running(&self, id: InstanceId) -> bool {
        self.state().containers.get(&id).is_some_and(|c| c.phase.is_running())
    }

    pub(crate) fn exists(&self, id: InstanceId) -> bool {
        self.state().containers.contains_key(&id)
    }

    pub(crate) fn starts(&self, id: InstanceId) -> u32 {
        self.state().containers.get(&id).map_or(0, |c| c.starts)
    }

    pub(crate) fn engine_id(&self, id: InstanceId) -> Option<String> {
        self.state().containers.get(&id).map(|c| c.engine_id.clone())
    }

    pub(crate) fn workload(&self, id: InstanceId) -> Option<Workload> {
        self.state().containers.get(&id).map(|c| c.workload.clone())
    }

    pub(crate) fn has_volume(&self, id: InstanceId) -> bool {
        self.state().volumes.contains(&id)
    }

    /// A container, with its volume, that no database knows of.
    pub(crate) fn plant(&self, workload: Workload) {
        let mut state = self.state();
        state.volumes.insert(workload.instance);
        state.networks.insert(workload.project);
        let container = self.make(workload, Behaviour::default());
        state.containers.insert(container.workload.instance, container);
    }

    /// A volume without a container.
    pub(crate) fn plant_volume(&self, id: InstanceId) {
        self.state().volumes.insert(id);
    }

    /// Somebody's volume, or one of ours that lost its labels when the engine died.
    pub(crate) fn plant_torn_volume(&self, id: InstanceId, created_at: Millis) {
        self.state().torn.insert(id, created_at);
    }

    pub(crate) fn has_torn_volume(&self, id: InstanceId) -> bool {
        self.state().torn.contains_key(&id)
    }

    /// Calls so far that begin with `prefix`, such as `stop` or `ensure`.
    pub(crate) fn calls(&self, prefix: &str) -> usize {
        self.state().calls.iter().filter(|c| c.starts_with(prefix)).count()
    }

    /// The most starts that were under way at once.
    pub(crate) fn most_at_once(&self) -> usize {
        self.state().most_at_once
    }

    /// What is left of ours, for people.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let state = self.state();
        let containers = state.containers.values().map(|c| format!("container {}", c.workload.name));
        let volumes = state.volumes.iter().chain(state.torn.keys()).map(|v| format!("volume of {v}"));
        let networks = state.networks.iter().map(|n| format!("network of {n}"));
        containers.chain(volumes).chain(networks).collect()
    }

    fn tell(&self, id: InstanceId) {
        let _ = self.changes.send(Some(Change::Instance(id)));
    }

    fn make(&self, workload: Workload, behaviour: Behaviour) -> Container {
        let mut container = Container {
            engine_id: format!("c{}", self.ids.fetch_add(1, Ordering::Relaxed)),
            workload,
            phase: Phase::Created,
            ill: None,
            log: Vec::new(),
            files: BTreeMap::new(),
            starts: 0,
        };
        container.start(&behaviour);
        container
    }

    fn observed(&self, container: &Container) -> Observed {
        let ports = container.workload.spec.ports.iter().map(|p| (p.name.clone(), self.agent));
        Observed {
            instance: container.workload.instance,
            project: container.workload.project,
            generation: container.workload.generation,
            engine_id: container.engine_id.clone(),
            phase: container.phase,
            endpoints: if container.phase.is_running() { ports.collect() } else { BTreeMap::new() },
            reach: Reach::Bridge,
        }
    }

    /// What every call passes.
    async fn enter(&self, call: String) -> Result<()> {
        let (down, hanging) = {
            let mut state = self.state();
            state.calls.push(call);
            (state.down, state.hanging)
        };
        if hanging {
            tokio::time::sleep(PATIENCE).await;
            return Err(RuntimeError::Unavailable("it hangs".into()));
        }
        if down { Err(RuntimeError::Unavailable("connection refused".into())) } else { Ok(()) }
    }

    async fn unless_stuck(&self, id: InstanceId) -> Result<()> {
        if self.state().stuck.contains(&id) {
            tokio::time::sleep(PATIENCE).await;
            return Err(RuntimeError::Unavailable("this container hangs".into()));
        }
        Ok(())
    }
}

impl Container {
    fn start(&mut self, behaviour: &Behaviour) {
        let now = SystemClock.now();
        self.starts += 1;
        self.ill.clone_from(&behaviour.ill);
        self.phase = Phase::Running { started_at: now };
        for text in &behaviour.log {
            self.log.push(LogLine { at: now, output: Output::Stdout, text: text.clone() });
        }
        if let Some(code) = behaviour.exits {
            self.exit(code);
        }
    }

    fn exit(&mut self, code: i64) {
        if let Phase::Running { started_at } | Phase::Paused { started_at } = self.phase {
            let finished_at = SystemClock.now();
            self.phase = Phase::Exited {
                started_at,
                finished_at,
                code,
                out_of_memory: code == 137 && self.log.is_empty(),
            };
        }
    }
}

fn torn(id: InstanceId, created_at: Millis) -> TornVolume {
    TornVolume { id_end: id.to_string().split_off(24), volume: "data".into(), created_at }
}

fn nothing(id: InstanceId) -> RuntimeError {
    RuntimeError::NotFound(format!("a container of {id}"))
}

#[async_trait]
impl Runtime for Engine {
    async fn close(&self) {
        // However that ends: a server that stops asks once.
        let _ = self.enter("close".into()).await;
    }

    async fn info(&self) -> Result<EngineInfo> {
        self.enter("info".into()).await?;
        Ok(EngineInfo {
            engine: "fake".into(),
            version: "1".into(),
            isolations: vec!["runc".into(), "runsc".into(), "sysbox-runc".into()],
            rootless: false,
            reach: Reach::Bridge,
            cpus: 4,
            memory: 16 << 30,
        })
    }

    async fn image(&self, request: &ImageRequest, progress: OnProgress<'_>) -> Result<Image> {
        let name = request.image.as_str().to_owned();
        self.enter(format!("image {name}")).await?;
        let failed = |reason: &str| RuntimeError::Image {
            image: name.clone(),
            reason: reason.to_owned(),
            retry: false,
        };
        let known = self.state().images.get(&name).cloned();
        let behaviour = known.ok_or_else(|| failed("no such image in its registry"))?;
        if let Some((user, password)) = &behaviour.credentials {
            let given = request.credentials.as_ref().map(|c| (c.username.as_str(), c.password.expose()));
            if given != Some((user, password)) {
                return Err(failed("the registry wants other credentials"));
            }
        }
        if let Some(reason) = behaviour.pull_fails {
            return Err(RuntimeError::Image { image: name, reason, retry: true });
        }
        if behaviour.pull_breaks {
            return Err(RuntimeError::Exhausted("disk".into()));
        }
        progress(PullProgress { message: "downloading".into(), done: 1, total: 2 });
        loop {
            let released = self.released.notified();
            if !self.state().images.get(&name).is_some_and(|b| b.pull_waits) {
                break;
            }
            released.await;
        }
        progress(PullProgress { message: "downloading".into(), done: 2, total: 2 });
        Ok(Image { id: format!("sha256:{name}"), digest: Some(format!("sha256:digest-of-{name}")) })
    }

    async fn ensure(&self, workload: &Workload) -> Result<Observed> {
        self.enter(format!("ensure {}", workload.name)).await?;
        let wait = *self.start_takes.lock().unwrap_or_else(PoisonError::into_inner);
        if !wait.is_zero() {
            {
                let mut state = self.state();
                state.starting += 1;
                state.most_at_once = state.most_at_once.max(state.starting);
            }
            tokio::time::sleep(wait).await;
            self.state().starting -= 1;
        }
        let mut state = self.state();
        let image = workload.spec.image.as_str();
        let Some(behaviour) = state.images.get(image).filter(|b| !b.vanishes).cloned() else {
            return Err(RuntimeError::Image {
                image: image.to_owned(),
                reason: "it is gone".into(),
                retry: false,
            });
        };
        state.networks.insert(workload.project);
        if !workload.spec.volumes.is_empty() {
            state.volumes.insert(workload.instance);
        }
        let id = workload.instance;
        if let Some((field, reason)) = behaviour.refused {
            // As late as it can be: the old container is gone, and a useless one is there.
            let mut made = self.make(workload.clone(), Behaviour::default());
            made.phase = Phase::Created;
            state.containers.insert(id, made);
            return Err(RuntimeError::Refused { field, reason });
        }
        match state.containers.get_mut(&id) {
            // Somebody has asked for something newer.
            Some(container) if container.workload.generation > workload.generation => {}
            Some(container) if container.workload.generation == workload.generation => {
                if !container.phase.is_running() {
                    container.start(&behaviour);
                }
            }
            _ => {
                let container = self.make(workload.clone(), behaviour);
                state.containers.insert(id, container);
            }
        }
        let observed = self.observed(&state.containers[&id]);
        drop(state);
        self.tell(id);
        Ok(observed)
    }

    async fn stop(&self, instance: InstanceId, _: Duration) -> Result<()> {
        self.enter(format!("stop {instance}")).await?;
        self.unless_stuck(instance).await?;
        if let Some(container) = self.state().containers.get_mut(&instance) {
            container.exit(143);
        }
        self.tell(instance);
        Ok(())
    }

    async fn remove(&self, instance: InstanceId, volumes: Volumes) -> Result<()> {
        self.enter(format!("remove {instance}")).await?;
        self.unless_stuck(instance).await?;
        {
            let mut state = self.state();
            state.containers.remove(&instance);
            if volumes == Volumes::Remove {
                state.volumes.remove(&instance);
                state.torn.remove(&instance);
            }
        }
        self.tell(instance);
        Ok(())
    }

    async fn remove_network(&self, project: ProjectId) -> Result<()> {
        self.enter(format!("remove_network {project}")).await?;
        let mut state = self.state();
        if state.containers.values().all(|c| c.workload.project != project) {
            state.networks.remove(&project);
        }
        Ok(())
    }

    async fn observe(&self, instance: InstanceId) -> Result<Option<Observed>> {
        self.enter(format!("observe {instance}")).await?;
        Ok(self.state().containers.get(&instance).map(|c| self.observed(c)))
    }

    async fn list(&self) -> Result<Vec<Observed>> {
        self.enter("list".into()).await?;
        Ok(self.state().containers.values().map(|c| self.observed(c)).collect())
    }

    async fn holdings(&self) -> Result<Holdings> {
        self.enter("holdings".into()).await?;
        let state = self.state();
        Ok(Holdings {
            volumes: state.volumes.iter().copied().collect(),
            torn: state.torn.iter().map(|(id, at)| torn(*id, *at)).collect(),
            networks: state.networks.iter().copied().collect(),
        })
    }

    async fn watch(&self) -> Result<BoxStream<Result<Change>>> {
        let changes = self.changes.subscribe();
        self.enter("watch".into()).await?;
        let later = stream::unfold(Some(changes), |changes| async move {
            let mut changes = changes?;
            Some(match changes.recv().await {
                Ok(Some(change)) => (Ok(change), Some(changes)),
                Err(broadcast::error::RecvError::Lagged(_)) => (Ok(Change::Resync), Some(changes)),
                Ok(None) | Err(_) => (Err(RuntimeError::Unavailable("the connection broke".into())), None),
            })
        });
        Ok(Box::pin(stream::iter([Ok(Change::Resync)]).chain(later)))
    }

    async fn probe(
        &self,
        observed: &Observed,
        _: &Check,
        _: Duration,
    ) -> Result<std::result::Result<(), String>> {
        self.enter(format!("probe {}", observed.instance)).await?;
        let state = self.state();
        let container = state.containers.get(&observed.instance);
        Ok(match container {
            Some(c) if c.phase.is_running() => c.ill.clone().map_or(Ok(()), Err),
            _ => Err("connection refused".into()),
        })
    }

    async fn logs(&self, instance: InstanceId, options: LogOptions) -> Result<BoxStream<Result<LogLine>>> {
        self.enter(format!("logs {instance}")).await?;
        let lines = {
            let state = self.state();
            let container = state.containers.get(&instance).ok_or_else(|| nothing(instance))?;
            let mut lines = container.log.clone();
            lines.retain(|l| options.since.is_none_or(|s| l.at >= s));
            if let Some(tail) = options.tail {
                let tail = usize::try_from(tail).unwrap_or(usize::MAX);
                lines.drain(..lines.len().saturating_sub(tail));
            }
            lines
        };
        let now = stream::iter(lines.into_iter().map(Ok));
        if options.follow { Ok(Box::pin(now.chain(stream::pending()))) } else { Ok(Box::pin(now)) }
    }

    async fn exec(&self, instance: InstanceId, spec: ExecSpec) -> Result<Exec> {
        self.enter(format!("exec {instance}")).await?;
        if !self.running(instance) {
            return Err(RuntimeError::NotRunning);
        }
        let (input, mut typed) = mpsc::channel(8);
        let words: Vec<String> = spec.command;
        let code = match words.first().map(String::as_str) {
            Some("exit") => words.get(1).and_then(|w| w.parse().ok()).unwrap_or(0),
            _ => 0,
        };
        let output: BoxStream<Result<(Output, Bytes)>> = match words.first().map(String::as_str) {
            Some("cat") => Box::pin(stream::unfold(Some(typed), |typed| async move {
                let mut typed = typed?;
                loop {
                    match typed.recv().await {
                        Some(ExecInput::Data(bytes)) => {
                            return Some((Ok((Output::Stdout, bytes)), Some(typed)));
                        }
                        Some(ExecInput::Resize(..)) => {}
                        Some(ExecInput::Eof) | None => return None,
                    }
                }
            })),
            Some("sleep") => Box::pin(stream::pending()),
            Some("env") => {
                let workload = self.workload(instance).ok_or_else(|| nothing(instance))?;
                let lines: Vec<String> =
                    workload.spec.env.iter().map(|(k, v)| format!("{k}={v}\n")).collect();
                let text = lines.concat();
                Box::pin(stream::iter([Ok((Output::Stdout, Bytes::from(text)))]))
            }
            _ => {
                typed.close();
                let text = format!("{}\n", words.get(1..).unwrap_or_default().join(" "));
                Box::pin(stream::iter([
                    Ok((Output::Stdout, Bytes::from(text))),
                    Ok((Output::Stderr, Bytes::from_static(b"warned\n"))),
                ]))
            }
        };
        Ok(Exec { input, output, exit: Box::pin(async move { Ok(code) }) })
    }

    async fn stats(&self, instance: InstanceId) -> Result<BoxStream<Result<Stats>>> {
        self.enter(format!("stats {instance}")).await?;
        if !self.running(instance) {
            return Err(RuntimeError::NotRunning);
        }
        let sample = |n| Stats { at: SystemClock.now(), cpu_nanos: n, pids: 1, ..Stats::default() };
        Ok(Box::pin(stream::iter([Ok(sample(1)), Ok(sample(2))])))
    }

    async fn dial(&self, instance: InstanceId, _: &str) -> Result<Box<dyn Io>> {
        self.enter(format!("dial {instance}")).await?;
        let stream = tokio::net::TcpStream::connect(self.agent).await;
        Ok(Box::new(stream.map_err(|e| RuntimeError::Other(e.to_string()))?))
    }

    async fn list_files(&self, instance: InstanceId, path: &str) -> Result<Vec<FileInfo>> {
        self.enter(format!("list_files {instance}")).await?;
        let state = self.state();
        let container = state.containers.get(&instance).ok_or_else(|| nothing(instance))?;
        let under = |p: &&String| p.starts_with(path);
        Ok(container.files.keys().filter(under).map(|p| info(p, container.files[p].len())).collect())
    }

    async fn read_file(
        &self,
        instance: InstanceId,
        path: &str,
    ) -> Result<(FileInfo, BoxStream<Result<Bytes>>)> {
        self.enter(format!("read_file {instance}")).await?;
        let state = self.state();
        let container = state.containers.get(&instance).ok_or_else(|| nothing(instance))?;
        let content = container.files.get(path).ok_or_else(|| RuntimeError::NotFound(path.to_owned()))?;
        Ok((info(path, content.len()), Box::pin(stream::iter([Ok(Bytes::from(content.clone()))]))))
    }

    async fn write_file(
        &self,
        instance: InstanceId,
        path: &str,
        _: u32,
        size: u64,
        mut content: BoxStream<std::io::Result<Bytes>>,
    ) -> Result<()> {
        self.enter(format!("write_file {instance}")).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = content.next().await {
            bytes.extend_from_slice(&chunk.map_err(|e| RuntimeError::Other(e.to_string()))?);
        }
        if bytes.len() as u64 != size {
            return Err(RuntimeError::Other("the content ended early".into()));
        }
        let mut state = self.state();
        let container = state.containers.get_mut(&instance).ok_or_else(|| nothing(instance))?;
        container.files.insert(path.to_owned(), bytes);
        Ok(())
    }
}

fn info(path: &str, size: usize) -> FileInfo {
    FileInfo {
        name: path.rsplit('/').next().unwrap_or_default().to_owned(),
        kind: FileKind::File,
        size: size as u64,
        mode: 0o644,
        modified: Millis(0),
        link: None,
    }
}
