//! What is open when its credential ends is cut, soon, and nothing else is.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use ryokan_gateway::{Access, Limits, Route};
use support::{Agent, Raw, World, within, zone};
use tokio::io::AsyncReadExt as _;

const TOKEN: &str = "Authorization: Bearer ryk_good\r\n";
const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Upgrades who asks for it; else begins an answer of a mebibyte, or none at all.
async fn agent() -> Agent {
    Agent::scripted(|mut raw, _, got| async move {
        let head = raw.head().await;
        got.lock().unwrap().push(support::Got { head: head.clone(), body: Vec::new() });
        if head.contains("websocket") {
            raw.send(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhi",
            )
            .await;
        } else if head.starts_with("GET /events") {
            raw.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n").await;
        } else if head.starts_with("GET /file") {
            raw.send("HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\nhi").await;
        }
        // Says nothing more, and notices when the gateway lets go.
        let _ = raw.0.read_to_end(&mut Vec::new()).await;
        got.lock().unwrap().push(support::Got { head: "gone".into(), body: Vec::new() });
    })
    .await
}

async fn world(agent: &Agent) -> World {
    let with = |name: &str, access| {
        let mut route = Route::new(name, name, agent.ready());
        route.access = access;
        route
    };
    // The shortest of these sets the supervisor's pace.
    let limits = Limits { header_timeout: Duration::from_millis(400), ..Limits::default() };
    let snapshot = zone().route(with("claw", Access::Private)).route(with("open", Access::Public));
    World::with(snapshot, limits, &[]).await
}

async fn open(world: &World, host: &str, path: &str, headers: &str, first: usize) -> Raw {
    let mut client = world.connect().await;
    client.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{TOKEN}{headers}\r\n")).await;
    let head = within(client.head()).await;
    assert!(head.starts_with("HTTP/1.1 200") || head.starts_with("HTTP/1.1 101"), "{head}");
    within(client.exactly(first)).await;
    client
}

#[tokio::test]
async fn streams_downloads_and_tunnels_end_with_their_credential() {
    for (path, headers, first) in [("/events", "", 7), ("/file", "", 2), ("/ws", UPGRADE, 2)] {
        let agent = agent().await;
        let world = world(&agent).await;
        let mut private = open(&world, "claw.localhost", path, headers, first).await;
        let mut public = open(&world, "open.localhost", path, headers, first).await;
        world.authenticator.revoked.lock().unwrap().insert("another".into());
        let early = tokio::time::timeout(Duration::from_millis(400), private.ended()).await;
        assert!(early.is_err(), "{path}: cut without a reason");
        world.authenticator.revoked.lock().unwrap().insert("good".into());
        assert!(private.ended().await, "{path}: more came");
        world.until(|| agent.got.lock().unwrap().iter().any(|got| got.head == "gone")).await;
        let open = tokio::time::timeout(Duration::from_millis(300), public.ended()).await;
        assert!(open.is_err(), "{path}: what is open to everybody was cut");
    }
}

#[tokio::test]
async fn who_still_waits_for_an_answer_is_refused() {
    let agent = agent().await;
    let world = world(&agent).await;
    let mut client = world.connect().await;
    client.send(format!("GET /slow HTTP/1.1\r\nHost: claw.localhost\r\n{TOKEN}\r\n")).await;
    world.until(|| agent.count() > 0).await;
    world.authenticator.revoked.lock().unwrap().insert("good".into());
    assert_eq!(within(client.answer()).await.status, 401);
    world.until(|| agent.last().head == "gone").await;
}

#[tokio::test]
async fn a_whole_answer_leaves_its_connection_usable() {
    let agent = Agent::ok().await;
    let mut route = agent.route();
    route.access = Access::Private;
    let world = World::new(zone().route(route)).await;
    let mut client = world.connect().await;
    for _ in 0..2 {
        client.send(format!("GET / HTTP/1.1\r\nHost: claw.localhost\r\n{TOKEN}\r\n")).await;
        assert_eq!(within(client.answer()).await.text(), "ok");
    }
    assert_eq!(agent.connections(), 1);
}
