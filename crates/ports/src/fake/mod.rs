//! The engine in memory, for tests: same semantics as a real one, no processes. It is for what a real one does not
//! show on command; that engines do as the port says is shown on real ones, by the suite that this one passes too.
//!
//! What containers do is a small play of the suite's agent. A test commands the rest: images ([`FakeRuntime::image`]),
//! programs, faults and hangs ([`Call`]), a listener behind the ports; and looks what came of it.
//!
//! Clones share everything. Several servers may use one engine ([`FakeRuntime::beside`]). Time is a counter, a
//! millisecond a look, unless a clock is given.

mod agent;
mod build;
mod chain;
mod container;
mod dns;
mod exec;
mod fault;
mod files;
mod image;
mod listener;
mod look;
mod runtime;
mod state;
mod stream;
mod usage;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use ryokan_model::{Clock, InstanceId, Millis, ServerId};
use tokio::sync::watch;

use crate::Edge;
use crate::runtime::Change;

pub use chain::FakeChain;
pub use dns::FakeDns;
pub use exec::Outcome;
pub use fault::Call;
pub use image::FakeImage;
pub use usage::FakeUsage;

use state::State;

const CPUS: u32 = 4;
const MEMORY: u64 = 16 << 30;
const NO_GPUS: &str = "the engine in memory has none; give it some";
const ISOLATIONS: [&str; 3] = ["runc", "runsc", "sysbox-runc"];

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
    edge: OnceLock<Arc<dyn Edge>>,
    /// As many more holders as starts are under way.
    starting: Arc<()>,
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
            edge: OnceLock::new(),
            starting: Arc::default(),
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
}
