//! Containers as the engine has them: finding ours, what state they are in, ending and removing them.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bollard::models::{ContainerInspectResponse, ContainerStateStatusEnum};
use bollard::query_parameters::{KillContainerOptions, RemoveContainerOptions, StopContainerOptions};
use futures_util::{StreamExt, TryStreamExt, stream};
use ryokan_model::{InstanceId, Millis, ServerId};
use ryokan_ports::runtime::{Io, Observed, Phase, Reach, Result, RuntimeError, Target, Volumes};
use tokio::net::TcpStream;

use super::label::Tag;
use super::look::Listed;
use super::{Inner, label, network};
use crate::firewall::Kind;

/// Inspections at a time when everything is listed.
const INSPECTIONS: usize = 8;
const DIAL: Duration = Duration::from_secs(5);

/// A container of ours in a list.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) id: String,
    pub(super) tag: Tag,
    created: i64,
    pub(super) runs: bool,
}

impl Held {
    pub(super) const fn new(id: String, tag: Tag) -> Self {
        Self { id, tag, created: 0, runs: false }
    }
}

/// Those that are an instance's, the newest generation first.
fn held(server: ServerId, listed: &[Listed]) -> Vec<Held> {
    let mut held: Vec<Held> = listed
        .iter()
        .filter(|listed| !listed.labels.contains_key(label::PURPOSE))
        .filter_map(|listed| {
            let tag = Tag::read(server, &listed.labels)?;
            Some(Held { id: listed.id.clone(), tag, created: listed.created, runs: listed.runs() })
        })
        .collect();
    held.sort_by_key(|h| std::cmp::Reverse((h.tag.generation, h.created)));
    held
}

/// As it is shown: what runs first, and of those the oldest, which serves until a newer one has taken over. A
/// replacement that was cut off may also have left an old container running beside a new one that was never started.
fn as_shown(mut held: Vec<Held>) -> Vec<Held> {
    held.sort_by_key(|h| if h.runs { (false, h.tag.generation) } else { (true, -h.tag.generation) });
    held
}

/// The newest generation, if it is another one than what is shown.
fn candidate(held: &[Held], shown: &Observed) -> Option<Held> {
    held.iter().max_by_key(|h| h.tag.generation).filter(|h| h.tag.generation > shown.generation).cloned()
}

impl Inner {
    /// Our containers with these labels, the newest generation first. Those with a purpose of their own are left out.
    pub(super) async fn containers(&self, labels: &[(&str, Option<String>)]) -> Result<Vec<Held>> {
        Ok(held(self.server, &self.list_containers(labels).await?))
    }

    /// Removes what a death of ours or of the engine left behind and no later step would look for: containers that
    /// prepared a volume, and those that were replaced and do not run. Whoever works on an instance removes his own,
    /// and is not waited for.
    async fn sweep(&self, all: &[Listed]) {
        let mut seen = HashSet::new();
        let replaced = held(self.server, all).into_iter().filter(|h| {
            let newest = seen.insert(h.tag.instance);
            !newest && !h.runs
        });
        let prepared = all.iter().filter(|listed| listed.labels.contains_key(label::PURPOSE));
        let prepared = prepared.filter_map(|listed| {
            let instance = listed.labels.get(label::INSTANCE)?;
            Some((instance.parse::<InstanceId>().ok()?, listed.id.clone()))
        });
        for (instance, id) in replaced.map(|h| (h.tag.instance, h.id)).chain(prepared) {
            let Some(_lock) = self.locks.try_lock(instance.0) else { continue };
            tracing::info!(instance = %instance, container = id, "removing what was left behind");
            if let Err(error) = self.remove_container(&id).await {
                tracing::debug!(instance = %instance, error = %error, "it could not be removed yet");
            }
        }
    }

    pub(super) async fn held(&self, instance: InstanceId) -> Result<Vec<Held>> {
        self.containers(&[(label::INSTANCE, Some(instance.to_string()))]).await
    }

    /// The instance's container.
    pub(super) async fn container(&self, of: Target) -> Result<Held> {
        let mut held = as_shown(self.held(of.instance).await?);
        let serving = held.iter().position(|h| h.runs && Some(h.tag.generation) == of.serving);
        if held.is_empty() {
            return Err(RuntimeError::NotFound(format!("the container of {}", of.instance)));
        }
        Ok(held.swap_remove(serving.unwrap_or(0)))
    }

    /// The same, or that of a generation.
    pub(super) async fn logged(&self, of: Target, generation: Option<i64>) -> Result<Held> {
        let Some(generation) = generation else { return self.container(of).await };
        let held = self.held(of.instance).await?;
        held.into_iter()
            .find(|h| h.tag.generation == generation)
            .ok_or_else(|| RuntimeError::NotFound(format!("generation {generation} of {}", of.instance)))
    }

    /// The instance's container, which runs.
    pub(super) async fn running(&self, of: Target) -> Result<(Held, Observed)> {
        let held = self.container(of).await?;
        let observed = self.inspect(&held).await?.ok_or(RuntimeError::NotRunning)?;
        if observed.phase.is_running() { Ok((held, observed)) } else { Err(RuntimeError::NotRunning) }
    }

    pub(super) async fn inspect(&self, held: &Held) -> Result<Option<Observed>> {
        match self.inspect_container("container", &held.id).await {
            Ok(container) => {
                let closed = label::network_name(self.server, held.tag.project, network::word(Kind::Closed));
                Ok(observed(&held.id, &held.tag, &closed, &container))
            }
            Err(RuntimeError::NotFound(_)) => Ok(None),
            Err(e) => Err(e),
        }
    }

    pub(super) async fn observe(&self, instance: InstanceId) -> Result<Option<Observed>> {
        self.show(as_shown(self.held(instance).await?)).await
    }

    async fn show(&self, held: Vec<Held>) -> Result<Option<Observed>> {
        for one in &held {
            // One that is being removed right now does not count.
            let Some(observed) = self.inspect(one).await? else { continue };
            let candidate = match candidate(&held, &observed) {
                Some(newer) if observed.phase.is_up() => self.inspect(&newer).await?,
                _ => None,
            };
            return Ok(Some(Observed { candidate: candidate.map(Box::new), ..observed }));
        }
        Ok(None)
    }

    pub(super) async fn list(&self) -> Result<Vec<Observed>> {
        let all = self.list_containers(&[(label::INSTANCE, None)]).await?;
        self.sweep(&all).await;
        let mut instances: BTreeMap<InstanceId, Vec<Held>> = BTreeMap::new();
        for one in as_shown(held(self.server, &all)) {
            instances.entry(one.tag.instance).or_default().push(one);
        }
        stream::iter(instances.into_values())
            .map(|held| self.show(held))
            .buffered(INSPECTIONS)
            .try_filter_map(|observed| async move { Ok(observed) })
            .try_collect()
            .await
    }

    pub(super) async fn stop(&self, instance: InstanceId, grace: Duration) -> Result<()> {
        // The lock is not held while the agent takes its time, so that `remove` need not wait for it.
        let held = {
            let _lock = self.locks.lock(instance.0).await;
            self.held(instance).await?
        };
        for container in held {
            self.stop_container(&container.id, grace).await?;
        }
        Ok(())
    }

    pub(super) async fn retire(&self, instance: InstanceId, keep: i64, grace: Duration) -> Result<()> {
        for container in self.held(instance).await? {
            if container.tag.generation != keep {
                self.stop_container(&container.id, grace).await?;
                self.remove_container(&container.id).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn stop_container(&self, id: &str, grace: Duration) -> Result<()> {
        let api = self.link.api().await?;
        // A frozen process would sleep through its stop signal and lose its grace.
        match self.link.call("container", api.unpause_container(id)).await {
            Ok(()) | Err(RuntimeError::NotFound(_) | RuntimeError::NotRunning | RuntimeError::Other(_)) => {}
            Err(e) => return Err(e),
        }
        let seconds = grace.as_millis().div_ceil(1000);
        let options =
            StopContainerOptions { t: Some(i32::try_from(seconds).unwrap_or(i32::MAX)), signal: None };
        let limit = grace + self.link.patience * 4;
        let stopped = self.link.call_within(limit, "container", api.stop_container(id, Some(options))).await;
        match stopped {
            Ok(()) | Err(RuntimeError::NotFound(_) | RuntimeError::NotRunning) => Ok(()),
            Err(e) => Err(e),
        }
    }

    pub(super) async fn remove(&self, instance: InstanceId, volumes: Volumes) -> Result<()> {
        // Once before the lock: it ends a graceful stop that a replacement is waiting for, and a removal must not wait
        // for an agent that takes an hour to end.
        for container in self.held(instance).await? {
            self.remove_container(&container.id).await?;
        }
        let _lock = self.locks.lock(instance.0).await;
        let of_instance = [(label::INSTANCE, Some(instance.to_string()))];
        for listed in self.list_containers(&of_instance).await? {
            self.remove_container(&listed.id).await?;
        }
        if volumes == Volumes::Remove {
            self.remove_volumes(instance).await?;
        }
        Ok(())
    }

    /// Removes a container by id, with its nameless volumes, killing it if need be. Gone already is fine.
    pub(super) async fn remove_container(&self, id: &str) -> Result<()> {
        let api = self.link.api().await?;
        let options = RemoveContainerOptions { v: true, force: true, link: false };
        // Podman would end it softly first, with the grace that it was made with, and wait for a stop under way.
        if self.facts().await?.is_podman() {
            let options = KillContainerOptions { signal: "KILL".to_owned() };
            let killed = self.link.call("container", api.kill_container(id, Some(options))).await;
            // Of all else the removal will speak: most often it does not run.
            if let Err(e @ RuntimeError::Unavailable(_)) = killed {
                return Err(e);
            }
        }
        // Killing and unmounting a busy container takes its time.
        let limit = self.link.patience * 4;
        let removed =
            self.link.call_within(limit, "container", api.remove_container(id, Some(options))).await;
        match removed {
            Ok(()) | Err(RuntimeError::NotFound(_)) => Ok(()),
            // Somebody else is at it.
            Err(RuntimeError::Other(why)) if why.contains("already in progress") => {
                self.wait_gone(id, limit).await
            }
            Err(e) => Err(e),
        }
    }

    async fn wait_gone(&self, id: &str, limit: Duration) -> Result<()> {
        let gone = async {
            loop {
                match self.inspect_container("container", id).await {
                    Err(RuntimeError::NotFound(_)) => return Ok(()),
                    Err(e) => return Err(e),
                    Ok(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        };
        tokio::time::timeout(limit, gone).await.unwrap_or_else(|_| {
            Err(RuntimeError::Other(format!("container {id}: its removal goes on for {} s", limit.as_secs())))
        })
    }

    pub(super) async fn dial(&self, of: Target, port: &str) -> Result<Box<dyn Io>> {
        let (_, observed) = self.running(of).await?;
        let endpoint = endpoint(&observed, port)?;
        match tokio::time::timeout(DIAL, TcpStream::connect(endpoint)).await {
            Ok(Ok(stream)) => {
                // Small frames of terminals and WebSockets must not wait for each other.
                let _ = stream.set_nodelay(true);
                Ok(Box::new(stream))
            }
            Ok(Err(e)) => Err(RuntimeError::Other(format!("port {port} at {endpoint}: {e}"))),
            Err(_) => Err(RuntimeError::Other(format!("port {port} at {endpoint} does not answer"))),
        }
    }
}

pub(super) fn endpoint(observed: &Observed, port: &str) -> Result<SocketAddr> {
    observed
        .endpoints
        .get(port)
        .copied()
        .ok_or_else(|| RuntimeError::NotFound(format!("port {port} of {}", observed.instance)))
}

/// The engine's RFC 3339 times; its zero time is year 1.
pub(super) fn millis(text: Option<&str>) -> Millis {
    text.and_then(|t| t.parse::<jiff::Timestamp>().ok())
        .map_or(Millis(0), |t| Millis(t.as_millisecond().max(0)))
}

/// `None` for a container that is on its way out.
fn observed(id: &str, tag: &Tag, closed: &str, container: &ContainerInspectResponse) -> Option<Observed> {
    let state = container.state.as_ref()?;
    let started_at = millis(state.started_at.as_deref());
    let exited = || Phase::Exited {
        started_at,
        finished_at: millis(state.finished_at.as_deref()),
        code: state.exit_code.unwrap_or(-1),
        out_of_memory: state.oom_killed.unwrap_or(false),
    };
    let phase = match state.status? {
        ContainerStateStatusEnum::RUNNING
        | ContainerStateStatusEnum::RESTARTING
        | ContainerStateStatusEnum::STOPPING => Phase::Running { started_at },
        ContainerStateStatusEnum::PAUSED => Phase::Paused { started_at },
        ContainerStateStatusEnum::REMOVING | ContainerStateStatusEnum::DEAD => return None,
        // A start that failed leaves `created` with an exit code; it has never run.
        ContainerStateStatusEnum::CREATED | ContainerStateStatusEnum::EMPTY => Phase::Created,
        ContainerStateStatusEnum::EXITED => exited(),
    };
    let address = address(tag, closed, container).filter(|_| phase.is_running());
    let endpoints = if phase.is_running() { endpoints(tag, address, container) } else { BTreeMap::new() };
    Some(Observed {
        instance: tag.instance,
        project: tag.project,
        generation: tag.generation,
        engine_id: id.to_owned(),
        phase,
        endpoints,
        addresses: address.filter(|_| tag.is_closed_in).into_iter().collect(),
        reach: tag.reach,
        candidate: None,
    })
}

/// Its own in the closed network; of a container of old, in the one that it has.
fn address(tag: &Tag, closed: &str, container: &ContainerInspectResponse) -> Option<IpAddr> {
    let networks = container.network_settings.as_ref()?.networks.as_ref()?;
    let mut candidates = networks.iter().filter(|(name, _)| !tag.is_closed_in || *name == closed);
    candidates.find_map(|(_, network)| network.ip_address.as_deref()?.parse().ok())
}

fn endpoints(
    tag: &Tag,
    bridge: Option<IpAddr>,
    container: &ContainerInspectResponse,
) -> BTreeMap<String, SocketAddr> {
    let Some(settings) = &container.network_settings else { return BTreeMap::new() };
    let published = |port: u16| {
        let bindings = settings.ports.as_ref()?.get(&format!("{port}/tcp"))?.as_ref()?;
        bindings.iter().find_map(|b| b.host_port.as_deref()?.parse::<u16>().ok())
    };
    tag.ports
        .iter()
        .filter_map(|(name, port)| {
            let address = match tag.reach {
                Reach::Bridge => SocketAddr::new(bridge?, *port),
                Reach::Loopback => SocketAddr::from((Ipv4Addr::LOCALHOST, published(*port)?)),
            };
            Some((name.clone(), address))
        })
        .collect()
}
