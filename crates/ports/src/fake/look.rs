//! What a test sees of the engine without asking it, and what it puts there by hand.

use std::net::IpAddr;
use std::time::Duration;

use ryokan_model::{InstanceId, Millis};

use super::{Call, FakeRuntime};
use crate::edge::Drops;
use crate::runtime::Workload;

impl FakeRuntime {
    pub fn running(&self, instance: InstanceId) -> bool {
        self.live(&self.state(), instance.into()).is_ok()
    }

    pub fn exists(&self, instance: InstanceId) -> bool {
        self.engine_id(instance).is_some()
    }

    /// How often the instance's container was started; a new container begins at nothing.
    pub fn starts(&self, instance: InstanceId) -> u32 {
        self.shown(&self.state(), instance).map_or(0, |c| c.starts)
    }

    pub fn engine_id(&self, instance: InstanceId) -> Option<String> {
        self.shown(&self.state(), instance).ok().map(super::state::Container::engine_id)
    }

    /// The generations of which a container runs, in order.
    pub fn running_generations(&self, instance: InstanceId) -> Vec<i64> {
        let state = self.state();
        let running = state.of(self.server, instance).filter(|c| c.phase.is_running());
        let mut generations: Vec<i64> = running.map(|c| c.workload.generation).collect();
        generations.sort_unstable();
        generations
    }

    /// What its newest container was made from.
    pub fn workload(&self, instance: InstanceId) -> Option<Workload> {
        self.newest(&self.state(), instance).ok().map(|c| c.workload.clone())
    }

    pub fn has_volume(&self, instance: InstanceId) -> bool {
        self.state().volumes.keys().any(|(server, of, _)| *server == self.server && *of == instance)
    }

    pub fn has_torn_volume(&self, instance: InstanceId) -> bool {
        self.state().torn.contains_key(&instance)
    }

    /// How many of these calls there were.
    pub fn calls(&self, call: Call) -> usize {
        self.state().calls.iter().filter(|(c, _)| *c == call).count()
    }

    /// How many of these calls there were about an instance or an image.
    pub fn calls_about(&self, call: Call, about: impl ToString) -> usize {
        let about = about.to_string();
        self.state().calls.iter().filter(|(c, a)| *c == call && *a == about).count()
    }

    /// The most starts that were under way at once; counted only while starts take time.
    pub fn most_starts_at_once(&self) -> usize {
        self.state().most_starts_at_once
    }

    /// What is left on the engine, for people.
    pub fn leftovers(&self) -> Vec<String> {
        let state = self.state();
        let containers = state.containers.iter().map(|c| format!("container {}", c.workload.name));
        let volumes = state.volumes.keys().map(|(_, of, _)| of).chain(state.torn.keys());
        let networks = state.networks.iter().map(|(_, project)| format!("network of {project}"));
        let built = state.built.iter().filter_map(|(_, built)| built.tag.as_ref());
        let built = built.filter(|tag| state.images.contains_key(tag.as_str()));
        containers
            .chain(volumes.map(|of| format!("volume of {of}")))
            .chain(networks)
            .chain(built.map(|tag| format!("image {tag}")))
            .collect()
    }

    /// The address at which all networks see this machine; they do not see it without.
    pub fn set_host(&self, host: IpAddr) {
        self.state().host = Some(host);
    }

    /// What is said to have been dropped.
    pub fn set_drops(&self, drops: Vec<Drops>) {
        self.state().drops = drops;
    }

    /// As if there were GPUs, as many as anybody asks for.
    pub fn give_gpus(&self) {
        self.state().has_gpus = true;
    }

    /// How long a start takes.
    pub fn set_start_delay(&self, delay: Duration) {
        self.state().start_delay = delay;
    }

    /// A volume without a container.
    pub fn add_volume(&self, instance: InstanceId) {
        self.state().volumes.entry((self.server, instance, "data".to_owned())).or_default();
    }

    /// Somebody's volume, or one of ours that lost its labels when the engine died.
    pub fn add_torn_volume(&self, instance: InstanceId, created_at: Millis) {
        self.state().torn.insert(instance, created_at);
    }
}
