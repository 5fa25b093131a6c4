//! Making a workload run. Every step looks at what is there first, so that a death between any two of them, or an
//! equal call beside it, leads to the same end.
//!
//! The new generation's container is made before the old one is stopped: what the engine refuses to make (a bad image,
//! no disk) must not cost a running agent. It is started only when the old one is gone, unless it is to run beside it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bollard::query_parameters::{CreateContainerOptions, StartContainerOptions};
use ryokan_ports::crash;
use ryokan_ports::runtime::{Observed, Phase, Result, RuntimeError, Workload};

use tokio::time::Instant;

use super::container::Held;
use super::label::Tag;
use super::{Inner, creation, label, podman};

/// Between two looks at a container that vanishes, or that an earlier call of a dead process is still making.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a start may wait for those before it.
const TURN: Duration = Duration::from_mins(5);

impl Inner {
    pub(super) async fn ensure(self: &Arc<Self>, workload: &Workload) -> Result<Observed> {
        let facts = self.facts().await?;
        facts.fits(&workload.spec)?;
        facts.runtime(&workload.spec)?;
        let _lock = self.locks.lock(workload.instance.0).await;
        let deadline = Instant::now() + self.link.patience * 2;
        loop {
            if let Some(observed) = Box::pin(self.attempt(workload)).await? {
                return Ok(observed);
            }
            if Instant::now() > deadline {
                let name = &workload.name;
                return Err(RuntimeError::Other(format!(
                    "the container of {name} vanishes while it is made"
                )));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// `None` when something was removed under our hands.
    async fn attempt(self: &Arc<Self>, workload: &Workload) -> Result<Option<Observed>> {
        let held = self.held(workload.instance).await?;
        if let Some(newest) = held.first()
            && newest.tag.generation > workload.generation
        {
            // A call that was overtaken must not undo what came after it.
            return self.inspect(newest).await;
        }
        let (current, older): (Vec<Held>, Vec<Held>) =
            held.into_iter().partition(|h| h.tag.generation == workload.generation);
        let mut current = current.into_iter();
        let (container, made) = match current.next() {
            Some(container) => (container, false),
            None => match Box::pin(self.create(workload)).await? {
                Some(made) => made,
                None => return Ok(None),
            },
        };
        let goes_on = |h: &Held| h.runs && Some(h.tag.generation) == workload.beside;
        for stale in current.chain(older.into_iter().filter(|h| !goes_on(h))) {
            crash::point("replace.made");
            self.stop_container(&stale.id, workload.spec.stop_grace.duration()).await?;
            crash::point("replace.stopped");
            self.remove_container(&stale.id).await?;
            crash::point("replace.removed");
        }
        if made {
            // Neither it nor its network need be looked at again.
            return self.run(workload, &container, true).await;
        }
        self.start(workload, &container).await
    }

    /// The container, and whether it was made just now. `None` when the next look will tell.
    async fn create(self: &Arc<Self>, workload: &Workload) -> Result<Option<(Held, bool)>> {
        let facts = self.facts().await?;
        let place = self.ensure_networks(workload).await?;
        self.ensure_volumes(workload).await?;
        let body = creation::body(self.server, workload, &facts, &place, &self.options.firewall.resolvers)?;
        let labels = body.labels.clone().unwrap_or_default();
        let tag = Tag::read(self.server, &labels)
            .ok_or_else(|| RuntimeError::Other("a container without labels".to_owned()))?;
        let name = label::container_name(self.server, workload.instance, &workload.name, workload.generation);
        let api = self.link.api().await?;
        let options =
            CreateContainerOptions { name: Some(name.clone()), ..CreateContainerOptions::default() };
        let limit = self.link.patience * 4;
        let what = format!("image {}", workload.spec.image);
        let created = self.link.call_within(limit, &what, api.create_container(Some(options), body)).await;
        match created {
            Ok(created) => {
                self.attach_routed(&place, &created.id).await?;
                Ok(Some((Held::new(created.id, tag), true)))
            }
            Err(RuntimeError::NotFound(_)) => Err(RuntimeError::Image {
                image: workload.spec.image.to_string(),
                reason: "is no longer in the engine; it has to be pulled again".to_owned(),
                retry: true,
            }),
            Err(RuntimeError::Other(why)) if why.contains("already in use") => {
                Ok(self.holder_of(&name, &tag).await?.map(|held| (held, false)))
            }
            // Tried anew, without: the facts say so from now on.
            Err(RuntimeError::Other(why)) if facts.init && podman::lacks_init(&why) => {
                tracing::warn!("the engine has no init to put before agents: {why}");
                self.no_init.store(true, Ordering::Relaxed);
                self.fresh_facts().await?;
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    /// Who has the name that we wanted: ourselves a moment ago, or somebody else. `None` while it is being made or
    /// removed, when the name is taken but nothing can be seen.
    async fn holder_of(&self, name: &str, tag: &Tag) -> Result<Option<Held>> {
        let container = match self.inspect_container(name, name).await {
            Ok(container) => container,
            Err(RuntimeError::NotFound(_)) => return Ok(None),
            Err(e) => return Err(e),
        };
        let labels = container.config.and_then(|c| c.labels).unwrap_or_default();
        match (container.id, Tag::read(self.server, &labels)) {
            (Some(id), Some(found)) if found.instance == tag.instance => Ok(Some(Held::new(id, found))),
            _ => Err(RuntimeError::Other(format!(
                "a container called {name} exists and is not ours; rename or remove it"
            ))),
        }
    }

    /// Starts a container that was made by an earlier call, if it does not run already.
    async fn start(self: &Arc<Self>, workload: &Workload, container: &Held) -> Result<Option<Observed>> {
        let Some(observed) = self.inspect(container).await? else {
            // Gone, going, or half removed by an engine that could not finish.
            self.remove_container(&container.id).await?;
            return Ok(None);
        };
        let api = self.link.api().await?;
        match observed.phase {
            Phase::Running { .. } => return Ok(Some(observed)),
            Phase::Paused { .. } => {
                match self.link.call("container", api.unpause_container(&container.id)).await {
                    Ok(()) => {}
                    Err(RuntimeError::NotFound(_)) => return Ok(None),
                    Err(e) => return Err(e),
                }
                return self.inspect(container).await;
            }
            Phase::Created | Phase::Exited { .. } => {}
        }
        // Gone with the last container that was attached to it, or by somebody's hand.
        let place = self.ensure_networks(workload).await?;
        if !container.tag.is_closed_in {
            // Made when a project's network was open. Its disk goes with it; its volumes stay.
            tracing::warn!(instance = %workload.instance, "its container is in an open network of old; making it anew in the closed one");
            self.remove_container(&container.id).await?;
            return Ok(None);
        }
        if workload.spec.security.read_only_root
            && container.tag.facts != creation::surroundings(workload, &place)
        {
            // It was made under another name or in another network, and has nothing of its own to lose: made anew, it
            // knows where it is. One with a writable root keeps its disk and what it was told.
            self.remove_container(&container.id).await?;
            return Ok(None);
        }
        // A death between its making and this, and it is not there yet.
        self.attach_routed(&place, &container.id).await?;
        self.run(workload, container, observed.phase == Phase::Created).await
    }

    /// Starts a container that is as it should be. `first`: it has never run.
    async fn run(
        self: &Arc<Self>,
        workload: &Workload,
        container: &Held,
        first: bool,
    ) -> Result<Option<Observed>> {
        let turn = tokio::time::timeout(TURN, self.starts.acquire()).await;
        let Ok(Ok(_permit)) = turn else {
            return Err(RuntimeError::Unavailable("too many starts are waiting for their turn".to_owned()));
        };
        match self.prepare(workload, &container.id, first).await {
            Ok(()) => {}
            Err(RuntimeError::NotFound(_)) if self.inspect(container).await?.is_none() => return Ok(None),
            Err(e) => return Err(e),
        }
        match self.start_container(&container.id).await {
            Ok(()) => self.inspect(container).await,
            Err(RuntimeError::NotFound(_)) if self.inspect(container).await?.is_none() => Ok(None),
            // It is the network that was not found: the engine remembers the one that somebody removed.
            Err(RuntimeError::NotFound(_)) => {
                let place = self.ensure_networks(workload).await?;
                self.attach_again(workload, &place, &container.id).await?;
                self.start_container(&container.id).await?;
                self.inspect(container).await
            }
            // An engine that was killed while it started this one has forgotten that it did, and its containerd has
            // not: the two agree on it never again.
            Err(RuntimeError::Other(why)) if why.contains("task") && why.contains(": already exists") => {
                tracing::warn!(instance = %workload.instance, error = why, "the engine cannot start its container any more; making it anew");
                self.remove_container(&container.id).await?;
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    async fn start_container(&self, id: &str) -> Result<()> {
        let api = self.link.api().await?;
        let start = api.start_container(id, None::<StartContainerOptions>);
        self.link.call_within(self.link.patience * 4, "container", start).await
    }

    /// Volumes and files, before the agent can see them.
    async fn prepare(&self, workload: &Workload, container: &str, first: bool) -> Result<()> {
        let volumes = first && !workload.spec.volumes.is_empty();
        if !volumes && workload.spec.files.is_empty() {
            return Ok(());
        }
        let owner = self.owner(container).await?;
        if volumes {
            self.own_volumes(workload, container, owner).await?;
        }
        self.place_files(workload, container, owner).await
    }
}
