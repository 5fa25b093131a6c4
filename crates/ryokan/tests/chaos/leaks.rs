//! What the server holds on to: descriptors, threads, memory, files. Taken before a storm and after all instances are
//! deleted; what does not go back to about where it was is a leak.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::support::invariants::{Kind, Violation};
use crate::support::rig::settle;
use crate::world::World;

#[derive(Debug, Clone, Default)]
pub(crate) struct Held {
    descriptors: usize,
    threads: u64,
    pub(crate) megabytes: u64,
    files: BTreeSet<String>,
}

pub(crate) fn held(world: &World) -> Option<Held> {
    let pid = world.rig.pid()?;
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let number = |field: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(field))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let mut files = BTreeSet::new();
    for folder in [world.rig.data(), world.temporary.clone()] {
        for entry in std::fs::read_dir(folder).ok()?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            // SQLite makes and removes them as it likes.
            if !name.ends_with("-wal") && !name.ends_with("-shm") {
                files.insert(name);
            }
        }
    }
    Some(Held { descriptors, threads: number("Threads:")?, megabytes: number("VmRSS:")? / 1024, files })
}

/// Idle connections and threads of pools end by themselves after a while. `instances` were served at a time.
pub(crate) fn check(world: &World, before: &Held, instances: u64) -> (Vec<Violation>, Held) {
    let mut last = Held::default();
    let wrong = |now: &Held| {
        let mut wrong = Vec::new();
        // A database's pool may have grown to its bound meanwhile.
        if now.descriptors > before.descriptors + 16 {
            wrong.push(format!("{} descriptors, {} before", now.descriptors, before.descriptors));
        }
        if now.threads > before.threads + 16 {
            wrong.push(format!("{} threads, {} before", now.threads, before.threads));
        }
        // Allocators keep what they had; a leak of a round's storm is more than that.
        if now.megabytes > before.megabytes + 48 + instances / 2 {
            wrong.push(format!("{} MB of memory, {} before", now.megabytes, before.megabytes));
        }
        let new: Vec<_> = now.files.difference(&before.files).collect();
        if !new.is_empty() {
            wrong.push(format!("files are left: {new:?}"));
        }
        wrong
    };
    settle(Duration::from_mins(1), || {
        last = held(world)?;
        wrong(&last).is_empty().then_some(())
    });
    let violations =
        wrong(&last).into_iter().map(|what| Violation { kind: Kind::Leaked, what, about: None }).collect();
    (violations, last)
}
