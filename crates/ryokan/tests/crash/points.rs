//! Killed at each named point once: in the middle of a creation, a start, a stop, a restart, a deletion, a job.

use std::time::Duration;

use crate::support::invariants::{Known, check};
use crate::support::rig::{Place, Rig, engine_is_there, eventually, skip};

/// Every `crash::point` of the heart. The test fails when one is never reached.
const POINTS: &[&str] = &[
    "create.committed",
    "image.pulling",
    "image.present",
    "job.worked",
    "start.before",
    "start.after",
    "lifecycle.committed",
    "restart.stopped",
    "stop.before",
    "stop.after",
    "delete.committed",
    "delete.stopped",
    "delete.removed",
    "delete.buried",
];

#[test]
fn killed_at_every_named_point() {
    if !cfg!(feature = "crash-points") {
        return skip("built without the feature `crash-points` (`make test` turns it on)");
    }
    if !engine_is_there() {
        return;
    }
    let rig = Rig::new(Place::default());
    rig.up();
    let mut known = Known::default();
    for (round, point) in POINTS.iter().enumerate() {
        println!("crash point {point}");
        rig.kill();
        rig.start(Some((point, 0)));
        rig.wait_up();
        let name = format!("point-{round}");
        live_one_life(&rig, &name, &mut known);
        eventually(
            Duration::from_secs(30),
            || format!("the point {point} was never reached\n"),
            || rig.has_died().then_some(()),
        );
        rig.up();
        check(&rig, &known);
        let (code, _) = rig.call("DELETE", &format!("/v1/instances/{name}"), "").unwrap();
        assert!([202, 404].contains(&code), "{code}");
        eventually(
            Duration::from_mins(1),
            || format!("{name} is not deleted\n{}", rig.log()),
            || rig.get(&format!("/v1/instances/{name}")).filter(|(code, _)| *code == 404),
        );
        known.created.insert(name.clone());
        known.deleted.insert(name);
        check(&rig, &known);
    }
    rig.tear_down();
}

/// Creates, restarts, stops, starts and deletes, as far as the server lives.
fn live_one_life(rig: &Rig, name: &str, known: &mut Known) {
    let waits = |rig: &Rig, state: &str| {
        let deadline = std::time::Instant::now() + Duration::from_secs(40);
        while !rig.has_died() && std::time::Instant::now() < deadline {
            match rig.instance(name) {
                Some(i) if i["state"] == state => return true,
                _ => std::thread::sleep(Duration::from_millis(50)),
            }
        }
        false
    };
    if let Some((202, _)) = rig.create(name) {
        known.created.insert(name.to_owned());
    }
    for (verb, state) in [("", "ready"), ("restart", "ready"), ("stop", "stopped"), ("start", "ready")] {
        if !verb.is_empty() {
            rig.call("POST", &format!("/v1/instances/{name}/{verb}"), "");
            // `restart` goes through `starting`; give it the time to leave `ready`.
            std::thread::sleep(Duration::from_millis(if verb == "restart" { 300 } else { 0 }));
        }
        if !waits(rig, state) {
            return;
        }
    }
    // It is gone when the server is back, or not, if the server died before it heard of this.
    known.created.remove(name);
    rig.call("DELETE", &format!("/v1/instances/{name}"), "");
    let deadline = std::time::Instant::now() + Duration::from_secs(40);
    while !rig.has_died() && std::time::Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(50));
    }
}
