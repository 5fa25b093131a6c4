//! Crabshack's calls as its README shows them, and its faults, each as a test by its number in the list of what really
//! breaks there.

use std::time::Duration;

use ryokan_ports::fake::Call;
use serde_json::json;

use crate::support::client::names;
use crate::support::{Client, Site, eventually, on_both, on_sqlite, on_sqlite_with};

/// The README's body, letter by letter but for the key.
const README: &str = r#"{
    "service_type": "ironclaw-dind",
    "image": "nearaidev/ironclaw-nearai-worker:latest",
    "mem_limit": "2G",
    "cpus": "1",
    "nearai_api_key": "sk-nearai-hunter2",
    "nearai_api_url": "https://api.near.ai",
    "ssh_pubkey": "ssh-ed25519 AAAA..."
  }"#;

const IMAGE: &str = "nearaidev/ironclaw-nearai-worker:latest";

fn body(name: &str) -> serde_json::Value {
    let mut body: serde_json::Value = serde_json::from_str(README).unwrap();
    body["service_type"] = "openclaw".into();
    body["name"] = name.into();
    body
}

/// An instance made by Crabshack's call, ready.
async fn made(site: &Site, client: &Client, name: &str) -> ryokan_model::InstanceId {
    site.engine.image(IMAGE);
    let events = client.stream("POST", "/instances", Some(body(name))).await.all().await;
    assert_eq!(events.last().unwrap().name, "ready", "{events:?}");
    client.show(name).await["id"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn the_readme_s_calls_work_verbatim() {
    on_both(async |site| {
        site.engine.image(IMAGE).logs(["one", "two"]);
        let admin = site.operator();
        assert_eq!(site.anonymous().get("/health").await.expect(200), json!({"status": "ok"}));
        // No `Accept`: curl sends `*/*`, and the answer is a stream all the same.
        let request = admin
            .request(reqwest::Method::POST, "/instances")
            .header("content-type", "application/json")
            .body(README);
        let events = crate::support::Sse::open(request).await.all().await;
        assert_eq!(names(&events), ["created", "pending", "ready"], "{events:?}");
        let name = events[0].data["name"].as_str().unwrap().to_owned();
        assert!(name.starts_with("agent-") && name.len() == 14, "{name}");
        assert_eq!(events[0].data, json!({"name": name}));
        assert_eq!(events.last().unwrap().data["name"], name.as_str());
        assert!(events[1].data["message"].is_string());
        let list = admin.get("/instances").await.expect(200);
        assert_eq!((list.as_array().unwrap().len(), &list[0]["name"]), (1, &json!(name)));
        let one = admin.get(&format!("/instances/{name}")).await.expect(200);
        assert_eq!(
            (&one["status"], &one["service_type"]),
            (&json!("ready"), &json!("ironclaw-dind")),
            "{one}"
        );
        assert!(one["gateway"]["port"].is_number() && one["ports"][0]["host_port"].is_number(), "{one}");
        let events = admin.stream("POST", &format!("/instances/{name}/stop"), None).await.all().await;
        assert_eq!(events.last().unwrap().name, "stopped");
        let events = admin.stream("POST", &format!("/instances/{name}/start"), None).await.all().await;
        assert_eq!(events.last().unwrap().name, "ready");
        let events = admin.stream("POST", &format!("/instances/{name}/restart"), None).await.all().await;
        assert_eq!(events.last().unwrap().name, "ready");
        let reply = admin.get(&format!("/gateway/{name}/v1/status")).await;
        assert!(reply.status == 200 && reply.text.starts_with("GET /v1/status "), "{}", reply.text);
        // As the README sends them: without a `Content-Type`.
        let user = admin.raw("POST", "/users", r#"{"id": "alice", "name": "Alice"}"#).await.expect(201);
        assert_eq!((&user["id"], &user["name"]), (&json!("alice"), &json!("Alice")));
        let token = admin.raw("POST", "/tokens", r#"{"user_id": "alice", "label": "dev"}"#).await.expect(201);
        let alice = site.with_token(token["token"].as_str().unwrap());
        assert_eq!(alice.get("/instances").await.expect(200), json!([]));
        assert_eq!(alice.get("/users/alice").await.expect(200)["name"], "Alice");
        let nodes = admin.get("/nodes").await.expect(200);
        assert_eq!((&nodes[0]["sysbox_available"], &nodes[0]["status"]), (&json!(true), &json!("ready")));
        let events = admin.stream("DELETE", &format!("/instances/{name}"), None).await.all().await;
        assert_eq!(events.last().unwrap().name, "deleted");
    })
    .await;
}

#[tokio::test]
async fn the_admin_secret_is_an_operator_s_token() {
    on_sqlite_with(
        |config| config.server.admin_secret = Some(ryokan_model::Secret::new("correct horse battery")),
        async |site| {
            let admin = site.with_token("correct horse battery");
            admin.get("/users").await.expect(200);
            admin.get("/v1/system/config").await.expect(200);
            site.with_token("correct horse batterz").get("/users").await.expect(401);
        },
    )
    .await;
}

#[tokio::test]
async fn the_admin_secret_is_guarded_at_agents_too() {
    on_sqlite_with(
        |config| config.server.admin_secret = Some(ryokan_model::Secret::new("correct horse battery")),
        async |site| {
            let admin = site.with_token("correct horse battery");
            admin.ready("claw", json!({})).await;
            admin.ready("open", json!({"gateway": {"access": "public"}})).await;
            admin.get("/gateway/claw/").await.expect(200);
            let reply = admin.get("/gateway/open/").await;
            assert!(reply.status == 200 && !reply.text.contains("correct horse"), "{}", reply.text);
            // Old tokens are no guesses at it.
            let old = site.with_token("ryk_revoked");
            while old.get("/gateway/claw/").await.status == 401 {}
            old.get("/gateway/claw/").await.expect(429);
            admin.get("/gateway/claw/").await.expect(200);
            let guesser = site.with_token("correct horse batterz");
            for _ in 0..3 {
                guesser.get("/gateway/claw/").await.expect(401);
                guesser.get("/users").await.expect(401);
            }
            // By now not even the right one is, at either door; a token is.
            for client in [&guesser, &admin] {
                let reply = client.get("/gateway/claw/").await;
                reply.expect(429);
                assert!(!reply.header("retry-after").is_empty());
                client.get("/users").await.expect(429);
            }
            site.operator().get("/gateway/claw/").await.expect(200);
            site.clock.forward(Duration::from_secs(5));
            admin.get("/gateway/claw/").await.expect(200);
            admin.get("/users").await.expect(200);
        },
    )
    .await;
}

#[tokio::test]
async fn missing_fields_are_listed_and_errors_have_the_old_shape() {
    on_sqlite(async |site| {
        let admin = site.operator();
        let reply = admin.raw("POST", "/instances", r#"{"service_type": "openclaw"}"#).await.expect(400);
        assert_eq!(reply, json!({"error": "missing required fields: image, mem_limit, cpus, nearai_api_key, nearai_api_url"}));
        for (field, value, word) in [
            ("mem_limit", json!("lots"), "mem_limit"),
            ("cpus", json!([1]), "cpus"),
            ("cpus", json!("x"), "cpus"),
            ("image", json!("UPPER"), "image"),
            ("service_type", json!("none-such"), "service_type"),
            ("name", json!("Bad Name"), "name"),
            ("storage_size", json!("much"), "storage_size"),
        ] {
            let mut bad = body("claw");
            bad[field] = value;
            let reply = admin.post("/instances", bad).await.expect(400);
            assert!(reply["error"].as_str().unwrap().starts_with(word), "{reply}");
        }
        assert!(admin.get("/instances/none").await.expect(404)["error"].is_string());
        assert!(site.anonymous().get("/instances").await.expect(401)["error"].is_string());
        assert!(admin.get("/instances/none/logs?lines=3").await.expect(400)["error"].is_string());
        assert!(admin.raw("POST", "/users", "{").await.expect(400)["error"].is_string());
        assert!(admin.get("/v1/instances").await.items().is_empty());
    })
    .await;
}

#[tokio::test]
async fn what_an_agent_expects_is_in_its_environment() {
    on_sqlite(async |site| {
        let admin = site.operator();
        let id = made(site, &admin, "claw").await;
        let workload = site.engine.workload(id).unwrap();
        assert_eq!(workload.spec.env.get("NEARAI_API_URL").map(String::as_str), Some("https://api.near.ai"));
        assert_eq!(workload.spec.env.get("SSH_PUBKEY").map(String::as_str), Some("ssh-ed25519 AAAA..."));
        assert_eq!(workload.spec.env.get("GATEWAY_PORT").map(String::as_str), Some("3000"));
        assert_eq!(workload.spec.env.get("INSTANCE_NAME").map(String::as_str), Some("claw"));
        assert_eq!(workload.secret_env["NEARAI_API_KEY"].expose(), "sk-nearai-hunter2");
        assert!(workload.secret_env["INSTANCE_TOKEN"].expose().len() >= 40);
        assert_eq!(workload.spec.resources.memory.get(), 2_000_000_000);
    })
    .await;
}

#[tokio::test]
async fn a_client_that_hangs_up_cancels_nothing() {
    on_sqlite(async |site| {
        let admin = site.operator();
        site.engine.image(IMAGE).pull_waits();
        let mut stream = admin.stream("POST", "/instances", Some(body("claw"))).await;
        stream.next().await.unwrap();
        let begin = std::time::Instant::now();
        while stream.any().await.unwrap().name != ":" {}
        assert!(begin.elapsed() < Duration::from_millis(4500));
        drop(stream);
        site.engine.heal();
        admin.until("claw", "ready").await;
    })
    .await;
}

#[tokio::test]
async fn fault_01_no_credential_of_ours_reaches_an_agent() {
    on_sqlite(async |site| {
        let admin = site.operator();
        made(site, &admin, "claw").await;
        let reply = admin
            .with("cookie", "ryokan_session=rys_x; __Host-ryokan_session=rys_y; theirs=1")
            .with("x-forwarded-user", "root")
            .get("/gateway/claw/")
            .await;
        assert_eq!(reply.status, 200);
        let head = reply.text.to_ascii_lowercase();
        for secret in ["rys_x", "rys_y", &site.first_token().to_ascii_lowercase(), "authorization"] {
            assert!(!head.contains(secret), "{secret} reached the agent: {head}");
        }
    })
    .await;
}

#[tokio::test]
async fn fault_02_being_signed_in_does_not_open_another_s_agent() {
    on_sqlite(async |site| {
        let admin = site.operator();
        made(site, &admin, "claw").await;
        let bob = site.user("bob").await;
        let (foreign, none) = (bob.get("/gateway/claw/").await, bob.get("/gateway/nope/").await);
        assert_eq!((foreign.status, none.status), (404, 404));
        let by_host = bob.with("host", &format!("claw.localhost:{}", site.address().port())).get("/").await;
        assert_eq!(by_host.status, 404, "{}", by_host.text);
        let own = admin.with("host", &format!("claw.localhost:{}", site.address().port())).get("/").await;
        assert_eq!(own.status, 200, "{}", own.text);
    })
    .await;
}

#[tokio::test]
async fn fault_06_restore_and_07_the_list_of_backups_are_refused_honestly() {
    on_sqlite(async |site| {
        let admin = site.operator();
        made(site, &admin, "claw").await;
        for (method, path) in [
            ("POST", "/instances/claw/backup"),
            ("GET", "/instances/claw/backups"),
            ("POST", "/instances/claw/restore/latest"),
            ("POST", "/instances/claw/restore/abc123"),
            ("GET", "/instances/claw/ssh"),
        ] {
            let reply = admin.call(method, path, None).await.expect(501);
            assert!(reply["error"].as_str().unwrap().contains("not available in this version"), "{reply}");
            admin.call(method, &path.replace("claw", "none"), None).await.expect(404);
        }
    })
    .await;
}

#[tokio::test]
async fn fault_08_stopped_instances_are_never_garbage_collected() {
    on_both(async |site| {
        let admin = site.operator();
        let id = made(site, &admin, "claw").await;
        admin.stream("POST", "/instances/claw/stop", None).await.all().await;
        // Even the engine has lost it, and a year has passed.
        site.engine.lose(id);
        site.clock.forward(Duration::from_hours(8784));
        site.restart().await;
        site.engine.nudge();
        let admin = site.operator();
        assert_eq!(admin.get("/instances/claw").await.expect(200)["status"], "stopped");
        let events = admin.stream("POST", "/instances/claw/start", None).await.all().await;
        assert_eq!(events.last().unwrap().name, "ready", "{events:?}");
        let token = site.engine.workload(id).unwrap().secret_env.contains_key("INSTANCE_TOKEN");
        assert!(token, "its token went with it");
    })
    .await;
}

#[tokio::test]
async fn fault_09_every_type_has_logs_and_tail_counts_lines() {
    on_sqlite(async |site| {
        let admin = site.operator();
        let log: Vec<String> = (0..200).map(|i| format!("{i} {}", "x".repeat(600))).collect();
        site.engine.image(IMAGE).logs(log);
        for kind in ["openclaw", "ironclaw"] {
            let mut wanted = body(kind);
            wanted["service_type"] = kind.into();
            admin.stream("POST", "/instances", Some(wanted)).await.all().await;
            let logs = admin.get(&format!("/instances/{kind}/logs?tail=3")).await.expect(200);
            let lines: Vec<_> = logs["logs"]
                .as_str()
                .unwrap()
                .lines()
                .map(|l| l.split(' ').next().unwrap().to_owned())
                .collect();
            assert_eq!(lines, ["197", "198", "199"]);
            let logs = admin.get(&format!("/instances/{kind}/logs")).await.expect(200);
            assert_eq!(logs["logs"].as_str().unwrap().lines().count(), 100);
        }
        let mut follow = admin.stream("GET", "/instances/openclaw/logs?tail=1&follow=true", None).await;
        assert!(follow.next().await.unwrap().data["line"].as_str().unwrap().starts_with("199"));
    })
    .await;
}

#[tokio::test]
async fn fault_10_the_proxy_strips_its_prefix() {
    on_sqlite(async |site| {
        let admin = site.operator();
        made(site, &admin, "claw").await;
        let reply = admin.get("/gateway/claw/a/b?c=d").await;
        assert!(reply.text.starts_with("GET /a/b?c=d HTTP/1.1"), "{}", reply.text);
        let reply = admin.raw("POST", "/gateway/claw/x", "body").await;
        assert!(reply.text.starts_with("POST /x "), "{}", reply.text);
    })
    .await;
}

#[tokio::test]
async fn fault_11_tokens_are_hashed_listed_revoked_and_expire_and_users_can_go() {
    on_sqlite(async |site| {
        let admin = site.operator();
        admin.raw("POST", "/users", r#"{"id": "alice"}"#).await.expect(201);
        let made = admin.raw("POST", "/tokens", r#"{"user_id": "alice", "label": "dev"}"#).await.expect(201);
        let secret = made["token"].as_str().unwrap().to_owned();
        let listed = admin.get("/v1/tokens").await;
        assert!(listed.text.contains("dev") && !listed.text.contains(&secret));
        assert!(!contains(&site.database_bytes(), &secret), "the token is stored in the clear");
        let alice = site.with_token(&secret);
        alice.get("/instances").await.expect(200);
        admin.delete(&format!("/v1/tokens/{}", made["id"].as_str().unwrap())).await.expect(204);
        alice.get("/instances").await.expect(401);
        let brief = json!({"label": "brief", "expires_in": "1h", "user": "alice"});
        let made = admin.post("/v1/tokens", brief).await.expect(201);
        let alice = site.with_token(made["secret"].as_str().unwrap());
        alice.get("/instances").await.expect(200);
        site.clock.forward(Duration::from_secs(3601));
        alice.get("/instances").await.expect(401);
        admin.delete("/v1/users/alice").await.expect(204);
        admin.get("/users/alice").await.expect(404);
    })
    .await;
}

#[tokio::test]
async fn fault_12_types_that_are_no_services_and_unbounded_sizes_are_refused_before_anything_is_stored() {
    on_sqlite(async |site| {
        let admin = site.operator();
        for kind in ["backup", "restore", "", "../x"] {
            let mut bad = body("claw");
            bad["service_type"] = kind.into();
            admin.post("/instances", bad).await.expect(400);
        }
        for (field, value) in [("mem_limit", "999T"), ("cpus", "1000"), ("mem_limit", "1K")] {
            let mut bad = body("claw");
            bad[field] = value.into();
            admin.post("/instances", bad).await.expect(400);
        }
        assert_eq!(site.engine.leftovers(), Vec::<String>::new());
        let secrets = site
            .app()
            .store
            .read(|tx| Ok::<_, ryokan_store::StoreError>(tx.live_versions()?.len()))
            .await
            .unwrap();
        assert_eq!(secrets, 0);
        assert!(!contains(&site.database_bytes(), "hunter2"));
    })
    .await;
}

#[tokio::test]
async fn fault_14_the_row_comes_first_and_a_key_makes_one_agent() {
    on_both(async |site| {
        let admin = site.operator();
        site.engine.image(IMAGE).pull_waits();
        let keyed = admin.with("idempotency-key", "once");
        let mut streams = Vec::new();
        for _ in 0..3 {
            let mut stream = keyed.stream("POST", "/instances", Some(body("claw"))).await;
            assert_eq!(stream.next().await.unwrap().data["name"], "claw");
            // The row is there before the engine has heard of it.
            assert_eq!(site.engine.calls(Call::Ensure), 0);
            streams.push(stream);
        }
        drop(streams);
        assert_eq!(admin.get("/instances").await.expect(200).as_array().unwrap().len(), 1);
        // Dying in between leaks nothing: the next server goes on with the row.
        site.stop().await;
        site.engine.heal();
        site.start().await;
        site.operator().until("claw", "ready").await;
        eventually("one container", async || {
            let left = site.engine.leftovers().iter().filter(|l| l.starts_with("container")).count();
            if left == 1 { Ok(()) } else { Err(left.to_string()) }
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn fault_15_requests_are_limited_counted_and_recorded() {
    on_sqlite_with(
        |config| config.limits.requests_per_second = 1,
        async |site| {
            let admin = site.operator();
            admin.raw("POST", "/users", r#"{"id": "alice"}"#).await.expect(201);
            let token = admin.raw("POST", "/tokens", r#"{"user_id": "alice"}"#).await.expect(201);
            let alice = site.with_token(token["token"].as_str().unwrap());
            let mut limited = None;
            for _ in 0..30 {
                let reply = alice.get("/instances").await;
                if reply.status == 429 {
                    limited = Some(reply);
                    break;
                }
            }
            let limited = limited.expect("a limit");
            assert!(limited.header("retry-after").parse::<u64>().unwrap() >= 1);
            // Others have a budget of their own.
            let metrics = admin.get("/metrics").await;
            assert!(
                metrics.status == 200 && metrics.text.contains("ryokan_api_requests_total"),
                "{}",
                metrics.text
            );
            let events = site.events().await;
            assert!(events.iter().any(|e| e["kind"] == "user.created"
                && e["actor"] == "operator"
                && e["address"] == "127.0.0.1"));
        },
    )
    .await;
}

#[tokio::test]
async fn a_reload_changes_the_rate_of_requests() {
    on_sqlite(async |site| {
        let operator = site.operator();
        let storm = async || {
            let replies = futures_util::future::join_all((0..40).map(|_| operator.get("/v1/users/me"))).await;
            replies.iter().filter(|r| r.status == 429).count()
        };
        assert_eq!(storm().await, 0);
        site.reload(|config| config.limits.requests_per_second = 1);
        assert!(storm().await >= 20);
        // The same again is no way to a fresh budget.
        site.reload(|config| config.limits.requests_per_second = 1);
        operator.get("/v1/users/me").await.expect(429);
        site.reload(|config| config.limits.requests_per_second = 1000);
        assert_eq!(storm().await, 0);
    })
    .await;
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|w| w == text.as_bytes())
}
