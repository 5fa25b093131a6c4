//! The instance reconciler: compares what is wanted with what the engine shows and takes one step at a time for each
//! instance, until both agree. It takes no input: signals (a changed row, an engine's event, a finished step, a timer)
//! only make it look again. What it knows of the engine follows the engine's events, with a full list now and then; what
//! it knows of the rows follows their changes. It holds those that something is to be done with or that are on the
//! engine: thousands at rest cost it nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use ryokan_model::instance::State;
use ryokan_model::{InstanceId, Millis};
use ryokan_ports::runtime::{BoxStream, Change, Observed, RuntimeError};
use ryokan_store::instances::Instance;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::beside::{is_tried_beside, rolls_beside};
use super::jump::Watch;
use super::orphans::Orphans;
use super::perform::perform;
use super::plan::{Action, Probing, await_addon, is_left_alone, plan};
use super::rows::Rows;
use crate::background::Report;
use crate::{App, EngineHealth, Error};

pub const NAME: &str = "instances";

/// The whole engine is listed this often, whatever its events say.
const RESYNC: Duration = Duration::from_secs(20);
/// A step that failed for a passing reason is tried again after this, doubling to the maximum.
const RETRY: Duration = Duration::from_millis(500);
const MAX_RETRY: Duration = Duration::from_secs(15);
/// While it starts, an agent is asked again after this, doubling to its probe's interval and to the maximum: most are
/// there within some milliseconds, and nobody should wait a second for those.
pub(super) const PROBE_AGAIN: Duration = Duration::from_millis(10);
pub(super) const MAX_PROBE_AGAIN: Duration = Duration::from_secs(2);

/// A database that is away is asked again after this.
const AGAIN: Duration = Duration::from_secs(1);

/// Adapters bound their calls by seconds. One that does not keep to it must not hold up all instances for ever, nor one
/// step its instance.
const ANSWER: Duration = Duration::from_mins(3);
const STEP: Duration = Duration::from_mins(30);

/// What the reconciler remembers between two looks. All of it can be lost.
#[derive(Default)]
pub(super) struct Memory {
    /// Instances with a step under way.
    busy: BTreeSet<InstanceId>,
    pub(super) probing: BTreeMap<InstanceId, (RunKey, Probing)>,
    /// Steps that failed for a passing reason: how often, and not before when.
    retry: BTreeMap<InstanceId, (u32, Millis)>,
    /// Those that the engine told something of meanwhile.
    noticed: BTreeSet<InstanceId>,
    /// Unused networks are being removed.
    clearing_networks: bool,
}

impl Memory {
    /// Counts a failure and says when the next try may be.
    fn failed(&mut self, id: InstanceId, now: Millis) -> u32 {
        let tries = self.retry.get(&id).map_or(0, |(n, _)| *n) + 1;
        let wait = RETRY.saturating_mul(1 << tries.min(8)).min(MAX_RETRY);
        self.retry.insert(id, (tries, now.plus(wait)));
        tries
    }

    fn is_waiting(&self, id: InstanceId, now: Millis) -> bool {
        self.busy.contains(&id) || self.retry.get(&id).is_some_and(|(_, at)| *at > now)
    }
}

/// Identifies one run of one container, so that probe counts start anew with it.
pub(super) type RunKey = (String, Option<Millis>);

/// A step that ended.
struct Ended {
    id: InstanceId,
    /// Whether the engine may have changed by it.
    touched: bool,
    /// What its last look at the engine showed, when nothing was done after it.
    seen: Option<Observed>,
}

struct Reconciler {
    app: Arc<App>,
    memory: Arc<Mutex<Memory>>,
    rows: Rows,
    /// What is on the engine or not at rest. All other live rows wait for nothing but their next change.
    held: BTreeMap<InstanceId, Instance>,
    observed: BTreeMap<InstanceId, Observed>,
    tasks: TaskTracker,
    starts: Arc<Semaphore>,
    /// Since the engine was last found, or the clock last jumped.
    watch: Watch,
    /// Steps that ended. At most one for each instance.
    done: mpsc::UnboundedSender<Ended>,
    report: Report,
}

/// Runs until `stop`, then waits for the steps under way (each is bounded by the adapter's timeouts).
pub async fn run(app: Arc<App>, stop: CancellationToken) {
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let (done, mut ended) = mpsc::unbounded_channel();
    let mut reconciler = Reconciler {
        done,
        report: Report::new(NAME),
        watch: Watch::new(app.clock.as_ref()),
        rows: Rows::new(&app.store),
        app,
        memory: Arc::default(),
        held: BTreeMap::new(),
        observed: BTreeMap::new(),
        tasks: TaskTracker::new(),
        // More in flight only adds latency (measured); who waits is told so.
        starts: Arc::new(Semaphore::new(cores * 2)),
    };
    while !stop.is_cancelled() {
        let mut watch = tokio::select! {
            watch = reconciler.connect() => watch,
            () = stop.cancelled() => break,
        };
        let Some(engine) = watch.as_mut() else {
            while let Ok(Ended { id, .. }) = ended.try_recv() {
                reconciler.memory().busy.remove(&id);
            }
            reconciler.rows.compare();
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
            continue;
        };
        let mut resync = tokio::time::interval_at(tokio::time::Instant::now() + RESYNC, RESYNC);
        resync.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // Until the engine goes away.
        loop {
            if reconciler.catch_up().await && reconciler.sees_an_orphan() {
                // Or a row whose signal was lost.
                reconciler.rows.compare();
                if !reconciler.resync().await {
                    break;
                }
                reconciler.catch_up().await;
            }
            let next = reconciler.step();
            match reconciler.look_at_noticed().await {
                Some(false) => {}
                Some(true) => continue,
                None => break,
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(next) => {}
                () = reconciler.app.wake.notified() => if !reconciler.resync().await { break },
                Some(end) = ended.recv() => {
                    // Only now, after its effects have been looked at, may the next step be planned.
                    let up = match end.seen {
                        Some(seen) => {
                            reconciler.saw(end.id, Some(seen));
                            true
                        }
                        None => !end.touched || reconciler.look_at(end.id).await,
                    };
                    reconciler.memory().busy.remove(&end.id);
                    // Its signal may come later, and the next step must not be planned from the row as it was.
                    if end.touched {
                        reconciler.rows.read_again(end.id);
                    }
                    if !up { break }
                }
                more = reconciler.rows.changed() => if !more { break },
                _ = resync.tick() => {
                    reconciler.rows.compare();
                    if !reconciler.resync().await { break }
                }
                event = engine.next() => match event {
                    Some(Ok(Change::Instance(id))) => if !reconciler.notice(id).await { break },
                    Some(Ok(Change::Resync)) => if !reconciler.resync().await { break },
                    Some(Err(error)) => { reconciler.engine_is_down(&error); break }
                    None => break,
                },
            }
        }
    }
    reconciler.tasks.close();
    reconciler.tasks.wait().await;
}

impl Reconciler {
    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches the engine and lists it. Nothing may be planned before that: an instance that was not looked at yet
    /// would seem to be lost.
    async fn connect(&mut self) -> Option<BoxStream<Result<Change, RuntimeError>>> {
        let started = self.app.clock.now();
        match answered(ANSWER, self.app.runtime.watch()).await {
            Ok(stream) => {
                self.watch.begin(self.app.clock.as_ref());
                self.resync().await.then_some(stream)
            }
            Err(error) => {
                self.engine_is_down(&error);
                self.report.finished(&self.app, started, Err(Error::from(error))).await;
                None
            }
        }
    }

    fn engine_is_down(&mut self, error: &RuntimeError) {
        let text = error.to_string();
        self.app.engine.send_if_modified(|health| {
            let down = EngineHealth::Down(text.clone());
            if *health == down {
                return false;
            }
            tracing::warn!(error = %error, "the container engine is away; instances wait for it");
            *health = down;
            true
        });
    }

    /// Reads what is due of the rows. `false` when the database is away.
    async fn catch_up(&mut self) -> bool {
        while self.rows.is_behind() {
            let look = match self.rows.look(&self.app.store).await {
                Ok(look) => look,
                Err(error) => {
                    tracing::warn!(error = %error, "instances cannot be read; trying again");
                    return false;
                }
            };
            for id in look.gone {
                self.held.remove(&id);
            }
            for row in look.read {
                if self.observed.contains_key(&row.id) || !is_left_alone(&row) {
                    self.held.insert(row.id, row);
                } else {
                    self.held.remove(&row.id);
                }
            }
        }
        true
    }

    /// What the engine shows of one instance now.
    fn saw(&mut self, id: InstanceId, seen: Option<Observed>) {
        match seen {
            Some(seen) => drop(self.observed.insert(id, seen)),
            None => drop(self.observed.remove(&id)),
        }
        self.hold_what_is_seen([id]);
    }

    /// Whatever is on the engine is held, and read if it was not held so far.
    fn hold_what_is_seen(&mut self, ids: impl IntoIterator<Item = InstanceId>) {
        for id in ids {
            let is_seen = self.observed.contains_key(&id);
            if is_seen && self.rows.lives(id) && !self.held.contains_key(&id) {
                self.rows.read_again(id);
            } else if !is_seen && self.held.get(&id).is_some_and(is_left_alone) {
                self.held.remove(&id);
            }
        }
    }

    /// Lists the engine and clears away what nobody wants. `false` when the engine is away.
    async fn resync(&mut self) -> bool {
        let started = self.app.clock.now();
        let surveyed = async { Ok((self.app.runtime.list().await?, self.app.runtime.holdings().await?)) };
        match answered(ANSWER, surveyed).await {
            Ok((list, holdings)) => {
                self.app.engine.send_if_modified(|health| {
                    let changed = *health != EngineHealth::Up;
                    *health = EngineHealth::Up;
                    changed
                });
                let outcome = self.app.find_orphans(&list, &holdings).await.map(|o| self.clear_away(o));
                let before = std::mem::take(&mut self.observed);
                self.observed = list.into_iter().map(|o| (o.instance, o)).collect();
                let seen: BTreeSet<InstanceId> =
                    before.into_keys().chain(self.observed.keys().copied()).collect();
                self.hold_what_is_seen(seen);
                self.ask_for_images().await;
                let waiting = i64::try_from(self.held.values().filter(|r| !r.state.is_at_rest()).count())
                    .unwrap_or(i64::MAX);
                self.report.finished(&self.app, started, outcome.map(|left| left + waiting)).await;
                true
            }
            Err(error) => {
                self.engine_is_down(&error);
                self.report.finished(&self.app, started, Err(Error::from(error))).await;
                false
            }
        }
    }

    /// Whether the engine runs something that lost its row since (a forced deletion).
    fn sees_an_orphan(&self) -> bool {
        let (memory, now) = (self.memory(), self.app.clock.now());
        self.observed.keys().any(|id| !self.rows.lives(*id) && !memory.is_waiting(*id, now))
    }

    /// Removes orphans in the background, as many at a time as there are: one that hangs holds up nobody else. A step
    /// under way knows better what its own container is like; its end makes us look again. Returns how many there are.
    fn clear_away(&self, orphans: Orphans) -> i64 {
        let (now, mut found) = (self.app.clock.now(), 0);
        for (id, volumes) in orphans.instances {
            found += 1;
            if self.memory().is_waiting(id, now) {
                continue;
            }
            self.memory().busy.insert(id);
            tracing::info!(instance = %id, ?volumes, "removing an orphan");
            let (app, memory, done) = (self.app.clone(), self.memory.clone(), self.done.clone());
            self.tasks.spawn(async move {
                let outcome = answered(STEP, app.runtime.remove(id, volumes)).await;
                {
                    let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
                    match outcome {
                        Ok(()) => drop(memory.retry.remove(&id)),
                        Err(error) => {
                            let tries = memory.failed(id, app.clock.now());
                            tracing::warn!(instance = %id, tries, error = %error, "an orphan could not be removed yet");
                        }
                    }
                }
                // The reconciler may be gone at shutdown; its next start finds what is left.
                let _ = done.send(Ended { id, touched: true, seen: None });
            });
        }
        if !orphans.networks.is_empty() && !std::mem::replace(&mut self.memory().clearing_networks, true) {
            found += i64::try_from(orphans.networks.len()).unwrap_or(i64::MAX);
            let (app, memory) = (self.app.clone(), self.memory.clone());
            self.tasks.spawn(async move {
                for project in orphans.networks {
                    if let Err(error) = answered(ANSWER, app.runtime.remove_network(project)).await {
                        tracing::debug!(project = %project, error = %error, "a network could not be removed yet");
                    }
                }
                memory.lock().unwrap_or_else(PoisonError::into_inner).clearing_networks = false;
            });
        }
        found
    }

    async fn ask_for_images(&self) {
        for row in self.held.values().filter(|r| {
            r.image_generation < r.generation
                && (matches!(r.state, State::Pending | State::Building) || rolls_beside(r))
        }) {
            if let Err(error) = self.app.ensure_image_job(row).await {
                tracing::warn!(instance = %row.id, error = %error, "its image could not be asked for");
            }
        }
    }

    /// The engine says that something happened to it. While a step is under way that is its own doing, and an engine
    /// that is at work on a container answers for it only afterwards: it is looked at when the step has ended.
    async fn notice(&mut self, id: InstanceId) -> bool {
        let is_busy = {
            let mut memory = self.memory();
            let is_busy = memory.busy.contains(&id);
            if is_busy {
                memory.noticed.insert(id);
            }
            is_busy
        };
        is_busy || self.look_at(id).await
    }

    /// Looks at those of whom the engine spoke during a step that has ended. Whether there were any; `None` when the
    /// engine is away.
    async fn look_at_noticed(&mut self) -> Option<bool> {
        let free: Vec<InstanceId> = {
            let memory = self.memory();
            memory.noticed.iter().copied().filter(|id| !memory.busy.contains(id)).collect()
        };
        for id in &free {
            if !self.look_at(*id).await {
                return None;
            }
        }
        Some(!free.is_empty())
    }

    async fn look_at(&mut self, id: InstanceId) -> bool {
        self.memory().noticed.remove(&id);
        match answered(ANSWER, self.app.runtime.observe(id)).await {
            Ok(seen) => {
                self.saw(id, seen);
                true
            }
            Err(error) => {
                self.engine_is_down(&error);
                false
            }
        }
    }

    /// Plans for every instance that is held and starts what is to be done; how long until something is due again.
    fn step(&mut self) -> Duration {
        let jumped = self.watch.look(self.app.clock.as_ref());
        let (now, watched_since) = (self.watch.now(), self.watch.since());
        if let Some(by) = jumped {
            tracing::warn!(
                by_ms = by,
                "the clock jumped; bounds of states begin anew, and nothing waits any more"
            );
            let mut memory = self.memory();
            memory.retry.values_mut().for_each(|(_, at)| *at = now);
            memory.probing.values_mut().for_each(|(_, probing)| probing.next = now);
        }
        let mut next: Option<Millis> = None;
        let mut soonest = |at: Millis| next = Some(next.map_or(at, |n| n.min(at)));
        {
            let mut memory = self.memory();
            memory.retry.retain(|id, _| self.held.contains_key(id) || self.observed.contains_key(id));
            memory.probing.retain(|id, _| self.held.contains_key(id));
            let orphans = memory.retry.iter().filter(|(id, _)| !self.held.contains_key(id));
            orphans.for_each(|(_, (_, at))| soonest(*at));
        }
        for row in self.held.values() {
            let observed = self.observed.get(&row.id).cloned();
            let probing = {
                let mut memory = self.memory();
                if memory.busy.contains(&row.id) {
                    continue;
                }
                if let Some((_, at)) = memory.retry.get(&row.id)
                    && *at > now
                {
                    soonest(*at);
                    continue;
                }
                let key = run_key(observed.as_ref().map(|seen| asked(row, seen)));
                let entry = memory.probing.entry(row.id).or_insert_with(|| (key.clone(), Probing::default()));
                if entry.0 != key {
                    *entry = (key, Probing::default());
                }
                entry.1
            };
            let mut action = plan(row, observed.as_ref(), probing, watched_since, now);
            if action == Action::Start {
                action = await_addon(row, self.held.values()).unwrap_or(action);
            }
            match action {
                Action::Wait(until) => {
                    if let Some(at) = until {
                        soonest(at);
                    }
                }
                action => self.begin(row.clone(), observed, action, probing),
            }
            if let Some(bound) = row.state.bound(&row.spec)
                && !rolls_beside(row)
            {
                soonest(row.since.plus(bound));
            }
        }
        if self.rows.is_behind() {
            return AGAIN;
        }
        next.map_or(RESYNC, |at| at.since(now).max(Duration::from_millis(5)).min(RESYNC))
    }

    /// Runs one step in the background; its end is a signal to look again.
    fn begin(&self, row: Instance, observed: Option<Observed>, action: Action, probing: Probing) {
        self.memory().busy.insert(row.id);
        let (app, memory, starts, done) =
            (self.app.clone(), self.memory.clone(), self.starts.clone(), self.done.clone());
        self.tasks.spawn(async move {
            let id = row.id;
            let quiet = matches!(
                action,
                Action::ProbeReadiness | Action::ProbeStartup | Action::ProbeCandidate
            );
            let step = perform(&app, &row, observed, action, probing, &memory, &starts);
            let limit = STEP + row.spec.stop_grace.duration();
            // Its starts may wait for their turn; whatever is cut off here is seen, and gone on with, at the next look.
            let outcome = tokio::time::timeout(limit, step).await.unwrap_or_else(|_| Err(silent(limit).into()));
            let now = app.clock.now();
            let seen = {
                let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
                match outcome {
                    Ok(seen) => {
                        memory.retry.remove(&id);
                        seen
                    }
                    Err(error) => {
                        let tries = memory.failed(id, now);
                        let error = anyhow::Error::from(error);
                        tracing::warn!(instance = %id, name = %row.name, tries, error = format!("{error:#}"), "a step failed; trying again");
                        None
                    }
                }
            };
            // The reconciler may be gone at shutdown; then nobody plans anything any more.
            let _ = done.send(Ended { id, touched: !quiet, seen });
        });
    }
}

fn silent(limit: Duration) -> RuntimeError {
    RuntimeError::Unavailable(format!("no answer within {} s", limit.as_secs()))
}

/// What the engine says, if it says anything.
async fn answered<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, RuntimeError>>,
) -> Result<T, RuntimeError> {
    tokio::time::timeout(limit, call).await.unwrap_or_else(|_| Err(silent(limit)))
}

/// The container that is asked whether it is well.
fn asked<'a>(row: &Instance, seen: &'a Observed) -> &'a Observed {
    match seen.candidate.as_deref() {
        Some(candidate) if is_tried_beside(row, seen) => candidate,
        _ => seen,
    }
}

pub(super) fn run_key(observed: Option<&Observed>) -> RunKey {
    use ryokan_ports::runtime::Phase;
    match observed {
        None => (String::new(), None),
        Some(o) => match o.phase {
            Phase::Running { started_at }
            | Phase::Paused { started_at }
            | Phase::Exited { started_at, .. } => (o.engine_id.clone(), Some(started_at)),
            Phase::Created => (o.engine_id.clone(), None),
        },
    }
}

#[cfg(test)]
mod tests {
    use ryokan_model::{Millis, ServerId};
    use ryokan_ports::Runtime as _;
    use ryokan_ports::fake::{Call, FakeRuntime};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_adapter_that_never_returns_is_an_engine_that_is_away() {
        let engine = FakeRuntime::new(ServerId::from_parts(Millis(1), [1; 10]));
        assert!(answered(ANSWER, engine.list()).await.is_ok());
        engine.hang(Call::List);
        let error = answered(ANSWER, engine.list()).await.unwrap_err();
        assert!(matches!(&error, RuntimeError::Unavailable(why) if why.contains("180 s")), "{error}");
        engine.heal();
        assert!(answered(ANSWER, engine.list()).await.is_ok());
    }
}
