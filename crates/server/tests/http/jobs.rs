//! What operators see of the work behind requests: jobs, reconcilers, the system.

use std::time::Duration;

use ryokan_ports::fake::Call;
use ryokan_ports::runtime::RuntimeError;
use ryokan_store::JobState;
use serde_json::{Value, json};

use crate::support::{Site, eventually, on_both, on_sqlite};

async fn wake_workers(site: &Site) {
    let store = site.app().store.clone();
    store
        .write(|tx| {
            let _: () = tx.notify(ryokan_store::JOBS);
            Ok::<_, ryokan_store::StoreError>(())
        })
        .await
        .unwrap();
}

async fn job_in(site: &Site, state: &str) -> Value {
    let operator = site.operator();
    eventually(&format!("a job is {state}"), async || {
        let jobs = operator.get("/v1/system/jobs").await.items();
        let found = jobs.iter().find(|j| j["state"] == state).cloned();
        found.ok_or_else(|| json!(jobs).to_string())
    })
    .await
}

#[tokio::test]
async fn jobs_are_visible_retried_given_up_and_put_back() {
    on_both(async |site| {
        let operator = site.operator();
        let (image, reason) = ("busy".to_owned(), "toomanyrequests".to_owned());
        site.engine.image("busy").pull_fails(RuntimeError::Image { image, reason, retry: true });
        operator.create("claw", json!({"image": "busy"})).await;
        for attempt in 1..8 {
            let job = eventually("a try has failed", async || {
                let job = job_in(site, "ready").await;
                if job["attempt"] == attempt { Ok(job) } else { Err(job.to_string()) }
            })
            .await;
            assert!(job["error"].as_str().unwrap().contains("toomanyrequests"), "{job}");
            assert_eq!((&job["kind"], &job["max_attempts"]), (&json!("instance.image"), &json!(8)));
            let row = operator.show("claw").await;
            assert!(row["message"].as_str().unwrap().ends_with("trying again"), "{row}");
            // 1 s doubling, and a quarter more by chance; less than a lease at a time.
            let due = Duration::from_millis(u64::try_from(job["run_at"].as_i64().unwrap()).unwrap());
            let now = Duration::from_millis(u64::try_from(ryokan_model::Clock::now(&*site.clock).0).unwrap());
            let wait = due.saturating_sub(now);
            assert!(wait <= Duration::from_millis(1250 * (1 << (attempt - 1))), "{attempt}: {wait:?}");
            site.clock.forward(wait + Duration::from_millis(1));
            wake_workers(site).await;
        }
        // The instance says why; the job itself did its work.
        let row = operator.until("claw", "failed").await;
        assert!(row["message"].as_str().unwrap().contains("toomanyrequests"), "{row}");
        job_in(site, "done").await;
    })
    .await;
}

#[tokio::test]
async fn a_dead_job_keeps_its_error_and_can_be_tried_again() {
    on_both(async |site| {
        let operator = site.operator();
        // Not an image's fault: somebody should look at it.
        site.engine.image("odd").pull_fails(RuntimeError::Exhausted("disk".into()));
        operator.create("claw", json!({"image": "odd"})).await;
        for attempt in 1..8 {
            eventually("a try has failed", async || {
                let job = job_in(site, "ready").await;
                if job["attempt"] == attempt { Ok(()) } else { Err(job.to_string()) }
            })
            .await;
            site.clock.forward(Duration::from_secs(161));
            wake_workers(site).await;
        }
        let job = job_in(site, "dead").await;
        assert!(job["error"].as_str().unwrap().contains("out of disk"), "{job}");
        operator.until("claw", "failed").await;
        let retry = format!("/v1/system/jobs/{}/retry", job["id"].as_str().unwrap());
        site.engine.image("odd");
        let back = operator.post(&retry, json!({})).await.expect(200);
        assert_eq!(back["state"], "ready");
        job_in(site, "done").await;
        operator.post(&retry, json!({})).await.expect(409);
        operator.post("/v1/system/jobs/none/retry", json!({})).await.expect(404);
        assert!(site.events().await.iter().any(|e| e["kind"] == "job.requeued"));
        operator.post("/v1/instances/claw/start", json!({})).await.expect(202);
        operator.until("claw", "ready").await;
    })
    .await;
}

#[tokio::test]
async fn many_jobs_at_once_are_all_done_and_once_each() {
    on_sqlite(async |site| {
        let operator = site.operator();
        site.engine.image("slow").pull_waits();
        for i in 0..30 {
            operator.create(&format!("a{i}"), json!({"image": "slow"})).await;
        }
        eventually("as many as may run do", async || {
            let running = site.engine.calls_about(Call::Pull, "slow");
            if running == 8 { Ok(()) } else { Err(running.to_string()) }
        })
        .await;
        let jobs = operator.get("/v1/system/jobs?limit=100").await.items();
        let running = jobs.iter().filter(|j| j["state"] == "running").count();
        assert_eq!(running, 8, "what is claimed is worked on");
        site.engine.heal();
        for i in 0..30 {
            operator.until(&format!("a{i}"), "ready").await;
        }
        assert_eq!(site.engine.calls_about(Call::FindImage, "slow"), 30);
        let page = operator.get("/v1/system/jobs?limit=10").await.expect(200);
        let next = page["next"].as_str().unwrap();
        let second = operator.get(&format!("/v1/system/jobs?limit=10&after={next}")).await.items();
        assert!(second.iter().all(|j| !page["items"].as_array().unwrap().contains(j)));
    })
    .await;
}

#[tokio::test]
async fn reconcilers_show_their_last_run_and_backlog() {
    on_both(async |site| {
        let operator = site.operator();
        let find = async |name: &str| {
            let all = operator.get("/v1/system/reconcilers").await.items();
            all.into_iter().find(|r| r["name"] == name)
        };
        let run = eventually("it ran", async || find("instances").await.ok_or_else(|| "no".to_owned())).await;
        assert_eq!((&run["outcome"], &run["backlog"]), (&json!("ok"), &json!(0)));
        assert!(run["finished_at"].as_i64() >= run["started_at"].as_i64());
        for name in ["housekeeping", "identity", "routes"] {
            let run = eventually(name, async || find(name).await.ok_or_else(|| "no".to_owned())).await;
            assert_eq!((&run["outcome"], &run["backlog"]), (&json!("ok"), &json!(0)), "{run}");
        }
        site.engine.down();
        eventually("its failure is shown", async || {
            let run = find("instances").await.unwrap();
            if run["outcome"] == "failed" { Ok(()) } else { Err(run.to_string()) }
        })
        .await;
        site.engine.up();
        site.engine.image("slow").pull_waits();
        operator.create("claw", json!({"image": "slow"})).await;
        eventually("the backlog is shown", async || {
            site.engine.nudge();
            let run = find("instances").await.unwrap();
            if run["backlog"] == 1 && run["outcome"] == "ok" { Ok(()) } else { Err(run.to_string()) }
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn what_happened_long_ago_is_forgotten() {
    on_both(async |site| {
        let operator = site.operator();
        operator.ready("claw", json!({})).await;
        operator.delete("/v1/instances/claw").await.expect(202);
        operator.until_gone("claw").await;
        let given_up = async |name: &str, state: JobState| {
            let now = ryokan_model::Clock::now(&*site.clock).0;
            let job = ryokan_store::NewJob {
                id: name.to_owned(),
                kind: "test".into(),
                key: None,
                payload: json!({}),
                priority: 0,
                run_at: now,
                max_attempts: 1,
            };
            let id = name.to_owned();
            let write = site.app().store.clone();
            write
                .write(move |tx| {
                    tx.enqueue_job(&job, now)?;
                    let attempt = tx.claim_jobs(&["test"], "w", 1, now, 1000)?[0].attempt;
                    match state {
                        JobState::Dead => tx.dead_letter_job(&id, attempt, "broken", now),
                        _ => tx.complete_job(&id, attempt, now),
                    }
                })
                .await
                .unwrap();
        };
        let job =
            async |id: &'static str| site.app().store.read(move |tx| tx.job(id)).await.unwrap().is_some();
        given_up("dead", JobState::Dead).await;
        given_up("done", JobState::Done).await;
        let last = site.events().await.last().unwrap()["seq"].as_i64().unwrap();
        // Housekeeping runs at the start.
        let later = async |days: u64| {
            site.clock.forward(Duration::from_hours(24 * days));
            site.restart().await;
        };
        later(2).await;
        eventually("what is done is forgotten", async || {
            if job("done").await { Err("it is there".into()) } else { Ok(()) }
        })
        .await;
        assert!(job("dead").await);
        later(29).await;
        eventually("what was given up is forgotten", async || {
            if job("dead").await { Err("it is there".into()) } else { Ok(()) }
        })
        .await;
        assert!(site.events().await.iter().any(|e| e["seq"].as_i64() <= Some(last)));
        operator_event(site).await;
        later(60).await;
        eventually("old events are forgotten", async || {
            let events = site.events().await;
            let old = events.iter().filter(|e| e["seq"].as_i64() <= Some(last)).count();
            if old == 0 { Ok(()) } else { Err(format!("{old} are there")) }
        })
        .await;
        assert!(!site.events().await.is_empty(), "younger ones stay");
    })
    .await;
}

/// Lets something happen that is told by an event.
async fn operator_event(site: &Site) {
    site.operator().post("/v1/users", json!({"login": "ada"})).await.expect(201);
}

#[tokio::test]
async fn an_instance_that_cannot_be_routed_is_a_backlog() {
    on_sqlite(async |site| {
        let operator = site.operator();
        let upstream = json!({"upstream_auth": {"mode": "bearer", "secret": "K"}});
        let id = operator.ready("claw", json!({"secret_env": {"K": "x"}, "gateway": upstream})).await;
        let scope = ryokan_store::Scope::new("instance", id.to_string());
        site.app().store.write(move |tx| tx.delete_secrets(&scope)).await.unwrap();
        site.restart().await;
        let operator = site.operator();
        eventually("the backlog is shown", async || {
            let all = operator.get("/v1/system/reconcilers").await.items();
            let run = all.into_iter().find(|r| r["name"] == "routes").unwrap_or_default();
            if run["backlog"] == 1 { Ok(()) } else { Err(run.to_string()) }
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn asking_whether_it_is_ready_costs_one_write_a_second() {
    on_both(async |site| {
        let anonymous = site.anonymous();
        let begin = std::time::Instant::now();
        let mut looks = std::collections::BTreeSet::new();
        for round in 0..20 {
            // Each look would write another time.
            site.clock.forward(Duration::from_millis(10));
            let asked = (0..10).map(|_| anonymous.get("/readyz"));
            for reply in futures_util::future::join_all(asked).await {
                assert_eq!(reply.expect(200)["capabilities"].as_array().unwrap().len(), 3);
            }
            // Whoever hangs up at once makes nobody look again.
            let hasty =
                tokio::time::timeout(Duration::from_millis(round % 3), anonymous.get("/readyz")).await;
            drop(hasty);
            looks.insert(site.app().store.read(|tx| tx.setting("last-check")).await.unwrap());
        }
        let most = begin.elapsed().as_secs() + 1;
        assert!(looks.len() as u64 <= most, "{} looks, at most {most} expected", looks.len());
        // What was found is not kept for longer than that.
        site.engine.down();
        eventually("the engine's absence is told", async || {
            let reply = anonymous.get("/readyz").await;
            let told = reply.status == 503 && reply.text.contains("engine does not answer");
            if told { Ok(()) } else { Err(reply.text) }
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn the_system_describes_itself_without_secrets() {
    on_both(async |site| {
        let operator = site.operator();
        let system = operator.get("/v1/system").await.expect(200);
        assert_eq!((&system["zone"], &system["engine"]["name"]), (&json!("localhost"), &json!("fake")));
        assert!(["sqlite", "postgresql"].contains(&system["store"].as_str().unwrap()));
        let config = operator.get("/v1/system/config").await;
        assert!(!config.text.contains("postgres://"), "{}", config.text);
        let ready = site.anonymous().get("/readyz").await;
        assert!(ready.text.contains("\"store\"") && ready.text.contains("\"gateway\""), "{}", ready.text);
        let description = site.anonymous().get("/v1/openapi.json").await.expect(200);
        assert_eq!(description["openapi"], "3.1.0");
        for header in ["x-request-id", "x-content-type-options", "cache-control"] {
            assert!(operator.get("/v1/system").await.headers.contains_key(header), "{header}");
        }
        let problem = operator.get("/v1/instances/none").await;
        assert_eq!(problem.expect(404)["request_id"], problem.header("x-request-id"));
    })
    .await;
}

#[tokio::test]
async fn templates_are_data_that_operators_edit() {
    on_both(async |site| {
        let operator = site.operator();
        let names = async || {
            let all = operator.get("/v1/templates").await.items();
            all.iter().map(|t| t["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert!(names().await.contains(&"hello".to_owned()));
        let mine = json!({"name": "mine", "summary": "Mine", "spec": {"image": "img", "ports": [{"name": "http", "port": 1}]},
            "variables": {"KEY": {"secret": true, "required": true}, "TOKEN": {"secret": true, "generate": true}}});
        operator.post("/v1/templates", mine.clone()).await.expect(201);
        operator.post("/v1/templates", mine.clone()).await.expect(409);
        let mut bad = mine.clone();
        bad["spec"]["ports"][0]["port"] = 0.into();
        assert_eq!(operator.put("/v1/templates/mine", bad).await.expect(400)["field"], "spec.ports[0].port");
        assert_eq!(operator.put("/v1/templates/other", mine.clone()).await.expect(400)["field"], "name");
        let reply = operator.post("/v1/instances", json!({"template": "mine"})).await;
        assert_eq!(reply.expect(400)["field"], "secret_env.KEY");
        let made = operator.post("/v1/instances", json!({"template": "mine", "name": "claw", "env": {"KEY": "hunter2"}})).await;
        let id = made.expect(202)["id"].as_str().unwrap().parse().unwrap();
        operator.until("claw", "ready").await;
        assert!(!operator.get("/v1/instances/claw").await.text.contains("hunter2"));
        let workload = site.engine.workload(id).unwrap();
        assert_eq!(workload.secret_env["KEY"].expose(), "hunter2");
        assert!(workload.secret_env["TOKEN"].expose().len() > 30);
        // Editing or removing it leaves its instances as they are; a builtin one comes back with the next start.
        operator.delete("/v1/templates/mine").await.expect(204);
        operator.delete("/v1/templates/hello").await.expect(204);
        assert_eq!(operator.show("claw").await["template"], "mine");
        operator.patch("/v1/instances/claw", json!({"cpus": "2"})).await.expect(202);
        operator.until("claw", "ready").await;
        let mut edited = operator.get("/v1/templates/custom").await.expect(200);
        edited["summary"] = "Edited".into();
        operator.put("/v1/templates/custom", edited).await.expect(200);
        site.restart().await;
        let operator = site.operator();
        operator.get("/v1/templates/hello").await.expect(200);
        assert_eq!(operator.get("/v1/templates/custom").await.expect(200)["summary"], "Edited");
        operator.get("/v1/templates/mine").await.expect(404);
    })
    .await;
}
