//! What goes wrong when a test says so: calls that fail or hang, an engine that is away, containers that crash, fall
//! ill or vanish. Every call is counted.

use std::time::Duration;

use ryokan_model::InstanceId;

use super::FakeRuntime;
use super::state::State;
use crate::runtime::{Change, Result, RuntimeError};

/// A method of the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    Info,
    FindImage,
    Pull,
    Ensure,
    Retire,
    Stop,
    Remove,
    RemoveNetwork,
    Networks,
    Drops,
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
    Close,
    Built,
    Forget,
}

impl FakeRuntime {
    /// Every call passes here first. `about` is the id or the name of what it is about.
    pub(super) async fn enter(&self, call: Call, about: impl ToString) -> Result<()> {
        let about = about.to_string();
        let mut versions = self.engine.version.subscribe();
        let patience = {
            let mut state = self.state();
            state.calls.push((call, about.clone()));
            state.patience
        };
        let free = async {
            while self.state().hangs(call, &about) {
                // The engine outlives its users, so this ends only with a change.
                let _ = versions.changed().await;
            }
        };
        match patience {
            None => free.await,
            Some(patience) => tokio::time::timeout(patience, free)
                .await
                .map_err(|_| RuntimeError::Unavailable("the fake engine hangs".to_owned()))?,
        }
        let state = self.state();
        if state.down {
            return Err(gone());
        }
        state.faults.get(&call).map_or(Ok(()), |error| Err(error.clone()))
    }

    /// Calls fail until [`Self::heal`].
    pub fn fail(&self, call: Call, error: RuntimeError) {
        self.state().faults.insert(call, error);
    }

    /// Calls give no answer until [`Self::heal`]; those that were made before go on then.
    pub fn hang(&self, call: Call) {
        self.state().hanging.insert(call);
    }

    /// No call about anything gives an answer, and watchers are cut off.
    pub fn hang_all(&self) {
        let mut state = self.state();
        state.all_hang = true;
        state.cut_watchers();
    }

    /// This one container can be neither stopped nor removed until [`Self::heal`].
    pub fn stick(&self, instance: InstanceId) {
        self.state().stuck.insert(instance.to_string());
    }

    /// What hangs is given up after this long, as adapters do; without it never.
    pub fn set_patience(&self, patience: Duration) {
        self.state().patience = Some(patience);
    }

    /// Takes back all failures and hangs, and lets waiting pulls go on; not [`Self::down`].
    pub fn heal(&self) {
        let mut state = self.state();
        state.faults.clear();
        state.hanging.clear();
        state.stuck.clear();
        state.all_hang = false;
        state.release_pulls();
        self.engine.version.send_modify(|v| *v += 1);
    }

    /// The engine goes away: watchers are cut off, every call fails. Its containers live on.
    pub fn down(&self) {
        let mut state = self.state();
        state.down = true;
        state.cut_watchers();
    }

    pub fn up(&self) {
        self.state().down = false;
    }

    /// The container's process ends by itself.
    pub fn crash(&self, instance: InstanceId, code: i64) {
        let mut state = self.state();
        for id in state.ids(self.server, instance) {
            self.exit(&mut state, id, code);
        }
    }

    /// As `docker rm -f`.
    pub fn lose(&self, instance: InstanceId) {
        let mut state = self.state();
        for id in state.ids(self.server, instance) {
            self.drop_container(&mut state, id);
        }
    }

    /// Probes of a container find this, until [`Self::recover`] or its next start.
    pub fn sicken(&self, instance: InstanceId, answer: &str) {
        self.set_ill(instance, Some(answer));
    }

    pub fn recover(&self, instance: InstanceId) {
        self.set_ill(instance, None);
    }

    fn set_ill(&self, instance: InstanceId, answer: Option<&str>) {
        let server = self.server;
        for container in self.state().of_mut(server, instance) {
            container.ill = answer.map(str::to_owned);
        }
    }

    /// Tells watchers to look at everything, as after lost events.
    pub fn nudge(&self) {
        for (_, tell) in &self.state().watchers {
            let _ = tell.send(Ok(Change::Resync));
        }
    }
}

fn gone() -> RuntimeError {
    RuntimeError::Unavailable("the fake engine is down".to_owned())
}

impl State {
    fn hangs(&self, call: Call, about: &str) -> bool {
        let stuck = matches!(call, Call::Stop | Call::Retire | Call::Remove) && self.stuck.contains(about);
        self.all_hang || stuck || self.hanging.contains(&call)
    }

    fn cut_watchers(&mut self) {
        for (_, tell) in self.watchers.drain(..) {
            let _ = tell.send(Err(gone()));
        }
    }
}
