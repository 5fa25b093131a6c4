//! Servers that stop, start again, and share a database.

use ryokan_ports::fake::Call;
use serde_json::json;

use crate::support::{Client, eventually, on_both, on_postgres_only, on_sqlite};

#[tokio::test]
async fn a_new_server_adopts_what_runs_and_touches_nothing() {
    on_both(async |site| {
        let operator = site.operator();
        let mut ids = Vec::new();
        for name in ["a", "b", "c"] {
            ids.push(operator.ready(name, json!({"readiness": {"check": {"tcp": {"port": "http"}}}})).await);
        }
        operator.stream("POST", "/v1/instances/c/stop", None).await.all().await;
        let before: Vec<_> =
            ids.iter().map(|id| (site.engine.engine_id(*id), site.engine.starts(*id))).collect();
        let (stops, events) = (site.engine.calls(Call::Stop), site.events().await.len());
        for _ in 0..3 {
            site.restart().await;
            eventually("the engine was looked at", async || {
                let reply = site.anonymous().get("/readyz").await;
                if reply.status == 200 { Ok(()) } else { Err(reply.text) }
            })
            .await;
            site.engine.nudge();
            let operator = site.operator();
            for (name, state) in [("a", "ready"), ("b", "ready"), ("c", "stopped")] {
                assert_eq!(operator.show(name).await["state"], state);
            }
        }
        let after: Vec<_> =
            ids.iter().map(|id| (site.engine.engine_id(*id), site.engine.starts(*id))).collect();
        assert_eq!((after, site.engine.calls(Call::Stop)), (before, stops));
        assert_eq!(site.events().await.len(), events, "{:?}", site.events().await.last());
    })
    .await;
}

#[tokio::test]
async fn what_was_under_way_goes_on_after_a_restart() {
    on_both(async |site| {
        let operator = site.operator();
        site.engine.image("slow").pull_waits();
        let pulling = operator.create("pulling", json!({"image": "slow"})).await;
        operator.until("pulling", "building").await;
        let changed = operator.ready("changed", json!({})).await;
        site.stop().await;
        // While no server runs: one container ends, one appears that nobody recorded.
        site.engine.crash(changed, 1);
        site.engine.heal();
        site.start().await;
        let operator = site.operator();
        operator.until("pulling", "ready").await;
        eventually("the one that ended is started", async || {
            if site.engine.starts(changed) == 2 {
                Ok(())
            } else {
                Err(operator.show("changed").await.to_string())
            }
        })
        .await;
        operator.until("changed", "ready").await;
        assert_eq!(site.engine.starts(pulling), 1);
    })
    .await;
}

#[tokio::test]
async fn a_stream_ends_with_a_word_when_the_server_stops() {
    on_sqlite(async |site| {
        let operator = site.operator();
        site.engine.image("slow").pull_waits();
        let body = json!({"name": "claw", "image": "slow"});
        let stream = operator.stream("POST", "/v1/instances", Some(body)).await;
        operator.until("claw", "building").await;
        let ((), events) = tokio::join!(site.stop(), stream.all());
        let last = events.last().unwrap();
        assert_eq!(last.name, "error");
        assert!(last.data["message"].as_str().unwrap().contains("goes on"), "{last:?}");
        site.engine.heal();
        site.start().await;
        site.operator().until("claw", "ready").await;
    })
    .await;
}

#[tokio::test]
async fn two_servers_on_one_database_have_one_leader_and_both_serve() {
    on_postgres_only(async |site| {
        let second = site.beside().await;
        let beside = Client::new(second.address, Some(&site.first_token()));
        let operator = site.operator();
        let mut ids = Vec::new();
        for i in 0..6 {
            let through = if i % 2 == 0 { &operator } else { &beside };
            ids.push(through.create(&format!("a{i}"), json!({})).await);
        }
        for i in 0..6 {
            let through = if i % 2 == 0 { &beside } else { &operator };
            through.until(&format!("a{i}"), "ready").await;
        }
        assert!(ids.iter().all(|id| site.engine.starts(*id) == 1), "something was started twice");
        for client in [&operator, &beside] {
            let reply = client.get("/readyz").await;
            assert_eq!(reply.status, 200, "{}", reply.text);
        }
        // A token that is revoked on one server is refused on the other.
        let token = operator.post("/v1/tokens", json!({"label": "x"})).await.expect(201);
        let its = Client::new(second.address, token["secret"].as_str());
        its.get("/v1/instances").await.expect(200);
        operator.delete(&format!("/v1/tokens/{}", token["id"].as_str().unwrap())).await.expect(204);
        eventually("the other server knows", async || {
            if its.get("/v1/instances").await.status == 401 { Ok(()) } else { Err("let in".into()) }
        })
        .await;
        // The leader goes; the other takes over without touching anything.
        site.stop().await;
        site.engine.lose(ids[0]);
        eventually("the follower leads now", async || {
            if site.engine.running(ids[0]) { Ok(()) } else { Err("not yet".into()) }
        })
        .await;
        beside.until("a0", "ready").await;
        assert!(ids[1..].iter().all(|id| site.engine.starts(*id) == 1));
        assert!(second.stop().await);
        site.start().await;
    })
    .await;
}
