//! Streams that come back: no line and no event is lost or told twice.

use std::sync::Arc;

use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::sync::Notify;

use super::samples::{event, instance, log_line, stats};
use super::scripted::{Answer, Piece, Server, sse, text};
use super::user::User;

#[tokio::test]
async fn logs_go_where_they_came_from() {
    let server = Server::start().await;
    let lines = [
        text(log_line(1_763_700_000_000, "stdout", "one")),
        text(log_line(1_763_700_000_001, "stderr", "two")),
        text("\n"),
        // Cut in the middle of a line and of a letter.
        text(&log_line(1_763_700_000_002, "stdout", "three")[..20]),
        text(&log_line(1_763_700_000_002, "stdout", "three")[20..]),
    ];
    server.on("GET /v1/instances/claw/logs", Answer::lines(lines));
    let user = User::of(&server);
    insta::assert_snapshot!("logs", user.run(&["logs", "claw"]).await);
    insta::assert_snapshot!(
        "logs_timestamps",
        user.run(&["logs", "-t", "--tail", "5", "--since", "10m", "claw"]).await
    );
    insta::assert_snapshot!("logs_json", user.run(&["logs", "--json", "claw"]).await);
    assert_eq!(server.lines()[1], "GET /v1/instances/claw/logs?since=10m&tail=5");
    assert_eq!(server.seen()[0].header("accept"), "application/x-ndjson");
}

#[tokio::test]
async fn followed_logs_survive_broken_connections() {
    let server = Server::start().await;
    let line = |at: i64, words: &str| text(log_line(at, "stdout", words));
    let logs = "GET /v1/instances/claw/logs";
    server
        .on(
            logs,
            Answer::lines([line(9000, "old"), line(20_000, "tick"), line(20_000, "tick"), Piece::Break]),
        )
        .on(logs, Answer::Nothing)
        .on(logs, Answer::Nothing)
        .on(logs, Answer::problem(503, "unavailable", "It restarts."))
        .on(
            logs,
            // Began a little early, and repeats what was told; the third `tick` is new.
            Answer::lines([
                line(17_000, "old"),
                line(20_000, "tick"),
                line(20_000, "tick"),
                line(20_000, "tick"),
                line(21_000, "last"),
            ]),
        );
    server.on("GET /v1/instances/claw", Answer::json(&instance("claw", "stopped")));
    insta::assert_snapshot!(
        "logs_followed",
        User::of(&server).run(&["logs", "-f", "--tail", "3", "claw"]).await
    );
    let lines = server.lines();
    assert_eq!(lines[0], "GET /v1/instances/claw/logs?follow=true&tail=3");
    assert_eq!(lines[4], "GET /v1/instances/claw/logs?follow=true&since=18000");
}

#[tokio::test]
async fn followed_logs_end_with_the_instance() {
    let server = Server::start().await;
    let logs = "GET /v1/instances/claw/logs";
    server.on(logs, Answer::lines([text(log_line(1000, "stdout", "bye")), Piece::Break]));
    server.on(logs, Answer::problem(404, "not_found", "There is no instance `claw`."));
    let ran = User::of(&server).run(&["logs", "-f", "claw"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "bye\n"), "{ran}");
}

#[tokio::test]
async fn garbage_in_a_stream_is_refused() {
    let server = Server::start().await;
    server.on("GET /v1/instances/claw/logs", Answer::lines([text("{\"at\":\n")]));
    server.on("GET /v1/events", Answer::events([text("data: nonsense\n\n")]));
    let user = User::of(&server);
    insta::assert_snapshot!("logs_garbage", user.run(&["logs", "claw"]).await);
    insta::assert_snapshot!("events_garbage", user.run(&["events", "-f"]).await);
}

#[tokio::test]
async fn followed_events_resume_after_the_last_one() {
    let server = Server::start().await;
    let sent = |seq: i64| {
        text(format!("id: {seq}\nevent: instance.ready\ndata: {}\n\n", event(seq, "instance.ready", "done")))
    };
    let end = Arc::new(Notify::new());
    server
        .on("GET /v1/events", Answer::events([text(": hello\n\n"), sent(7), Piece::Break]))
        .on("GET /v1/events", Answer::Nothing)
        .on("GET /v1/events", Answer::Nothing)
        // Without an event, only where it stands; then it ends properly, as a server that is shut down does.
        .on("GET /v1/events", Answer::events([text("id: 9\n\n")]))
        .on("GET /v1/events", Answer::events([sent(10), Piece::Wait(end)]));
    let user = User::of(&server);
    let mut child =
        user.command(&["events", "-f", "--since-seq", "3", "--instance", "claw"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.next_line().await.unwrap().unwrap();
    let second = lines.next_line().await.unwrap().unwrap();
    insta::assert_snapshot!("events_followed", format!("{first}\n{second}\n"));
    child.kill().await.unwrap();
    let seen = server.seen();
    assert_eq!(seen[0].line, "GET /v1/events?after=3&instance=claw");
    assert_eq!(seen[0].header("last-event-id"), "");
    assert_eq!(seen[1].line, "GET /v1/events?instance=claw");
    let resumed: Vec<&str> = seen[1..].iter().map(|s| s.header("last-event-id")).collect();
    assert_eq!(resumed, ["7", "7", "7", "9"]);
}

#[tokio::test]
async fn a_refusal_ends_the_following() {
    let server = Server::start().await;
    let sent = format!("id: 1\ndata: {}\n\n", event(1, "instance.ready", "done"));
    server.on("GET /v1/events", Answer::events([text(sent), Piece::Break]));
    server.on("GET /v1/events", Answer::problem(401, "unauthenticated", "The token is not known here."));
    let ran = User::of(&server).run(&["events", "-f", "--json"]).await;
    assert_eq!((ran.code, ran.stdout.lines().count()), (Some(3), 1), "{ran}");
}

#[tokio::test]
async fn samples_as_they_come() {
    let server = Server::start().await;
    let mut second = stats();
    second["pids"] = json!(4);
    server
        .on("GET /v1/instances/claw/stats", Answer::events([sse("stats", &stats()), sse("stats", &second)]));
    let ran = User::of(&server).run(&["stats", "--json", "claw"]).await;
    insta::assert_snapshot!("stats_streamed", ran);
}
