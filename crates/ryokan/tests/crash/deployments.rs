//! Killed in the middle of a deployment. Afterwards it ends by itself: one release, one container, nothing left over.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::invariants::{Known, check};
use crate::support::rig::{IMAGE, Place, Rig, engine_is_there, eventually, skip};

/// Points that a deployment passes, and how often each is passed before it kills.
const POINTS: &[(&str, u32)] = &[
    ("upload.stored", 0),
    ("upload.taken", 0),
    ("deployment.building", 0),
    ("deployment.unpacked", 0),
    ("deployment.built", 0),
    ("deployment.released", 0),
    ("deployment.ending", 0),
];

#[test]
fn a_deployment_is_killed_at_every_point() {
    if !cfg!(feature = "crash-points") {
        return skip("built without the feature `crash-points` (`make test` turns it on)");
    }
    if !engine_is_there() {
        return;
    }
    let rig = Rig::new(Place::default());
    rig.up();
    let folder = tempfile::tempdir().unwrap();
    let packed_at = tempfile::tempdir().unwrap();
    let manifest = json!({
        "schema": "mandala-agent", "agent": {"type": "custom", "dockerfile": "Dockerfile"}, "ports": [3000],
        "resources": {"memory": "64Mi"},
    });
    std::fs::write(folder.path().join("agent-manifest.json"), manifest.to_string()).unwrap();
    let mut known = Known::default();
    for (round, (point, skip)) in POINTS.iter().enumerate() {
        println!("crash point {point} of a deployment");
        // Another layer each time, or the engine's cache would make the build too short to be killed in.
        std::fs::write(folder.path().join("Dockerfile"), format!("FROM {IMAGE}\nLABEL round={round}\n"))
            .unwrap();
        let artifact = packed_at.path().join("artifact.tgz");
        let packed = std::process::Command::new("tar")
            .args(["-C", folder.path().to_str().unwrap(), "-czf", artifact.to_str().unwrap(), "."])
            .status();
        assert!(packed.unwrap().success());
        rig.kill();
        rig.start(Some((point, *skip)));
        rig.wait_up();
        let path = "/v1/projects/operator/deployments";
        let (code, made) = rig.call("POST", path, r#"{"name": "deployed"}"#).unwrap();
        assert_eq!(code, 201, "{made}");
        let upload = || {
            let path = made["upload"]["url"].as_str().unwrap().splitn(4, '/').nth(3).unwrap();
            let sent = std::process::Command::new("curl")
                .args([
                    "-s",
                    "-o",
                    "/dev/null",
                    "-w",
                    "%{http_code}",
                    "-H",
                    "content-type: application/octet-stream",
                ])
                .arg("--data-binary")
                .arg(format!("@{}", artifact.display()))
                .arg(rig.url(&format!("/{path}")))
                .stderr(Stdio::null())
                .output();
            String::from_utf8(sent.unwrap().stdout).unwrap()
        };
        upload();
        eventually(
            Duration::from_mins(1),
            || format!("the point {point} was never reached\n{}", rig.log()),
            || rig.has_died().then_some(()),
        );
        rig.up();
        // What was not acknowledged is sent again: the address is still good, unless it was taken after all.
        let again = upload();
        assert_eq!(again, if *point == "upload.stored" { "202" } else { "409" }, "after {point}");
        let id = made["id"].as_str().unwrap();
        let done: Value = eventually(
            Duration::from_mins(2),
            || format!("after {point} the deployment does not end\n{}", rig.log()),
            || {
                let (_, body) = rig.get(&format!("/v1/deployments/{id}"))?;
                let row: Value = serde_json::from_str(&body).ok()?;
                let over = ["succeeded", "failed", "cancelled"].iter().any(|s| row["state"] == *s);
                over.then_some(row)
            },
        );
        assert_eq!(done["state"], "succeeded", "after {point}: {done}\n{}", rig.log());
        known.created.insert("deployed".into());
        check(&rig, &known);
        let (_, body) = rig.get("/v1/instances/deployed/revisions").unwrap();
        let revisions: Value = serde_json::from_str(&body).unwrap();
        let revisions = revisions["items"].as_array().unwrap();
        assert_eq!(revisions.len(), round + 1, "after {point}: one release for each deployment");
        assert_eq!((&revisions[0]["state"], &revisions[0]["deployment"]), (&json!("live"), &json!(id)));
        assert_eq!(rig.holdings("containers").len(), 1, "{point}");
        for folder in ["artifacts", "builds"] {
            let left = std::fs::read_dir(rig.data().join(folder)).map_or(0, Iterator::count);
            // A whole artifact that was never acknowledged goes with the next housekeeping.
            assert!(left == 0 || *point == "upload.stored", "{left} files in {folder} after {point}");
        }
        std::fs::remove_file(&artifact).unwrap();
    }
    let server = format!("label=ryokan.build={}", rig.server_id());
    images_go_with_their_instance(&rig, &server);
    rig.tear_down();
    for id in rig.place.docker(&["images", "-q", "--filter", &server]).lines() {
        let _ = std::process::Command::new("docker").args(["rmi", "-f", id]).output();
    }
}

/// Also when the server dies after the first of them.
fn images_go_with_their_instance(rig: &Rig, server: &str) {
    let images = || rig.place.docker(&["images", "-q", "--filter", server]);
    assert_eq!(images().lines().count(), POINTS.len(), "each deployment's image is kept to go back to");
    rig.kill();
    rig.start(Some(("images.forgotten", 0)));
    rig.wait_up();
    let (code, _) = rig.call("DELETE", "/v1/instances/deployed", "").unwrap();
    assert_eq!(code, 202);
    eventually(
        Duration::from_mins(1),
        || format!("no image was ever forgotten\n{}", rig.log()),
        || rig.has_died().then_some(()),
    );
    rig.up();
    eventually(
        Duration::from_mins(1),
        || format!("left over: {}\n{}", images(), rig.log()),
        || images().is_empty().then_some(()),
    );
}
