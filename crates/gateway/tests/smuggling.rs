//! Every request that two parsers could read differently is refused with 400 and a closed connection, and no
//! agent and no control plane sees any of it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use support::{Agent, World, within, zone};

/// Sends `bytes` with a second request behind, and expects one 400 and the end.
async fn refused(world: &World, agent: &Agent, bytes: &[u8]) {
    let seen = agent.count();
    let mut client = world.connect().await;
    client.send(bytes).await;
    client.send("GET /smuggled HTTP/1.1\r\nHost: claw.localhost\r\n\r\n").await;
    let answer = within(client.answer()).await;
    let text = String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(answer.status, 400, "{text}\n{}", answer.head);
    assert_eq!(answer.header("connection").as_deref(), Some("close"), "{text}");
    assert!(client.ended().await, "{text}");
    assert_eq!(agent.count(), seen, "{text}");
}

#[tokio::test]
async fn ambiguous_requests_are_refused() {
    let agent = Agent::ok().await;
    let world = World::new(zone().route(agent.route())).await;
    let host = "Host: claw.localhost\r\n";
    let cases: Vec<(&str, String)> = vec![
        (
            "length, then chunked",
            format!(
                "POST / HTTP/1.1\r\n{host}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            ),
        ),
        (
            "chunked, then length",
            format!(
                "POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n"
            ),
        ),
        ("two lengths", format!("POST / HTTP/1.1\r\n{host}Content-Length: 4\r\nContent-Length: 5\r\n\r\n")),
        ("list of lengths", format!("POST / HTTP/1.1\r\n{host}Content-Length: 4, 5\r\n\r\n")),
        ("signed length", format!("POST / HTTP/1.1\r\n{host}Content-Length: +4\r\n\r\n")),
        ("hidden coding", format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding: xchunked\r\n\r\n")),
        ("list of codings", format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding: gzip, chunked\r\n\r\n")),
        (
            "two codings",
            format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n\r\n"),
        ),
        ("coding in 1.0", format!("POST / HTTP/1.0\r\n{host}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")),
        ("folded header", format!("GET / HTTP/1.1\r\n{host}X-A: b\r\n c\r\n\r\n")),
        ("bare LF between headers", format!("GET / HTTP/1.1\r\n{host}X-A: b\nX-B: c\r\n\r\n")),
        ("bare LF everywhere", "GET / HTTP/1.1\nHost: claw.localhost\n\n".into()),
        ("bare CR in a value", format!("GET / HTTP/1.1\r\n{host}X-A: b\rX-B: c\r\n\r\n")),
        ("NUL in a value", format!("GET / HTTP/1.1\r\n{host}X-A: b\0c\r\n\r\n")),
        ("blank before colon", format!("POST / HTTP/1.1\r\n{host}Content-Length : 4\r\n\r\n")),
        ("blank before the first header", "GET / HTTP/1.1\r\n Host: claw.localhost\r\n\r\n".into()),
        ("another authority in the target", format!("GET http://localhost/ HTTP/1.1\r\n{host}\r\n")),
        ("two hosts", format!("GET / HTTP/1.1\r\n{host}Host: localhost\r\n\r\n")),
        ("the same host twice", format!("GET / HTTP/1.1\r\n{host}{host}\r\n")),
        ("no host", "GET / HTTP/1.1\r\n\r\n".into()),
        ("empty host", "GET / HTTP/1.1\r\nHost:\r\n\r\n".into()),
        ("host with user", "GET / HTTP/1.1\r\nHost: x@claw.localhost\r\n\r\n".into()),
        ("host with path", "GET / HTTP/1.1\r\nHost: claw.localhost/x\r\n\r\n".into()),
        ("CONNECT", format!("CONNECT claw.localhost:80 HTTP/1.1\r\n{host}\r\n")),
        ("CONNECT elsewhere", "CONNECT 10.0.0.1:80 HTTP/1.1\r\nHost: 10.0.0.1:80\r\n\r\n".into()),
        ("TRACE", format!("TRACE / HTTP/1.1\r\n{host}\r\n")),
        ("control byte in the path", format!("GET /a\x01b HTTP/1.1\r\n{host}\r\n")),
        ("tab in the path", format!("GET /a\tb HTTP/1.1\r\n{host}\r\n")),
        ("blank in the path", format!("GET /a b HTTP/1.1\r\n{host}\r\n")),
        ("unknown version", format!("GET / HTTP/1.9\r\n{host}\r\n")),
        ("asterisk to an agent", format!("OPTIONS * HTTP/1.1\r\n{host}\r\n")),
    ];
    for (name, bytes) in &cases {
        eprintln!("{name}");
        refused(&world, &agent, bytes.as_bytes()).await;
    }
    assert_eq!(world.get("claw.localhost", "/", "").await.status, 200);
}

#[tokio::test]
async fn a_bad_chunk_ends_the_exchange() {
    let agent = Agent::ok().await;
    let world = World::new(zone().route(agent.route())).await;
    for chunk in [
        "3\nabc\r\n0\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3;\rx\r\nabc\r\n0\r\n\r\n",
    ] {
        let mut client = world.connect().await;
        client
            .send(format!(
                "POST / HTTP/1.1\r\nHost: claw.localhost\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}"
            ))
            .await;
        client.send("GET /smuggled HTTP/1.1\r\nHost: claw.localhost\r\n\r\n").await;
        let answer = within(client.answer()).await;
        assert!(answer.status == 400 || answer.status == 0, "{chunk:?} {}", answer.head);
        assert!(client.ended().await);
    }
    assert!(agent.got.lock().unwrap().iter().all(|got| !got.head.contains("smuggled")));
}

#[tokio::test]
async fn pipelined_requests_are_screened_each() {
    let agent = Agent::ok().await;
    let world = World::new(zone().route(agent.route())).await;
    let mut client = world.connect().await;
    client
        .send(
            "GET /1 HTTP/1.1\r\nHost: claw.localhost\r\n\r\nPOST /2 HTTP/1.1\r\nHost: claw.localhost\r\n\
             Content-Length: 3\r\n\r\na\nbGET /3 HTTP/1.1\r\nHost: claw.localhost\r\nContent-Length: 1\r\n\
             Transfer-Encoding: chunked\r\n\r\n",
        )
        .await;
    assert_eq!(within(client.answer()).await.status, 200);
    assert_eq!(within(client.answer()).await.status, 200);
    assert_eq!(within(client.answer()).await.status, 400);
    assert!(client.ended().await);
    assert_eq!(agent.count(), 2);
}

#[tokio::test]
async fn an_absolute_target_that_agrees_is_fine() {
    let agent = Agent::ok().await;
    let world = World::new(zone().route(agent.route())).await;
    let answer = world.ask("GET http://claw.localhost/x HTTP/1.1\r\nHost: claw.localhost\r\n\r\n").await;
    assert_eq!(answer.status, 200);
    assert!(agent.last().head.starts_with("GET /x HTTP/1.1"));
}

#[tokio::test]
async fn heads_are_bounded() {
    let agent = Agent::ok().await;
    let world = World::new(zone().route(agent.route())).await;
    let long = format!("GET / HTTP/1.1\r\nHost: claw.localhost\r\nX: {}\r\n\r\n", "a".repeat(70_000));
    assert_eq!(world.ask(&long).await.status, 431);
    let many = "X-Again: a\r\n".repeat(200);
    assert_eq!(world.get("claw.localhost", "/", &many).await.status, 431);
    // An agent's own path at the control plane's host is an agent's.
    let long = format!("X: {}\r\n", "a".repeat(70_000));
    assert_eq!(world.get("localhost", "/gateway/claw/", &long).await.status, 431);
    assert_eq!(agent.count(), 0);
    let fits = format!("X: {}\r\n", "a".repeat(60_000));
    assert_eq!(world.get("claw.localhost", "/", &fits).await.status, 200);
}

#[tokio::test]
async fn heads_for_the_control_plane_may_hold_a_payment() {
    let agent = Agent::ok().await;
    let world = World::new(zone().route(agent.route())).await;
    let head = |length: usize| format!("X-Bsv-Payment: {}\r\n", "a".repeat(length));
    let answer = world.get("localhost", "/pay", &head(400_000)).await;
    assert_eq!(answer.status, 200, "{}", answer.head);
    assert_eq!(world.get("localhost", "/pay", &head(600_000)).await.status, 431);
    // One after the other on one connection.
    let mut client = world.connect().await;
    for length in [400_000, 10, 300_000] {
        client.send(format!("GET /pay HTTP/1.1\r\nHost: localhost\r\n{}\r\n", head(length))).await;
        assert_eq!(within(client.answer()).await.status, 200, "{length}");
    }
}

#[tokio::test]
async fn an_agent_cannot_answer_twice() {
    // The second answer is not the next client's.
    let twice =
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    let agent = Agent::answering(twice).await;
    let world = World::new(zone().route(agent.route())).await;
    for _ in 0..5 {
        assert_eq!(world.get("claw.localhost", "/", "").await.text(), "ok");
    }
}

#[tokio::test]
async fn an_answers_length_beside_its_coding_is_dropped() {
    let agent = Agent::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 50\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    )
    .await;
    let world = World::new(zone().route(agent.route())).await;
    for _ in 0..3 {
        let answer = world.get("claw.localhost", "/", "").await;
        assert_eq!((answer.text().as_str(), answer.header("content-length")), ("hello", None));
    }
}

#[tokio::test]
async fn answers_with_two_lengths_or_odd_bytes_are_a_502() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 99 Low\r\n\r\n",
        "HTTP/3.7 200 OK\r\n\r\n",
    ] {
        let agent = Agent::answering(answer).await;
        let world = World::new(zone().route(agent.route())).await;
        assert_eq!(world.get("claw.localhost", "/", "").await.status, 502, "{answer}");
    }
}
