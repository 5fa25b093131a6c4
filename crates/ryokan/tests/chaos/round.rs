//! One round: a fresh installation, a storm with faults, the end of all faults, and the reckoning.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::clients::Client;
use crate::faults::{self, Done};
use crate::support::engine::Engine;
use crate::support::invariants::{Findings, Kind, Known, Violation, all_events, converged};
use crate::support::rig::{INTERRUPTED, settle};
use crate::world::World;
use crate::{Arguments, Store, leaks};

pub(crate) struct Outcome {
    pub(crate) seed: u64,
    pub(crate) store: Store,
    /// Instances that were ever made.
    pub(crate) created: usize,
    pub(crate) operations: u64,
    pub(crate) done: Done,
    /// From the end of all faults until all is as it is wanted.
    pub(crate) converged: Option<Duration>,
    pub(crate) violations: Vec<Violation>,
}

/// How long everything may take to be as it is wanted once the last fault has ended: leases and waits of a minute and
/// more end first, and each container takes its time on a small machine.
fn bound(arguments: &Arguments) -> Duration {
    Duration::from_secs(120 + 2 * arguments.instances)
}

pub(crate) fn run(arguments: &Arguments, engine: &Engine, store: Store, seed: u64) -> Outcome {
    println!("round: --seed {seed} --store {} --instances {}", store.word(), arguments.instances);
    let world = World::new(arguments, engine, store);
    let rig = &world.rig;
    rig.up();
    // What a first request makes, it keeps.
    rig.instances();
    let before = leaks::held(&world).expect("the server is up");
    let mut clients = Client::all(arguments.instances, seed);
    let until = Instant::now() + arguments.storm();
    let done = std::thread::scope(|scope| {
        for client in &mut clients {
            scope.spawn(move || client.run(rig, until));
        }
        faults::strike(&world, store, &arguments.faults, seed, until)
    });
    if !INTERRUPTED.load(Ordering::Relaxed) {
        world.heal();
    }
    let healed = Instant::now();
    let mut known = Known::default();
    let mut violations = Vec::new();
    for client in &mut clients {
        let its = client.settle(rig);
        known.created.extend(its.created);
        known.deleted.extend(its.deleted);
        known.told.extend(its.told);
        for what in client.strange.drain(..) {
            violations.push(Violation {
                kind: Kind::Lost,
                what: format!("an unexplained answer: {what}"),
                about: None,
            });
        }
    }
    let well = settle(bound(arguments), || rig.instances().filter(|all| all.iter().all(converged)));
    let converged = well.map(|_| healed.elapsed());
    violations.extend(Findings::new(rig).all(&known, Duration::ZERO));
    violations.extend(unserved(&world));
    violations.extend(done.deaths.iter().map(|what| Violation {
        kind: Kind::Stuck,
        what: what.clone(),
        about: None,
    }));
    if log_has(&world, "panicked at") {
        violations.push(Violation { kind: Kind::Stuck, what: "the server panicked".into(), about: None });
    }
    if INTERRUPTED.load(Ordering::Relaxed) {
        violations.clear();
    }
    let folder = arguments.keep.join(format!("{seed}-{}", store.word()));
    if !violations.is_empty() {
        explain(&world, &violations);
        world.keep(&folder);
    }
    let so_far = violations.len();
    if let Err(left) = rig.clear(bound(arguments)) {
        violations.push(Violation { kind: Kind::Orphaned, what: left, about: None });
    }
    let (leaked, after) = leaks::check(&world, &before, arguments.instances);
    println!("  held before {before:?}\n  and after {after:?}");
    violations.extend(leaked);
    if violations.len() > so_far {
        explain(&world, &violations[so_far..]);
        world.keep(&folder);
        world.wipe_engine();
    }
    if !violations.is_empty() {
        println!("  logs, events and lists are in {}", folder.display());
    }
    rig.stop();
    let operations = clients.iter().map(|c| c.operations).sum();
    Outcome { seed, store, created: known.created.len(), operations, done, converged, violations }
}

/// Those that are ready and cannot be reached.
fn unserved(world: &World) -> Vec<Violation> {
    let mut found = Vec::new();
    for instance in world.rig.instances().unwrap_or_default() {
        let name = instance["name"].as_str().unwrap_or_default();
        if instance["state"] != "ready" {
            continue;
        }
        let path = format!("/gateway/{name}/health");
        if settle(Duration::from_secs(15), || world.rig.get(&path).filter(|(code, _)| *code == 200)).is_none()
        {
            let what = format!("{name} is ready and is not served: {:?}", world.rig.get(&path));
            found.push(Violation { kind: Kind::Stuck, what, about: Some(name.to_owned()) });
        }
    }
    found
}

fn log_has(world: &World, text: &str) -> bool {
    std::fs::read_to_string(world.rig.log_path()).unwrap_or_default().contains(text)
}

/// Enough to begin with: what is wrong, the last events of whom it is about, the end of the server's log.
fn explain(world: &World, violations: &[Violation]) {
    let events = all_events(&world.rig).unwrap_or_default();
    for violation in violations.iter().take(20) {
        println!("  {}: {}", violation.kind.word().to_uppercase(), violation.what);
        let Some(name) = &violation.about else { continue };
        let its: Vec<_> = events.iter().filter(|e| e["subject_name"] == **name).collect();
        for event in &its[its.len().saturating_sub(12)..] {
            println!("      {} {} {} {}", event["seq"], event["at"], event["kind"], event["data"]);
        }
    }
    let log = world.rig.log();
    let lines: Vec<&str> = log.lines().collect();
    println!("  the end of the server's log:");
    for line in &lines[lines.len().saturating_sub(25)..] {
        println!("      {line}");
    }
}
