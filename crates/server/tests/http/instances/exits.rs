//! Containers that end, fall ill, or go missing.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{eventually, on_both, on_sqlite, within};

/// A restart policy that gives up soon.
fn hasty(max_crashes: u32) -> Value {
    json!({"max_crashes": max_crashes, "backoff": "10ms", "max_backoff": "20ms"})
}

#[tokio::test]
async fn a_crash_loop_fails_with_the_last_lines_of_the_log() {
    on_both(async |site| {
        let operator = site.operator();
        site.engine.image("bad").exits(3).logs(["reading config", "fatal: no key"]);
        let id = operator.create("claw", json!({"image": "bad", "restart": hasty(4)})).await;
        let row = operator.until("claw", "failed").await;
        let text = row["message"].as_str().unwrap();
        assert!(text.contains("crash loop") && text.contains("fatal: no key"), "{text}");
        assert_eq!((&row["exit_code"], site.engine.starts(id)), (&json!(3), 4));
        // Repaired and started again it has a fresh set of tries.
        site.engine.image("bad");
        operator.post("/v1/instances/claw/start", json!({})).await.expect(202);
        let row = operator.until("claw", "ready").await;
        assert_eq!((&row["crashes"], row.get("message")), (&json!(0), None), "{row}");
    })
    .await;
}

#[tokio::test]
async fn exit_codes_have_classes() {
    on_sqlite(async |site| {
        let operator = site.operator();
        site.engine.image("done").exits(0);
        site.engine.image("fatal").exits(78).logs(["bad config"]);
        site.engine.image("one").exits(1);
        for (name, image, restart, state, words) in [
            ("a", "done", json!({"mode": "on_failure"}), "stopped", "its work is done"),
            ("b", "done", json!({"mode": "never"}), "stopped", "its work is done"),
            ("c", "fatal", json!({"fatal_exit_codes": [78]}), "failed", "bad config"),
            ("d", "one", json!({"mode": "never"}), "failed", "never"),
            ("e", "done", hasty(3), "failed", "crash loop"),
        ] {
            let id = operator.create(name, json!({"image": image, "restart": restart})).await;
            let row = operator.until(name, state).await;
            assert!(row["message"].as_str().unwrap().contains(words), "{name}: {row}");
            if name != "e" {
                assert_eq!(site.engine.starts(id), 1, "{name}");
            }
        }
        let row = operator.show("a").await;
        assert_eq!((&row["desired"], &row["exit_code"]), (&json!("stopped"), &json!(0)));
    })
    .await;
}

#[tokio::test]
async fn a_container_that_is_taken_away_is_back_within_two_seconds() {
    on_both(async |site| {
        let operator = site.operator();
        let id = operator.ready("claw", json!({"volumes": [{"name": "d", "path": "/d"}]})).await;
        let first = site.engine.engine_id(id);
        site.engine.lose(id);
        within(Duration::from_secs(2), "it runs again", async || {
            if site.engine.running(id) { Ok(()) } else { Err("gone".into()) }
        })
        .await;
        assert_ne!(site.engine.engine_id(id), first);
        let row = operator.until("claw", "ready").await;
        assert_eq!(row["desired"], "running");
        // One whose policy is `never` is reported instead.
        let never = operator.ready("never", json!({"restart": {"mode": "never"}})).await;
        site.engine.lose(never);
        let row = operator.until_within(Duration::from_secs(2), "never", "failed").await;
        assert!(row["message"].as_str().unwrap().contains("removed by somebody else"), "{row}");
        // A stopped one needs no container.
        operator.stream("POST", "/v1/instances/claw/stop", None).await.all().await;
        site.engine.lose(id);
        site.engine.nudge();
        operator.stream("POST", "/v1/instances/claw/start", None).await.all().await;
        assert!(site.engine.running(id));
    })
    .await;
}

#[tokio::test]
async fn a_lost_event_is_made_good_by_the_next_look() {
    on_sqlite(async |site| {
        let operator = site.operator();
        let id = operator.ready("claw", json!({})).await;
        site.engine.crash(id, 9);
        eventually(
            "it runs again",
            async || {
                if site.engine.starts(id) == 2 { Ok(()) } else { Err("not yet".into()) }
            },
        )
        .await;
        let row = operator.until("claw", "ready").await;
        assert_eq!((&row["crashes"], &row["exit_code"]), (&json!(1), &json!(9)));
    })
    .await;
}

#[tokio::test]
async fn a_failing_readiness_probe_makes_it_unhealthy_and_back() {
    on_both(async |site| {
        let operator = site.operator();
        let readiness = json!({"check": {"tcp": {"port": "http"}}, "interval": "100ms", "timeout": "100ms", "start_period": "0s", "retries": 2});
        let id = operator.ready("claw", json!({"readiness": readiness})).await;
        site.engine.sicken(id, "503 overloaded");
        let row = operator.until("claw", "unhealthy").await;
        assert!(row["message"].as_str().unwrap().contains("503 overloaded"), "{row}");
        site.engine.recover(id);
        let row = operator.until("claw", "ready").await;
        assert_eq!((row.get("message"), site.engine.starts(id)), (None, 1));
        // Unhealthy for too long counts as a crash.
        site.engine.sicken(id, "dead");
        operator.until("claw", "unhealthy").await;
        site.clock.forward(Duration::from_secs(601));
        eventually("it is started again", async || {
            if site.engine.starts(id) == 2 { Ok(()) } else { Err(operator.show("claw").await.to_string()) }
        })
        .await;
        operator.until("claw", "ready").await;
    })
    .await;
}

#[tokio::test]
async fn a_start_that_never_gets_ready_fails_in_time_and_says_why() {
    on_both(async |site| {
        let operator = site.operator();
        site.engine.image("wrong").ill("404 not found").logs(["listening on 8080"]);
        let startup = json!({"check": {"http": {"port": "http", "path": "/health"}}, "interval": "100ms", "timeout": "100ms", "start_period": "1s", "retries": 1});
        let restart = hasty(2);
        let id = operator.create("claw", json!({"image": "wrong", "startup": startup, "restart": restart})).await;
        for _ in 0..2 {
            eventually("its probe's answer is shown", async || {
                let row = operator.show("claw").await;
                if row["state"] == "starting" && row["message"] == "404 not found" { Ok(()) } else { Err(row.to_string()) }
            })
            .await;
            // Its bound: start period, one try and ten seconds.
            site.clock.forward(Duration::from_secs(12));
            site.engine.nudge();
            eventually("the bound is taken notice of", async || {
                let row = operator.show("claw").await;
                if row["message"] == "404 not found" { Err(row.to_string()) } else { Ok(()) }
            })
            .await;
        }
        let row = operator.until("claw", "failed").await;
        let text = row["message"].as_str().unwrap();
        assert!(text.contains("did not become ready in time") && text.contains("404 not found") && text.contains("listening on 8080"), "{text}");
        assert_eq!(site.engine.starts(id), 2);
        eventually("it does not run on", async || {
            if site.engine.running(id) { Err("it runs".into()) } else { Ok(()) }
        })
        .await;
    })
    .await;
}
