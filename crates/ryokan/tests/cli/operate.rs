//! `stop`, `start`, `restart`, `rm`: several at a time, waiting or not.

use serde_json::json;

use super::samples::instance;
use super::scripted::{Answer, Server, sse};
use super::user::User;

#[tokio::test]
async fn several_are_stopped_and_told_in_order() {
    let server = Server::start().await;
    for name in ["a", "c"] {
        server.on(
            &format!("POST /v1/instances/{name}/stop"),
            Answer::events([
                sse("pending", &json!({ "name": name, "state": "stopping" })),
                sse("stopped", &json!({ "name": name, "state": "stopped" })),
            ]),
        );
    }
    server.on("POST /v1/instances/b/stop", Answer::problem(404, "not_found", "There is no instance `b`."));
    let ran = User::of(&server).run(&["stop", "a", "b", "c"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(4), "a\nc\n"));
    assert!(ran.stderr.contains("error: There is no instance `b`."), "{ran}");
}

#[tokio::test]
async fn an_answer_without_a_stream_is_asked_after() {
    let server = Server::start().await;
    server.on("POST /v1/instances/claw/start", Answer::status(202, &instance("claw", "pending")));
    server.on("GET /v1/instances/claw", Answer::json(&instance("claw", "starting")));
    server.on("GET /v1/instances/claw", Answer::json(&instance("claw", "ready")));
    insta::assert_snapshot!("start", User::of(&server).run(&["start", "claw"]).await);
}

#[tokio::test]
async fn a_start_that_fails_while_it_is_asked_after() {
    let server = Server::start().await;
    let mut failed = instance("claw", "failed");
    failed["message"] = json!("the image is gone");
    server.on("POST /v1/instances/claw/restart", Answer::status(202, &instance("claw", "pending")));
    server.on("GET /v1/instances/claw", Answer::json(&failed));
    insta::assert_snapshot!("restart_failed", User::of(&server).run(&["restart", "claw"]).await);
}

#[tokio::test]
async fn not_waiting_asks_for_no_stream() {
    let server = Server::start().await;
    server.on("POST /v1/instances/claw/stop", Answer::status(202, &instance("claw", "stopping")));
    let ran = User::of(&server).run(&["stop", "--no-wait", "claw"]).await;
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (Some(0), "claw\n", ""));
    assert_eq!(server.seen()[0].header("accept"), "*/*");
}

#[tokio::test]
async fn rm() {
    let server = Server::start().await;
    server.on(
        "DELETE /v1/instances/a",
        Answer::events([
            sse("pending", &json!({ "name": "a", "state": "deleting" })),
            sse("deleted", &json!({ "name": "a" })),
        ]),
    );
    server.on("DELETE /v1/instances/b", Answer::status(202, &instance("b", "deleting")));
    let user = User::of(&server);
    insta::assert_snapshot!("rm", user.run(&["rm", "a"]).await);
    assert_eq!(user.run(&["rm", "a", "b"]).await.stdout, "a\nb\n");
    user.run(&["rm", "--force", "--keep-volumes", "--no-wait", "b"]).await;
    assert_eq!(server.lines().last().unwrap(), "DELETE /v1/instances/b?force=true&keep_volumes=true");
}
