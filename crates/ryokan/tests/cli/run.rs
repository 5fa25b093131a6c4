//! `run`, `update` and the waiting that all long operations share.

use serde_json::json;

use super::samples::{fixed, instance, log_line};
use super::scripted::{Answer, Piece, Server, sse, text};
use super::user::User;

#[tokio::test]
async fn run_waits_until_it_answers() {
    let server = Server::start().await;
    let pull = |done: u64| {
        sse(
            "pending",
            &json!({ "name": "claw", "state": "building", "message": "pulling ryokan/hello:1", "done": done, "total": 100 }),
        )
    };
    server.on(
        "POST /v1/instances",
        Answer::events([
            sse("created", &json!({ "name": "claw", "state": "pending" })),
            text(": keep-alive\n\n"),
            pull(1),
            pull(50),
            pull(100),
            sse("pending", &json!({ "name": "claw", "state": "starting" })),
            sse("ready", &json!({ "name": "claw", "state": "ready", "url": "http://claw.localhost:7700" })),
        ]),
    );
    insta::assert_snapshot!("run", User::of(&server).run(&["run", "hello", "--name", "claw"]).await);
    let seen = &server.seen()[0];
    assert_eq!(seen.json(), json!({ "template": "hello", "name": "claw" }));
    assert_eq!(seen.header("accept"), "text/event-stream, application/json;q=0.5");
    assert_eq!(seen.header("idempotency-key").len(), 32);
}

#[tokio::test]
async fn every_flag_reaches_the_server() {
    let server = Server::start().await;
    server.on("POST /v1/instances", Answer::status(202, &fixed(instance("claw", "pending"))));
    let user = User::of(&server).with("FROM_HERE", "a b").with("KEY", "hush");
    std::fs::write(user.path("secret.txt"), "hush hush\n").unwrap();
    let arguments = [
        "run",
        "-d",
        "--image",
        "me/agent:1",
        "--name",
        "claw",
        "--project",
        "tools",
        "-p",
        "3000",
        "-p",
        "chat:4000/tcp",
        "-p",
        "5000",
        "-e",
        "A=b=c",
        "-e",
        "FROM_HERE",
        "-e",
        "EMPTY=",
        "--secret",
        "KEY",
        "--secret",
        "FILE=@secret.txt",
        "--secret",
        "PIPED=-",
        "--cpus",
        "500m",
        "--memory",
        "512Mi",
        "--pids",
        "99",
        "--volume",
        "data:/data",
        "--volume",
        "ro:/ro:ro",
        "--isolation",
        "runsc",
        "--access",
        "public",
        "--restart",
        "on-failure",
        "--pull",
        "always",
        "--hostname",
        "box",
        "--user",
        "1000:1000",
        "--read-only",
        "--stop-grace",
        "30s",
        "--entrypoint",
        "/bin/agent",
        "--",
        "serve",
        "--json",
        "--",
        "x",
    ];
    let ran = user.run_with_input(&arguments, "hush\n").await;
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (Some(0), "claw\n", ""));
    let body = server.seen()[0].json();
    insta::assert_json_snapshot!("run_request", body);
}

#[tokio::test]
async fn a_failed_start_shows_why_and_what_to_do() {
    let server = Server::start().await;
    server.on(
        "POST /v1/instances",
        Answer::events([
            sse("created", &json!({ "name": "claw", "state": "pending" })),
            sse("error", &json!({ "name": "claw", "state": "failed", "message": "it exited with code 1 five times in a row" })),
        ]),
    );
    server.on(
        "GET /v1/instances/claw/logs",
        Answer::lines([text(log_line(1, "stdout", "starting")), text(log_line(2, "stderr", "no such key"))]),
    );
    insta::assert_snapshot!("run_failed", User::of(&server).run(&["run", "hello", "--name", "claw"]).await);
    assert_eq!(server.lines().last().unwrap(), "GET /v1/instances/claw/logs?tail=10");
}

#[tokio::test]
async fn a_server_that_is_shut_down_is_no_failed_start() {
    let server = Server::start().await;
    let error = json!({ "name": "claw", "message": "the server is shutting down; the operation goes on" });
    server.on(
        "POST /v1/instances",
        Answer::events([sse("created", &json!({ "name": "claw" })), sse("error", &error)]),
    );
    server.on("GET /v1/instances/claw", Answer::Nothing);
    server.on("GET /v1/instances/claw", Answer::Nothing);
    server.on("GET /v1/instances/claw", Answer::json(&instance("claw", "starting")));
    server.on("GET /v1/instances/claw", Answer::json(&instance("claw", "ready")));
    insta::assert_snapshot!("run_over_a_restart", User::of(&server).run(&["run", "hello"]).await);
}

#[tokio::test]
async fn an_update_that_was_taken_back_is_a_failure_though_the_agent_is_ready() {
    let mut after = instance("claw", "ready");
    after["update_error"] = json!("it exited with code 3");
    let error =
        json!({ "name": "claw", "message": "the update failed and was taken back: it exited with code 3" });
    // Told by the stream, and found out when the stream has broken.
    for stream in [vec![sse("error", &error)], vec![Piece::Break]] {
        let server = Server::start().await;
        server.on("GET /v1/instances/claw", Answer::json(&instance("claw", "ready")));
        server.on("PATCH /v1/instances/claw", Answer::events(stream));
        server.on("GET /v1/instances/claw", Answer::json(&after));
        let ran = User::of(&server).run(&["update", "claw", "--memory", "2Gi"]).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran}");
        assert!(ran.stderr.contains("taken back: it exited with code 3"), "{ran}");
    }
}

#[tokio::test]
async fn a_failed_start_without_a_log() {
    let server = Server::start().await;
    let error = json!({ "name": "claw", "message": "the image cannot be pulled\nmanifest unknown" });
    server.on("POST /v1/instances", Answer::events([sse("error", &error)]));
    insta::assert_snapshot!("run_failed_without_log", User::of(&server).run(&["run", "hello"]).await);
}

#[tokio::test]
async fn a_stream_that_breaks_is_gone_on_with() {
    let server = Server::start().await;
    server.on(
        "POST /v1/instances",
        Answer::events([sse("created", &json!({ "name": "claw", "state": "pending" })), Piece::Break]),
    );
    server
        .on("GET /v1/instances/claw", Answer::Nothing)
        .on("GET /v1/instances/claw", Answer::Nothing)
        .on("GET /v1/instances/claw", Answer::json(&instance("claw", "starting")))
        .on("GET /v1/instances/claw", Answer::json(&instance("claw", "ready")));
    let ran = User::of(&server).run(&["run", "hello"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "http://claw.localhost:7700\n"), "{ran}");
    assert_eq!(server.lines().iter().filter(|l| l.starts_with("POST")).count(), 1);
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_answer_creates_once() {
    let server = Server::start().await;
    server.on("POST /v1/instances", Answer::Nothing);
    server.on("POST /v1/instances", Answer::status(202, &instance("claw", "pending")));
    let ran = User::of(&server).run(&["run", "-d", "hello"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "claw\n"), "{ran}");
    let seen = server.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].header("idempotency-key"), seen[1].header("idempotency-key"));
}

#[tokio::test]
async fn an_unfinished_stream_without_a_name() {
    let server = Server::start().await;
    server.on("POST /v1/instances", Answer::events([text(": keep-alive\n\n"), Piece::Break]));
    insta::assert_snapshot!("run_nameless", User::of(&server).run(&["run", "hello", "--name", "claw"]).await);
}

#[tokio::test]
async fn a_program_that_ends_is_no_failure() {
    let server = Server::start().await;
    let end = json!({ "name": "job", "message": "it ended with exit code 0" });
    let mut stopped = instance("job", "stopped");
    stopped["exit_code"] = json!(0);
    server.on("GET /v1/instances/job", Answer::json(&stopped));
    server.on("POST /v1/instances", Answer::events([sse("error", &end)]));
    let user = User::of(&server);
    insta::assert_snapshot!("run_ended", user.run(&["run", "hello", "--restart", "on_failure"]).await);
    assert_eq!(server.seen()[0].json()["restart"], json!({ "mode": "on_failure" }));
}

#[tokio::test]
async fn waiting_has_a_limit() {
    let server = Server::start().await;
    let forever = std::sync::Arc::new(tokio::sync::Notify::new());
    server.on(
        "POST /v1/instances",
        Answer::events([
            sse("created", &json!({ "name": "claw", "state": "pending" })),
            Piece::Wait(forever),
        ]),
    );
    let ran = User::of(&server).run(&["run", "hello", "--timeout", "1s"]).await;
    insta::assert_snapshot!("run_timeout", ran);
}

#[tokio::test]
async fn run_for_programs() {
    let server = Server::start().await;
    server.on("POST /v1/instances", Answer::events([sse("ready", &json!({ "name": "claw" }))]));
    server.on("GET /v1/instances/claw", Answer::json(&fixed(instance("claw", "ready"))));
    let ran = User::of(&server).run(&["run", "hello", "--json", "--quiet"]).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    assert_eq!(serde_json::from_str::<serde_json::Value>(&ran.stdout).unwrap()["name"], "claw");
}

#[tokio::test]
async fn update() {
    let server = Server::start().await;
    let mut before = instance("claw", "ready");
    before["spec"]["env"] = json!({ "OLD": "1" });
    before["spec"]["secret_env"] = json!(["KEY"]);
    server.on("GET /v1/instances/claw", Answer::json(&before));
    server.on("PATCH /v1/instances/claw", Answer::events([sse("ready", &json!({ "name": "claw" }))]));
    let user = User::of(&server);
    let arguments = ["update", "claw", "--memory", "2Gi", "--unset", "OLD", "--unset", "KEY", "-e", "NEW=1"];
    let ran = user.run(&arguments).await;
    insta::assert_snapshot!("update", ran);
    assert_eq!(
        server.seen()[1].json(),
        json!({ "memory": "2Gi", "env": { "NEW": "1", "OLD": null }, "secret_env": { "KEY": null } })
    );
    server.on("PATCH /v1/instances/claw", Answer::events([sse("ready", &json!({ "name": "claw" }))]));
    user.run(&["update", "claw", "--remove", "readiness", "--remove", "entrypoint", "--restart", "never"])
        .await;
    let patched = server.seen().into_iter().rfind(|seen| seen.line.starts_with("PATCH")).unwrap();
    assert_eq!(patched.json(), json!({ "readiness": null, "command": null, "restart": { "mode": "never" } }));
    insta::assert_snapshot!("update_nothing", user.run(&["update", "claw"]).await);
    server.on("GET /v1/instances/old", Answer::json(&instance("old", "stopped")));
    server.on("PATCH /v1/instances/old", Answer::status(202, &instance("old", "stopped")));
    assert_eq!(user.run(&["update", "old", "--cpus", "2"]).await.stdout, "old\n");
    assert_eq!(server.seen().last().unwrap().header("accept"), "*/*");
    insta::assert_snapshot!("update_unset_unknown", user.run(&["update", "claw", "--unset", "NOPE"]).await);
}
