//! An engine that is away, hangs, or holds what nobody wants.

use std::time::Duration;

use ryokan_model::{InstanceId, Millis, ProjectId};
use ryokan_ports::Runtime as _;
use ryokan_ports::fake::Call;
use ryokan_ports::runtime::RuntimeError;
use serde_json::json;

use crate::support::{eventually, on_both, on_sqlite, within};

#[tokio::test]
async fn created_while_the_engine_is_down_it_waits_and_gets_ready() {
    on_both(async |site| {
        let operator = site.operator();
        site.engine.down();
        let body = json!({"name": "claw", "image": "img"});
        let mut stream = operator.stream("POST", "/v1/instances", Some(body)).await;
        assert_eq!(stream.next().await.unwrap().name, "created");
        eventually("it says what it waits for", async || {
            let row = operator.show("claw").await;
            let text = row["message"].as_str().unwrap_or_default();
            if text.contains("engine does not answer") { Ok(()) } else { Err(row.to_string()) }
        })
        .await;
        let readiness = site.anonymous().get("/readyz").await.expect(503);
        assert_eq!(readiness["capabilities"][1]["name"], "runtime");
        assert_eq!(readiness["capabilities"][1]["ready"], false);
        // However long it takes: tries while the engine is away do not count.
        for _ in 0..12 {
            // Less than a lease: one that ran out would be a worker that fell silent.
            site.clock.forward(Duration::from_secs(20));
            let before = site.engine.calls(Call::FindImage);
            let jobs = site.app().store.clone();
            // A change of the queue wakes the worker, whose sleep the moved clock does not shorten.
            jobs.write(|tx| {
                let _: () = tx.notify(ryokan_store::JOBS);
                Ok::<_, ryokan_store::StoreError>(())
            })
            .await
            .unwrap();
            eventually("the image is asked for again", async || {
                if site.engine.calls(Call::FindImage) > before { Ok(()) } else { Err("not yet".into()) }
            })
            .await;
        }
        assert_ne!(operator.show("claw").await["state"], "failed");
        site.engine.up();
        assert_eq!(stream.all().await.last().unwrap().name, "ready");
        eventually("ready again", async || {
            let reply = site.anonymous().get("/readyz").await;
            if reply.status == 200 { Ok(()) } else { Err(reply.text) }
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn an_engine_that_goes_and_comes_back_finds_everything_as_it_was() {
    on_both(async |site| {
        let operator = site.operator();
        let id = operator.ready("claw", json!({})).await;
        site.engine.down();
        eventually("its absence is noticed", async || {
            let reply = site.anonymous().get("/readyz").await;
            if reply.status == 503 { Ok(()) } else { Err(reply.text) }
        })
        .await;
        // A start of the server in between must not take the silence for a loss, either.
        site.restart().await;
        let operator = site.operator();
        assert_eq!(operator.show("claw").await["state"], "ready");
        site.engine.up();
        eventually("its return is noticed", async || {
            let reply = site.anonymous().get("/readyz").await;
            if reply.status == 200 { Ok(()) } else { Err(reply.text) }
        })
        .await;
        let row = operator.show("claw").await;
        assert_eq!(
            (&row["state"], &row["crashes"], site.engine.starts(id)),
            (&json!("ready"), &json!(0), 1),
            "{row}"
        );
    })
    .await;
}

#[tokio::test]
async fn orders_given_while_it_is_down_are_carried_out_when_it_is_back() {
    on_sqlite(async |site| {
        let operator = site.operator();
        let stopped = operator.ready("stopped", json!({})).await;
        let deleted = operator.ready("deleted", json!({})).await;
        site.engine.down();
        operator.post("/v1/instances/stopped/stop", json!({})).await.expect(202);
        operator.delete("/v1/instances/deleted").await.expect(202);
        site.engine.up();
        operator.until("stopped", "stopped").await;
        operator.until_gone("deleted").await;
        assert!(!site.engine.running(stopped) && !site.engine.exists(deleted));
    })
    .await;
}

#[tokio::test]
async fn forced_deletion_works_with_a_dead_and_with_a_hanging_engine() {
    on_both(async |site| {
        let operator = site.operator();
        for hanging in [false, true] {
            let id = operator.ready("claw", json!({"volumes": [{"name": "d", "path": "/d"}]})).await;
            if hanging {
                site.engine.hang_all();
            } else {
                site.engine.down();
            }
            let begin = std::time::Instant::now();
            let events = operator.stream("DELETE", "/v1/instances/claw?force=true", None).await.all().await;
            assert_eq!(events.last().unwrap().name, "deleted", "{events:?}");
            assert!(
                begin.elapsed() < Duration::from_secs(2),
                "it waited for the engine: {:?}",
                begin.elapsed()
            );
            operator.get("/v1/instances/claw").await.expect(404);
            assert!(site.engine.exists(id));
            // The name is free at once.
            let again = operator.create("claw", json!({})).await;
            site.engine.heal();
            site.engine.up();
            within(Duration::from_secs(10), "what was left is removed", async || {
                if site.engine.exists(id) || site.engine.has_volume(id) {
                    Err("it is there".into())
                } else {
                    Ok(())
                }
            })
            .await;
            operator.until("claw", "ready").await;
            assert!(site.engine.running(again));
            operator.delete("/v1/instances/claw").await.expect(202);
            operator.until_gone("claw").await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_forced_deletion_overtakes_one_that_hangs() {
    on_sqlite(async |site| {
        let operator = site.operator();
        let id = operator.ready("claw", json!({})).await;
        site.engine.stick(id);
        operator.delete("/v1/instances/claw").await.expect(202);
        operator.until("claw", "deleting").await;
        operator.delete("/v1/instances/claw?force=true").await.expect(202);
        operator.get("/v1/instances/claw").await.expect(404);
        site.engine.heal();
        within(Duration::from_secs(20), "the container goes", async || {
            if site.engine.exists(id) { Err("it is there".into()) } else { Ok(()) }
        })
        .await;
        let kinds: Vec<_> = site.events().await.iter().map(|e| e["kind"].clone()).collect();
        assert_eq!(kinds.iter().filter(|k| **k == "instance.deleted").count(), 1, "{kinds:?}");
    })
    .await;
}

#[tokio::test]
async fn orphans_go_and_volumes_without_a_tombstone_never() {
    on_both(async |site| {
        let operator = site.operator();
        let id = operator.ready("claw", json!({})).await;
        // A database that was restored from an older copy knows neither of them.
        let mut workload = site.engine.workload(id).unwrap();
        workload.instance = InstanceId::from_parts(Millis(1), [7; 10]);
        workload.project = ProjectId::from_parts(Millis(1), [7; 10]);
        let (orphan, volume) = (workload.instance, InstanceId::from_parts(Millis(2), [8; 10]));
        site.keeps_volume(orphan);
        site.keeps_volume(volume);
        site.stop().await;
        site.engine.ensure(&workload).await.unwrap();
        site.engine.add_volume(orphan);
        site.engine.add_volume(volume);
        site.start().await;
        eventually("the orphan goes", async || {
            if site.engine.exists(orphan) { Err("it is there".into()) } else { Ok(()) }
        })
        .await;
        site.restart().await;
        assert!(site.engine.has_volume(orphan) && site.engine.has_volume(volume), "a disk was removed");
        assert!(site.engine.running(id));
    })
    .await;
}

#[tokio::test]
async fn an_image_that_vanishes_again_and_again_is_not_fetched_for_ever() {
    on_both(async |site| {
        let operator = site.operator();
        site.engine.image("img:2").vanishes();
        let id = operator.create("claw", json!({"image": "img:2"})).await;
        let row = eventually("it is given up", async || {
            // Less than a lease at a time.
            site.clock.forward(Duration::from_secs(2));
            let jobs = site.app().store.clone();
            jobs.write(|tx| {
                let _: () = tx.notify(ryokan_store::JOBS);
                Ok::<_, ryokan_store::StoreError>(())
            })
            .await
            .unwrap();
            site.engine.nudge();
            let row = operator.show("claw").await;
            if row["state"] == "failed" { Ok(row) } else { Err(row.to_string()) }
        })
        .await;
        assert!(row["message"].as_str().unwrap().contains("vanishes from the engine"), "{row}");
        assert_eq!(
            (site.engine.calls_about(Call::Ensure, id), site.engine.calls_about(Call::FindImage, "img:2")),
            (11, 11)
        );
        // It took its time: not all tries in a row.
        assert!(row["since"].as_i64().unwrap() - row["created_at"].as_i64().unwrap() > 200_000, "{row}");
        site.engine.image("img:2");
        operator.post("/v1/instances/claw/start", json!({})).await.expect(202);
        operator.until("claw", "ready").await;
    })
    .await;
}

#[tokio::test]
async fn a_server_that_stops_lets_go_of_the_engine() {
    on_sqlite(async |site| {
        let operator = site.operator();
        let id = operator.ready("claw", json!({})).await;
        assert_eq!(site.engine.calls(Call::Close), 0);
        site.restart().await;
        assert_eq!(site.engine.calls(Call::Close), 1);
        assert!(site.engine.running(id), "its containers go on");
        site.engine.hang_all();
        site.restart().await;
        assert_eq!(site.engine.calls(Call::Close), 2);
    })
    .await;
}

#[tokio::test]
async fn a_volume_that_lost_its_labels_goes_with_its_instance_and_no_other_does() {
    on_both(async |site| {
        let operator = site.operator();
        let (gone, kept) = (operator.ready("gone", json!({})).await, operator.ready("kept", json!({})).await);
        let lives = operator.ready("lives", json!({})).await;
        let foreign = InstanceId::from_parts(Millis(1), [9; 10]);
        for id in [gone, kept, lives, foreign] {
            site.engine.add_torn_volume(id, Millis(1));
        }
        operator.delete("/v1/instances/kept?force=true&keep_volumes=true").await.expect(202);
        operator.delete("/v1/instances/gone?force=true").await.expect(202);
        eventually("the volume goes", async || {
            if site.engine.has_torn_volume(gone) { Err("it is there".into()) } else { Ok(()) }
        })
        .await;
        // Brought back under the old name.
        site.engine.add_torn_volume(gone, Millis(i64::MAX));
        site.restart().await;
        let operator = site.operator();
        for id in [gone, kept, lives, foreign] {
            assert!(site.engine.has_torn_volume(id), "{id}: a disk was removed");
        }
        for id in [gone, kept, foreign] {
            site.keeps_volume(id);
        }
        operator.show("lives").await;
    })
    .await;
}

#[tokio::test]
async fn every_state_has_an_end_when_the_engine_hangs() {
    on_sqlite(async |site| {
        let operator = site.operator();
        let id = operator.ready("claw", json!({"stop_grace": "1s"})).await;
        site.engine.stick(id);
        operator.post("/v1/instances/claw/stop", json!({})).await.expect(202);
        operator.until("claw", "stopping").await;
        site.clock.forward(Duration::from_secs(40));
        site.engine.nudge();
        let row = operator.until("claw", "failed").await;
        assert!(row["message"].as_str().unwrap().contains("stopped as soon as the engine answers"), "{row}");
        site.engine.heal();
        site.clock.forward(Duration::from_secs(40));
        site.engine.nudge();
        operator.until("claw", "stopped").await;
        assert!(!site.engine.running(id));
    })
    .await;
}

#[tokio::test]
async fn a_clock_that_jumps_costs_no_start_and_holds_up_no_probe() {
    on_sqlite(async |site| {
        let operator = site.operator();
        site.engine.image("slow").ill("not yet");
        let startup = json!({"check": {"http": {"port": "http", "path": "/health"}}, "interval": "100ms", "timeout": "100ms", "start_period": "1m", "retries": 1});
        let id = operator.create("claw", json!({"image": "slow", "startup": startup})).await;
        operator.until("claw", "starting").await;
        let hours = 2 * 3_600_000;
        for by in [hours, -hours, -hours, hours] {
            site.clock.jump(by);
            site.engine.nudge();
            let before = site.engine.calls(Call::Probe);
            eventually("it is asked again", async || {
                let probes = site.engine.calls(Call::Probe) - before;
                if probes > 3 { Ok(()) } else { Err(format!("{probes} probes after a jump by {by} ms")) }
            })
            .await;
        }
        site.engine.recover(id);
        let row = operator.until("claw", "ready").await;
        assert_eq!((site.engine.starts(id), &row["crashes"]), (1, &json!(0)));
    })
    .await;
}

#[tokio::test]
async fn what_was_put_off_by_a_clock_that_was_ahead_does_not_wait_for_it() {
    on_both(async |site| {
        let operator = site.operator();
        let crashed = operator.ready("crashed", json!({"restart": {"backoff": "10s"}})).await;
        let hour = 3_600_000;
        site.clock.jump(hour);
        site.engine.fail(Call::FindImage, RuntimeError::Unavailable("away".into()));
        operator.create("fetched", json!({})).await;
        eventually("its image's job waits", async || {
            let row = operator.show("fetched").await;
            let text = row["message"].as_str().unwrap_or_default();
            if text.contains("trying again") { Ok(()) } else { Err(row.to_string()) }
        })
        .await;
        site.engine.crash(crashed, 1);
        site.engine.nudge();
        operator.until("crashed", "pending").await;
        site.clock.jump(-hour);
        site.engine.heal();
        operator.until("fetched", "ready").await;
        operator.until("crashed", "ready").await;
    })
    .await;
}
