//! The engine dies under the server: a `dockerd` of this test alone is killed and started again during a storm.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::storm::{Field, blow, known, seed};
use crate::support::engine::Engine;
use crate::support::invariants::check;
use crate::support::rig::{Rig, engine_is_there, skip};

#[test]
fn the_engine_is_killed_under_it() {
    if !engine_is_there() {
        return;
    }
    let Some(engine) = Engine::new() else { return skip("no right to make a network namespace") };
    let seed = seed();
    let rig = Rig::new(engine.place());
    rig.up();
    let field = Arc::new(Mutex::new(Field::default()));
    for round in 0..2 {
        blow(&rig, &field, seed + round, Duration::from_millis(1500));
        engine.kill();
        // Asking goes on while the engine is away; nothing is lost, nothing hangs.
        blow(&rig, &field, seed + 100 + round, Duration::from_millis(500));
        let (_, body) = rig.get("/readyz").unwrap();
        assert!(body.contains("\"runtime\""), "{body}");
        engine.start();
    }
    // A forced deletion needs no engine; what is left is removed when it is back.
    rig.create("doomed");
    engine.kill();
    let (code, _) = rig.call("DELETE", "/v1/instances/doomed?force=true", "").unwrap();
    assert_eq!(code, 202);
    assert_eq!(rig.get("/v1/instances/doomed").unwrap().0, 404);
    engine.start();
    let mut known = known(&field);
    known.created.insert("doomed".into());
    known.deleted.insert("doomed".into());
    check(&rig, &known);
    rig.tear_down();
}
