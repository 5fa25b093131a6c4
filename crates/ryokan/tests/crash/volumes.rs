//! Killed while a volume gets its owner, when a container exists that is no instance's.

use std::time::Duration;

use serde_json::json;

use crate::support::invariants::{Known, check};
use crate::support::rig::{IMAGE, Place, Rig, engine_is_there, eventually, skip};

#[test]
fn what_prepares_a_volume_does_not_outlive_a_death() {
    if !cfg!(feature = "crash-points") {
        return skip("built without the feature `crash-points` (`make test` turns it on)");
    }
    if !engine_is_there() {
        return;
    }
    let rig = Rig::new(Place::default());
    rig.start(Some(("volume.owned", 0)));
    rig.wait_up();
    // The image knows no such folder, so that its user could not write there.
    let body = json!({
        "name": "writer", "template": "custom", "image": IMAGE, "memory": "64Mi",
        "ports": [{"name": "http", "port": 3000}], "volumes": [{"name": "work", "path": "/work"}],
    });
    assert_eq!(rig.call("POST", "/v1/instances", &body.to_string()).unwrap().0, 202);
    eventually(
        Duration::from_secs(30),
        || format!("the point was never reached\n{}", rig.log()),
        || rig.has_died().then_some(()),
    );
    assert_eq!(rig.holdings("containers").len(), 2, "the instance's, and the one that prepares its volume");
    rig.up();
    check(&rig, &Known { created: ["writer".to_owned()].into(), ..Known::default() });
    rig.tear_down();
}
