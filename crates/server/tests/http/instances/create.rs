//! Creation: streams, names, keys, quotas, images.

use serde_json::json;

use crate::support::client::names;
use crate::support::{eventually, on_both, on_both_with, on_sqlite};

#[tokio::test]
async fn create_follows_to_ready_and_delete_to_the_end() {
    on_both(async |site| {
        let operator = site.operator();
        let body = json!({"name": "claw", "image": "img", "ports": [{"name": "http", "port": 3000}]});
        let events = operator.stream("POST", "/v1/instances", Some(body)).await.all().await;
        assert_eq!(names(&events), ["created", "pending", "ready"], "{events:?}");
        let port = site.address().port();
        assert_eq!(events.last().unwrap().data["url"], format!("http://claw.localhost:{port}/"));
        let row = operator.show("claw").await;
        assert_eq!(row["image_digest"], "sha256:digest-of-img");
        assert_eq!(
            (&row["reach"], &row["desired"], &row["crashes"]),
            (&json!("bridge"), &json!("running"), &json!(0))
        );
        let id = row["id"].as_str().unwrap().parse().unwrap();
        assert!(site.engine.running(id));
        // By id as by name.
        assert_eq!(operator.show(row["id"].as_str().unwrap()).await["name"], "claw");
        let events = operator.stream("DELETE", "/v1/instances/claw", None).await.all().await;
        assert_eq!(names(&events), ["pending", "deleted"], "{events:?}");
        assert!(!site.engine.exists(id));
        assert_eq!(operator.get("/v1/instances/claw").await.status, 404);
    })
    .await;
}

#[tokio::test]
async fn hanging_up_cancels_nothing_and_keep_alives_come_every_three_seconds() {
    on_sqlite(async |site| {
        let operator = site.operator();
        site.engine.image("slow").pull_waits();
        let body = json!({"name": "claw", "image": "slow"});
        let mut stream = operator.stream("POST", "/v1/instances", Some(body)).await;
        assert_eq!(stream.next().await.unwrap().name, "created");
        let begin = std::time::Instant::now();
        while stream.any().await.unwrap().name != ":" {}
        assert!(begin.elapsed().as_secs_f32() < 4.5, "{:?}", begin.elapsed());
        drop(stream);
        site.engine.heal();
        operator.until("claw", "ready").await;
    })
    .await;
}

#[tokio::test]
async fn progress_of_a_pull_is_in_the_stream() {
    on_sqlite(async |site| {
        let operator = site.operator();
        site.engine.image("slow").pull_waits();
        let body = json!({"name": "claw", "image": "slow"});
        let mut stream = operator.stream("POST", "/v1/instances", Some(body)).await;
        loop {
            let event = stream.next().await.expect("progress before the end");
            if event.data["total"] == 2 {
                assert_eq!(event.name, "pending");
                break;
            }
        }
        assert_eq!(operator.show("claw").await["state"], "building");
        site.engine.heal();
        assert_eq!(stream.all().await.last().unwrap().name, "ready");
    })
    .await;
}

#[tokio::test]
async fn names_are_generated_unique_and_free_again_after_deletion() {
    on_both(async |site| {
        let operator = site.operator();
        let made = operator.post("/v1/instances", json!({"image": "img"})).await.expect(202);
        let name = made["name"].as_str().unwrap();
        assert!(name.starts_with("agent-") && name.len() == 14, "{name}");
        operator.create("claw", json!({})).await;
        let taken = operator.post("/v1/instances", json!({"image": "img", "name": "claw"})).await;
        assert_eq!(taken.expect(409)["code"], "conflict");
        // Names are hosts, so they are one space for all tenants; who has it is not said.
        let alice = site.user("alice").await;
        let taken = alice.post("/v1/instances", json!({"image": "img", "name": "claw"})).await;
        assert_eq!(taken.expect(409)["detail"], "this name is taken; choose another");
        operator.until("claw", "ready").await;
        operator.delete("/v1/instances/claw").await.expect(202);
        operator.until_gone("claw").await;
        let id = alice.create("claw", json!({})).await;
        assert_eq!(alice.show("claw").await["id"], id.to_string());
    })
    .await;
}

#[tokio::test]
async fn an_idempotency_key_makes_one_instance() {
    on_both(async |site| {
        let operator = site.operator();
        let keyed = operator.with("idempotency-key", "k1");
        let body = json!({"image": "img"});
        let replies =
            futures_util::future::join_all((0..8).map(|_| keyed.post("/v1/instances", body.clone()))).await;
        let ids: std::collections::BTreeSet<_> =
            replies.iter().map(|r| r.expect(202)["id"].as_str().unwrap().to_owned()).collect();
        assert_eq!(ids.len(), 1, "{ids:?}");
        assert_eq!(operator.get("/v1/instances").await.items().len(), 1);
        keyed.post("/v1/instances", json!({"image": "img", "cpus": "2"})).await.expect(409);
        // The same request for another project is another request.
        operator.post("/v1/projects", json!({"name": "second"})).await.expect(201);
        keyed.post("/v1/instances", json!({"image": "img", "project": "second"})).await.expect(409);
        // Another user's key is another key.
        let alice = site.user("alice").await;
        let hers = alice.with("idempotency-key", "k1").post("/v1/instances", body).await.expect(202);
        assert!(!ids.contains(hers["id"].as_str().unwrap()));
        for bad in ["", &"x".repeat(201)] {
            let reply =
                operator.with("idempotency-key", bad).post("/v1/instances", json!({"image": "img"})).await;
            assert_eq!(reply.expect(400)["field"], "Idempotency-Key");
        }
    })
    .await;
}

#[tokio::test]
async fn quotas_hold_under_concurrency() {
    on_both_with(
        |config| config.limits.instances_per_project = 2,
        async |site| {
            let operator = site.operator();
            let replies = futures_util::future::join_all(
                (0..6).map(|_| operator.post("/v1/instances", json!({"image": "img"}))),
            )
            .await;
            let made = replies.iter().filter(|r| r.status == 202).count();
            assert_eq!(made, 2, "{replies:?}");
            let refused = replies.iter().find(|r| r.status != 202).unwrap().expect(403);
            assert_eq!(refused["code"], "quota_exceeded");
            // Another project has its own.
            site.user("alice").await.create("hers", json!({})).await;
        },
    )
    .await;
}

#[tokio::test]
async fn what_the_engine_lacks_is_refused_with_what_it_has() {
    on_sqlite(async |site| {
        let operator = site.operator();
        let reply =
            operator.post("/v1/instances", json!({"image": "img", "isolation": "kata"})).await.expect(400);
        assert_eq!(reply["field"], "isolation");
        assert!(reply["detail"].as_str().unwrap().contains("runc, runsc"), "{reply}");
        let reply =
            operator.post("/v1/instances", json!({"image": "img", "memory": "32Gi"})).await.expect(400);
        assert_eq!(reply["field"], "memory");
        operator.ready("fenced", json!({"isolation": "runsc"})).await;
    })
    .await;
}

#[tokio::test]
async fn a_missing_image_fails_with_its_reason_and_a_start_tries_again() {
    on_both(async |site| {
        let operator = site.operator();
        let body = json!({"name": "claw", "image": "reg.example/none:1"});
        let events = operator.stream("POST", "/v1/instances", Some(body)).await.all().await;
        let last = events.last().unwrap();
        assert_eq!(last.name, "error");
        let text = last.data["message"].as_str().unwrap();
        assert!(text.contains("reg.example/none:1") && text.contains("no such image"), "{text}");
        assert_eq!(operator.show("claw").await["state"], "failed");
        site.engine.image("reg.example/none:1");
        operator.post("/v1/instances/claw/start", json!({})).await.expect(202);
        operator.until("claw", "ready").await;
    })
    .await;
}

#[tokio::test]
async fn an_image_that_the_engine_lost_is_fetched_again() {
    on_sqlite(async |site| {
        let operator = site.operator();
        let id = operator.ready("claw", json!({})).await;
        operator.post("/v1/instances/claw/stop", json!({})).await.expect(202);
        operator.until("claw", "stopped").await;
        // A cleanup takes stopped containers, and then what nobody uses.
        site.engine.lose(id);
        site.engine.forget_image("img");
        site.engine.image("img2");
        operator.post("/v1/instances/claw/start", json!({})).await.expect(202);
        let row = operator.until("claw", "failed").await;
        assert!(row["message"].as_str().unwrap().contains("img"), "{row}");
        site.engine.image("img");
        operator.post("/v1/instances/claw/start", json!({})).await.expect(202);
        operator.until("claw", "ready").await;
        assert!(site.engine.running(id));
    })
    .await;
}

#[tokio::test]
async fn private_registries_get_the_project_s_credentials_and_no_other_s() {
    on_both(async |site| {
        let (operator, alice) = (site.operator(), site.user("alice").await);
        site.engine.image("reg.example:5000/a/b").wants("robot", "hunter2hunter2");
        let body = json!({"username": "robot", "password": "hunter2hunter2"});
        alice.put("/v1/projects/alice/registries/reg.example:5000", body).await.expect(204);
        let listed = alice.get("/v1/projects/alice/registries").await;
        assert!(!listed.text.contains("hunter2") && listed.text.contains("robot"), "{}", listed.text);
        alice.create("hers", json!({"image": "reg.example:5000/a/b"})).await;
        alice.until("hers", "ready").await;
        // The engine has it by now, and still it is the registry that says who may run it.
        for (pull, why) in [
            ("if_missing", "other credentials"),
            ("always", "other credentials"),
            ("never", "`never`; use `if_missing`"),
        ] {
            let name = format!("mine-{}", pull.replace('_', "-"));
            operator.create(&name, json!({"image": "reg.example:5000/a/b", "pull": pull})).await;
            let row = operator.until(&name, "failed").await;
            assert!(row["message"].as_str().unwrap().contains(why), "{row}");
        }
        alice.delete("/v1/projects/alice/registries/reg.example:5000").await.expect(204);
        alice.delete("/v1/projects/alice/registries/reg.example:5000").await.expect(404);
        alice.create("again", json!({"image": "reg.example:5000/a/b"})).await;
        alice.until("again", "failed").await;
        // What runs already is not asked again.
        alice.post("/v1/instances/hers/restart", json!({})).await.expect(202);
        alice.until("hers", "ready").await;
    })
    .await;
}

#[tokio::test]
async fn a_login_that_fetched_nothing_leaves_images_made_here_usable() {
    on_both(async |site| {
        let operator = site.operator();
        let body = json!({"username": "robot", "password": "hunter2hunter2"});
        operator.put("/v1/projects/operator/registries/docker.io", body).await.expect(204);
        operator.create("early", json!({"image": "acme/own:1"})).await;
        operator.until("early", "failed").await;
        // Now somebody builds it; its name only looks like one of Docker Hub's.
        site.engine.image("acme/own:1").loaded();
        site.engine.image("acme/own:1").wants("nobody", "at all");
        for (name, pull) in [("one", "if_missing"), ("two", "never")] {
            operator.create(name, json!({"image": "acme/own:1", "pull": pull})).await;
            operator.until(name, "ready").await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_the_engine_refuses_fails_with_the_field() {
    on_sqlite(async |site| {
        let operator = site.operator();
        site.engine.image("odd").refuses("volumes[0].path", "is not writable");
        operator.create("claw", json!({"image": "odd"})).await;
        let row = operator.until("claw", "failed").await;
        assert_eq!(row["message"], "volumes[0].path: is not writable");
    })
    .await;
}

#[tokio::test]
async fn more_starts_than_the_machine_can_do_wait_and_say_so() {
    on_sqlite(async |site| {
        let operator = site.operator();
        site.engine.set_start_delay(std::time::Duration::from_millis(300));
        let cores = std::thread::available_parallelism().unwrap().get();
        for i in 0..cores * 2 + 4 {
            operator.create(&format!("a{i}"), json!({})).await;
        }
        eventually("somebody waits for its turn", async || {
            let text = operator.get("/v1/instances").await.text;
            if text.contains("waiting for its turn") { Ok(()) } else { Err(text) }
        })
        .await;
        for i in 0..cores * 2 + 4 {
            operator.until(&format!("a{i}"), "ready").await;
        }
        assert!(site.engine.most_starts_at_once() <= cores * 2, "{}", site.engine.most_starts_at_once());
    })
    .await;
}

#[tokio::test]
async fn lists_are_paged_by_name_and_filtered() {
    on_both(async |site| {
        let operator = site.operator();
        // An order by locale would put `a-b` after `aa`.
        for name in ["b", "a-b", "aa", "a0"] {
            operator.ready(name, json!({})).await;
        }
        let (mut after, mut seen) = (String::new(), Vec::new());
        loop {
            let page = operator.get(&format!("/v1/instances?limit=1{after}")).await.expect(200);
            seen.extend(
                page["items"].as_array().unwrap().iter().map(|i| i["name"].as_str().unwrap().to_owned()),
            );
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        assert_eq!(seen, ["a-b", "a0", "aa", "b"]);
        operator.post("/v1/instances/b/stop", json!({})).await.expect(202);
        operator.until("b", "stopped").await;
        assert_eq!(operator.get("/v1/instances?state=stopped").await.items().len(), 1);
        assert_eq!(operator.get("/v1/instances?project=operator&state=ready").await.items().len(), 3);
        operator.get("/v1/instances?project=nope").await.expect(404);
        for (query, field) in
            [("limit=0", "limit"), ("limit=501", "limit"), ("state=odd", "state"), ("colour=red", "colour")]
        {
            let reply = operator.get(&format!("/v1/instances?{query}")).await.expect(400);
            assert_eq!(reply["field"], field, "{query}: {reply}");
        }
    })
    .await;
}
