//! What must hold after every crash, once the server is back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use crate::rig::{Rig, eventually};

/// What the clients know: names whose creation, or deletion, was acknowledged.
#[derive(Debug, Default, Clone)]
pub(crate) struct Known {
    pub(crate) created: BTreeSet<String>,
    pub(crate) deleted: BTreeSet<String>,
}

/// Waits until every instance is as it is wanted, then checks everything.
pub(crate) fn check(rig: &Rig, known: &Known) {
    let instances = eventually(
        Duration::from_secs(90),
        || format!("not all instances converge: {:#?}\n{}", summary(rig), rig.log()),
        || rig.instances().filter(|all| all.iter().all(converged)),
    );
    // Nothing acknowledged is lost, nothing deleted comes back.
    let names: BTreeSet<String> = instances.iter().map(|i| text(i, "name")).collect();
    for name in known.created.difference(&known.deleted) {
        assert!(names.contains(name), "{name} was created and is gone\n{}", rig.log());
    }
    for name in &known.deleted {
        assert!(!names.contains(name), "{name} was deleted and is back");
    }
    check_engine(rig, &instances);
    check_events(rig, known);
    check_jobs(rig);
}

fn converged(instance: &Value) -> bool {
    matches!(
        (instance["desired"].as_str(), instance["state"].as_str()),
        (Some("running"), Some("ready")) | (Some("stopped"), Some("stopped"))
    )
}

fn summary(rig: &Rig) -> Vec<String> {
    let all = rig.instances().unwrap_or_default();
    all.iter()
        .map(|i| format!("{} wants {} is {}: {}", i["name"], i["desired"], i["state"], i["message"]))
        .collect()
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}

/// One container for each live instance, running exactly when it should; no orphan of any kind.
fn check_engine(rig: &Rig, instances: &[Value]) {
    let wanted: BTreeMap<String, bool> =
        instances.iter().map(|i| (text(i, "id"), i["desired"] == "running")).collect();
    let seen = || {
        let mut seen: Vec<(String, bool)> = Vec::new();
        for id in rig.holdings("containers") {
            let line = rig.place.docker(&[
                "inspect",
                "-f",
                "{{index .Config.Labels \"ryokan.instance\"}} {{.State.Running}}",
                &id,
            ]);
            if let Some((instance, running)) = line.split_once(' ') {
                seen.push((instance.to_owned(), running == "true"));
            }
        }
        seen.sort();
        seen
    };
    eventually(
        Duration::from_secs(45),
        || format!("the engine differs: wanted {wanted:?}, seen {:?}\n{}", seen(), rig.log()),
        || {
            let seen = seen();
            let unique: BTreeMap<String, bool> = seen.iter().cloned().collect();
            // A stopped instance may never have had a container.
            let right = unique.len() == seen.len()
                && unique.iter().all(|(id, running)| wanted.get(id) == Some(running))
                && wanted.iter().all(|(id, running)| !running || unique.contains_key(id));
            right.then_some(())
        },
    );
    let projects: BTreeSet<String> = instances.iter().map(|i| text(i, "project")).collect();
    eventually(
        Duration::from_secs(45),
        || format!("networks are left: {:?}", rig.holdings("networks")),
        || (rig.holdings("networks").len() <= projects.len()).then_some(()),
    );
    eventually(
        Duration::from_secs(45),
        || format!("volumes are left: {:?}", rig.holdings("volumes")),
        || {
            let orphan = rig.holdings("volumes").into_iter().find(|name| {
                let owner = rig.place.docker(&[
                    "volume",
                    "inspect",
                    "-f",
                    "{{index .Labels \"ryokan.instance\"}}",
                    name,
                ]);
                !wanted.contains_key(&owner)
            });
            orphan.is_none().then_some(())
        },
    );
}

/// The log has no gaps in its order, no doubles, and tells each life once.
fn check_events(rig: &Rig, known: &Known) {
    let (mut after, mut events) = (0, Vec::new());
    loop {
        let (code, body) =
            rig.get(&format!("/v1/events?after={after}&limit=500")).expect("events can be read");
        assert_eq!(code, 200, "{body}");
        let page: Value = serde_json::from_str(&body).unwrap();
        let items = page["items"].as_array().unwrap().clone();
        events.extend(items);
        match page["next"].as_str() {
            Some(next) => after = next.parse().unwrap(),
            None => break,
        }
    }
    let numbers: Vec<i64> = events.iter().map(|e| e["seq"].as_i64().unwrap()).collect();
    assert!(numbers.windows(2).all(|w| w[0] < w[1]), "events are out of order or doubled");
    let count = |kind: &str, name: &str| {
        events.iter().filter(|e| e["kind"] == kind && e["subject_name"] == name).count()
    };
    for name in &known.created {
        assert_eq!(count("instance.created", name), 1, "{name} was created once");
    }
    for name in &known.deleted {
        assert_eq!(count("instance.deleted", name), 1, "{name} was deleted once");
    }
    // Each instance's states follow one another: no step is doubled, none is missing.
    let mut last: BTreeMap<String, String> = BTreeMap::new();
    for event in &events {
        let (kind, id) = (text(event, "kind"), text(event, "subject_id"));
        let (Some(state), Some(from)) = (kind.strip_prefix("instance."), event["data"]["from"].as_str())
        else {
            continue;
        };
        let before = last.insert(id.clone(), state.to_owned()).unwrap_or_else(|| "pending".into());
        assert_eq!(
            before, from,
            "instance {id} ({}) goes from {from} to {state}, but was {before}",
            event["subject_name"]
        );
    }
}

/// No job is stuck or dead.
fn check_jobs(rig: &Rig) {
    let unfinished = || {
        let (_, body) = rig.get("/v1/system/jobs?limit=500")?;
        let page: Value = serde_json::from_str(&body).ok()?;
        Some(page["items"].as_array()?.iter().filter(|j| j["state"] != "done").cloned().collect::<Vec<_>>())
    };
    eventually(
        Duration::from_mins(1),
        || format!("jobs are left: {:#?}\n{}", unfinished(), rig.log()),
        || unfinished().filter(Vec::is_empty),
    );
}
