//! Killed in the middle of an update: of one that succeeds, of one whose image cannot be had, of one that the engine
//! refuses half-way; in place, and beside what runs. Afterwards the instance is of the new generation, or the update was taken back; it has one
//! container, and what ran before ran on for as long as it was promised to.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::invariants::{Known, check};
use crate::support::rig::{IMAGE, Place, Rig, engine_is_there, eventually, skip};

const NAME: &str = "steady";

#[derive(Clone, Copy, PartialEq)]
enum Update {
    /// More memory: a new container.
    Good,
    /// An image that nobody has: taken back, and the old container is never touched.
    Missing,
    /// A file where none can be: it is found out when the old container is gone already.
    Refused,
    /// As [`Good`], of an instance without a volume: the old container serves until the new one is ready.
    Beside,
    /// As [`Refused`], and the old container is never touched.
    RefusedBeside,
}

use Update::{Beside, Good, Missing, Refused, RefusedBeside};

impl Update {
    const fn succeeds(self) -> bool {
        matches!(self, Good | Beside)
    }

    const fn is_beside(self) -> bool {
        matches!(self, Beside | RefusedBeside)
    }
}

/// A `crash::point` that an update passes, how often it is passed before it kills, and whether the old container must
/// still be serving there.
type Round = (&'static str, u32, bool);

// Each kind has an installation of its own, so that they run beside each other: a job that was cut off waits for the
// end of its lease.

#[test]
fn an_update_is_killed_at_every_point() {
    let rounds = [
        ("update.committed", 0, true),
        ("image.pulling", 0, true),
        ("image.present", 0, true),
        ("start.before", 0, true),
        ("replace.made", 0, true),
        ("replace.stopped", 0, false),
        ("replace.removed", 0, false),
        ("start.after", 0, false),
    ];
    run(Good, &rounds);
}

#[test]
fn an_update_without_an_image_is_killed_at_every_point() {
    let rounds = [("update.committed", 0, true), ("update.giving_up", 0, true), ("update.given_up", 0, true)];
    run(Missing, &rounds);
}

#[test]
fn an_update_that_the_engine_refuses_is_killed_at_every_point() {
    let rounds = [
        ("replace.made", 0, true),
        ("replace.removed", 0, false),
        ("start.after", 0, false),
        // The start of what ran before, once the update was taken back.
        ("start.before", 1, false),
    ];
    run(Refused, &rounds);
}

#[test]
fn an_update_beside_what_runs_is_killed_at_every_point() {
    let rounds = [
        ("image.present", 0, true),
        ("beside.before", 0, true),
        ("beside.started", 0, true),
        ("beside.promoted", 0, true),
        ("beside.retiring", 0, true),
        ("beside.retired", 0, false),
    ];
    run(Beside, &rounds);
}

#[test]
fn an_update_that_the_engine_refuses_beside_what_runs_is_killed_at_every_point() {
    let rounds = [("beside.started", 0, true), ("beside.giving_up", 0, true), ("beside.retired", 0, true)];
    run(RefusedBeside, &rounds);
}

fn run(update: Update, rounds: &[Round]) {
    if !cfg!(feature = "crash-points") {
        return skip("built without the feature `crash-points` (`make test` turns it on)");
    }
    if !engine_is_there() {
        return;
    }
    let rig = Rig::new(Place::default());
    rig.up();
    let mut body = json!({
        "name": NAME, "template": "custom", "image": IMAGE, "memory": "64Mi", "stop_grace": "2s",
        "ports": [{"name": "http", "port": 3000}], "volumes": [{"name": "data", "path": "/data"}],
    });
    if update.is_beside() {
        body["volumes"] = json!([]);
    }
    assert_eq!(rig.call("POST", "/v1/instances", &body.to_string()).unwrap().0, 202);
    rig.wait_state(NAME, "ready");
    let known = Known { created: [NAME.to_owned()].into(), ..Known::default() };
    for (round, (point, skip, serves)) in rounds.iter().enumerate() {
        println!("crash point {point} of an update");
        let (row, before) = (rig.instance(NAME).unwrap(), the_container(&rig));
        rig.kill();
        rig.start(Some((point, *skip)));
        rig.wait_up();
        let memory = format!("{}Mi", 65 + round);
        let change = match update {
            Good | Beside => json!({"memory": memory}),
            Missing => json!({"image": "ryokan-crash/none:1", "pull": "never"}),
            Refused | RefusedBeside => json!({"files": [{"path": "/bin/hello/below-a-file", "content": ""}]}),
        };
        rig.call("PATCH", &format!("/v1/instances/{NAME}"), &change.to_string());
        eventually(
            Duration::from_secs(30),
            || format!("the point {point} was never reached\n"),
            || rig.has_died().then_some(()),
        );
        if *serves {
            let running = rig.place.docker(&["inspect", "-f", "{{.State.Running}}", &before.id]);
            assert_eq!(running, "true", "the old container was gone at {point}");
        }
        rig.up();
        let mut expected = row["spec"].clone();
        if update.succeeds() {
            expected["resources"]["memory"] = json!(memory);
        }
        let generation = row["generation"].as_i64().unwrap()
            + match update {
                Good | Beside => 1,
                Missing | RefusedBeside => 0,
                // The old spec again, under a number of its own.
                Refused => 2,
            };
        eventually(
            Duration::from_mins(1),
            || format!("after {point} the update does not end: {:#?}\n{}", rig.instance(NAME), rig.log()),
            || {
                let row = rig.instance(NAME)?;
                let ended = row["spec"] == expected && row["generation"] == generation;
                // Until the new image is there, it is the old container that is ready.
                let replaced = containers(&rig).iter().all(|c| c.generation == generation);
                (ended && replaced && row["state"] == "ready").then_some(())
            },
        );
        check(&rig, &known);
        let after = the_container(&rig);
        assert_eq!(after.generation, generation, "{point}");
        assert_eq!(format!("{}Mi", after.memory >> 20), expected["resources"]["memory"], "{point}");
        let never_touched = matches!(update, Missing | RefusedBeside);
        assert_eq!(never_touched, after.id == before.id, "{point}: whether it is the same container");
        eventually(
            Duration::from_secs(15),
            || format!("after {point} it does not answer\n{}", rig.log()),
            || rig.get(&format!("/gateway/{NAME}/health")).filter(|(code, _)| *code == 200),
        );
        check_events(&rig, update, round + 1);
    }
    rig.tear_down();
}

struct Container {
    id: String,
    generation: i64,
    memory: u64,
}

fn containers(rig: &Rig) -> Vec<Container> {
    let look = |id: String| {
        let format = r#"{{index .Config.Labels "ryokan.generation"}} {{.HostConfig.Memory}}"#;
        let line = rig.place.docker(&["inspect", "-f", format, &id]);
        // Removed since it was listed.
        let (generation, memory) = line.split_once(' ')?;
        Some(Container { id, generation: generation.parse().ok()?, memory: memory.parse().ok()? })
    };
    rig.holdings("containers").into_iter().filter_map(look).collect()
}

fn the_container(rig: &Rig) -> Container {
    let mut all = containers(rig);
    assert_eq!(all.len(), 1, "there is one container");
    all.remove(0)
}

/// Each update is told once, and so is each that failed.
fn check_events(rig: &Rig, update: Update, updates: usize) {
    let (_, body) = rig.get("/v1/events?limit=500").unwrap();
    let page: Value = serde_json::from_str(&body).unwrap();
    let count = |kind: &str| page["items"].as_array().unwrap().iter().filter(|e| e["kind"] == kind).count();
    assert!(page["next"].is_null(), "one page has them all");
    assert_eq!(count("instance.updated"), updates);
    assert_eq!(count("instance.update_failed"), if update.succeeds() { 0 } else { updates });
}
