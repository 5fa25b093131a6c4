//! Stop, start, restart, delete: idempotent, and never stuck.

use ryokan_ports::fake::Call;
use serde_json::json;

use crate::support::client::names;
use crate::support::{eventually, on_both, on_sqlite};

#[tokio::test]
async fn stop_start_and_restart_are_idempotent_and_keep_the_container() {
    on_both(async |site| {
        let operator = site.operator();
        let id = operator.ready("claw", json!({"volumes": [{"name": "d", "path": "/d"}]})).await;
        let container = site.engine.engine_id(id);
        for _ in 0..2 {
            let events = operator.stream("POST", "/v1/instances/claw/stop", None).await.all().await;
            assert_eq!(events.last().unwrap().name, "stopped", "{events:?}");
        }
        assert!(!site.engine.running(id) && site.engine.exists(id) && site.engine.has_volume(id));
        for _ in 0..2 {
            let events = operator.stream("POST", "/v1/instances/claw/start", None).await.all().await;
            assert_eq!(events.last().unwrap().name, "ready", "{events:?}");
        }
        assert_eq!(site.engine.starts(id), 2, "a start of a running one starts nothing");
        let events = operator.stream("POST", "/v1/instances/claw/restart", None).await.all().await;
        assert_eq!(events.last().unwrap().name, "ready", "{events:?}");
        assert_eq!((site.engine.starts(id), site.engine.engine_id(id)), (3, container));
        // A restart of a stopped one starts it.
        operator.stream("POST", "/v1/instances/claw/stop", None).await.all().await;
        let events = operator.stream("POST", "/v1/instances/claw/restart", None).await.all().await;
        assert_eq!(events.last().unwrap().name, "ready", "{events:?}");
        let kinds: Vec<_> =
            site.events().await.iter().map(|e| e["kind"].as_str().unwrap().to_owned()).collect();
        let count = |kind: &str| kinds.iter().filter(|k| *k == kind).count();
        assert_eq!(count("instance.stop_requested"), 2, "what changed nothing is no event: {kinds:?}");
        assert_eq!(count("instance.restart_requested"), 1);
        assert_eq!(count("instance.start_requested"), 2);
    })
    .await;
}

#[tokio::test]
async fn contradicting_orders_end_with_the_last_one() {
    on_both(async |site| {
        let operator = site.operator();
        let id = operator.ready("claw", json!({})).await;
        for _ in 0..10 {
            operator.post("/v1/instances/claw/stop", json!({})).await.expect(202);
            operator.post("/v1/instances/claw/restart", json!({})).await.expect(202);
            operator.post("/v1/instances/claw/start", json!({})).await.expect(202);
        }
        operator.post("/v1/instances/claw/stop", json!({})).await.expect(202);
        operator.until("claw", "stopped").await;
        eventually("the container is stopped", async || {
            if site.engine.running(id) { Err("it runs".into()) } else { Ok(()) }
        })
        .await;
        operator.post("/v1/instances/claw/start", json!({})).await.expect(202);
        operator.until("claw", "ready").await;
        assert!(site.engine.running(id));
    })
    .await;
}

#[tokio::test]
async fn a_stop_during_the_pull_and_during_the_start_wins() {
    on_sqlite(async |site| {
        let operator = site.operator();
        site.engine.image("slow").pull_waits();
        let id = operator.create("claw", json!({"image": "slow"})).await;
        operator.until("claw", "building").await;
        operator.stream("POST", "/v1/instances/claw/stop", None).await.all().await;
        assert_eq!(operator.show("claw").await["state"], "stopped");
        site.engine.heal();
        operator.post("/v1/instances/claw/start", json!({})).await.expect(202);
        operator.until("claw", "ready").await;
        operator.stream("POST", "/v1/instances/claw/stop", None).await.all().await;
        site.engine.set_start_delay(std::time::Duration::from_millis(300));
        operator.post("/v1/instances/claw/start", json!({})).await.expect(202);
        eventually("a start is under way", async || {
            if site.engine.calls(Call::Ensure) >= 2 { Ok(()) } else { Err("not yet".into()) }
        })
        .await;
        operator.stream("POST", "/v1/instances/claw/stop", None).await.all().await;
        eventually("it is stopped for good", async || {
            let state = operator.show("claw").await["state"].clone();
            if !site.engine.running(id) && state == "stopped" { Ok(()) } else { Err(state.to_string()) }
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_follower_of_a_start_learns_that_it_was_stopped_or_deleted() {
    on_sqlite(async |site| {
        let operator = site.operator();
        site.engine.image("slow").pull_waits();
        let body = json!({"name": "a", "image": "slow"});
        let following = operator.stream("POST", "/v1/instances", Some(body)).await;
        operator.post("/v1/instances/a/stop", json!({})).await.expect(202);
        let events = following.all().await;
        let last = events.last().unwrap();
        assert_eq!(
            (last.name.as_str(), &last.data["message"]),
            ("error", &json!("the instance was stopped"))
        );
        let body = json!({"name": "b", "image": "slow"});
        let following = operator.stream("POST", "/v1/instances", Some(body)).await;
        operator.delete("/v1/instances/b?force=true").await.expect(202);
        let events = following.all().await;
        assert_eq!(names(&events).last(), Some(&"error"));
    })
    .await;
}

#[tokio::test]
async fn deleting_removes_volumes_unless_they_are_kept_and_forcing_does_not_change_that() {
    on_both(async |site| {
        let operator = site.operator();
        let volume = json!({"volumes": [{"name": "d", "path": "/d"}]});
        let gone = operator.ready("gone", volume.clone()).await;
        let kept = operator.ready("kept", volume.clone()).await;
        let forced = operator.ready("forced", volume).await;
        site.keeps_volume(kept);
        site.keeps_volume(forced);
        operator.delete("/v1/instances/gone").await.expect(202);
        operator.delete("/v1/instances/kept?keep_volumes=true").await.expect(202);
        site.engine.stick(forced);
        operator.delete("/v1/instances/forced?keep_volumes=true").await.expect(202);
        operator.delete("/v1/instances/forced").await.expect(202);
        operator.delete("/v1/instances/forced?force=true").await.expect(202);
        site.engine.heal();
        for name in ["gone", "kept", "forced"] {
            operator.until_gone(name).await;
        }
        eventually("the engine is rid of them", async || {
            let left = [gone, kept, forced].iter().filter(|id| site.engine.exists(**id)).count();
            if left == 0 { Ok(()) } else { Err(format!("{left} containers")) }
        })
        .await;
        site.engine.nudge();
        assert!(!site.engine.has_volume(gone));
        assert!(site.engine.has_volume(kept) && site.engine.has_volume(forced));
        operator.delete("/v1/instances/gone").await.expect(404);
        operator.post("/v1/instances/gone/start", json!({})).await.expect(404);
    })
    .await;
}

#[tokio::test]
async fn what_is_being_deleted_takes_no_orders() {
    on_sqlite(async |site| {
        let operator = site.operator();
        let id = operator.ready("claw", json!({})).await;
        site.engine.stick(id);
        operator.delete("/v1/instances/claw").await.expect(202);
        operator.delete("/v1/instances/claw").await.expect(202);
        for verb in ["stop", "start", "restart"] {
            operator.post(&format!("/v1/instances/claw/{verb}"), json!({})).await.expect(409);
        }
        operator.patch("/v1/instances/claw", json!({"cpus": "2"})).await.expect(409);
        site.engine.heal();
        operator.until_gone("claw").await;
    })
    .await;
}

#[tokio::test]
async fn one_container_that_hangs_holds_up_nobody_else() {
    on_sqlite(async |site| {
        let operator = site.operator();
        let stuck = operator.ready("stuck", json!({})).await;
        site.engine.stick(stuck);
        operator.delete("/v1/instances/stuck?force=true").await.expect(202);
        operator.until_gone("stuck").await;
        let other = operator.ready("stuck", json!({})).await;
        operator.until_within(std::time::Duration::from_secs(3), "stuck", "ready").await;
        assert!(site.engine.running(other));
        site.engine.heal();
        eventually("the orphan goes", async || {
            if site.engine.exists(stuck) { Err("it is there".into()) } else { Ok(()) }
        })
        .await;
    })
    .await;
}
