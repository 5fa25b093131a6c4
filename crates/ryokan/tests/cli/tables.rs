//! What commands that list and show print, for people and for programs.

use serde_json::json;

use super::samples::{self, ago, event, fixed, instance};
use super::scripted::{Answer, Server};
use super::user::User;

#[tokio::test]
async fn ps() {
    let server = Server::start().await;
    let mut failed = instance("agent-a1b2c3d4", "failed");
    failed["project"] = json!("tools");
    let pages = [
        json!({ "items": [instance("claw", "ready"), failed], "next": "cursor" }),
        json!({ "items": [instance("old", "stopped")] }),
    ];
    for page in pages.iter().chain(&pages).chain(&pages) {
        server.on("GET /v1/instances", Answer::json(page));
    }
    let user = User::of(&server);
    insta::assert_snapshot!("ps", user.run(&["ps", "-a"]).await);
    insta::assert_snapshot!("ps_names", user.run(&["ps", "-q"]).await);
    insta::assert_snapshot!("ps_colored", user.run(&["ps", "--color", "always"]).await);
    assert_eq!(
        server.lines()[..2],
        ["GET /v1/instances?limit=500", "GET /v1/instances?limit=500&after=cursor"]
    );
    assert_eq!(server.seen()[0].header("authorization"), "Bearer ryk_hush");
}

#[tokio::test]
async fn ps_for_programs() {
    let server = Server::start().await;
    server.on("GET /v1/instances", Answer::page(&[fixed(instance("claw", "ready"))]));
    let user = User::of(&server);
    let arguments = ["ps", "--json", "--color", "always", "--project", "a b", "--state", "ready"];
    insta::assert_snapshot!("ps_json", user.run(&arguments).await);
    assert_eq!(server.lines(), ["GET /v1/instances?project=a+b&state=ready&limit=500"]);
}

#[tokio::test]
async fn ps_with_nothing_to_list() {
    let server = Server::start().await;
    server.on("GET /v1/instances", Answer::page(&[]));
    let user = User::of(&server);
    insta::assert_snapshot!("ps_empty", user.run(&["ps"]).await);
    insta::assert_snapshot!("ps_empty_quiet", user.run(&["ps", "--quiet"]).await);
}

#[tokio::test]
async fn inspect() {
    let server = Server::start().await;
    let mut full = fixed(instance("claw", "failed"));
    full["since"] = json!(ago(5));
    full["message"] = json!("crashed 10 times\nlast line \u{1b}[31mred");
    full["crashes"] = json!(10);
    full["exit_code"] = json!(137);
    full["image_digest"] = json!("sha256:abc");
    full["spec"]["env"] = json!({ "LOG": "debug", "TEXT": "two\nlines" });
    full["spec"]["secret_env"] = json!(["API_KEY", "OTHER"]);
    full["spec"]["volumes"] =
        json!([{ "name": "data", "path": "/data" }, { "name": "ro", "path": "/ro", "read_only": true }]);
    full["spec"]["args"] = json!(["serve", "--port", "3000"]);
    let ports = json!([{ "name": "http", "port": 3000, "url": "http://claw.localhost:7700" }]);
    server.on("GET /v1/instances/claw", Answer::json(&full));
    server.on("GET /v1/instances/claw/ports", Answer::json(&ports));
    insta::assert_snapshot!("inspect", User::of(&server).run(&["inspect", "claw"]).await);
}

#[tokio::test]
async fn a_database_is_shown_with_its_agent() {
    let server = Server::start().await;
    let mut agent = instance("bot", "ready");
    agent["addons"] = json!(["redis-bot"]);
    agent["spec"]["secret_env"] = json!(["API_KEY"]);
    agent["spec"]["addon_env"] = json!(["REDIS_URL"]);
    let mut database = instance("redis-bot", "ready");
    database["addon"] = json!("redis");
    database["addon_of"] = json!("bot");
    for url in ["url", "path_url"] {
        database[url] = json!("redis://redis-bot:6379");
    }
    server.on("GET /v1/instances", Answer::page(&[agent.clone(), database.clone()]));
    for (name, row) in [("bot", &agent), ("redis-bot", &database)] {
        server.on(&format!("GET /v1/instances/{name}"), Answer::json(row));
        server.on(&format!("GET /v1/instances/{name}/ports"), Answer::json(&json!([])));
    }
    let user = User::of(&server);
    let words = |text: String| {
        text.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
    };
    let listed = words(user.run(&["ps"]).await.to_string());
    assert!(
        listed.contains(&"redis-bot ready 5m 3h redis ann redis://redis-bot:6379".to_owned()),
        "{listed:?}"
    );
    let agent = words(user.run(&["inspect", "bot"]).await.to_string());
    for line in ["databases redis-bot", "secrets API_KEY REDIS_URL"] {
        assert!(agent.contains(&line.to_owned()), "{line}: {agent:?}");
    }
    let database = words(user.run(&["inspect", "redis-bot"]).await.to_string());
    assert!(database.contains(&"database redis of bot".to_owned()), "{database:?}");
    assert!(!database.iter().any(|line| line.starts_with("path url")), "{database:?}");
}

#[tokio::test]
async fn templates() {
    let server = Server::start().await;
    let mut claw = samples::template();
    claw["name"] = json!("claw");
    claw["image"] = json!("required");
    claw["variables"] = json!({"API_KEY": {"required": true, "secret": true}, "MODEL": {"required": true}});
    server.on("GET /v1/templates", Answer::page(&[samples::template(), claw]));
    server.on("GET /v1/templates/hello", Answer::json(&samples::template()));
    let why = "it needs the runtime `sysbox-runc`, which this server's engine does not have";
    let checks = [
        json!({"template": "hello", "runnable": true, "image_present": true}),
        json!({"template": "claw", "runnable": false, "problems": [why]}),
    ];
    for _ in 0..2 {
        server.on("GET /v1/template-checks", Answer::page(&checks));
    }
    let user = User::of(&server);
    insta::assert_snapshot!("templates", user.run(&["templates"]).await);
    insta::assert_snapshot!("templates_show", user.run(&["templates", "show", "hello"]).await);
    let missing = user.run(&["templates", "show", "nope"]).await;
    assert_eq!(missing.code, Some(4));
    assert!(missing.stderr.contains("hint: `ryokan templates list`"), "{missing}");
}

#[tokio::test]
async fn templates_are_applied_and_removed() {
    let server = Server::start().await;
    let user = User::of(&server);
    let text = "name = \"claw\"\nsummary = \"An agent\"\n[spec]\nimage = \"me/claw:1\"\n";
    std::fs::write(user.path("claw.toml"), text).unwrap();
    let mut made = samples::template();
    made["name"] = json!("claw");
    server.on("PUT /v1/templates/claw", Answer::problem(404, "not_found", "There is no template `claw`."));
    server.on("PUT /v1/templates/claw", Answer::json(&made));
    server.on("POST /v1/templates", Answer::status(201, &made));
    let file = user.path("claw.toml");
    let apply = ["templates", "apply", file.to_str().unwrap()];
    insta::assert_snapshot!("templates_created", user.run(&apply).await);
    insta::assert_snapshot!(
        "templates_replaced",
        user.run_with_input(&["templates", "apply", "-"], text).await
    );
    let seen = server.seen();
    assert_eq!((seen[1].json()["summary"].as_str(), seen.len()), (Some("An agent"), 3));
    assert_eq!(seen[1].header("idempotency-key").len(), 32);
    let wrong = text.replace("summary", "sumary");
    insta::assert_snapshot!(
        "templates_wrong",
        user.run_with_input(&["templates", "apply", "-"], &wrong).await
    );
    let nowhere = user.run(&["templates", "apply", "nowhere.toml"]).await;
    assert_eq!(nowhere.code, Some(2));
    assert!(nowhere.stderr.starts_with("error: nowhere.toml: No such file"), "{nowhere}");
    assert_eq!(server.seen().len(), 3, "nothing is sent that is no template");
    let refused = Answer::problem(403, "forbidden", "Only operators of this installation may do that.");
    server.on("DELETE /v1/templates/claw", Answer::status(204, &json!(null)));
    server.on("DELETE /v1/templates/nope", Answer::problem(404, "not_found", "There is no template `nope`."));
    server.on("DELETE /v1/templates/hello", refused);
    insta::assert_snapshot!("templates_rm", user.run(&["templates", "rm", "claw", "nope"]).await);
    assert_eq!(user.run(&["templates", "rm", "hello"]).await.code, Some(3));
}

#[tokio::test]
async fn users() {
    let server = Server::start().await;
    let mut disabled = samples::user("bob", false);
    disabled["disabled"] = json!(true);
    server.on("GET /v1/users", Answer::page(&[samples::user("ann", true), disabled.clone()]));
    server.on("POST /v1/users", Answer::status(201, &fixed(samples::user("carl", false))));
    server.on("PATCH /v1/users/bob", Answer::json(&fixed(disabled)));
    server.on("DELETE /v1/users/bob", Answer::empty());
    server.on(
        "POST /v1/users/bob/login-link",
        Answer::json(&json!({ "url": "http://localhost:7700/login?link=once", "expires_at": ago(-15) })),
    );
    let user = User::of(&server);
    insta::assert_snapshot!("users", user.run(&["users", "list"]).await);
    insta::assert_snapshot!("users_create", user.run(&["users", "create", "carl", "--name", "Carl"]).await);
    insta::assert_snapshot!("users_disable", user.run(&["users", "disable", "bob"]).await);
    insta::assert_snapshot!("users_login_link", user.run(&["users", "login-link", "bob"]).await);
    assert_eq!(user.run(&["users", "delete", "bob"]).await.code, Some(0));
    let with_password = ["users", "create", "carl", "--operator", "--password-stdin"];
    assert_eq!(user.run_with_input(&with_password, "correct hush staple\n").await.code, Some(0));
    let seen = server.seen();
    assert_eq!(seen[1].json(), json!({ "login": "carl", "name": "Carl", "operator": false }));
    assert_eq!(seen[2].json(), json!({ "disabled": true }));
    assert_eq!(
        seen[5].json(),
        json!({ "login": "carl", "operator": true, "password": "correct hush staple" })
    );
    assert_ne!(seen[1].header("idempotency-key"), seen[5].header("idempotency-key"));
    assert_eq!(seen[1].header("idempotency-key").len(), 32);
}

#[tokio::test]
async fn own_password() {
    let server = Server::start().await;
    server.on("PATCH /v1/users/me", Answer::json(&samples::user("ann", true)));
    let user = User::of(&server);
    let ran = user.run_with_input(&["users", "password", "--password-stdin"], "old hush\nnew hush\n").await;
    assert_eq!(ran.code, Some(0), "{ran}");
    assert_eq!(server.seen()[0].json(), json!({ "current_password": "old hush", "password": "new hush" }));
    let asked = user.run(&["users", "password"]).await;
    insta::assert_snapshot!("no_terminal", asked);
}

#[tokio::test]
async fn tokens() {
    let server = Server::start().await;
    let mut expired = samples::token("twice");
    expired["expires_at"] = json!(ago(1));
    expired["last_used_at"] = json!(ago(70));
    expired["project"] = json!("tools");
    let mut soon = samples::token("twice");
    soon["expires_at"] = json!(ago(-61));
    server.on("GET /v1/tokens", Answer::page(&[samples::token("ci"), expired, soon]));
    let mut created = samples::token("ci");
    created["secret"] = json!("ryk_shown_once");
    server.on("POST /v1/tokens", Answer::status(201, &created));
    server.on(&format!("DELETE /v1/tokens/{}", samples::ID), Answer::empty());
    let user = User::of(&server);
    insta::assert_snapshot!("tokens", user.run(&["tokens", "list"]).await);
    let create = ["tokens", "create", "ci", "--scope", "read", "--project", "tools", "--expires", "30d"];
    let ran = user.run(&create).await;
    assert_eq!(ran.stdout, "ryk_shown_once\n");
    assert_eq!(
        server.seen()[1].json(),
        json!({ "label": "ci", "scope": "read", "project": "tools", "expires_in": "30d" })
    );
    assert_eq!(user.run(&["tokens", "revoke", "ci"]).await.code, Some(0));
    insta::assert_snapshot!("tokens_revoke_ambiguous", user.run(&["tokens", "revoke", "twice"]).await);
    assert_eq!(user.run(&["tokens", "revoke", "none"]).await.code, Some(4));
}

#[tokio::test]
async fn projects() {
    let server = Server::start().await;
    let project = |name: &str, personal: bool| json!({ "id": samples::ID, "name": name, "owner": "ann", "role": if personal { "owner" } else { "developer" }, "personal": personal, "network": "mainnet", "requires_blockchain_funding": false, "created_at": ago(180) });
    server.on("GET /v1/projects", Answer::page(&[project("ann", true), project("tools", false)]));
    server.on("POST /v1/projects", Answer::status(201, &project("tools", false)));
    server.on("PATCH /v1/projects/tools", Answer::json(&project("kit", false)));
    server.on("DELETE /v1/projects/kit", Answer::empty());
    server.on(
        "GET /v1/projects/tools/registries",
        Answer::page(&[json!({ "host": "registry.example.com:5000", "username": "robot" })]),
    );
    server.on("PUT /v1/projects/tools/registries/registry.example.com:5000", Answer::empty());
    let user = User::of(&server);
    insta::assert_snapshot!("projects", user.run(&["projects", "list"]).await);
    assert_eq!(user.run(&["projects", "create", "tools"]).await.stdout, "tools\n");
    assert_eq!(user.run(&["projects", "rename", "tools", "kit"]).await.stdout, "kit\n");
    assert_eq!(user.run(&["projects", "delete", "kit"]).await.code, Some(0));
    insta::assert_snapshot!("registries", user.run(&["projects", "registries", "list", "tools"]).await);
    let set = ["projects", "registries", "set", "tools", "registry.example.com:5000", "--username", "robot"];
    let ran = user.run_with_input(&[&set[..], &["--password-stdin"]].concat(), "hush\n").await;
    assert_eq!(ran.code, Some(0), "{ran}");
    assert_eq!(server.seen()[5].json(), json!({ "username": "robot", "password": "hush" }));
}

#[tokio::test]
async fn a_project_s_members_variables_and_quotas() {
    let server = Server::start().await;
    let member = |login: &str, role: &str| json!({ "user": samples::ID, "login": login, "name": "", "role": role, "added_at": 0 });
    server
        .on("GET /v1/projects/kit/members", Answer::page(&[member("ann", "owner"), member("bo", "viewer")]));
    server.on("PUT /v1/projects/kit/members/bo", Answer::json(&member("bo", "admin")));
    server.on("DELETE /v1/projects/kit/members/me", Answer::empty());
    let env = json!({ "env": { "LEAF": "sencha\nand more" }, "secrets": ["KEY"] });
    server.on("GET /v1/projects/kit/env", Answer::json(&env));
    server
        .on("PATCH /v1/projects/kit/env", Answer::json(&env))
        .on("PATCH /v1/projects/kit/env", Answer::json(&env));
    server.on(
        "GET /v1/projects/kit/secrets",
        Answer::page(&[json!({ "name": "KEY", "updated_at": ago(180) })]),
    );
    server.on("PUT /v1/projects/kit/secrets/KEY", Answer::empty());
    server.on(
        "DELETE /v1/projects/kit/secrets/KEY",
        Answer::problem(404, "not_found", "there is no secret `KEY`"),
    );
    let quotas = json!({ "limits": { "cpus": "2", "disk": "1Gi", "tasks": 5 }, "used": { "instances": 1, "cpus": "0", "memory": "1Gi", "disk": "1500000" } });
    server.on("PUT /v1/projects/kit/quotas", Answer::json(&quotas));
    let user = User::of(&server);
    let run = async |line: &str| {
        let words: Vec<&str> = std::iter::once("projects").chain(line.split(' ')).collect();
        user.run(&words).await
    };
    insta::assert_snapshot!("members", run("members list kit").await);
    insta::assert_snapshot!("member_set", run("members set kit bo --role admin").await);
    insta::assert_snapshot!("member_left", run("members rm kit me").await);
    assert_eq!(run("members set kit bo --role king").await.code, Some(2));
    insta::assert_snapshot!("project_env", run("env list kit").await);
    insta::assert_snapshot!("project_env_set", run("env set kit LEAF=a=b EMPTY=").await);
    assert_eq!(run("env rm kit LEAF").await.code, Some(0));
    assert_eq!(run("env set kit LEAF").await.code, Some(2));
    insta::assert_snapshot!("project_secrets", run("secrets list kit").await);
    let ran = user.run_with_input(&["projects", "secrets", "set", "kit", "KEY", "--stdin"], "hush\n").await;
    assert!(ran.code == Some(0) && !ran.to_string().contains("hush"), "{ran}");
    assert_eq!(run("secrets rm kit KEY").await.code, Some(4));
    insta::assert_snapshot!("quotas", run("quotas set kit --cpus 2 --disk 1Gi --tasks 5").await);
    let bodies: Vec<_> = server.seen().iter().filter(|r| !r.body.is_empty()).map(|r| r.json()).collect();
    assert_eq!(
        bodies,
        [
            json!({ "role": "admin" }),
            json!({ "env": { "LEAF": "a=b", "EMPTY": "" } }),
            json!({ "env": { "LEAF": null } }),
            json!({ "value": "hush" }),
            json!({ "cpus": "2", "disk": "1Gi", "tasks": 5 }),
        ]
    );
}

#[tokio::test]
async fn events() {
    let server = Server::start().await;
    let first = json!({ "items": [event(1, "instance.created", "allowed")], "next": "1" });
    let second = json!({ "items": [event(2, "instance.deleted", "denied")] });
    server.on("GET /v1/events", Answer::json(&first)).on("GET /v1/events", Answer::json(&second));
    // Without a number the newest are asked for, and told oldest first.
    let newest =
        json!({ "items": [event(2, "instance.deleted", "denied"), event(1, "instance.created", "allowed")] });
    server.on("GET /v1/events", Answer::json(&newest));
    let user = User::of(&server);
    insta::assert_snapshot!("events", user.run(&["events", "--since-seq", "0", "--kind", "instance."]).await);
    assert_eq!(
        server.lines(),
        [
            "GET /v1/events?after=0&kind=instance.&limit=500",
            "GET /v1/events?after=1&kind=instance.&limit=500"
        ]
    );
    insta::assert_snapshot!("events_json", user.run(&["events", "--json"]).await);
    assert_eq!(server.lines()[2], "GET /v1/events?limit=100&order=desc");
}

#[tokio::test]
async fn system() {
    let server = Server::start().await;
    server.on(
        "GET /v1/system",
        Answer::json(&json!({
            "version": "0.1.0", "server_id": samples::ID, "zone": "localhost", "store": "sqlite", "started_at": ago(180),
            "engine": { "name": "docker", "version": "28.0", "isolations": ["runc", "runsc"], "rootless": false,
                "reach": "bridge", "cpus": 2, "memory_bytes": 8_000_000_000_u64, "warnings": ["it does not limit pids; use cgroup v2"] },
        })),
    );
    let config = json!({ "http": { "bind": "127.0.0.1:7700", "tls": false, "grace": null }, "zone": "localhost", "url": null });
    server.on("GET /v1/system/config", Answer::json(&config));
    let job = |state: &str, error: Option<&str>| {
        json!({
            "id": samples::ID, "kind": "instance.remove", "key": "claw", "state": state, "attempt": 3, "max_attempts": 5,
            "run_at": ago(1), "created_at": ago(10), "error": error,
        })
    };
    server.on(
        "GET /v1/system/jobs",
        Answer::page(&[job("ready", None), job("dead", Some("the engine is down\nat line 2"))]),
    );
    server.on(&format!("POST /v1/system/jobs/{}/retry", samples::ID), Answer::empty());
    server.on(
        "GET /v1/system/reconcilers",
        Answer::page(&[
            json!({ "name": "instances", "started_at": ago(3), "finished_at": ago(2), "outcome": "ok", "backlog": 0 }),
            json!({ "name": "orphans", "started_at": ago(90), "outcome": "failed", "backlog": 12, "error": "no engine" }),
        ]),
    );
    let user = User::of(&server);
    insta::assert_snapshot!("system", user.run(&["system"]).await);
    insta::assert_snapshot!("system_config", user.run(&["system", "config"]).await);
    insta::assert_snapshot!("system_jobs", user.run(&["system", "jobs"]).await);
    insta::assert_snapshot!("system_jobs_dead", user.run(&["system", "jobs", "--state", "dead"]).await);
    insta::assert_snapshot!("system_jobs_retry", user.run(&["system", "jobs", "retry", samples::ID]).await);
    insta::assert_snapshot!("system_reconcilers", user.run(&["system", "reconcilers"]).await);
}

#[tokio::test]
async fn readiness_is_told_also_when_the_answer_is_503() {
    let server = Server::start().await;
    let parts = json!([{ "name": "store", "ready": true }, { "name": "runtime", "ready": false, "reason": "no engine answers" }]);
    server.on("GET /readyz", Answer::status(503, &json!({ "ready": false, "capabilities": parts })));
    insta::assert_snapshot!("system_ready", User::of(&server).run(&["system", "ready"]).await);
}

#[tokio::test]
async fn stats() {
    let server = Server::start().await;
    server.on("GET /v1/instances", Answer::page(&[instance("claw", "ready"), instance("old", "stopped")]));
    server.on("GET /v1/instances/claw/stats", Answer::json(&samples::stats()));
    let user = User::of(&server);
    insta::assert_snapshot!("stats", user.run(&["stats"]).await);
    insta::assert_snapshot!("stats_json", user.run(&["stats", "--no-stream", "--json", "claw"]).await);
}

#[tokio::test]
async fn open_prints_the_address() {
    let server = Server::start().await;
    server.on("GET /v1/instances/claw", Answer::json(&instance("claw", "ready")));
    let user = User::of(&server);
    assert_eq!(user.run(&["open", "claw"]).await.stdout, "http://claw.localhost:7700\n");
    assert_eq!(user.run(&["open"]).await.stdout, "http://SERVER\n");
}
