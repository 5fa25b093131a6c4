//! What the engine in memory holds.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use ryokan_model::image::ImageRef;
use ryokan_model::{InstanceId, ProjectId, ServerId};
use tokio::sync::mpsc;

use super::agent::{Outcome, Play};
use super::fault::{Call, Fault, Recorded};
use super::files::Tree;
use crate::runtime::{Change, Image, LogLine, Phase, Result, Workload};

pub(super) struct Container {
    pub(super) id: u64,
    pub(super) server: ServerId,
    pub(super) workload: Workload,
    pub(super) phase: Phase,
    pub(super) play: Play,
    pub(super) root: Tree,
    pub(super) logs: Vec<LogLine>,
    pub(super) endpoints: BTreeMap<String, SocketAddr>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) ticks: i64,
    next_id: u64,
    pub(super) containers: Vec<Container>,
    pub(super) volumes: BTreeMap<(ServerId, InstanceId, String), Tree>,
    pub(super) networks: BTreeSet<(ServerId, ProjectId)>,
    pub(super) images: BTreeMap<String, Image>,
    pub(super) watchers: Vec<(ServerId, mpsc::UnboundedSender<Result<Change>>)>,
    pub(super) probes: HashMap<InstanceId, std::result::Result<(), String>>,
    pub(super) programs: HashMap<String, Outcome>,
    pub(super) start_delay: Duration,
    pub(super) down: bool,
    pub(super) faults: HashMap<Call, VecDeque<Fault>>,
    pub(super) hanging: BTreeSet<Call>,
    pub(super) calls: Vec<Recorded>,
}

impl State {
    pub(super) fn of(&self, server: ServerId, instance: InstanceId) -> impl Iterator<Item = &Container> {
        self.containers.iter().filter(move |c| c.server == server && c.workload.instance == instance)
    }

    pub(super) fn of_mut(
        &mut self,
        server: ServerId,
        instance: InstanceId,
    ) -> impl Iterator<Item = &mut Container> {
        self.containers.iter_mut().filter(move |c| c.server == server && c.workload.instance == instance)
    }

    pub(super) fn create(&mut self, server: ServerId, workload: &Workload) -> u64 {
        self.next_id += 1;
        self.containers.push(Container {
            id: self.next_id,
            server,
            play: Play::of(&workload.spec),
            workload: workload.clone(),
            phase: Phase::Created,
            root: Tree::default(),
            logs: Vec::new(),
            endpoints: BTreeMap::new(),
        });
        self.next_id
    }
}

/// An image made from its own name.
pub(super) fn image_of(image: &ImageRef) -> Image {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    image.as_str().hash(&mut hasher);
    let digest = format!("sha256:{:016x}{}", hasher.finish(), "0".repeat(48));
    Image { id: digest.clone(), digest: Some(digest) }
}
