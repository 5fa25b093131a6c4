//! Databases beside agents: what they are given, what the agent is told, and that they share its fate.

use std::time::Duration;

use ryokan_model::InstanceId;
use ryokan_ports::fake::Outcome;
use serde_json::{Value, json};

use crate::deployments::{artifact, deploy, log, over, promise, send};
use crate::support::{Client, Site, eventually, on_both_with, on_sqlite_with};

const KINDS: [&str; 4] = ["mongo", "mysql", "postgres", "redis"];

fn configure(config: &mut ryokan_server::config::Config) {
    let image = |kind: &str| format!("{kind}-img").parse().ok();
    config.databases.mysql_image = image("mysql");
    config.databases.mongo_image = image("mongo");
    config.databases.redis_image = image("redis");
    config.databases.postgres_image = image("postgres");
}

/// Images of databases whose probes pass.
fn prepare(site: &Site) {
    for kind in KINDS {
        site.engine.image(&format!("{kind}-img"));
    }
    site.engine.add_program("sh", Outcome::default());
}

async fn on_both<F: AsyncFn(&Site)>(test: F) {
    on_both_with(configure, async |site| {
        prepare(site);
        test(site).await;
    })
    .await;
}

async fn on_sqlite<F: AsyncFn(&Site)>(test: F) {
    on_sqlite_with(configure, async |site| {
        prepare(site);
        test(site).await;
    })
    .await;
}

fn agent(databases: &[&str], more: Value) -> Vec<u8> {
    let wanted: serde_json::Map<_, _> =
        databases.iter().map(|kind| ((*kind).to_owned(), json!(true))).collect();
    let mut manifest = json!({
        "schema": "mandala-agent", "agent": {"type": "custom", "image": "img"}, "databases": wanted,
    });
    for (key, value) in more.as_object().unwrap() {
        manifest[key] = value.clone();
    }
    artifact(&[("agent-manifest.json", &manifest.to_string())])
}

async fn deployed(site: &Site, databases: &[&str], more: Value) -> String {
    let done = deploy(site, "bot", agent(databases, more)).await;
    let text = log(&site.operator(), done["id"].as_str().unwrap()).await;
    assert_eq!(done["state"], json!("succeeded"), "{text}");
    text
}

async fn id(client: &Client, name: &str) -> InstanceId {
    client.show(name).await["id"].as_str().unwrap().parse().unwrap()
}

/// A variable as the container's process has it.
fn variable(site: &Site, id: InstanceId, name: &str) -> Option<String> {
    let workload = site.engine.workload(id).expect("a container");
    let secret = workload.secret_env.get(name).map(|value| value.expose().to_owned());
    secret.or_else(|| workload.spec.env.get(name).cloned())
}

#[tokio::test]
async fn each_has_credentials_of_its_own_and_the_agent_is_told() {
    on_both(async |site| {
        let operator = site.operator();
        let text = deployed(site, &["redis", "postgres", "mysql", "mongo"], json!({})).await;
        let order = |what: &str| text.find(what).unwrap_or_else(|| panic!("{what}: {text}"));
        for kind in KINDS {
            assert!(order(&format!("{kind}-bot is ready")) < order("Released bot"), "{text}");
        }
        let bot = operator.show("bot").await;
        let names: Vec<_> = KINDS.iter().map(|kind| json!(format!("{kind}-bot"))).collect();
        assert_eq!(bot["addons"], json!(names));
        let told = bot["spec"]["addon_env"].as_array().unwrap();
        assert!(told.contains(&json!("PGPASSWORD")) && told.contains(&json!("MONGODB_URI")), "{told:?}");
        assert!(!told.contains(&json!("DATABASE_URL")), "which of the two?");

        let agent = id(&operator, "bot").await;
        let mut passwords = Vec::new();
        for (kind, sealed, url, password) in [
            ("redis", "REDIS_PASSWORD", "REDIS_URL", "REDIS_PASSWORD"),
            ("postgres", "POSTGRES_PASSWORD", "POSTGRES_URL", "PGPASSWORD"),
            ("mysql", "MYSQL_PASSWORD", "MYSQL_URL", "MYSQL_PASSWORD"),
            ("mongo", "MONGO_INITDB_ROOT_PASSWORD", "MONGO_URL", "MONGO_PASSWORD"),
        ] {
            let name = format!("{kind}-bot");
            let row = operator.show(&name).await;
            assert_eq!(
                (&row["addon"], &row["addon_of"], &row["state"]),
                (&json!(kind), &json!("bot"), &json!("ready"))
            );
            assert!(!row["url"].as_str().unwrap().contains('@'), "{row}");
            let database = id(&operator, &name).await;
            let own = variable(site, database, sealed).unwrap();
            assert!(own.len() >= 32, "{own}");
            assert_eq!(variable(site, agent, password), Some(own.clone()));
            assert!(variable(site, agent, url).unwrap().contains(&format!(":{own}@{name}:")));
            assert!(site.engine.has_volume(database));
            let workload = site.engine.workload(database).unwrap();
            assert!(workload.spec.ports.is_empty(), "nothing is published");
            let words =
                serde_json::to_string(&(&workload.spec.command, &workload.spec.args, &workload.spec.env));
            assert!(!words.unwrap().contains(&own));
            passwords.push(own);
        }
        passwords.push(variable(site, id(&operator, "mysql-bot").await, "MYSQL_ROOT_PASSWORD").unwrap());
        assert_eq!(variable(site, agent, "MYSQL_ROOT_PASSWORD"), None);
        let different: std::collections::BTreeSet<_> = passwords.iter().collect();
        assert_eq!(different.len(), passwords.len());

        // Shown by name only, wherever anybody may look.
        let shown = format!(
            "{text}{}{}{}",
            operator.get("/v1/instances?limit=500").await.text,
            operator.get("/v1/events?limit=500").await.text,
            operator.get("/v1/instances/bot/revisions").await.text,
        );
        let bytes = site.database_bytes();
        for password in &passwords {
            assert!(!shown.contains(password.as_str()));
            assert!(!bytes.windows(password.len()).any(|w| w == password.as_bytes()));
        }

        // A second release tells the same, and makes nothing.
        deployed(site, &["redis", "postgres", "mysql", "mongo"], json!({})).await;
        assert_eq!(variable(site, agent, "PGPASSWORD"), Some(passwords[1].clone()));
        assert_eq!(operator.show("postgres-bot").await["generation"], json!(1));
        // So does a rollback.
        operator.stream("POST", "/v1/instances/bot/rollback", Some(json!({}))).await.all().await;
        assert_eq!(variable(site, agent, "PGPASSWORD"), Some(passwords[1].clone()));
    })
    .await;
}

#[tokio::test]
async fn what_somebody_set_is_never_overwritten_and_databases_have_nothing_of_the_project() {
    on_sqlite(async |site| {
        let operator = site.operator();
        operator.patch("/v1/projects/operator/env", json!({"env": {"PGHOST": "mine"}})).await.expect(200);
        operator.put("/v1/projects/operator/secrets/SHARED", json!({"value": "s3cr3t"})).await.expect(204);
        deployed(site, &["postgres", "redis"], json!({"env": {"REDIS_HOST": "artifact"}})).await;
        let agent = id(&operator, "bot").await;
        let is = |name: &str| variable(site, agent, name);
        assert_eq!((is("PGHOST").as_deref(), is("REDIS_HOST").as_deref()), (Some("mine"), Some("artifact")));
        assert!(is("DATABASE_URL").unwrap().starts_with("postgresql://app:"));
        let update = json!({"env": {"PGUSER": "me"}, "secret_env": {"DATABASE_URL": "sqlite:x"}});
        operator.patch("/v1/instances/bot", update).await.expect(202);
        operator.until("bot", "ready").await;
        eventually("its own win", async || match (is("PGUSER").as_deref(), is("DATABASE_URL").as_deref()) {
            (Some("me"), Some("sqlite:x")) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        assert_eq!(is("PGPORT").as_deref(), Some("5432"));
        let database = id(&operator, "postgres-bot").await;
        assert_eq!((variable(site, database, "SHARED"), variable(site, database, "PGHOST")), (None, None));
        // A later change of the project's is none of theirs either.
        operator.patch("/v1/projects/operator/env", json!({"env": {"NEW": "1"}})).await.expect(200);
        eventually("the agent has it", async || is("NEW").map(drop).ok_or_else(|| "no".to_owned())).await;
        assert_eq!(operator.show("postgres-bot").await["generation"], json!(1));
    })
    .await;
}

#[tokio::test]
async fn they_stop_start_and_go_with_their_agent() {
    on_both(async |site| {
        let operator = site.operator();
        deployed(site, &["redis", "mysql"], json!({})).await;
        let ids = [id(&operator, "redis-bot").await, id(&operator, "mysql-bot").await];
        operator.post("/v1/instances/bot/stop", json!({})).await.expect(202);
        for name in ["bot", "redis-bot", "mysql-bot"] {
            operator.until(name, "stopped").await;
        }
        assert!(ids.iter().all(|id| site.engine.has_volume(*id) && !site.engine.running(*id)));
        // The agent waits for what takes its time.
        site.engine.image("mysql-img").ill("still starting");
        operator.post("/v1/instances/bot/start", json!({})).await.expect(202);
        operator.until("redis-bot", "ready").await;
        eventually("it says so", async || {
            let row = operator.show("bot").await;
            let says = row["message"] == json!("waiting for its database mysql-bot");
            if says && row["state"] == json!("pending") { Ok(()) } else { Err(row.to_string()) }
        })
        .await;
        assert!(!site.engine.running(id(&operator, "bot").await));
        site.engine.image("mysql-img");
        operator.post("/v1/instances/mysql-bot/restart", json!({})).await.expect(202);
        operator.until("bot", "ready").await;
        // A restart of the agent leaves those alone that run, and starts those that do not.
        let starts = site.engine.starts(ids[0]);
        operator.post("/v1/instances/mysql-bot/stop", json!({})).await.expect(202);
        operator.until("mysql-bot", "stopped").await;
        let events = operator.stream("POST", "/v1/instances/bot/restart", None).await.all().await;
        assert_eq!(events.last().unwrap().name, "ready", "{events:?}");
        operator.until("mysql-bot", "ready").await;
        assert_eq!(site.engine.starts(ids[0]), starts);

        let refused = operator.delete("/v1/instances/redis-bot").await.expect(409);
        assert!(refused["detail"].as_str().unwrap().contains("ryokan rm --force redis-bot"), "{refused}");
        operator.delete("/v1/instances/redis-bot?force=true").await.expect(202);
        operator.get("/v1/instances/redis-bot").await.expect(404);
        assert_eq!(operator.show("bot").await["addons"], json!(["mysql-bot"]));
        site.keeps_volume(ids[1]);
        operator.delete("/v1/instances/bot?keep_volumes=true").await.expect(202);
        operator.until_gone("bot").await;
        operator.until_gone("mysql-bot").await;
        eventually("the engine has none of it", async || {
            let left = ids.iter().filter(|id| site.engine.exists(**id)).count();
            if left == 0 && !site.engine.has_volume(ids[0]) { Ok(()) } else { Err(left.to_string()) }
        })
        .await;
        assert!(site.engine.has_volume(ids[1]), "kept, as it was asked for");
        // By force at once.
        deployed(site, &["redis"], json!({})).await;
        operator.delete("/v1/instances/bot?force=true").await.expect(202);
        operator.get("/v1/instances/redis-bot").await.expect(404);
    })
    .await;
}

#[tokio::test]
async fn a_later_deployment_keeps_and_adds() {
    on_sqlite(async |site| {
        let operator = site.operator();
        deployed(site, &["redis"], json!({})).await;
        let agent = id(&operator, "bot").await;
        let url = variable(site, agent, "REDIS_URL");
        let text = deployed(site, &["postgres"], json!({})).await;
        assert!(
            text.contains("redis-bot stays, with its data") && text.contains("ryokan rm --force redis-bot"),
            "{text}"
        );
        assert!(variable(site, agent, "DATABASE_URL").is_some());
        assert_eq!(variable(site, agent, "REDIS_URL"), url, "what is there is told");
        operator.delete("/v1/instances/redis-bot?force=true").await.expect(202);
        let text = deployed(site, &["postgres"], json!({})).await;
        assert!(!text.contains("redis-bot"), "{text}");
        assert_eq!(variable(site, agent, "REDIS_URL"), None, "it is gone");
        deployed(site, &["postgres", "redis"], json!({})).await;
        let anew = variable(site, agent, "REDIS_URL");
        assert!(anew.is_some() && anew != url, "another database, with another password");
        // A deployment of a stopped agent starts all of it.
        operator.post("/v1/instances/bot/stop", json!({})).await.expect(202);
        operator.until("redis-bot", "stopped").await;
        deployed(site, &["postgres"], json!({})).await;
        operator.until("redis-bot", "ready").await;
    })
    .await;
}

#[tokio::test]
async fn one_that_cannot_run_fails_the_deployment_and_costs_no_agent_anything() {
    on_both(async |site| {
        let operator = site.operator();
        site.engine.image("postgres-img").exits(3).logs(["FATAL: no room for the files"]);
        let failed = async |databases: &[&str]| {
            let (id, path) = promise(&operator, json!({"name": "bot"})).await;
            send(site, &path, agent(databases, json!({}))).await.expect(202);
            eventually("it is over", async || {
                site.clock.forward(Duration::from_secs(2));
                let row = operator.get(&format!("/v1/deployments/{id}")).await.expect(200);
                if row["state"] == json!("failed") { Ok(row) } else { Err(row.to_string()) }
            })
            .await
        };
        let done = failed(&["postgres"]).await;
        let message = done["message"].as_str().unwrap();
        assert!(message.starts_with("postgres-bot, a database of bot: it exited with code 3"), "{message}");
        assert!(message.contains("FATAL: no room for the files"), "{message}");
        operator.get("/v1/instances/bot").await.expect(404);
        // Nobody's yet, so it may be deleted as any other.
        let row = operator.show("postgres-bot").await;
        assert_eq!((&row["addon"], &row["addon_of"]), (&json!("postgres"), &Value::Null));
        // A deployment that does not ask for it lets it be.
        deployed(site, &["redis"], json!({})).await;
        let before = operator.show("bot").await;
        assert_eq!(before["addons"], json!(["redis-bot"]));
        failed(&["redis", "postgres"]).await;
        let after = operator.show("bot").await;
        assert_eq!((&after["generation"], &after["state"]), (&before["generation"], &json!("ready")));
        // What it failed for is mended.
        site.engine.image("postgres-img");
        deployed(site, &["redis", "postgres"], json!({})).await;
        assert_eq!(operator.show("bot").await["addons"], json!(["postgres-bot", "redis-bot"]));
    })
    .await;
}

#[tokio::test]
async fn they_count_and_all_or_none_are_made() {
    on_sqlite(async |site| {
        let operator = site.operator();
        operator.put("/v1/projects/operator/quotas", json!({"instances": 3})).await.expect(200);
        let done = deploy(site, "bot", agent(&["redis", "postgres", "mysql"], json!({}))).await;
        assert!(done["message"].as_str().unwrap().contains("the project has 3 instances"), "{done}");
        assert!(operator.get("/v1/instances").await.items().is_empty());
        deployed(site, &["redis", "postgres"], json!({})).await;
        let used = operator.get("/v1/projects/operator/quotas").await.expect(200);
        assert_eq!(used["used"]["instances"], json!(3), "{used}");
        // All three are stopped, and may not run together any more: then none is started.
        operator.post("/v1/instances/bot/stop", json!({})).await.expect(202);
        for name in ["bot", "redis-bot", "postgres-bot"] {
            operator.until(name, "stopped").await;
        }
        operator.put("/v1/projects/operator/quotas", json!({"cpus": "2"})).await.expect(200);
        operator.post("/v1/instances/bot/start", json!({})).await.expect(403);
        for name in ["bot", "redis-bot", "postgres-bot"] {
            assert_eq!(operator.show(name).await["desired"], json!("stopped"), "{name}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_cap_of_the_agent_stops_its_databases_too() {
    on_sqlite(async |site| {
        let operator = site.operator();
        deployed(site, &["redis"], json!({})).await;
        let cap = json!({"kind": "compute", "period": "total", "instance": "bot", "amount": 0});
        operator.put("/v1/projects/operator/caps", cap.clone()).await.expect(200);
        for name in ["bot", "redis-bot"] {
            eventually("it is suspended", async || {
                site.app().judge_projects().await.unwrap();
                let row = operator.show(name).await;
                let done = row["suspended"] == json!("cap") && row["state"] == json!("stopped");
                if done { Ok(()) } else { Err(row.to_string()) }
            })
            .await;
        }
        let lifted = json!({"kind": "compute", "period": "total", "instance": "bot", "amount": null});
        operator.put("/v1/projects/operator/caps", lifted).await.expect(200);
        site.app().judge_projects().await.unwrap();
        for name in ["redis-bot", "bot"] {
            operator.until(name, "ready").await;
        }
    })
    .await;
}

#[tokio::test]
async fn nobody_gets_at_one_from_outside_or_changes_what_its_data_were_made_with() {
    on_sqlite(async |site| {
        let operator = site.operator();
        deployed(site, &["redis"], json!({})).await;
        let outside = site.operator().with("host", "redis-bot.localhost");
        let answer = outside.get("/").await;
        assert_eq!(answer.status, 404, "{}", answer.text);
        assert_eq!(operator.get("/gateway/redis-bot/").await.status, 404);
        operator
            .post("/v1/instances/redis-bot/domains", json!({"domain": "db.example.com"}))
            .await
            .expect(409);
        for (change, field) in [
            (json!({"secret_env": {"REDIS_PASSWORD": "x"}}), "secret_env"),
            (json!({"ports": [{"name": "p", "port": 1}]}), "ports"),
            (json!({"access": "public"}), "access"),
            (json!({"command": ["sh"]}), "command"),
        ] {
            let refused = operator.patch("/v1/instances/redis-bot", change).await.expect(400);
            assert_eq!(refused["field"], json!(field));
        }
        operator.patch("/v1/instances/redis-bot", json!({"memory": "300Mi"})).await.expect(202);
        operator.until("redis-bot", "ready").await;
        // Names that are theirs to be given.
        for prefix in KINDS {
            let name = format!("{prefix}-x");
            operator.post("/v1/instances", json!({"image": "img", "name": name})).await.expect(400);
            operator.post("/v1/projects/operator/deployments", json!({"name": name})).await.expect(400);
        }
        let ada = site.user("ada").await;
        ada.get("/v1/instances/redis-bot").await.expect(404);
        ada.delete("/v1/instances/redis-bot?force=true").await.expect(404);
    })
    .await;
}

#[tokio::test]
async fn an_instance_that_has_the_name_already_is_in_the_way() {
    on_sqlite(async |site| {
        let operator = site.operator();
        let project = operator.get("/v1/projects/operator").await.expect(200);
        let project = project["id"].as_str().unwrap().parse().unwrap();
        // As before such names were given to databases.
        let spec = ryokan_model::spec::InstanceSpec::new("img".parse().unwrap());
        let mut old = ryokan_store::instances::Instance::new(
            InstanceId::from_parts(ryokan_model::Millis(1), [9; 10]),
            project,
            "redis-bot".parse().unwrap(),
            spec,
            ryokan_model::Millis(1),
        );
        old.desired = ryokan_model::instance::Desired::Stopped;
        old.state = ryokan_model::instance::State::Stopped;
        site.app().store.write(move |tx| tx.insert_instance(&old)).await.unwrap();
        let done = deploy(site, "bot", agent(&["redis", "mysql"], json!({}))).await;
        let message = done["message"].as_str().unwrap();
        assert!(message.contains("`redis-bot`") && message.contains("delete that"), "{message}");
        operator.get("/v1/instances/mysql-bot").await.expect(404);
    })
    .await;
}

#[tokio::test]
async fn a_server_that_stops_while_one_is_fetched_goes_on_afterwards() {
    on_both(async |site| {
        let operator = site.operator();
        site.engine.image("redis-img").pull_waits();
        let (deployment, path) = promise(&operator, json!({"name": "bot"})).await;
        send(site, &path, agent(&["redis"], json!({}))).await.expect(202);
        eventually("it is fetched", async || {
            let row = operator.get("/v1/instances/redis-bot").await;
            if row.text.contains(r#""state":"building""#) { Ok(()) } else { Err(row.text) }
        })
        .await;
        let first = id(&operator, "redis-bot").await;
        operator.get("/v1/instances/bot").await.expect(404);
        site.stop().await;
        site.engine.image("redis-img");
        site.engine.heal();
        site.start().await;
        let operator = site.operator();
        let done = over(&operator, &deployment).await;
        assert_eq!(done["state"], json!("succeeded"), "{}", log(&operator, &deployment).await);
        assert_eq!(id(&operator, "redis-bot").await, first, "made once");
        assert_eq!(operator.show("bot").await["addons"], json!(["redis-bot"]));
    })
    .await;
}

#[tokio::test]
async fn mandala_s_clients_find_them() {
    on_sqlite(async |site| {
        let operator = site.operator();
        site.engine.image("postgres-img").logs(["ERROR: something", "LOG: ready"]);
        deployed(site, &["redis", "postgres"], json!({})).await;
        let path = |what: &str| format!("/api/v1/project/operator/{what}");
        let info = operator.post(&path("info"), json!({})).await.expect(200);
        let types: Vec<_> = info["databases"].as_array().unwrap().iter().map(|d| d["type"].clone()).collect();
        assert_eq!(types, [json!("postgres"), json!("redis")]);
        assert!(info["status"]["domains"]["agent"].as_str().unwrap().starts_with("bot."), "{info}");
        let logs =
            operator.post(&path("logs/resource/postgres"), json!({"level": "error"})).await.expect(200);
        let text = logs["logs"].as_str().unwrap();
        assert!(text.contains("something") && !text.contains("ready"), "{text}");
        operator.post(&path("logs/resource/redis"), json!({})).await.expect(200);
        operator.post(&path("logs/resource/mongo"), json!({})).await.expect(404);
        operator.post(&path("logs/resource/oracle"), json!({})).await.expect(400);
        let pods = operator.post(&path("admin/status"), json!({})).await.expect(200);
        assert_eq!(pods["pods"].as_array().unwrap().len(), 3);
    })
    .await;
}
