//! An engine in memory, for tests: same semantics as a real one, no processes. What containers do is a small play of
//! the conformance suite's agent; what goes wrong is up to the test ([`Call`] and the methods that take one).
//!
//! Clones share everything. Several servers may use one engine ([`FakeRuntime::beside`]). Time is a counter, a
//! millisecond a look, unless a clock is given.

mod agent;
mod fault;
mod files;
mod runtime;
mod state;

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ryokan_model::image::ImageRef;
use ryokan_model::{Clock, InstanceId, Millis, ServerId};
use tokio::sync::watch;

use crate::runtime::{
    Change, Image, LogLine, Observed, Output, Phase, Reach, Result, RuntimeError, Workload,
};

pub use agent::Outcome;
pub use fault::{Call, Recorded};

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
