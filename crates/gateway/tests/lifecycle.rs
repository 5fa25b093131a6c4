//! Connections that come, linger, crowd and have to end.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper_util::rt::TokioIo;
use ryokan_gateway::Limits;
use support::{Agent, Raw, World, within, zone};
use tokio::net::TcpStream;

const GET: &str = "GET / HTTP/1.1\r\nHost: claw.localhost\r\n\r\n";

/// Begins an answer, and ends it when told.
async fn slow(gate: tokio::sync::watch::Receiver<bool>) -> Agent {
    Agent::scripted(move |mut raw, _, _| {
        let mut gate = gate.clone();
        async move {
            raw.head().await;
            raw.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n").await;
            gate.wait_for(|open| *open).await.unwrap();
            raw.send("4\r\nlast\r\n0\r\n\r\n").await;
        }
    })
    .await
}

async fn first_chunk(world: &World) -> Raw {
    let mut client = world.connect().await;
    client.send(GET).await;
    assert!(within(client.head()).await.starts_with("HTTP/1.1 200"));
    assert_eq!(within(client.chunk()).await, b"first");
    client
}

#[tokio::test]
async fn a_drain_lets_streams_finish_and_closes_the_rest() {
    let (go, gate) = tokio::sync::watch::channel(false);
    let agent = slow(gate).await;
    let quick = Agent::ok().await;
    let snapshot = zone().route(agent.route()).route(ryokan_gateway::Route::new("q", "quick", quick.ready()));
    let world = World::new(snapshot).await;
    let mut stream = first_chunk(&world).await;
    let mut silent = world.connect().await;
    let mut idle = world.connect().await;
    idle.send("GET / HTTP/1.1\r\nHost: quick.localhost\r\n\r\n").await;
    assert_eq!(within(idle.answer()).await.text(), "ok");
    world.soft.cancel();
    assert!(idle.ended().await, "an idle connection is closed");
    assert!(silent.ended().await, "so is one that never said a thing");
    within(async {
        while TcpStream::connect(world.address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    assert!(!world.served.is_finished(), "a stream is still under way");
    go.send(true).unwrap();
    assert_eq!(within(stream.chunk()).await, b"last");
    assert!(within(stream.chunk()).await.is_empty());
    within(world.served).await.unwrap();
}

#[tokio::test]
async fn a_hard_stop_cuts_everything() {
    let (_go, gate) = tokio::sync::watch::channel(false);
    let agent = slow(gate).await;
    let world = World::new(zone().route(agent.route())).await;
    let mut stream = first_chunk(&world).await;
    world.soft.cancel();
    world.hard.cancel();
    within(world.served).await.unwrap();
    let mut rest = Vec::new();
    // An end or a reset, but no more data.
    let _ = within(tokio::io::AsyncReadExt::read_to_end(&mut stream.0, &mut rest)).await;
    assert!(rest.is_empty() || rest == b"\r\n");
}

#[tokio::test]
async fn a_drain_ends_http2_with_goaway() {
    let (go, gate) = tokio::sync::watch::channel(false);
    let agent = slow(gate).await;
    let world = World::new(zone().route(agent.route())).await;
    let tasks = world.tasks.clone();
    let stream = TcpStream::connect(world.address).await.unwrap();
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::Builder::new(executor)
        .handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
        .await
        .unwrap();
    let connection = tasks.spawn(connection);
    let request = || Request::get("http://claw.localhost/").body(Empty::new()).unwrap();
    let response = within(sender.send_request(request())).await.unwrap();
    world.soft.cancel();
    go.send(true).unwrap();
    let body = within(response.into_body().collect()).await.unwrap().to_bytes();
    assert_eq!(body, "firstlast");
    within(connection).await.unwrap().unwrap();
    assert!(sender.send_request(request()).await.is_err());
    within(world.served).await.unwrap();
}

#[tokio::test]
async fn a_hard_stop_ends_http2_streams_that_wait() {
    let agent = Agent::scripted(|mut raw, _, got| async move {
        let head = raw.head().await;
        got.lock().unwrap().push(support::Got { head, body: Vec::new() });
        std::future::pending::<()>().await;
    })
    .await;
    let world = World::new(zone().route(agent.route())).await;
    let stream = TcpStream::connect(world.address).await.unwrap();
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::Builder::new(executor)
        .handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
        .await
        .unwrap();
    world.tasks.spawn(connection);
    let request = Request::get("http://claw.localhost/").body(Empty::new()).unwrap();
    let waiting = world.tasks.spawn(sender.send_request(request));
    world.until(|| agent.count() == 1).await;
    world.soft.cancel();
    world.hard.cancel();
    within(world.served).await.unwrap();
    assert!(within(waiting).await.unwrap().is_err());
}

#[tokio::test]
async fn a_slow_head_is_cut_off_though_bytes_trickle() {
    let agent = Agent::ok().await;
    let limits = Limits { header_timeout: Duration::from_millis(80), ..Limits::default() };
    let world = World::with(zone().route(agent.route()), limits, &[]).await;
    let mut trickle = world.connect().await;
    let cut = within(async {
        for byte in "GET / HTTP/1.1\r\nHost: claw.localhost\r\nX: ".bytes().chain(std::iter::repeat(b'a')) {
            if tokio::io::AsyncWriteExt::write_all(&mut trickle.0, &[byte]).await.is_err() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        false
    })
    .await;
    assert!(cut);
    // One that says nothing, one that begins like HTTP/2, and one whose second head is slow.
    let mut silent = world.connect().await;
    let mut preface = world.connect().await;
    preface.send("PRI * HT").await;
    let mut second = world.connect().await;
    second.send(format!("{GET}GET / HT")).await;
    assert_eq!(within(second.answer()).await.text(), "ok");
    assert!(silent.ended().await && preface.ended().await && second.ended().await);
    assert_eq!(agent.count(), 1);
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let (go, gate) = tokio::sync::watch::channel(false);
    let agent = slow(gate).await;
    let quick = Agent::ok().await;
    let limits = Limits { keep_alive: Duration::from_millis(60), ..Limits::default() };
    let snapshot = zone().route(agent.route()).route(ryokan_gateway::Route::new("q", "quick", quick.ready()));
    let world = World::with(snapshot, limits, &[]).await;
    let mut stream = first_chunk(&world).await;
    let mut idle = world.connect().await;
    idle.send("GET / HTTP/1.1\r\nHost: quick.localhost\r\n\r\n").await;
    assert_eq!(within(idle.answer()).await.text(), "ok");
    assert!(idle.ended().await);
    go.send(true).unwrap();
    assert_eq!(within(stream.chunk()).await, b"last", "a quiet stream has the longer limit");
}

#[tokio::test]
async fn unused_connections_to_agents_are_closed() {
    let (told, mut gone) = tokio::sync::mpsc::channel(1);
    let agent = Agent::scripted(move |mut raw, _, _| {
        let told = told.clone();
        async move {
            raw.head().await;
            raw.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            assert!(raw.ended().await);
            told.send(()).await.unwrap();
        }
    })
    .await;
    let limits = Limits {
        idle_timeout: Duration::from_millis(20),
        keep_alive: Duration::from_millis(100),
        ..Limits::default()
    };
    let world = World::with(zone().route(agent.route()), limits, &[]).await;
    assert_eq!(world.get("claw.localhost", "/", "").await.text(), "ok");
    within(gone.recv()).await.unwrap();
}

#[tokio::test]
async fn one_address_gets_so_many_connections() {
    let agent = Agent::ok().await;
    let limits = Limits { connections_per_address: 2, ..Limits::default() };
    let world = World::with(zone().route(agent.route()), limits.clone(), &[]).await;
    let (mut one, two) = (world.connect().await, world.connect().await);
    one.send(GET).await;
    assert_eq!(within(one.answer()).await.status, 200);
    let refused = within(world.connect().await.answer()).await;
    assert_eq!((refused.status, refused.header("retry-after").as_deref()), (503, Some("1")));
    drop(two);
    within(async { while world.ask(GET).await.status != 200 {} }).await;
    let trusted = World::with(zone().route(agent.route()), limits, &["127.0.0.1"]).await;
    let held = (trusted.connect().await, trusted.connect().await, trusted.connect().await);
    assert_eq!(trusted.ask(GET).await.status, 200);
    drop(held);
}

#[tokio::test]
async fn beyond_the_total_newcomers_wait() {
    let agent = Agent::ok().await;
    let limits = Limits { connections: 1, ..Limits::default() };
    let world = World::with(zone().route(agent.route()), limits, &[]).await;
    let mut one = world.connect().await;
    one.send(GET).await;
    assert_eq!(within(one.answer()).await.status, 200);
    let mut two = world.connect().await;
    two.send(GET).await;
    assert!(tokio::time::timeout(Duration::from_millis(50), two.answer()).await.is_err());
    drop(one);
    let mut three = two;
    assert_eq!(within(three.answer()).await.text(), "ok");
}

/// As `server` runs it: a runtime of its own for each worker, one set of limits.
#[test]
fn workers_have_runtimes_of_their_own_and_shared_limits() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let main = runtime();
    main.block_on(async {
        let agent = Agent::ok().await;
        let mut route = agent.route();
        route.access = ryokan_gateway::Access::Private;
        let world = World::new(zone().route(route)).await;
        let worker = world.gateway.worker();
        let (soft, hard) = (world.soft.clone(), world.hard.clone());
        let (told, address) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || {
            runtime().block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                told.send(listener.local_addr().unwrap()).unwrap();
                worker.serve(listener, soft, hard).await;
            });
        });
        let address = within(address).await.unwrap();
        let ticket = world.ticket("owner", "i-1", "claw.localhost", 1);
        let redeem = format!("GET /.ryokan/session?ticket={ticket} HTTP/1.1\r\nHost: claw.localhost\r\n\r\n");
        assert_eq!(world.ask(&redeem).await.status, 302);
        let mut client = Raw(tokio::io::BufReader::new(TcpStream::connect(address).await.unwrap()));
        client.send(&redeem).await;
        assert_eq!(within(client.answer()).await.status, 403, "used at the other worker");
        let get = "GET / HTTP/1.1\r\nHost: claw.localhost\r\nX-Ryokan-Token: ryk_good\r\n\r\n";
        client.send(get).await;
        assert_eq!(within(client.answer()).await.text(), "ok");
        world.soft.cancel();
        within(world.served).await.unwrap();
        within(async {
            while !thread.is_finished() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    });
}
