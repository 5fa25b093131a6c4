//! An engine in memory, for tests: same semantics as a real one, no processes. What containers do is a small play of
//! the conformance suite's agent ([`agent`]); what goes wrong is up to the test ([`fault`]).
//!
//! Clones share everything. Several servers may use one engine ([`FakeRuntime::beside`]). Time is a counter, a
//! millisecond a look, unless a clock is given.

mod agent;
mod fault;
mod files;
mod state;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use ryokan_model::image::ImageRef;
use ryokan_model::probe::Check;
use ryokan_model::spec::PullPolicy;
use ryokan_model::{Clock, InstanceId, Millis, ProjectId, ServerId};
use tokio::sync::{mpsc, watch};

use crate::Runtime;
use crate::runtime::{
    BoxStream, Change, EngineInfo, Exec, ExecSpec, FileInfo, Holdings, Image, ImageRequest, Io, LogLine,
    LogOptions, Observed, OnProgress, Output, Phase, PullProgress, Reach, Result, RuntimeError, Stats,
    Volumes, Workload,
};

pub use agent::Outcome;
pub use fault::{Call, Recorded};

use agent::Play;
use state::{Container, State};

const CPUS: u32 = 16;
const MEMORY: u64 = 64 << 30;
const ISOLATIONS: [&str; 2] = ["runc", "runsc"];

/// One server's view of an engine in memory.
#[derive(Clone)]
pub struct FakeRuntime {
    server: ServerId,
    engine: Arc<Engine>,
}

type Lock = Arc<tokio::sync::Mutex<()>>;

struct Engine {
    state: Mutex<State>,
    /// Counts changes of the state; what waits for one looks again.
    version: watch::Sender<u64>,
    clock: Option<Arc<dyn Clock>>,
    locks: Mutex<HashMap<(ServerId, InstanceId), Lock>>,
}

impl FakeRuntime {
    pub fn new(server: ServerId) -> Self {
        Self::build(server, None)
    }

    pub fn with_clock(server: ServerId, clock: Arc<dyn Clock>) -> Self {
        Self::build(server, Some(clock))
    }

    fn build(server: ServerId, clock: Option<Arc<dyn Clock>>) -> Self {
        let engine = Engine {
            state: Mutex::default(),
            version: watch::Sender::new(0),
            clock,
            locks: Mutex::default(),
        };
        Self { server, engine: Arc::new(engine) }
    }

    /// The same engine, for another server.
    #[must_use]
    pub fn beside(&self, server: ServerId) -> Self {
        Self { server, engine: self.engine.clone() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.engine.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self, state: &mut State) -> Millis {
        match &self.engine.clock {
            Some(clock) => clock.now(),
            None => {
                state.ticks += 1;
                Millis(1_700_000_000_000 + state.ticks)
            }
        }
    }

    /// Tells watchers and waiters that a container of ours has changed.
    fn changed(&self, state: &mut State, instance: InstanceId) {
        let server = self.server;
        state.watchers.retain(|(of, tell)| {
            *of != server && !tell.is_closed() || tell.send(Ok(Change::Instance(instance))).is_ok()
        });
        self.engine.version.send_modify(|v| *v += 1);
    }

    async fn lock(&self, instance: InstanceId) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.engine.locks.lock().unwrap_or_else(PoisonError::into_inner);
            locks.entry((self.server, instance)).or_default().clone()
        };
        lock.lock_owned().await
    }

    fn exit(&self, state: &mut State, id: u64, code: i64, out_of_memory: bool) {
        let finished_at = self.now(state);
        let Some(container) = state.containers.iter_mut().find(|c| c.id == id) else { return };
        if let Phase::Running { started_at } | Phase::Paused { started_at } = container.phase {
            container.phase = Phase::Exited { started_at, finished_at, code, out_of_memory };
            let instance = container.workload.instance;
            self.changed(state, instance);
        }
    }

    /// Ends a container as an engine does: the signal, the grace, the kill.
    async fn end(&self, id: u64, grace: Duration) {
        let mut versions = self.engine.version.subscribe();
        {
            let mut state = self.state();
            let Some(container) = state.containers.iter().find(|c| c.id == id) else { return };
            if let Some(code) = container.play.on_term() {
                self.exit(&mut state, id, code, false);
                return;
            }
        }
        let ended = async {
            while self.state().containers.iter().any(|c| c.id == id && c.phase.is_running()) {
                if versions.changed().await.is_err() {
                    return;
                }
            }
        };
        if tokio::time::timeout(grace, ended).await.is_err() {
            self.exit(&mut self.state(), id, 137, false);
        }
    }

    fn drop_container(&self, state: &mut State, id: u64) {
        let Some(index) = state.containers.iter().position(|c| c.id == id) else { return };
        let container = state.containers.remove(index);
        self.changed(state, container.workload.instance);
    }

    fn start(&self, state: &mut State, id: u64) -> Result<()> {
        let at = self.now(state);
        let server = self.server;
        let index = state.containers.iter().position(|c| c.id == id);
        let index = index.ok_or_else(|| RuntimeError::NotFound("the container".to_owned()))?;
        if state.containers[index].phase.is_running() {
            return Ok(());
        }
        let workload = state.containers[index].workload.clone();
        state.place_files(server, &workload, at)?;
        let play = state.containers[index].play.clone();
        state.containers[index].phase = Phase::Running { started_at: at };
        for (output, text) in play.says(&workload) {
            let at = self.now(state);
            state.containers[index].logs.push(LogLine { at, output, text });
        }
        self.changed(state, workload.instance);
        if let Some(code) = play.ends_at_once() {
            self.exit(state, id, code, false);
        }
        Ok(())
    }

    fn observed(container: &Container) -> Observed {
        let endpoints = container.workload.spec.ports.iter().map(|port| {
            let address = container.endpoints.get(&port.name).copied();
            // A documentation address: nothing answers there unless a test says where.
            let address = address.unwrap_or(SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), port.port)));
            (port.name.clone(), address)
        });
        Observed {
            instance: container.workload.instance,
            project: container.workload.project,
            generation: container.workload.generation,
            engine_id: format!("fake-{}", container.id),
            phase: container.phase,
            endpoints: if container.phase.is_running() { endpoints.collect() } else { BTreeMap::new() },
            reach: Reach::Bridge,
        }
    }

    fn newest<'a>(&self, state: &'a State, instance: InstanceId) -> Result<&'a Container> {
        state
            .of(self.server, instance)
            .max_by_key(|c| c.workload.generation)
            .ok_or_else(|| RuntimeError::NotFound(format!("the container of {instance}")))
    }

    fn running<'a>(&self, state: &'a State, instance: InstanceId) -> Result<&'a Container> {
        let container = self.newest(state, instance)?;
        if container.phase.is_running() { Ok(container) } else { Err(RuntimeError::NotRunning) }
    }

    fn refuse_impossible(workload: &Workload) -> Result<()> {
        let spec = &workload.spec;
        let refuse =
            |field: &str, reason: String| Err(RuntimeError::Refused { field: field.to_owned(), reason });
        if !ISOLATIONS.contains(&spec.security.isolation.as_str()) {
            let wanted = &spec.security.isolation;
            let have = ISOLATIONS.join(", ");
            return refuse(
                "security.isolation",
                format!("`{wanted}` is not installed in this engine; it has {have}"),
            );
        }
        if spec.resources.memory.get() > MEMORY {
            return refuse("resources.memory", format!("{} is more than there is", spec.resources.memory));
        }
        if spec.resources.cpus.millis() > CPUS * 1000 {
            return refuse("resources.cpus", format!("{} is more than there is", spec.resources.cpus));
        }
        Ok(())
    }
}

#[async_trait]
impl Runtime for FakeRuntime {
    async fn info(&self) -> Result<EngineInfo> {
        self.enter(Call::Info, None).await?;
        Ok(EngineInfo {
            engine: "fake".to_owned(),
            version: "1".to_owned(),
            isolations: ISOLATIONS.map(str::to_owned).into(),
            rootless: false,
            reach: Reach::Bridge,
            cpus: CPUS,
            memory: MEMORY,
        })
    }

    async fn image(&self, request: &ImageRequest, progress: OnProgress<'_>) -> Result<Image> {
        self.enter(Call::Image, None).await?;
        let text = request.image.as_str();
        let failure = |reason: &str| {
            let (image, reason) = (text.to_owned(), reason.to_owned());
            Err(RuntimeError::Image { image, reason, retry: false })
        };
        if request.policy != PullPolicy::Always
            && let Some(image) = self.state().images.get(text)
        {
            return Ok(image.clone());
        }
        if request.policy == PullPolicy::Never {
            return failure("is not in the engine, and its pull policy is `never`");
        }
        for done in [0, 500, 1000] {
            progress(PullProgress { message: "Downloading".to_owned(), done, total: 1000 });
            tokio::task::yield_now().await;
        }
        let image = state::image_of(&request.image);
        self.state().images.insert(text.to_owned(), image.clone());
        Ok(image)
    }

    async fn ensure(&self, workload: &Workload) -> Result<Observed> {
        self.enter(Call::Ensure, Some(workload.instance)).await?;
        Self::refuse_impossible(workload)?;
        let _lock = self.lock(workload.instance).await;
        let (id, older) = {
            let mut state = self.state();
            if let Ok(newest) = self.newest(&state, workload.instance)
                && newest.workload.generation > workload.generation
            {
                return Ok(Self::observed(newest));
            }
            state.networks.insert((self.server, workload.project));
            for volume in &workload.spec.volumes {
                state.volumes.entry((self.server, workload.instance, volume.name.clone())).or_default();
            }
            let same = state
                .of(self.server, workload.instance)
                .find(|c| c.workload.generation == workload.generation)
                .map(|c| c.id);
            let id = match same {
                Some(id) => id,
                None => {
                    let id = state.create(self.server, workload);
                    self.changed(&mut state, workload.instance);
                    id
                }
            };
            let older: Vec<u64> =
                state.of(self.server, workload.instance).map(|c| c.id).filter(|other| *other != id).collect();
            (id, older)
        };
        for stale in older {
            self.end(stale, workload.spec.stop_grace.duration()).await;
            self.drop_container(&mut self.state(), stale);
        }
        let delay = self.state().start_delay;
        if delay.is_zero() {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(delay).await;
        }
        let mut state = self.state();
        self.start(&mut state, id)?;
        self.newest(&state, workload.instance).map(Self::observed)
    }

    async fn stop(&self, instance: InstanceId, grace: Duration) -> Result<()> {
        self.enter(Call::Stop, Some(instance)).await?;
        let ids: Vec<u64> = {
            let _lock = self.lock(instance).await;
            self.state().of(self.server, instance).filter(|c| c.phase.is_running()).map(|c| c.id).collect()
        };
        for id in ids {
            self.end(id, grace).await;
        }
        Ok(())
    }

    async fn remove(&self, instance: InstanceId, volumes: Volumes) -> Result<()> {
        self.enter(Call::Remove, Some(instance)).await?;
        for wait in [false, true] {
            // First without the lock: a replacement may be waiting for an agent that does not end.
            let _lock = if wait { Some(self.lock(instance).await) } else { None };
            let mut state = self.state();
            let ids: Vec<u64> = state.of(self.server, instance).map(|c| c.id).collect();
            for id in ids {
                self.drop_container(&mut state, id);
            }
        }
        if volumes == Volumes::Remove {
            let server = self.server;
            self.state().volumes.retain(|(s, i, _), _| *s != server || *i != instance);
        }
        Ok(())
    }

    async fn remove_network(&self, project: ProjectId) -> Result<()> {
        self.enter(Call::RemoveNetwork, None).await?;
        let mut state = self.state();
        if state.containers.iter().any(|c| c.server == self.server && c.workload.project == project) {
            return Err(RuntimeError::Other(format!("the network of project {project} is in use")));
        }
        state.networks.remove(&(self.server, project));
        Ok(())
    }

    async fn observe(&self, instance: InstanceId) -> Result<Option<Observed>> {
        self.enter(Call::Observe, Some(instance)).await?;
        Ok(self.newest(&self.state(), instance).ok().map(Self::observed))
    }

    async fn list(&self) -> Result<Vec<Observed>> {
        self.enter(Call::List, None).await?;
        let state = self.state();
        let instances: BTreeSet<InstanceId> = state
            .containers
            .iter()
            .filter(|c| c.server == self.server)
            .map(|c| c.workload.instance)
            .collect();
        Ok(instances.into_iter().filter_map(|i| self.newest(&state, i).ok().map(Self::observed)).collect())
    }

    async fn holdings(&self) -> Result<Holdings> {
        self.enter(Call::Holdings, None).await?;
        let state = self.state();
        let volumes: BTreeSet<InstanceId> =
            state.volumes.keys().filter(|(s, ..)| *s == self.server).map(|(_, i, _)| *i).collect();
        let networks = state.networks.iter().filter(|(s, _)| *s == self.server).map(|(_, p)| *p);
        Ok(Holdings { volumes: volumes.into_iter().collect(), networks: networks.collect() })
    }

    async fn watch(&self) -> Result<BoxStream<Result<Change>>> {
        self.enter(Call::Watch, None).await?;
        let (tell, changes) = mpsc::unbounded_channel();
        // There is a receiver, so this cannot fail.
        let _ = tell.send(Ok(Change::Resync));
        self.state().watchers.push((self.server, tell));
        Ok(Box::pin(stream::unfold(changes, |mut changes| async move {
            changes.recv().await.map(|change| (change, changes))
        })))
    }

    async fn probe(
        &self,
        observed: &Observed,
        check: &Check,
        _timeout: Duration,
    ) -> Result<std::result::Result<(), String>> {
        self.enter(Call::Probe, Some(observed.instance)).await?;
        let state = self.state();
        let Ok(container) = self.running(&state, observed.instance) else {
            return Ok(Err("is not running".to_owned()));
        };
        match state.probes.get(&observed.instance) {
            Some(answer) => Ok(answer.clone()),
            None => Ok(container.play.answer(&container.workload, check)),
        }
    }

    async fn logs(&self, instance: InstanceId, options: LogOptions) -> Result<BoxStream<Result<LogLine>>> {
        self.enter(Call::Logs, Some(instance)).await?;
        let (id, lines) = {
            let state = self.state();
            let container = self.newest(&state, instance)?;
            (container.id, container.logs.clone())
        };
        let seen = lines.len();
        let wanted = move |line: &LogLine| {
            options.since.is_none_or(|t| line.at >= t) && options.until.is_none_or(|t| line.at <= t)
        };
        let mut lines: Vec<LogLine> = lines.into_iter().filter(|l| wanted(l)).collect();
        if let Some(tail) = options.tail {
            lines.drain(..lines.len().saturating_sub(usize::try_from(tail).unwrap_or(usize::MAX)));
        }
        let history = stream::iter(lines);
        if !options.follow {
            return Ok(Box::pin(history.map(Ok)));
        }
        let state = (self.clone(), self.engine.version.subscribe(), seen);
        let rest = stream::unfold(state, move |(fake, mut versions, seen)| async move {
            loop {
                {
                    let state = fake.state();
                    let container = state.containers.iter().find(|c| c.id == id)?;
                    if let Some(line) = container.logs.get(seen) {
                        let line = line.clone();
                        drop(state);
                        return Some((line, (fake, versions, seen + 1)));
                    }
                    if !container.phase.is_running() {
                        return None;
                    }
                }
                versions.changed().await.ok()?;
            }
        });
        Ok(Box::pin(history.chain(rest).filter(move |l| std::future::ready(wanted(l))).map(Ok)))
    }

    async fn exec(&self, instance: InstanceId, spec: ExecSpec) -> Result<Exec> {
        self.enter(Call::Exec, Some(instance)).await?;
        let state = self.state();
        let container = self.running(&state, instance)?;
        agent::exec(&state.programs, &container.workload, &spec)
    }

    async fn stats(&self, instance: InstanceId) -> Result<BoxStream<Result<Stats>>> {
        self.enter(Call::Stats, Some(instance)).await?;
        let id = self.running(&self.state(), instance)?.id;
        let state = (self.clone(), self.engine.version.subscribe(), 0_u64);
        Ok(Box::pin(stream::unfold(state, move |(fake, mut versions, count)| async move {
            let runs = || fake.state().containers.iter().any(|c| c.id == id && c.phase.is_running());
            let second = tokio::time::sleep(Duration::from_secs(u64::from(count > 0)));
            let ended = async { while runs() && versions.changed().await.is_ok() {} };
            tokio::select! {
                biased;
                () = ended => return None,
                () = second => {}
            }
            let sample = {
                let mut state = fake.state();
                let at = fake.now(&mut state);
                let limit =
                    state.containers.iter().find(|c| c.id == id)?.workload.spec.resources.memory.get();
                Stats {
                    at,
                    cpu_nanos: count * 10_000_000,
                    cpu_centipercent: 100,
                    memory_bytes: limit / 4,
                    memory_limit_bytes: limit,
                    pids: 2,
                    ..Stats::default()
                }
            };
            Some((Ok(sample), (fake, versions, count + 1)))
        })))
    }

    async fn dial(&self, instance: InstanceId, port: &str) -> Result<Box<dyn Io>> {
        self.enter(Call::Dial, Some(instance)).await?;
        let address = {
            let state = self.state();
            let container = self.running(&state, instance)?;
            let number = container.workload.spec.ports.iter().find(|p| p.name == port).map(|p| p.port);
            let number =
                number.ok_or_else(|| RuntimeError::NotFound(format!("port {port} of {instance}")))?;
            match container.endpoints.get(port) {
                Some(address) => *address,
                None if container.play == Play::Serve => return Ok(Box::new(agent::Server::new(number))),
                None => return Err(RuntimeError::Other(format!("port {port} refuses connections"))),
            }
        };
        let stream = tokio::net::TcpStream::connect(address).await;
        stream
            .map(|s| Box::new(s) as Box<dyn Io>)
            .map_err(|e| RuntimeError::Other(format!("port {port}: {e}")))
    }

    async fn list_files(&self, instance: InstanceId, path: &str) -> Result<Vec<FileInfo>> {
        self.enter(Call::ListFiles, Some(instance)).await?;
        let path = crate::files::normal(path)?;
        let state = self.state();
        state.list(self.newest(&state, instance)?, &path)
    }

    async fn read_file(
        &self,
        instance: InstanceId,
        path: &str,
    ) -> Result<(FileInfo, BoxStream<Result<Bytes>>)> {
        self.enter(Call::ReadFile, Some(instance)).await?;
        let path = crate::files::normal(path)?;
        let state = self.state();
        let (info, content) = state.read(self.newest(&state, instance)?, &path)?;
        let pieces: Vec<_> =
            content.chunks(64 * 1024).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        Ok((info, Box::pin(stream::iter(pieces))))
    }

    async fn write_file(
        &self,
        instance: InstanceId,
        path: &str,
        mode: u32,
        size: u64,
        content: BoxStream<std::io::Result<Bytes>>,
    ) -> Result<()> {
        self.enter(Call::WriteFile, Some(instance)).await?;
        let path = crate::files::normal(path)?;
        self.newest(&self.state(), instance)?;
        let content = files::whole(&path, size, content).await?;
        let mut state = self.state();
        let at = self.now(&mut state);
        let id = self.newest(&state, instance)?.id;
        state.write(id, &path, files::File { content, mode: mode & 0o777, modified: at })
    }
}

/// What a test arranges beforehand.
impl FakeRuntime {
    /// Makes an image present, as if it had been loaded.
    pub fn add_image(&self, image: &ImageRef) -> Image {
        let added = state::image_of(image);
        self.state().images.insert(image.as_str().to_owned(), added.clone());
        added
    }

    /// What a program does when it is run in any container.
    pub fn add_program(&self, program: &str, outcome: Outcome) {
        self.state().programs.insert(program.to_owned(), outcome);
    }

    /// How long a start takes.
    pub fn set_start_delay(&self, delay: Duration) {
        self.state().start_delay = delay;
    }

    /// Where a running container's port really is, so that a gateway can be put before it.
    pub fn set_endpoint(&self, instance: InstanceId, port: &str, address: SocketAddr) {
        let server = self.server;
        let mut state = self.state();
        for container in state.of_mut(server, instance) {
            container.endpoints.insert(port.to_owned(), address);
        }
        self.changed(&mut state, instance);
    }

    /// Lets a container write a line.
    pub fn write_log(&self, instance: InstanceId, output: Output, text: &str) {
        let mut state = self.state();
        let at = self.now(&mut state);
        let line = LogLine { at, output, text: text.to_owned() };
        let server = self.server;
        for container in state.of_mut(server, instance) {
            container.logs.push(line.clone());
        }
        self.engine.version.send_modify(|v| *v += 1);
    }
}
