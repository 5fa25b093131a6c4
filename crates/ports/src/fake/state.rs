//! What the engine in memory holds.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use ryokan_model::{InstanceId, Millis, ProjectId, ServerId};
use tokio::sync::mpsc;

use super::agent::Play;
use super::exec::Outcome;
use super::fault::Call;
use super::files::Tree;
use super::image::Orders;
use crate::build::Built;
use crate::edge::Drops;
use crate::runtime::{Change, LogLine, Phase, Result, RuntimeError, Workload};

pub(super) struct Container {
    pub(super) id: u64,
    pub(super) server: ServerId,
    pub(super) workload: Workload,
    pub(super) phase: Phase,
    pub(super) play: Play,
    pub(super) root: Tree,
    pub(super) logs: Vec<LogLine>,
    pub(super) starts: u32,
    /// What probes find, if not what its agent would answer.
    pub(super) ill: Option<String>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) ticks: i64,
    next_id: u64,
    pub(super) containers: Vec<Container>,
    pub(super) volumes: BTreeMap<(ServerId, InstanceId, String), Tree>,
    /// Volumes without a label are no server's.
    pub(super) torn: BTreeMap<InstanceId, Millis>,
    pub(super) networks: BTreeSet<(ServerId, ProjectId)>,
    pub(super) images: HashMap<String, Orders>,
    pub(super) has_gpus: bool,
    pub(super) built: Vec<(ServerId, Built)>,
    pub(super) watchers: Vec<(ServerId, mpsc::UnboundedSender<Result<Change>>)>,
    pub(super) programs: HashMap<String, Outcome>,
    /// Where all ports are.
    pub(super) listener: Option<SocketAddr>,
    /// This machine's address in all networks.
    pub(super) host: Option<IpAddr>,
    pub(super) drops: Vec<Drops>,
    pub(super) start_delay: Duration,
    pub(super) most_starts_at_once: usize,
    pub(super) down: bool,
    pub(super) faults: HashMap<Call, RuntimeError>,
    pub(super) hanging: HashSet<Call>,
    pub(super) all_hang: bool,
    pub(super) stuck: HashSet<String>,
    pub(super) patience: Option<Duration>,
    pub(super) calls: Vec<(Call, String)>,
}

impl Container {
    pub(super) fn engine_id(&self) -> String {
        format!("fake-{}", self.id)
    }

    /// Of the range for benchmarks; nothing answers there.
    pub(super) fn address(&self) -> IpAddr {
        let [.., high, low] = self.id.to_be_bytes();
        Ipv4Addr::new(198, 18, high, low).into()
    }
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

    pub(super) fn ids(&self, server: ServerId, instance: InstanceId) -> Vec<u64> {
        self.of(server, instance).map(|c| c.id).collect()
    }

    pub(super) fn container(&mut self, id: u64) -> Result<&mut Container> {
        let found = self.containers.iter_mut().find(|c| c.id == id);
        found.ok_or_else(|| RuntimeError::NotFound("the container".to_owned()))
    }

    pub(super) fn runs(&self, id: u64) -> bool {
        self.containers.iter().any(|c| c.id == id && c.phase.is_running())
    }

    /// Whether it runs and is of the generation that is to go on.
    pub(super) fn serves(&self, id: u64, generation: Option<i64>) -> bool {
        self.containers
            .iter()
            .any(|c| c.id == id && c.phase.is_running() && Some(c.workload.generation) == generation)
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
            starts: 0,
            ill: None,
        });
        self.next_id
    }
}
