//! Who comes to a door: an instance is known by its own token together with the address that the engine gave its
//! container. What the engine said is remembered for a moment, so that a busy agent does not cost a question a request.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ryokan_app::App;
use ryokan_gateway::egress::{Caller, Callers, DoorId, Later};
use ryokan_model::instance::Desired;
use ryokan_model::{InstanceId, Name, ProjectId};
use ryokan_ports::runtime::Observed;
use tokio_util::task::TaskTracker;

/// How long an engine's word holds. What is open is asked about again while it is.
const FRESH: Duration = Duration::from_secs(3);
/// A guess with somebody else's token costs the engine one question in this time.
const REFUSED: Duration = Duration::from_secs(1);
const MOST: usize = 50_000;

#[derive(Clone)]
struct Seen {
    good: bool,
    name: Option<Name>,
    at: Instant,
    asking: bool,
}

/// Which container asks: its instance, its generation, and from where.
type Key = (InstanceId, i64, IpAddr);

pub(crate) struct KnownCallers {
    app: Arc<App>,
    seen: Arc<Mutex<HashMap<Key, Seen>>>,
    runtime: tokio::runtime::Handle,
    asking: TaskTracker,
}

impl KnownCallers {
    pub(crate) fn new(app: Arc<App>) -> Self {
        Self {
            app,
            seen: Arc::default(),
            runtime: tokio::runtime::Handle::current(),
            asking: TaskTracker::new(),
        }
    }

    /// The name of an instance that came to a door lately.
    pub(crate) fn name_of(&self, caller: &Caller) -> Option<Name> {
        let key = key_of(caller)?;
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(&key)?.name.clone()
    }

    fn remembered(&self, key: &Key) -> Option<bool> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = seen.get(key)?;
        let good_for = if seen.good { FRESH } else { REFUSED };
        (seen.at.elapsed() < good_for).then_some(seen.good)
    }
}

/// Asks the engine and the database, and remembers what they say. When one of them does not answer, the last word stays.
async fn ask(app: &App, all: &Mutex<HashMap<Key, Seen>>, key: Key, project: ProjectId) -> Option<bool> {
    let (instance, generation, source) = key;
    let observed = app.runtime.observe(instance).await.ok();
    let row = app.store.read(move |tx| tx.instance(instance)).await.ok();
    let mut seen = all.lock().unwrap_or_else(PoisonError::into_inner);
    let Some((observed, row)) = observed.zip(row) else {
        if let Some(seen) = seen.get_mut(&key) {
            seen.asking = false;
        }
        return seen.get(&key).map(|seen| seen.good);
    };
    let row = row.filter(|row| row.project == project && row.desired == Desired::Running);
    let good = row.is_some() && observed.is_some_and(|observed| holds(&observed, generation, source));
    if seen.len() >= MOST {
        seen.retain(|_, seen| seen.at.elapsed() < FRESH);
    }
    seen.insert(key, Seen { good, name: row.map(|row| row.name), at: Instant::now(), asking: false });
    Some(good)
}

/// Whether a container of this generation runs and has this address.
fn holds(observed: &Observed, generation: i64, source: IpAddr) -> bool {
    let this =
        observed.generation == generation && observed.phase.is_up() && observed.addresses.contains(&source);
    this || observed.candidate.as_deref().is_some_and(|next| holds(next, generation, source))
}

fn key_of(caller: &Caller) -> Option<Key> {
    let (generation, source) = caller.token.split_once('@')?;
    Some((caller.instance.parse().ok()?, generation.parse().ok()?, source.parse().ok()?))
}

impl Callers for KnownCallers {
    fn identify<'a>(
        &'a self,
        token: &'a str,
        source: SocketAddr,
        door: &'a DoorId,
    ) -> Later<'a, Option<Caller>> {
        Box::pin(async move {
            let (instance, generation) = self.app.instance_tokens.read(token)?;
            let key = (instance, generation, source.ip().to_canonical());
            let project = door.0.parse().ok()?;
            let good = match self.remembered(&key) {
                Some(good) => good,
                None => ask(&self.app, &self.seen, key, project).await.unwrap_or(false),
            };
            good.then(|| Caller {
                project: door.0.clone(),
                instance: instance.to_string().into(),
                token: format!("{generation}@{}", key.2).into(),
            })
        })
    }

    fn is_still(&self, caller: &Caller) -> bool {
        let (Some(key), Ok(project)) = (key_of(caller), caller.project.parse()) else { return false };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = seen.get_mut(&key) else { return false };
        if known.at.elapsed() >= FRESH && !known.asking {
            known.asking = true;
            let (app, all) = (self.app.clone(), self.seen.clone());
            self.asking.spawn_on(async move { ask(&app, &all, key, project).await }, &self.runtime);
        }
        known.good
    }
}
