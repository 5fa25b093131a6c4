//! What goes wrong, when a test says so: calls that fail or hang, an engine that is down, containers that crash or
//! vanish. And what was called.

use std::time::Duration;

use ryokan_model::InstanceId;

use super::FakeRuntime;
use super::state::State;
use crate::runtime::{Result, RuntimeError};

/// A method of the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    Info,
    Image,
    Ensure,
    Stop,
    Remove,
    RemoveNetwork,
    Observe,
    List,
    Holdings,
    Watch,
    Probe,
    Logs,
    Exec,
    Stats,
    Dial,
    ListFiles,
    ReadFile,
    WriteFile,
}

/// A call that was made, and about what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    pub call: Call,
    pub instance: Option<InstanceId>,
}

pub(super) struct Fault {
    /// Of one instance only.
    instance: Option<InstanceId>,
    error: RuntimeError,
    /// How many more times; forever when absent.
    times: Option<usize>,
}

impl FakeRuntime {
    /// Every call passes here first.
    pub(super) async fn enter(&self, call: Call, instance: Option<InstanceId>) -> Result<()> {
        let mut versions = self.engine.version.subscribe();
        self.state().calls.push(Recorded { call, instance });
        loop {
            {
                let mut state = self.state();
                if !state.hanging.contains(&call) {
                    return state.pass(call, instance);
                }
            }
            // The engine outlives its users, so this ends only with a change.
            if versions.changed().await.is_err() {
                return Ok(());
            }
        }
    }

    /// The next call fails.
    pub fn fail(&self, call: Call, error: RuntimeError) {
        self.add_fault(call, Fault { instance: None, error, times: Some(1) });
    }

    /// The next so many calls about an instance fail.
    pub fn fail_for(&self, call: Call, instance: InstanceId, times: usize, error: RuntimeError) {
        self.add_fault(call, Fault { instance: Some(instance), error, times: Some(times) });
    }

    /// All calls fail until [`Self::heal`].
    pub fn fail_always(&self, call: Call, error: RuntimeError) {
        self.add_fault(call, Fault { instance: None, error, times: None });
    }

    fn add_fault(&self, call: Call, fault: Fault) {
        self.state().faults.entry(call).or_default().push_back(fault);
    }

    /// Calls give no answer until [`Self::heal`]; those that were made before go on then.
    pub fn hang(&self, call: Call) {
        self.state().hanging.insert(call);
    }

    /// Takes back all faults and hangs; not [`Self::down`].
    pub fn heal(&self) {
        let mut state = self.state();
        state.faults.clear();
        state.hanging.clear();
        self.engine.version.send_modify(|v| *v += 1);
    }

    /// The engine goes away: watchers are cut off, every call fails. Its containers live on.
    pub fn down(&self) {
        let mut state = self.state();
        state.down = true;
        for (_, tell) in state.watchers.drain(..) {
            let _ = tell.send(Err(gone()));
        }
    }

    pub fn up(&self) {
        self.state().down = false;
    }

    /// The container's process ends by itself.
    pub fn crash(&self, instance: InstanceId, code: i64) {
        self.end_by_itself(instance, code, false);
    }

    /// The kernel kills it for its memory.
    pub fn out_of_memory(&self, instance: InstanceId) {
        self.end_by_itself(instance, 137, true);
    }

    fn end_by_itself(&self, instance: InstanceId, code: i64, out_of_memory: bool) {
        let mut state = self.state();
        let ids: Vec<u64> = state.of(self.server, instance).map(|c| c.id).collect();
        for id in ids {
            self.exit(&mut state, id, code, out_of_memory);
        }
    }

    /// As `docker rm -f`.
    pub fn lose(&self, instance: InstanceId) {
        let mut state = self.state();
        let ids: Vec<u64> = state.of(self.server, instance).map(|c| c.id).collect();
        for id in ids {
            self.drop_container(&mut state, id);
        }
    }

    /// What probes of an instance find, until told otherwise; without it they find what its agent would answer.
    pub fn set_probe(&self, instance: InstanceId, answer: std::result::Result<(), String>) {
        self.state().probes.insert(instance, answer);
    }

    /// Every call so far.
    pub fn calls(&self) -> Vec<Recorded> {
        self.state().calls.clone()
    }

    /// How often something was called, and forgets all calls.
    pub fn take_calls(&self, call: Call) -> usize {
        let calls = std::mem::take(&mut self.state().calls);
        calls.iter().filter(|c| c.call == call).count()
    }

    /// Waits until something has been called.
    pub async fn called(&self, call: Call) {
        while !self.state().calls.iter().any(|c| c.call == call) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

fn gone() -> RuntimeError {
    RuntimeError::Unavailable("the fake engine is down".to_owned())
}

impl State {
    fn pass(&mut self, call: Call, instance: Option<InstanceId>) -> Result<()> {
        if self.down {
            return Err(gone());
        }
        let Some(faults) = self.faults.get_mut(&call) else { return Ok(()) };
        let index = faults.iter().position(|f| f.instance.is_none() || f.instance == instance);
        let Some(index) = index else { return Ok(()) };
        let fault = &mut faults[index];
        let error = fault.error.clone();
        if let Some(times) = &mut fault.times {
            *times = times.saturating_sub(1);
            if *times == 0 {
                faults.remove(index);
            }
        }
        Err(error)
    }
}
