//! Requests through the gateway to scripted agents: routing, framing, pooling, limits, states.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use ryokan_gateway::{Limits, Route, RouteState};
use support::{Agent, Got, World, header, within, zone};
use tokio::io::AsyncWriteExt as _;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn hosts_lead_to_agents_and_to_the_control_plane() {
    let agent = Agent::ok().await;
    let other = Agent::answering("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother").await;
    let mut route = agent.route();
    route.ports.insert("ssh".into(), other.address);
    let world = World::new(zone().route(route).domain("claw.example.org", "claw")).await;
    for host in ["claw.localhost", "CLAW.localhost.:7700", "frontend-claw.localhost", "claw.example.org"] {
        let answer = world.get(host, "/a?b=c", "").await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"), "{host}");
        assert!(agent.last().head.starts_with("GET /a?b=c HTTP/1.1\r\n"));
        assert_eq!(header(&agent.last().head, "host").as_deref(), Some(host));
    }
    assert_eq!(world.get("ssh--claw.localhost", "/", "").await.text(), "other");
    for host in ["localhost", "admin.localhost", "api.localhost:1", "127.0.0.1", "[::1]:80"] {
        assert!(world.get(host, "/x", "").await.text().starts_with("control /x 127.0.0.1 false"), "{host}");
    }
    assert_eq!(world.get("nobody.localhost", "/", "").await.status, 404);
    assert_eq!(world.get("evil.example", "/", "").await.status, 421);
    assert_eq!(world.ask("GET /x HTTP/1.0\r\n\r\n").await.status, 200);
    assert_eq!(world.usage("i-1").requests, 5);
}

#[tokio::test]
async fn states_have_friendly_answers() {
    let states = [
        ("starting", RouteState::Starting, 503, Some("3")),
        ("pending", RouteState::Pending, 503, Some("3")),
        ("stopped", RouteState::Stopped, 503, Some("30")),
        ("stopping", RouteState::Stopping, 503, Some("30")),
        ("failed", RouteState::Failed { reason: "no <image>".into() }, 503, Some("30")),
        ("deleting", RouteState::Deleting, 404, None),
    ];
    let mut snapshot = zone();
    for (name, state, ..) in &states {
        snapshot.insert(Route::new(*name, *name, state.clone()));
    }
    let world = World::new(snapshot).await;
    for (name, _, status, retry) in &states {
        let host = format!("{name}.localhost");
        let program = world.get(&host, "/", "").await;
        assert_eq!(program.status, *status, "{name}");
        assert_eq!(program.header("retry-after").as_deref(), *retry, "{name}");
        assert_eq!(program.header("content-type").as_deref(), Some("application/problem+json"));
        for field in ["\"type\":", "\"title\":", "\"status\":", "\"code\":", "\"detail\":"] {
            assert!(program.text().contains(field), "{}", program.text());
        }
        let browser = world.get(&host, "/", "Accept: text/html\r\n").await;
        assert_eq!(browser.status, *status);
        assert!(browser.header("content-type").unwrap().starts_with("text/html"));
        assert!(!browser.text().contains("http://") && !browser.text().contains("<image>"));
        assert_eq!(browser.text().contains("http-equiv=\"refresh\""), *retry == Some("3"), "{name}");
    }
}

#[tokio::test]
async fn a_dead_agent_is_a_502_without_addresses() {
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let garbage = Agent::answering("SSH-2.0-nonsense\r\n\r\n").await;
    let hangs_up = Agent::scripted(|mut raw, _, _| async move {
        raw.head().await;
    })
    .await;
    let world = World::new(
        zone()
            .route(Route::new("a", "gone", RouteState::Ready { endpoint: gone }))
            .route(Route::new("b", "garbage", garbage.ready()))
            .route(Route::new("c", "hangup", hangs_up.ready()))
            .route(Route::new("d", "unwell", RouteState::Unhealthy { endpoint: gone })),
    )
    .await;
    for name in ["gone", "garbage", "hangup", "unwell"] {
        let answer = world.get(&format!("{name}.localhost"), "/", "").await;
        assert_eq!(answer.status, 502, "{name}");
        let code = if name == "unwell" { "agent_unhealthy" } else { "agent_unreachable" };
        assert!(answer.text().contains(code), "{}", answer.text());
        assert!(!answer.text().contains("127.0.0.1") && !answer.text().contains(&gone.port().to_string()));
    }
}

#[tokio::test]
async fn a_silent_agent_is_a_504() {
    let agent = Agent::scripted(|mut raw, _, _| async move {
        raw.head().await;
        std::future::pending::<()>().await;
    })
    .await;
    let limits = Limits { response_timeout: Duration::from_millis(50), ..Limits::default() };
    let world = World::with(zone().route(agent.route()), limits, &[]).await;
    let answer = world.get("claw.localhost", "/", "").await;
    assert_eq!(answer.status, 504);
    assert!(answer.text().contains("agent_timeout"));
}

#[tokio::test]
async fn bodiless_answers_and_1xx() {
    let agent = Agent::scripted(|mut raw, _, _| async move {
        loop {
            let head = raw.head().await;
            let answer = match head.split(' ').nth(1) {
                Some("/head") => "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n",
                Some("/204") => "HTTP/1.1 204 No Content\r\n\r\n",
                Some("/304") => "HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\nETag: \"x\"\r\n\r\n",
                Some("/1xx") => {
                    "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n\
                     HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
                }
                _ => return,
            };
            raw.send(answer).await;
        }
    })
    .await;
    let world = World::new(zone().route(agent.route())).await;
    let mut client = world.connect().await;
    client.send("HEAD /head HTTP/1.1\r\nHost: claw.localhost\r\n\r\n").await;
    let answer = within(client.answer_to("HEAD")).await;
    assert_eq!((answer.status, answer.header("content-length").as_deref()), (200, Some("1234")));
    for (path, status) in [("/204", 204), ("/304", 304), ("/1xx", 200)] {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: claw.localhost\r\n\r\n")).await;
        let answer = within(client.answer()).await;
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.header("transfer-encoding").is_none());
    }
    assert_eq!(agent.connections(), 1);
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let agent = Agent::scripted(|mut raw, _, got| async move {
        let head = raw.head().await;
        let (mut body, trailers) = raw.body(&head, false).await;
        body.extend(trailers.into_bytes());
        got.lock().unwrap().push(Got { head, body });
        raw.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n")
            .await;
        std::future::pending::<()>().await;
    })
    .await;
    let world = World::new(zone().route(agent.route())).await;
    let answer = world
        .ask(
            "POST / HTTP/1.1\r\nHost: claw.localhost\r\nTE: trailers\r\nConnection: TE\r\nTrailer: X-In\r\n\
             Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-In: 5\r\n\r\n",
        )
        .await;
    assert_eq!(answer.text(), "ok");
    assert!(answer.trailers.to_lowercase().contains("x-sum: 7"), "{:?}", answer.trailers);
    let seen = String::from_utf8(agent.last().body).unwrap().to_lowercase();
    assert!(seen.starts_with("abc") && seen.contains("x-in: 5"), "{seen}");
    assert_eq!(header(&agent.last().head, "te").as_deref(), Some("trailers"));
}

#[tokio::test]
async fn connections_to_agents_are_reused() {
    let agent = Agent::ok().await;
    let world = World::new(zone().route(agent.route())).await;
    for _ in 0..5 {
        assert_eq!(world.get("claw.localhost", "/", "").await.text(), "ok");
    }
    assert_eq!((agent.count(), agent.connections()), (5, 1));
}

#[tokio::test]
async fn an_agent_that_says_close_is_not_reused() {
    let agent = Agent::answering("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok").await;
    let world = World::new(zone().route(agent.route())).await;
    let mut client = world.connect().await;
    for _ in 0..3 {
        client.send("GET / HTTP/1.1\r\nHost: claw.localhost\r\n\r\n").await;
        let answer = within(client.answer()).await;
        assert_eq!(answer.text(), "ok");
        assert!(answer.header("connection").is_none(), "the agent's close is not the client's");
    }
    assert_eq!(agent.connections(), 3);
}

/// Answers once on each connection and then closes it when the next request has come, unanswered.
async fn closes_on_the_second_request() -> Agent {
    Agent::scripted(|mut raw, number, got| async move {
        for round in 0.. {
            let head = raw.head().await;
            if head.is_empty() || (number == 0 && round == 1) {
                return;
            }
            let (body, _) = raw.body(&head, false).await;
            got.lock().unwrap().push(Got { head, body });
            raw.send(OK).await;
        }
    })
    .await
}

#[tokio::test]
async fn a_stale_connection_is_retried_once_if_that_is_safe() {
    let agent = closes_on_the_second_request().await;
    let world = World::new(zone().route(agent.route())).await;
    assert_eq!(world.get("claw.localhost", "/1", "").await.text(), "ok");
    assert_eq!(world.get("claw.localhost", "/2", "").await.text(), "ok");
    assert_eq!((agent.count(), agent.connections()), (2, 2));
}

#[tokio::test]
async fn a_request_that_was_sent_and_changes_things_is_not_repeated() {
    let agent = closes_on_the_second_request().await;
    let world = World::new(zone().route(agent.route())).await;
    assert_eq!(world.get("claw.localhost", "/1", "").await.text(), "ok");
    let post = "POST / HTTP/1.1\r\nHost: claw.localhost\r\nContent-Length: 1\r\n\r\nx";
    assert_eq!(world.ask(post).await.status, 502);
    assert_eq!((agent.count(), agent.connections()), (1, 1));
}

#[tokio::test]
async fn a_connection_closed_while_idle_is_noticed() {
    let agent = Agent::scripted(|mut raw, _, got| async move {
        let head = raw.head().await;
        let (body, _) = raw.body(&head, false).await;
        got.lock().unwrap().push(Got { head, body });
        raw.send(OK).await;
        raw.0.shutdown().await.unwrap();
    })
    .await;
    let world = World::new(zone().route(agent.route())).await;
    let post = "POST / HTTP/1.1\r\nHost: claw.localhost\r\nContent-Length: 1\r\n\r\nx";
    for round in 1..=3 {
        assert_eq!(world.ask(post).await.status, 200, "{round}");
        assert_eq!(agent.connections(), round);
    }
}

#[tokio::test]
async fn bodies_are_bounded() {
    let agent = Agent::ok().await;
    let limits = Limits { request_body: 10, ..Limits::default() };
    let world = World::with(zone().route(agent.route()), limits, &[]).await;
    let head = "POST / HTTP/1.1\r\nHost: claw.localhost\r\n";
    assert_eq!(world.ask(&format!("{head}Content-Length: 10\r\n\r\n0123456789")).await.status, 200);
    let announced = world.ask(&format!("{head}Content-Length: 11\r\n\r\n01234567890")).await;
    assert_eq!((announced.status, announced.header("connection").as_deref()), (413, Some("close")));
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n6\r\n012345\r\n6\r\n012345\r\n0\r\n\r\n");
    let found = world.ask(&chunked).await;
    assert_eq!((found.status, found.header("connection").as_deref()), (413, Some("close")));
    assert_eq!(agent.count(), 1);
}

#[tokio::test]
async fn requests_to_one_instance_are_bounded() {
    let agent = Agent::scripted(|mut raw, number, got| async move {
        let head = raw.head().await;
        got.lock().unwrap().push(Got { head, body: Vec::new() });
        if number < 2 {
            std::future::pending::<()>().await;
        }
        raw.send(OK).await;
        std::future::pending::<()>().await;
    })
    .await;
    let limits = Limits { in_flight_per_instance: 2, ..Limits::default() };
    let idle = Agent::ok().await;
    let snapshot = zone().route(agent.route()).route(Route::new("i-2", "idle", idle.ready()));
    let world = World::with(snapshot, limits, &[]).await;
    let (mut one, mut two) = (world.connect().await, world.connect().await);
    one.send("GET /1 HTTP/1.1\r\nHost: claw.localhost\r\n\r\n").await;
    two.send("GET /2 HTTP/1.1\r\nHost: claw.localhost\r\n\r\n").await;
    world.until(|| agent.count() == 2).await;
    let refused = world.get("claw.localhost", "/3", "").await;
    assert_eq!((refused.status, refused.header("retry-after").as_deref()), (503, Some("1")));
    assert_eq!(world.get("idle.localhost", "/", "").await.status, 200);
    // A client that hangs up frees its place, and the agent sees it go.
    drop(one);
    within(async {
        loop {
            let answer = world.get("claw.localhost", "/4", "").await;
            if answer.status == 200 {
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_that_hangs_up_cancels_the_request() {
    let (told, mut gone) = tokio::sync::mpsc::channel(1);
    let agent = Agent::scripted(move |mut raw, _, got| {
        let told = told.clone();
        async move {
            let head = raw.head().await;
            got.lock().unwrap().push(Got { head, body: Vec::new() });
            assert!(raw.ended().await);
            told.send(()).await.unwrap();
        }
    })
    .await;
    let world = World::new(zone().route(agent.route())).await;
    let mut client = world.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: claw.localhost\r\n\r\n").await;
    world.until(|| agent.count() == 1).await;
    drop(client);
    within(gone.recv()).await.unwrap();
}

#[tokio::test]
async fn a_sleeping_agent_is_woken_and_waited_for() {
    let agent = Agent::ok().await;
    let world = World::new(zone().route(Route::new("i-1", "claw", RouteState::Sleeping))).await;
    let mut client = world.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: claw.localhost\r\n\r\n").await;
    world.until(|| world.authenticator.woken.load(SeqCst) == 1).await;
    world.routes.store(zone().route(Route::new("i-1", "claw", RouteState::Starting)));
    world.routes.store(zone().route(agent.route()));
    assert_eq!(within(client.answer()).await.text(), "ok");

    let limits = Limits { wake_timeout: Duration::from_millis(20), ..Limits::default() };
    let world = World::with(zone().route(Route::new("i-1", "claw", RouteState::Sleeping)), limits, &[]).await;
    let answer = world.get("claw.localhost", "/", "").await;
    assert_eq!((answer.status, answer.header("retry-after").as_deref()), (503, Some("3")));
}

#[tokio::test]
async fn expect_continue_is_answered_here() {
    let agent = Agent::ok().await;
    let world = World::new(zone().route(agent.route())).await;
    let mut client = world.connect().await;
    client
        .send("POST / HTTP/1.1\r\nHost: claw.localhost\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        .await;
    assert!(within(client.head()).await.starts_with("HTTP/1.1 100"));
    client.send("abc").await;
    assert_eq!(within(client.answer()).await.text(), "ok");
    assert_eq!(agent.last().body, b"abc");
    assert!(header(&agent.last().head, "expect").is_none());
}
