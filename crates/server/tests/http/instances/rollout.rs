//! Updates beside what runs: nobody meets an agent that is not ready.

use ryokan_model::InstanceId;
use ryokan_ports::fake::Call;
use ryokan_ports::runtime::RuntimeError;
use serde_json::{Value, json};

use crate::support::{Client, Site, eventually, on_both, on_sqlite};

fn served() -> Value {
    json!({"ports": [{"name": "http", "port": 80}]})
}

pub(super) async fn running(site: &Site, id: InstanceId, generations: &[i64]) {
    eventually("containers run", async || {
        let running = site.engine.running_generations(id);
        if running == generations { Ok(()) } else { Err(format!("{running:?}, not {generations:?}")) }
    })
    .await;
}

/// Until the message of an instance that stays ready has this in it.
async fn says(operator: &Client, text: &str) -> Value {
    eventually("its message changes", async || {
        let row = operator.show("claw").await;
        assert_eq!(row["state"], "ready", "{row}");
        if row["message"].as_str().is_some_and(|m| m.contains(text)) { Ok(row) } else { Err(row.to_string()) }
    })
    .await
}

/// Begins an update to an image that is ready only when a test says so.
async fn begins(site: &Site, operator: &Client, image: &str) {
    site.engine.image(image).ill("warming up");
    operator.patch("/v1/instances/claw", json!({"image": image})).await.expect(202);
}

async fn kinds(site: &Site, kind: &str) -> usize {
    site.events().await.iter().filter(|event| event["kind"] == kind).count()
}

#[tokio::test]
async fn the_old_one_serves_until_the_new_one_is_ready() {
    on_both(async |site| {
        let operator = site.operator();
        let id = operator.ready("claw", served()).await;
        let first = site.engine.engine_id(id);
        site.engine.image("img:2").ill("warming up");
        operator
            .patch("/v1/instances/claw", json!({"image": "img:2", "secret_env": {"K": "new"}}))
            .await
            .expect(202);
        running(site, id, &[1, 2]).await;
        let row = says(&operator, "warming up").await;
        assert_eq!((&row["generation"], &row["endpoints"]["http"]), (&json!(2), &row["endpoints"]["http"]));
        assert_eq!(site.engine.engine_id(id), first, "all calls still mean the old one");
        site.engine.recover(id);
        running(site, id, &[2]).await;
        let row = operator.until("claw", "ready").await;
        assert_eq!((&row["message"], &row["spec"]["image"]), (&Value::Null, &json!("img:2")), "{row}");
        assert_eq!(site.engine.workload(id).unwrap().secret_env["K"].expose(), "new");
        assert_eq!(kinds(site, "instance.rolled_out").await, 1);
        for never in ["instance.pending", "instance.starting"] {
            assert_eq!(kinds(site, never).await, 1, "{never}: only at its creation");
        }
        let revisions = operator.get("/v1/instances/claw/revisions").await.expect(200);
        let states: Vec<_> =
            revisions["items"].as_array().unwrap().iter().map(|r| r["state"].clone()).collect();
        assert_eq!(states, ["live", "superseded"]);
    })
    .await;
}

#[tokio::test]
async fn one_that_crashes_is_taken_back_and_the_old_one_never_stopped() {
    on_both(async |site| {
        let operator = site.operator();
        let mut made = served();
        made["secret_env"] = json!({"K": "old"});
        let id = operator.ready("claw", made).await;
        let (first, starts) = (site.engine.engine_id(id), site.engine.starts(id));
        site.engine.image("img:2").exits(9).logs(["the kettle is broken"]);
        let change = json!({"image": "img:2", "secret_env": {"K": "new"}, "restart": {"backoff": "10ms"}});
        let events = operator.stream("PATCH", "/v1/instances/claw", Some(change)).await.all().await;
        let last = events.last().unwrap();
        assert_eq!(last.name, "error", "{events:?}");
        let why = last.data["message"].as_str().unwrap();
        for part in ["taken back", "3 times", "exited with code 9", "the kettle is broken"] {
            assert!(why.contains(part), "{part}: {why}");
        }
        running(site, id, &[1]).await;
        eventually("the candidate is gone", async || {
            let left = site.engine.leftovers().into_iter().filter(|l| l.starts_with("container")).count();
            if left == 1 { Ok(()) } else { Err(format!("{left} containers")) }
        })
        .await;
        assert_eq!((site.engine.engine_id(id), site.engine.starts(id)), (first, starts));
        let row = operator.show("claw").await;
        assert_eq!(
            (&row["state"], &row["generation"], &row["spec"]["image"]),
            (&json!("ready"), &json!(1), &json!("img"))
        );
        // What runs is started again with what it had.
        site.engine.crash(id, 1);
        running(site, id, &[1]).await;
        operator.until("claw", "ready").await;
        assert_eq!(site.engine.workload(id).unwrap().secret_env["K"].expose(), "old");
        // The next is a new one.
        site.engine.image("img:3");
        let events =
            operator.stream("PATCH", "/v1/instances/claw", Some(json!({"image": "img:3"}))).await.all().await;
        assert_eq!(events.last().unwrap().name, "ready", "{events:?}");
        running(site, id, &[3]).await;
    })
    .await;
}

#[tokio::test]
async fn one_that_never_gets_ready_is_taken_back_in_time() {
    on_sqlite(async |site| {
        let operator = site.operator();
        let mut made = served();
        let check = json!({"tcp": {"port": "http"}});
        made["startup"] =
            json!({"check": check, "interval": "1s", "timeout": "1s", "retries": 1, "start_period": "0s"});
        let id = operator.ready("claw", made).await;
        site.engine.image("img:2").ill("warming up");
        operator.patch("/v1/instances/claw", json!({"image": "img:2"})).await.expect(202);
        says(&operator, "warming up").await;
        site.clock.forward(std::time::Duration::from_secs(13));
        running(site, id, &[1]).await;
        let row = operator.show("claw").await;
        assert_eq!((&row["state"], &row["generation"]), (&json!("ready"), &json!(1)), "{row}");
        let why = row["update_error"].as_str().unwrap();
        assert!(why.contains("did not become ready in time") && why.contains("warming up"), "{why}");
    })
    .await;
}

#[tokio::test]
async fn another_update_on_the_way_takes_the_candidates_place() {
    on_both(async |site| {
        let operator = site.operator();
        let id = operator.ready("claw", served()).await;
        begins(site, &operator, "img:2").await;
        running(site, id, &[1, 2]).await;
        begins(site, &operator, "img:3").await;
        running(site, id, &[1, 3]).await;
        // One without an image takes nothing with it, and goes back to what serves, not to what never did.
        let events = operator
            .stream("PATCH", "/v1/instances/claw", Some(json!({"image": "none:1"})))
            .await
            .all()
            .await;
        assert_eq!(events.last().unwrap().name, "error", "{events:?}");
        running(site, id, &[1]).await;
        let row = operator.show("claw").await;
        assert_eq!((&row["state"], &row["spec"]["image"]), (&json!("ready"), &json!("img")), "{row}");
    })
    .await;
}

#[tokio::test]
async fn when_the_old_one_ends_the_new_one_takes_its_place() {
    on_sqlite(async |site| {
        let operator = site.operator();
        let id = operator.ready("claw", served()).await;
        begins(site, &operator, "img:2").await;
        running(site, id, &[1, 2]).await;
        site.engine.crash(id, 1);
        site.engine.image("img:2");
        operator.until("claw", "ready").await;
        running(site, id, &[2]).await;
        assert_eq!(operator.show("claw").await["spec"]["image"], "img:2");
    })
    .await;
}

#[tokio::test]
async fn stopping_and_deleting_end_both() {
    on_sqlite(async |site| {
        let operator = site.operator();
        let id = operator.ready("claw", served()).await;
        begins(site, &operator, "img:2").await;
        running(site, id, &[1, 2]).await;
        operator.stream("POST", "/v1/instances/claw/stop", None).await.all().await;
        running(site, id, &[]).await;
        site.engine.image("img:2");
        operator.stream("POST", "/v1/instances/claw/start", None).await.all().await;
        running(site, id, &[2]).await;
        begins(site, &operator, "img:3").await;
        running(site, id, &[2, 3]).await;
        operator.stream("DELETE", "/v1/instances/claw", None).await.all().await;
        assert!(!site.engine.exists(id), "{:?}", site.engine.leftovers());
    })
    .await;
}

#[tokio::test]
async fn an_engine_that_cannot_start_it_yet_is_asked_again_and_the_old_one_serves() {
    on_sqlite(async |site| {
        let operator = site.operator();
        let id = operator.ready("claw", served()).await;
        site.engine.fail(Call::Ensure, RuntimeError::Exhausted("memory".into()));
        site.engine.image("img:2");
        operator.patch("/v1/instances/claw", json!({"image": "img:2"})).await.expect(202);
        says(&operator, "out of memory").await;
        running(site, id, &[1]).await;
        site.engine.heal();
        running(site, id, &[2]).await;
        // And one that the engine never starts is taken back.
        site.engine.image("odd").refuses("args", "no such program");
        let events =
            operator.stream("PATCH", "/v1/instances/claw", Some(json!({"image": "odd"}))).await.all().await;
        assert!(events.last().unwrap().data["message"].as_str().unwrap().contains("no such program"));
        running(site, id, &[2]).await;
    })
    .await;
}

#[tokio::test]
async fn two_never_write_to_one_volume_unless_told_that_they_may() {
    on_sqlite(async |site| {
        let operator = site.operator();
        let mut made = served();
        made["volumes"] = json!([{"name": "d", "path": "/d"}]);
        let id = operator.ready("claw", made).await;
        begins(site, &operator, "img:2").await;
        running(site, id, &[2]).await;
        site.engine.recover(id);
        operator.until("claw", "ready").await;
        operator.patch("/v1/instances/claw", json!({"single_writer": false})).await.expect(202);
        operator.until("claw", "ready").await;
        let generation = operator.show("claw").await["generation"].as_i64().unwrap();
        running(site, id, &[generation]).await;
        begins(site, &operator, "img:3").await;
        running(site, id, &[generation, generation + 1]).await;
    })
    .await;
}
