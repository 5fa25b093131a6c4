//! Every way to fail: the sentence, what to do next, the exit code.

use serde_json::json;

use super::samples::instance;
use super::scripted::{Answer, Server};
use super::user::User;

#[tokio::test]
async fn refusals() {
    for (name, status, code, detail) in [
        ("unauthenticated", 401, "unauthenticated", "The token is not known here."),
        ("forbidden", 403, "forbidden", "Only operators may do that."),
        ("conflict", 409, "conflict", "The name is taken; choose another."),
        ("unavailable", 503, "unavailable", "The engine does not answer."),
    ] {
        let server = Server::start().await;
        server.on("GET /v1/users", Answer::problem(status, code, detail));
        insta::assert_snapshot!(format!("error_{name}"), User::of(&server).run(&["users", "list"]).await);
    }
}

#[tokio::test]
async fn missing_instances_are_told_with_where_to_look() {
    let server = Server::start().await;
    for (method, path) in [
        ("GET", ""),
        ("GET", "/logs"),
        ("GET", "/exec"),
        ("GET", "/stats"),
        ("POST", "/stop"),
        ("DELETE", ""),
    ] {
        let route = format!("{method} /v1/instances/nope{path}");
        server.on(&route, Answer::problem(404, "not_found", "There is no instance `nope`."));
    }
    let user = User::of(&server);
    for arguments in [
        &["inspect", "nope"][..],
        &["logs", "nope"],
        &["logs", "-f", "nope"],
        &["exec", "nope", "ls"],
        &["stats", "nope"],
        &["stop", "nope"],
        &["rm", "nope"],
        &["open", "nope"],
    ] {
        let ran = user.run(arguments).await;
        assert_eq!(
            (ran.code, ran.stderr.as_str()),
            (Some(4), "error: There is no instance `nope`.\nhint: `ryokan ps` lists yours\n"),
            "{arguments:?}"
        );
    }
}

#[tokio::test]
async fn a_refused_field_is_named() {
    let server = Server::start().await;
    let problem = json!({ "title": "Invalid", "status": 422, "code": "invalid", "field": "ports[0].port",
        "detail": "must be between 1 and 65535", "request_id": "req-1" });
    server.on("POST /v1/instances", Answer::status(422, &problem));
    insta::assert_snapshot!("error_field", User::of(&server).run(&["run", "hello"]).await);
}

#[tokio::test]
async fn an_internal_error_names_its_request() {
    let server = Server::start().await;
    let problem = json!({ "title": "Internal", "status": 500, "code": "internal",
        "detail": "Something went wrong.", "request_id": "req-7" });
    server.on("GET /v1/users", Answer::status(500, &problem));
    insta::assert_snapshot!("error_internal", User::of(&server).run(&["users", "list"]).await);
}

#[tokio::test]
async fn throttling_says_how_long() {
    let server = Server::start().await;
    let problem = json!({ "title": "Slow", "status": 429, "code": "too_many_requests", "detail": "Too many requests." });
    let Answer::Whole { status, mut headers, body } = Answer::status(429, &problem) else { unreachable!() };
    headers.push(("retry-after", "7".to_owned()));
    server.on("GET /v1/users", Answer::Whole { status, headers, body });
    insta::assert_snapshot!("error_throttled", User::of(&server).run(&["users", "list"]).await);
}

#[tokio::test]
async fn nobody_listens() {
    // A port that is taken, so that nobody else gets it, but not listened on.
    let taken = tokio::net::TcpSocket::new_v4().unwrap();
    taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}", taken.local_addr().unwrap());
    let user = User::new(&url).with("RYOKAN_URL", &url);
    insta::assert_snapshot!("error_unreachable", user.run(&["ps"]).await);
}

#[tokio::test]
async fn not_a_ryokan_server() {
    let server = Server::start().await;
    let html = |status| Answer::Whole { status, headers: vec![], body: b"<html>".to_vec() };
    server.on("GET /v1/users", html(200)).on("GET /v1/projects", html(404)).on("GET /v1/tokens", html(502));
    server.on(
        "GET /v1/templates",
        Answer::Whole {
            status: 308,
            headers: vec![("location", "https://elsewhere/v1".into())],
            body: vec![],
        },
    );
    let user = User::of(&server);
    insta::assert_snapshot!("error_html", user.run(&["users", "list"]).await);
    insta::assert_snapshot!("error_bare", user.run(&["projects", "list"]).await);
    insta::assert_snapshot!("error_proxy", user.run(&["tokens", "list"]).await);
    insta::assert_snapshot!("error_redirect", user.run(&["templates"]).await);
    assert_eq!(server.lines().len(), 4, "a redirect is not followed");
}

#[tokio::test]
async fn bad_addresses() {
    let user = User::new("http://nowhere");
    insta::assert_snapshot!("error_url", user.run(&["--url", "localhost:7700", "ps"]).await);
    let ran = user.run(&["--url", "http://root:hush@localhost", "ps"]).await;
    assert_eq!(ran.code, Some(2));
    let ran = user.run(&["--token-file", "nope", "ps"]).await;
    assert_eq!(ran.code, Some(2), "{ran}");
}

#[tokio::test]
async fn a_name_cannot_reach_another_route() {
    let server = Server::start().await;
    let user = User::of(&server);
    for name in ["..", ".", ""] {
        assert_eq!(user.run(&["rm", "--", name]).await.code, Some(2), "{name}");
    }
    assert_eq!(user.run(&["inspect", "a/../b"]).await.code, Some(4));
    assert_eq!(server.lines(), ["GET /v1/instances/a%2F..%2Fb"]);
}

#[tokio::test]
async fn a_reader_that_leaves_is_no_failure() {
    let server = Server::start().await;
    let many: Vec<_> = (0..2000).map(|i| instance(&format!("claw-{i}"), "ready")).collect();
    server.on("GET /v1/instances", Answer::page(&many));
    let user = User::of(&server);
    let mut child = user.command(&["ps", "--json"]).spawn().unwrap();
    drop(child.stdout.take());
    let ran = user.finish(child).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
}
