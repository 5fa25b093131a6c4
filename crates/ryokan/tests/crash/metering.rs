//! Killed while counters are read, intervals are charged, and a project is suspended and resumed. Afterwards everything
//! that was used is charged once, and the ledger verifies.

use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::books::{Clock, balance, dies, events_of, json_of, statement, verify};
use crate::support::invariants::{Known, check};
use crate::support::rig::{Place, Rig, engine_is_there, settle, skip};

const NAME: &str = "metered";
/// A little more than an interval of five minutes.
const INTERVAL: i64 = 330_000;

/// Milliseconds of a core that the closed intervals come to, and how many steps these were rounded in.
fn metered(rig: &Rig) -> Option<(u64, u64)> {
    let page = json_of(rig, "/v1/projects/operator/usage?step=day")?;
    let steps = page["items"].as_array()?;
    let sum = steps.iter().filter_map(|step| step["cpu_millis"].as_u64()).sum();
    Some((sum, steps.len() as u64))
}

/// Milliseconds of a core that the container has used, as its engine says now.
fn used(rig: &Rig) -> u64 {
    let stats = settle(Duration::from_secs(20), || json_of(rig, &format!("/v1/instances/{NAME}/stats")));
    stats.expect("the engine tells what the container uses")["cpu_nanos"].as_u64().unwrap() / 1_000_000
}

/// Makes the agent work, so that what is counted twice shows.
fn work(rig: &Rig) {
    let served = Command::new("curl")
        .args(["-s", "-m", "20", "-o", "/dev/null"])
        .arg(rig.url(&format!("/gateway/{NAME}/health?[1-1500]")))
        .status();
    served.unwrap();
}

#[test]
fn metering_is_killed_at_every_point() {
    if !cfg!(feature = "crash-points") {
        return skip("built without the feature `crash-points` (`make test` turns it on)");
    }
    if !engine_is_there() {
        return;
    }
    let clock = Clock::new();
    let environment = vec![
        ("RYOKAN_CLOCK_OFFSET", clock.file.display().to_string()),
        ("RYOKAN_BILLING", "true".into()),
        ("RYOKAN_BILLING_GRACE", "10m".into()),
        ("RYOKAN_METERING_EVERY", "5s".into()),
        // Dear, so that a few milliseconds are money.
        ("RYOKAN_RATE_CORE", "1000000000".into()),
    ];
    let rig = Rig::new(Place { environment, ..Place::default() });
    rig.up();
    let credit = json!({"amount": 1_000_000_000_000_i64, "reason": "enough for everything"}).to_string();
    assert_eq!(rig.call("POST", "/v1/projects/operator/credits", &credit).unwrap().0, 201);
    assert_eq!(rig.create(NAME).unwrap().0, 202);
    rig.wait_state(NAME, "ready");
    let known = Known { created: [NAME.to_owned()].into(), ..Known::default() };

    for (point, skip, closes) in [
        ("metering.read", 2, false),
        ("metering.sampled", 2, false),
        ("billing.sealed", 0, true),
        ("billing.posted", 0, true),
        ("billing.closed", 0, true),
    ] {
        println!("crash point {point}");
        rig.kill();
        rig.start(Some((point, skip)));
        rig.wait_up();
        work(&rig);
        if closes {
            clock.forward(INTERVAL);
        }
        dies(&rig, point, || ());
        rig.up();
        verify(&rig, point);
    }
    nothing_is_missing_or_double(&rig, &clock);
    verify(&rig, "after all points");
    suspended_and_resumed_once(&rig, &clock);
    verify(&rig, "at the end");
    check(&rig, &known);
    rig.tear_down();
}

/// All that the container has used is in the closed intervals, and nothing is in them twice.
fn nothing_is_missing_or_double(rig: &Rig, clock: &Clock) {
    let least = used(rig);
    let mut last = (0, 0);
    let found = settle(Duration::from_mins(2), || {
        // Samples that come after a jump belong to the interval that it leads into: the next one closes it.
        clock.forward(INTERVAL);
        settle(Duration::from_secs(12), || {
            last = metered(rig)?;
            (last.0 + last.1 >= least).then_some(last.0)
        })
    });
    let found = found.unwrap_or_else(|| panic!("used were {least} ms, metered {last:?}\n{}", rig.log()));
    let most = used(rig);
    assert!(found <= most, "{found} ms are charged of a container that has used {most}");
    assert!(balance(rig) < 1_000_000_000_000, "what was used was charged");
}

fn suspended_and_resumed_once(rig: &Rig, clock: &Clock) {
    println!("crash point billing.judged, as the project is suspended");
    rig.kill();
    rig.start(Some(("billing.judged", 0)));
    rig.wait_up();
    let refunded = settle(Duration::from_secs(10), || {
        // An interval may be charged in between.
        let all = json!({"amount": balance(rig), "reason": "all of it"}).to_string();
        rig.call("POST", "/v1/projects/operator/refunds", &all).filter(|(code, _)| *code == 201)
    });
    assert!(refunded.is_some(), "{}", rig.log());
    dies(rig, "billing.judged", || {
        clock.forward(INTERVAL);
        std::thread::sleep(Duration::from_secs(3));
    });
    rig.up();
    rig.wait_state(NAME, "stopped");
    assert!(balance(rig) < 0);
    assert_eq!((events_of(rig, "project.suspended"), events_of(rig, "project.resumed")), (1, 0));
    verify(rig, "suspended");

    println!("crash point billing.judged, as it is resumed");
    rig.kill();
    rig.start(Some(("billing.judged", 0)));
    rig.wait_up();
    let credit = json!({"amount": 1_000_000_000_000_i64, "reason": "paid"}).to_string();
    // The server may be dead before its answer is read.
    rig.call_once("POST", "/v1/projects/operator/credits", &credit, "once");
    dies(rig, "billing.judged", || ());
    rig.up();
    rig.call_once("POST", "/v1/projects/operator/credits", &credit, "once");
    rig.wait_state(NAME, "ready");
    assert_eq!((events_of(rig, "project.suspended"), events_of(rig, "project.resumed")), (1, 1));
    assert_eq!(statement(rig).iter().filter(|line| line["reason"] == "paid").count(), 1);
}
