//! Bodies and tunnels: unbuffered, binary-safe, with back-pressure, over HTTP/1.1 and HTTP/2.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::Request;
use hyper_util::rt::TokioIo;
use ryokan_gateway::Limits;
use support::{Agent, Got, Raw, World, header, within, zone};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;

const MIB: usize = 1024 * 1024;
const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: claw.localhost\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Every byte value, in no simple order.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u32;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(length)
    .collect()
}

/// Accepts a WebSocket and echoes bytes until the client's side ends, then says `bye`.
async fn echo() -> Agent {
    Agent::scripted(|mut raw, _, got| async move {
        let head = raw.head().await;
        got.lock().unwrap().push(Got { head, body: Vec::new() });
        raw.send(SWITCH).await;
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = raw.0.read(&mut buffer).await {
            raw.send(&buffer[..read]).await;
        }
        raw.send("bye").await;
    })
    .await
}

async fn upgraded(world: &World) -> Raw {
    let mut client = world.connect().await;
    client.send(UPGRADE).await;
    let head = within(client.head()).await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert_eq!(header(&head, "connection").as_deref(), Some("upgrade"));
    assert_eq!(header(&head, "upgrade").as_deref(), Some("websocket"));
    assert_eq!(header(&head, "sec-websocket-accept").as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    client
}

#[tokio::test]
async fn a_tunnel_echoes_a_mebibyte_of_binary_and_closes_by_halves() {
    let agent = echo().await;
    let world = World::new(zone().route(agent.route())).await;
    let client = upgraded(&world).await;
    let data = noise(MIB);
    let (mut read, mut write) = client.0.into_inner().into_split();
    let sending = data.clone();
    let send = async move {
        write.write_all(&sending).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let receive = async move {
        let mut echoed = Vec::new();
        read.read_to_end(&mut echoed).await.unwrap();
        echoed
    };
    let ((), echoed) = within(async { tokio::join!(send, receive) }).await;
    assert!(echoed[..MIB] == data[..] && &echoed[MIB..] == b"bye");
    let head = agent.last().head;
    assert_eq!(header(&head, "sec-websocket-key").as_deref(), Some("dGhlIHNhbXBsZSBub25jZQ=="));
    assert_eq!(header(&head, "upgrade").as_deref(), Some("websocket"));
    world.until(|| world.usage("i-1").bytes_out == MIB as u64 + 3).await;
    let usage = world.usage("i-1");
    assert_eq!((usage.requests, usage.bytes_in), (1, MIB as u64));
}

#[tokio::test]
async fn what_follows_the_101_at_once_is_not_lost() {
    let agent = Agent::scripted(|mut raw, _, _| async move {
        raw.head().await;
        raw.send(format!("{SWITCH}first frame")).await;
        std::future::pending::<()>().await;
    })
    .await;
    let world = World::new(zone().route(agent.route())).await;
    let mut client = upgraded(&world).await;
    assert_eq!(within(client.exactly(11)).await, b"first frame");
}

#[tokio::test]
async fn a_refused_upgrade_is_an_ordinary_answer() {
    let agent = Agent::answering("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno").await;
    let world = World::new(zone().route(agent.route())).await;
    let mut client = world.connect().await;
    for _ in 0..2 {
        client.send(UPGRADE).await;
        let answer = within(client.answer()).await;
        assert_eq!((answer.status, answer.text().as_str()), (403, "no"));
    }
    assert_eq!(agent.connections(), 1);
}

#[tokio::test]
async fn a_101_that_nobody_asked_for_is_a_502() {
    let agent = Agent::answering(SWITCH).await;
    let world = World::new(zone().route(agent.route())).await;
    assert_eq!(world.get("claw.localhost", "/", "").await.status, 502);
}

#[tokio::test]
async fn an_idle_tunnel_is_ended() {
    let agent = echo().await;
    let limits = Limits { stream_idle: Duration::from_millis(60), ..Limits::default() };
    let world = World::with(zone().route(agent.route()), limits, &[]).await;
    let mut client = upgraded(&world).await;
    assert!(client.ended().await);
}

#[tokio::test]
async fn the_control_plane_can_upgrade() {
    let world = World::new(zone()).await;
    let mut client = world.connect().await;
    client
        .send("GET /upgrade HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: test\r\n\r\n")
        .await;
    assert!(within(client.head()).await.starts_with("HTTP/1.1 101"));
    let data = noise(5000);
    client.send(&data).await;
    assert!(within(client.exactly(5000)).await == data);
    world.hard.cancel();
    assert!(client.ended().await);
    within(world.served).await.unwrap();
}

#[tokio::test]
async fn events_arrive_before_the_stream_ends() {
    let (go, gate) = tokio::sync::watch::channel(0);
    let agent = Agent::scripted(move |mut raw, _, _| {
        let mut gate = gate.clone();
        async move {
            raw.head().await;
            raw.send(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
            )
            .await;
            for round in 0..3 {
                gate.wait_for(|open| *open >= round).await.unwrap();
                raw.send("9\r\ndata: x\n\n\r\n").await;
            }
            raw.send("0\r\n\r\n").await;
        }
    })
    .await;
    let world = World::new(zone().route(agent.route())).await;
    let mut client = world.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: claw.localhost\r\n\r\n").await;
    assert!(within(client.head()).await.starts_with("HTTP/1.1 200"));
    for round in 0..3 {
        // The next event is only sent once this one is here.
        go.send(round).unwrap();
        assert_eq!(within(client.chunk()).await, b"data: x\n\n");
    }
    assert!(within(client.chunk()).await.is_empty());
}

#[tokio::test]
async fn an_upload_streams_with_back_pressure() {
    const TOTAL: usize = 64 * MIB;
    let (go, gate) = tokio::sync::watch::channel(false);
    let read = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&read);
    let agent = Agent::scripted(move |mut raw, _, _| {
        let (mut gate, counted) = (gate.clone(), Arc::clone(&counted));
        async move {
            raw.head().await;
            gate.wait_for(|open| *open).await.unwrap();
            let mut buffer = vec![0; 256 * 1024];
            while counted.load(SeqCst) < TOTAL {
                let read = raw.0.read(&mut buffer).await.unwrap();
                assert!(read > 0 && buffer[..read].iter().all(|byte| *byte == 7));
                counted.fetch_add(read, SeqCst);
            }
            raw.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        }
    })
    .await;
    let world = World::new(zone().route(agent.route())).await;
    let mut client = world.connect().await;
    client.send(format!("POST / HTTP/1.1\r\nHost: claw.localhost\r\nContent-Length: {TOTAL}\r\n\r\n")).await;
    let (reader, mut writer) = client.0.into_inner().into_split();
    let sent = Arc::new(AtomicUsize::new(0));
    let sending = Arc::clone(&sent);
    let upload = world.tasks.spawn(async move {
        let block = vec![7; 256 * 1024];
        while sending.load(SeqCst) < TOTAL {
            writer.write_all(&block).await.unwrap();
            sending.fetch_add(block.len(), SeqCst);
        }
        writer
    });
    // The agent does not read: the client must come to a halt far from the end, whatever sockets buffer.
    let mut last = usize::MAX;
    within(async {
        while sent.load(SeqCst) != last {
            last = sent.load(SeqCst);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    assert!(last < 24 * MIB, "{last} bytes went out although nobody reads them");
    go.send(true).unwrap();
    let writer = within(upload).await.unwrap();
    let mut client = Raw(tokio::io::BufReader::new(reader.reunite(writer).unwrap()));
    assert_eq!(within(client.answer()).await.text(), "ok");
    assert_eq!(read.load(SeqCst), TOTAL);
    world.until(|| world.usage("i-1").bytes_in == TOTAL as u64).await;
}

#[tokio::test]
async fn a_download_streams_with_back_pressure() {
    const TOTAL: usize = 64 * MIB;
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let agent = Agent::scripted(move |mut raw, _, _| {
        let counted = Arc::clone(&counted);
        async move {
            raw.head().await;
            raw.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {TOTAL}\r\n\r\n")).await;
            let block = vec![9; 256 * 1024];
            while counted.load(SeqCst) < TOTAL {
                raw.0.write_all(&block).await.unwrap();
                counted.fetch_add(block.len(), SeqCst);
            }
            std::future::pending::<()>().await;
        }
    })
    .await;
    let world = World::new(zone().route(agent.route())).await;
    let mut client = world.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: claw.localhost\r\n\r\n").await;
    assert!(within(client.head()).await.starts_with("HTTP/1.1 200"));
    let mut last = usize::MAX;
    within(async {
        while sent.load(SeqCst) != last {
            last = sent.load(SeqCst);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    assert!(last < 24 * MIB, "{last} bytes came although nobody reads them");
    let body = within(client.exactly(TOTAL)).await;
    assert!(body.iter().all(|byte| *byte == 9));
    world.until(|| world.usage("i-1").bytes_out == TOTAL as u64).await;
}

#[tokio::test]
async fn an_answer_may_come_before_the_upload_ends() {
    let agent = Agent::scripted(|mut raw, _, _| async move {
        raw.head().await;
        raw.send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno").await;
        raw.ended().await;
    })
    .await;
    let world = World::new(zone().route(agent.route())).await;
    let answer =
        world.ask("POST / HTTP/1.1\r\nHost: claw.localhost\r\nContent-Length: 1000\r\n\r\npart").await;
    assert_eq!((answer.status, answer.text().as_str()), (401, "no"));
    // Its connection is in the middle of a request and must not be used again.
    assert_eq!(world.get("claw.localhost", "/", "").await.status, 401);
    assert_eq!(agent.connections(), 2);
}

#[derive(Clone)]
struct Spawn(TaskTracker);

impl<F> hyper::rt::Executor<F> for Spawn
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

type H2<B> = hyper::client::conn::http2::SendRequest<B>;

async fn h2<B>(world: &World) -> H2<B>
where
    B: hyper::body::Body<Data = Bytes, Error = std::convert::Infallible> + Send + Unpin + 'static,
{
    let stream = TcpStream::connect(world.address).await.unwrap();
    let (sender, connection) = hyper::client::conn::http2::Builder::new(Spawn(world.tasks.clone()))
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    world.tasks.spawn(connection);
    sender
}

#[tokio::test]
async fn http2_comes_in_and_http1_goes_out() {
    let agent = Agent::answering(
        "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\nok",
    )
    .await;
    let world = World::new(zone().route(agent.route())).await;
    let mut client: H2<Full<Bytes>> = h2(&world).await;
    let request = Request::post("http://claw.localhost/a?b")
        .header("cookie", "own=1")
        .header("cookie", "ryokan_session=x")
        .header("cookie", "other=2")
        .body(Full::new(Bytes::from_static(b"body")))
        .unwrap();
    let response = within(client.send_request(request)).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(!response.headers().contains_key("connection"));
    assert_eq!(within(response.into_body().collect()).await.unwrap().to_bytes(), "ok");
    let got = agent.last();
    assert!(got.head.starts_with("POST /a?b HTTP/1.1\r\n") && got.body == b"body");
    assert_eq!(header(&got.head, "host").as_deref(), Some("claw.localhost"));
    assert_eq!(header(&got.head, "cookie").as_deref(), Some("own=1; other=2"));
    let control = Request::get("http://localhost/v1").body(Full::default()).unwrap();
    let response = within(client.send_request(control)).await.unwrap();
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn http2_requests_are_checked_too() {
    let agent = Agent::ok().await;
    let world = World::new(zone().route(agent.route())).await;
    let mut client: H2<Empty<Bytes>> = h2(&world).await;
    let two_hosts =
        Request::get("http://claw.localhost/").header("host", "localhost").body(Empty::new()).unwrap();
    assert_eq!(within(client.send_request(two_hosts)).await.unwrap().status(), 400);
    let trace = Request::builder().method("TRACE").uri("http://claw.localhost/").body(Empty::new()).unwrap();
    assert_eq!(within(client.send_request(trace)).await.unwrap().status(), 400);
    let connect = Request::builder().method("CONNECT").uri("claw.localhost:80").body(Empty::new()).unwrap();
    assert_eq!(within(client.send_request(connect)).await.unwrap().status(), 400);
    assert_eq!(agent.count(), 0);
}

#[tokio::test]
async fn many_http2_streams_at_once() {
    let agent = Agent::ok().await;
    let world = World::new(zone().route(agent.route())).await;
    let client: H2<Empty<Bytes>> = h2(&world).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let mut client = client.clone();
        tasks.spawn(async move {
            let request = Request::get("http://claw.localhost/").body(Empty::new()).unwrap();
            let response = client.send_request(request).await.unwrap();
            response.into_body().collect().await.unwrap().to_bytes()
        });
    }
    for body in within(tasks.join_all()).await {
        assert_eq!(body, "ok");
    }
    assert_eq!(agent.count(), 50);
}

#[tokio::test]
async fn a_websocket_over_http2() {
    let agent = echo().await;
    let world = World::new(zone().route(agent.route())).await;
    let mut client: H2<Empty<Bytes>> = h2(&world).await;
    let connect = Request::builder()
        .method("CONNECT")
        .uri("http://claw.localhost/ws")
        .extension(hyper::ext::Protocol::from_static("websocket"))
        .header("sec-websocket-version", "13")
        .body(Empty::new())
        .unwrap();
    // The server's leave to do so comes with its settings.
    within(client.send_request(Request::get("http://localhost/").body(Empty::new()).unwrap())).await.unwrap();
    let response = within(client.send_request(connect)).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(!response.headers().contains_key("sec-websocket-accept"));
    let head = agent.last().head;
    assert!(head.starts_with("GET /ws HTTP/1.1\r\n"), "{head}");
    assert!(header(&head, "sec-websocket-key").is_some());
    assert_eq!(header(&head, "upgrade").as_deref(), Some("websocket"));
    let (mut read, mut write) = tokio::io::split(TokioIo::new(hyper::upgrade::on(response).await.unwrap()));
    let data = noise(MIB);
    let send = async {
        write.write_all(&data).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let receive = async {
        let mut echoed = Vec::new();
        read.read_to_end(&mut echoed).await.unwrap();
        echoed
    };
    let ((), echoed) = within(async { tokio::join!(send, receive) }).await;
    assert!(echoed[..MIB] == data[..] && &echoed[MIB..] == b"bye");
}
