//! What the engine has, against what a spec asks of it. One decision; whoever asks says it in their own words.

use std::sync::PoisonError;
use std::time::Duration;

use ryokan_model::spec::InstanceSpec;
use ryokan_ports::runtime::EngineInfo;

use crate::App;

/// Nobody who lists or creates waits longer for an engine that hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// What an engine has too little of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lack {
    Isolation,
    Cpus,
    Memory,
    Gpus,
}

impl App {
    /// What the engine is; nothing when it does not answer soon.
    pub(crate) async fn engine_soon(&self) -> Option<EngineInfo> {
        let info = tokio::time::timeout(PATIENCE, self.engine_info()).await.ok()?.ok()?;
        *self.engine_known.lock().unwrap_or_else(PoisonError::into_inner) = Some(info.clone());
        Some(info)
    }

    /// What a spec asks of the engine that it has not. What the engine said last is believed where the spec fits, since
    /// asking takes it some ten milliseconds; only a refusal is worth a question.
    pub(crate) async fn lack_soon(&self, spec: &InstanceSpec) -> Option<(Lack, EngineInfo)> {
        let known = self.engine_known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if known.is_some_and(|info| lacks(spec, &info).next().is_none()) {
            return None;
        }
        let info = self.engine_soon().await?;
        let lack = lacks(spec, &info).next()?;
        Some((lack, info))
    }
}

pub(crate) fn lacks(spec: &InstanceSpec, info: &EngineInfo) -> impl Iterator<Item = Lack> {
    let isolation = !info.isolations.contains(&spec.security.isolation);
    let cpus = u64::from(spec.resources.cpus.millis()) > u64::from(info.cpus) * 1000;
    let memory = spec.resources.memory.get() > info.memory;
    let gpus = spec.resources.gpus > 0 && info.no_gpus.is_some();
    [(isolation, Lack::Isolation), (cpus, Lack::Cpus), (memory, Lack::Memory), (gpus, Lack::Gpus)]
        .into_iter()
        .filter_map(|(lacking, what)| lacking.then_some(what))
}
