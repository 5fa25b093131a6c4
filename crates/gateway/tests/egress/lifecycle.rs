//! Bounds, changes while things run, and the end.

use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt as _;

use super::support::{Agent, Raw, within};
use super::world::{AUTH, Host, World, text};

/// A tunnel to a host that stays silent, and bytes through it.
async fn silent_tunnel(world: &World) -> (Agent, Raw) {
    world.local("host.test");
    let host = Agent::scripted(|mut raw, _, _| async move {
        loop {
            let said = raw.exactly(1).await;
            raw.send(said).await;
        }
    })
    .await;
    let (answer, mut raw) = world.tunnel(&format!("host.test:{}", host.address.port())).await;
    assert_eq!(answer.status, 200);
    raw.send([0]).await;
    assert_eq!(within(raw.exactly(1)).await, [0]);
    (host, raw)
}

#[tokio::test]
async fn a_tunnel_ends_when_its_allowance_does() {
    let world = World::new().await;
    let (host, mut raw) = silent_tunnel(&world).await;
    let began = Instant::now();
    world.deny(format!("host.test:{}", host.address.port()));
    assert!(raw.ended().await);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    world.until(|| world.outcomes().iter().any(|outcome| outcome.ended == Some("no_longer_allowed"))).await;
}

#[tokio::test]
async fn a_tunnel_that_passed_untouched_ends_when_its_host_is_to_be_looked_into() {
    let world = World::new().await;
    let (_host, mut raw) = silent_tunnel(&world).await;
    world.bind("host.test", Vec::new());
    assert!(raw.ended().await);
}

#[tokio::test]
async fn everything_of_an_instance_ends_when_it_is_gone() {
    let world = World::new().await;
    let (_host, mut raw) = silent_tunnel(&world).await;
    world.state.gone.lock().unwrap().insert("one".into());
    assert!(raw.ended().await);
    assert_eq!(world.get("http://host.test/", "").await.status, 407);
}

#[tokio::test]
async fn bounds_on_bytes() {
    let world = World::with(|limits| {
        limits.request_body = 1000;
        limits.response_body = 2000;
    })
    .await;
    let host = Host::answering(None, true, &[], |_| text(vec![b'x'; 3000])).await;
    world.local("host.test");
    let authority = format!("host.test:{}", host.port);
    let post = |framing: &str, body: &str| {
        format!("POST http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n{AUTH}{framing}\r\n\r\n{body}")
    };
    assert_eq!(world.ask(&post("Content-Length: 1001", &"x".repeat(1001))).await.status, 413);
    let chunked = format!("{:x}\r\n{}\r\n0\r\n\r\n", 1001, "x".repeat(1001));
    assert_eq!(world.ask(&post("Transfer-Encoding: chunked", &chunked)).await.status, 413);
    // An answer that says that it is too long is refused; one that does not is cut.
    let answer = world.ask(&post("Content-Length: 0", "")).await;
    assert_eq!((answer.status, answer.text().contains("answer_too_large")), (502, true));
    let endless = Host::answering(None, true, &[], |_| {
        let frames = futures_util::stream::repeat_with(|| {
            Ok::<_, std::convert::Infallible>(http_body::Frame::data(bytes::Bytes::from_static(&[b'x'; 500])))
        });
        let body = http_body_util::StreamBody::new(frames);
        http::Response::new(http_body_util::BodyExt::boxed_unsync(body))
    })
    .await;
    let mut client = world.connect().await;
    let authority = format!("host.test:{}", endless.port);
    client.send(format!("GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n{AUTH}\r\n")).await;
    let mut all = Vec::new();
    let _ = within(client.0.read_to_end(&mut all)).await;
    assert!(all.len() < 3000, "{}", all.len());
    world.until(|| world.outcomes().iter().any(|outcome| outcome.ended == Some("too_many_bytes"))).await;
    // A tunnel too.
    let (_host, mut raw) = silent_tunnel(&world).await;
    raw.send([0; 4000]).await;
    let mut all = Vec::new();
    let _ = within(raw.0.read_to_end(&mut all)).await;
    assert!(all.len() <= 2000);
}

#[tokio::test]
async fn bounds_on_heads_and_numbers() {
    let world = World::with(|limits| {
        limits.connections_per_instance = 2;
        limits.in_flight_per_instance = 1;
        limits.header_bytes = 8192;
    })
    .await;
    let (_host, raw) = silent_tunnel(&world).await;
    let busy = world.get("http://host.test/", "").await;
    assert_eq!((busy.status, busy.text().contains("too_many_requests")), (503, true));
    let _second = world.connect().await;
    world.until(|| true).await;
    let mut third = world.connect().await;
    third.send("GET / HTTP/1.1\r\n").await;
    assert_eq!(within(third.answer()).await.status, 503);
    // Another address is another instance.
    let mut other = world.connect_from("127.0.0.9").await;
    other.send("GET /x HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(within(other.answer()).await.status, 401);
    drop((raw, third, other));
    let long = world.connect_from("127.0.0.8").await;
    let mut long = long;
    long.send(format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(10_000))).await;
    assert_eq!(within(long.answer()).await.status, 431);
}

#[tokio::test]
async fn bounds_on_time() {
    let world = World::with(|limits| {
        limits.header_timeout = Duration::from_millis(200);
        limits.keep_alive = Duration::from_millis(300);
        limits.idle = Duration::from_millis(400);
        limits.response_timeout = Duration::from_millis(200);
        limits.total = Duration::from_secs(2);
    })
    .await;
    // A head that never ends; a tunnel whose caller says nothing; an idle tunnel; a host that does not answer.
    let mut slow = world.connect().await;
    slow.send("GET / HTTP/1.1\r\nHo").await;
    assert!(slow.ended().await);
    let host = Agent::scripted(|raw, _, _| async move {
        tokio::time::sleep(Duration::from_secs(30)).await;
        drop(raw);
    })
    .await;
    world.local("slow.test");
    let authority = format!("slow.test:{}", host.address.port());
    let (_, mut mute) = world.tunnel(&authority).await;
    assert!(mute.ended().await);
    let (_host, mut idle) = silent_tunnel(&world).await;
    assert!(idle.ended().await);
    let answer = world.get(&format!("http://{authority}/"), "").await;
    assert_eq!((answer.status, answer.text().contains("host_timeout")), (504, true));
    // One that is never idle ends all the same.
    let (_host, mut busy) = silent_tunnel(&world).await;
    let began = Instant::now();
    loop {
        busy.send([0]).await;
        let mut byte = [0];
        if within(busy.0.read_exact(&mut byte)).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(began.elapsed() < Duration::from_secs(4));
    world.until(|| world.outcomes().iter().any(|outcome| outcome.ended == Some("too_long"))).await;
}

#[tokio::test]
async fn a_drain_lets_what_runs_end_and_a_cut_does_not() {
    let world = World::new().await;
    let (_host, mut raw) = silent_tunnel(&world).await;
    let mut idle = world.connect().await;
    idle.send(format!("GET http://unknown.test/ HTTP/1.1\r\nHost: unknown.test\r\n{AUTH}\r\n")).await;
    assert_eq!(within(idle.answer()).await.status, 502);
    world.soft.cancel();
    assert!(idle.ended().await);
    raw.send([7]).await;
    assert_eq!(within(raw.exactly(1)).await, [7]);
    assert!(tokio::net::TcpStream::connect(world.address).await.is_err());
    world.hard.cancel();
    assert!(raw.ended().await);
    let (served, egress) = (world.served, world.egress);
    within(served).await.unwrap();
    // The proxy itself goes on: another door opens.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let stop_too = stop.clone();
    let serving = world.tasks.spawn(async move {
        let door = ryokan_gateway::egress::DoorId("other-project".into());
        egress.serve(listener, door, stop_too.clone(), stop_too).await;
    });
    let mut client = Raw(tokio::io::BufReader::new(tokio::net::TcpStream::connect(address).await.unwrap()));
    // A token of the other project is no good here.
    client.send(format!("GET http://unknown.test/ HTTP/1.1\r\nHost: unknown.test\r\n{AUTH}\r\n")).await;
    assert_eq!(within(client.answer()).await.status, 407);
    stop.cancel();
    within(serving).await.unwrap();
}
