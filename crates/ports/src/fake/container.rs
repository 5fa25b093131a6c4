//! How containers begin and end.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use ryokan_model::{InstanceId, ProjectId};

use super::state::{Container, State};
use super::{CPUS, FakeRuntime, ISOLATIONS, MEMORY, NO_GPUS};
use crate::edge::EdgeNetwork;
use crate::runtime::{LogLine, Observed, Output, Phase, Reach, Result, RuntimeError, Target, Workload};

impl FakeRuntime {
    /// Makes the container of a workload's generation, if it is not there; its id and those of older generations.
    pub(super) fn create(&self, workload: &Workload) -> Result<(u64, Vec<u64>)> {
        let mut state = self.state();
        let instance = workload.instance;
        state.networks.insert((self.server, workload.project));
        for volume in &workload.spec.volumes {
            state.volumes.entry((self.server, instance, volume.name.clone())).or_default();
        }
        let same = state
            .of(self.server, instance)
            .find(|c| c.workload.generation == workload.generation)
            .map(|c| c.id);
        let id = match same {
            Some(id) => id,
            None => {
                state.take_image(workload.spec.image.as_str())?;
                let id = state.create(self.server, workload);
                self.changed(&mut state, instance);
                id
            }
        };
        let mut older = state.ids(self.server, instance);
        older.retain(|other| *other != id);
        Ok((id, older))
    }

    /// Says that the project's network is there.
    pub(super) async fn open_edge(&self, project: ProjectId) -> Result<()> {
        let Some(edge) = self.engine.edge.get() else { return Ok(()) };
        let network = self.state().network(project);
        edge.open(&network).await.map_err(RuntimeError::Other)
    }

    pub(super) fn start(&self, state: &mut State, id: u64) -> Result<()> {
        let at = self.now(state);
        let container = state.container(id)?;
        if container.phase.is_running() {
            return Ok(());
        }
        let (workload, play) = (container.workload.clone(), container.play.clone());
        let orders = state.images.get(workload.spec.image.as_str()).cloned().unwrap_or_default();
        if let Some((field, reason)) = orders.refused {
            return Err(RuntimeError::Refused { field, reason });
        }
        state.place_files(self.server, &workload, at)?;
        let lines = orders.log.into_iter().map(|text| (Output::Stdout, text));
        let lines: Vec<LogLine> = lines
            .chain(play.says(&workload))
            .map(|(output, text)| LogLine { at: self.now(state), output, text })
            .collect();
        let container = state.container(id)?;
        container.phase = Phase::Running { started_at: at };
        container.starts += 1;
        container.ill = orders.ill;
        container.logs.extend(lines);
        self.changed(state, workload.instance);
        if let Some(code) = orders.exits.or(play.ends_at_once()) {
            self.exit(state, id, code);
        }
        Ok(())
    }

    pub(super) fn exit(&self, state: &mut State, id: u64, code: i64) {
        let finished_at = self.now(state);
        let Ok(container) = state.container(id) else { return };
        if let Phase::Running { started_at } | Phase::Paused { started_at } = container.phase {
            container.phase = Phase::Exited { started_at, finished_at, code, out_of_memory: false };
            let instance = container.workload.instance;
            self.changed(state, instance);
        }
    }

    /// Ends a container as an engine does: the signal, the grace, the kill.
    pub(super) async fn end(&self, id: u64, grace: Duration) {
        let mut versions = self.engine.version.subscribe();
        {
            let mut state = self.state();
            let Ok(container) = state.container(id) else { return };
            if let Some(code) = container.play.on_term() {
                self.exit(&mut state, id, code);
                return;
            }
        }
        let ended = async { while self.state().runs(id) && versions.changed().await.is_ok() {} };
        if tokio::time::timeout(grace, ended).await.is_err() {
            self.exit(&mut self.state(), id, 137);
        }
    }

    pub(super) fn drop_container(&self, state: &mut State, id: u64) {
        let Some(index) = state.containers.iter().position(|c| c.id == id) else { return };
        let container = state.containers.remove(index);
        self.changed(state, container.workload.instance);
    }

    pub(super) fn newest<'a>(&self, state: &'a State, instance: InstanceId) -> Result<&'a Container> {
        state
            .of(self.server, instance)
            .max_by_key(|c| c.workload.generation)
            .ok_or_else(|| RuntimeError::NotFound(format!("the container of {instance}")))
    }

    /// The one that all calls for the instance mean.
    pub(super) fn shown<'a>(&self, state: &'a State, instance: InstanceId) -> Result<&'a Container> {
        let running = state.of(self.server, instance).filter(|c| c.phase.is_running());
        match running.min_by_key(|c| c.workload.generation) {
            Some(running) => Ok(running),
            None => self.newest(state, instance),
        }
    }

    pub(super) fn observed(&self, state: &State, instance: InstanceId) -> Option<Observed> {
        let (shown, newest) = (self.shown(state, instance).ok()?, self.newest(state, instance).ok()?);
        let candidate = (newest.id != shown.id).then(|| Box::new(state.observed(newest)));
        Some(Observed { candidate, ..state.observed(shown) })
    }

    pub(super) fn meant<'a>(&self, state: &'a State, of: Target) -> Result<&'a Container> {
        let mut running = state.of(self.server, of.instance).filter(|c| c.phase.is_running());
        match running.find(|c| Some(c.workload.generation) == of.serving) {
            Some(serving) => Ok(serving),
            None => self.shown(state, of.instance),
        }
    }

    /// The same, if it runs.
    pub(super) fn live<'a>(&self, state: &'a State, of: Target) -> Result<&'a Container> {
        let container = self.meant(state, of)?;
        if container.phase.is_running() { Ok(container) } else { Err(RuntimeError::NotRunning) }
    }

    pub(super) fn refuse_impossible(&self, workload: &Workload) -> Result<()> {
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
        if spec.resources.gpus > 0 && !self.state().has_gpus {
            return refuse("resources.gpus", NO_GPUS.to_owned());
        }
        Ok(())
    }
}

impl State {
    pub(super) fn network(&self, project: ProjectId) -> EdgeNetwork {
        EdgeNetwork { project, bridge: None, host: self.host, routed_bridge: None }
    }

    pub(super) fn observed(&self, container: &Container) -> Observed {
        let endpoints = container.workload.spec.ports.iter().map(|port| {
            // A documentation address: nothing answers there unless there is a listener.
            let nowhere = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), port.port));
            (port.name.clone(), self.listener.unwrap_or(nowhere))
        });
        Observed {
            instance: container.workload.instance,
            project: container.workload.project,
            generation: container.workload.generation,
            engine_id: container.engine_id(),
            phase: container.phase,
            endpoints: if container.phase.is_running() { endpoints.collect() } else { BTreeMap::new() },
            addresses: container.phase.is_running().then(|| container.address()).into_iter().collect(),
            reach: Reach::Bridge,
            candidate: None,
        }
    }
}
