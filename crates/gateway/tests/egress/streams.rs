//! Events arrive when they are sent, and web sockets pass: in the clear, in a tunnel, and where TLS ends here.

use std::time::Duration;

use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty, StreamBody};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::support::within;
use super::world::{AUTH, Client, Host, HostBody, PLACEHOLDER, SECRET, World, in_headers, text};

fn websocket(_: &super::world::Got) -> Response<HostBody> {
    let mut response = text("");
    *response.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert("upgrade", "websocket".parse().unwrap());
    response.headers_mut().insert("connection", "upgrade".parse().unwrap());
    response.headers_mut().insert("sec-websocket-accept", "x".parse().unwrap());
    response
}

/// One event a turn, when the test says so.
async fn events(name: Option<&'static str>) -> (Host, tokio::sync::mpsc::UnboundedSender<String>) {
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel::<String>();
    let receiver = std::sync::Mutex::new(Some(receiver));
    let host = Host::answering(name, true, &["h2", "http/1.1"], move |_| {
        let receiver = receiver.lock().unwrap().take().unwrap();
        let frames = futures_util::stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|event| (Ok(http_body::Frame::data(event.into())), receiver))
        });
        let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
        response.headers_mut().insert("content-type", "text/event-stream".parse().unwrap());
        response
    })
    .await;
    (host, sender)
}

#[tokio::test]
async fn events_are_not_held_back() {
    let world = World::new().await;
    let (host, sender) = events(Some("api.test")).await;
    world.bind("api.test", vec![in_headers()]);
    let stream = world.tls("api.test", host.port, &["h2"]).await.unwrap();
    let mut client = Client::over(stream).await;
    let request = Request::get(format!("https://api.test:{}/", host.port))
        .header("x-api-key", PLACEHOLDER)
        .body(Empty::new().boxed_unsync())
        .unwrap();
    let mut body = client.send(request).await.unwrap().into_body();
    for number in 0..5 {
        sender.send(format!("data: {number}\n\n")).unwrap();
        let frame = within(body.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), format!("data: {number}\n\n"));
    }
    // Only what could be the beginning of the secret waits, until it is not.
    sender.send(format!("data: {}", &SECRET[..5])).unwrap();
    assert_eq!(within(body.frame()).await.unwrap().unwrap().into_data().unwrap(), "data: ");
    sender.send("!".into()).unwrap();
    let rest = within(body.frame()).await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(rest, format!("{}!", &SECRET[..5]));
    drop(sender);
    let last = within(body.frame()).await;
    assert!(last.is_none_or(|frame| frame.unwrap().into_data().unwrap().is_empty()));

    let (host, sender) = events(None).await;
    world.local("host.test");
    let mut client = world.connect().await;
    let authority = format!("host.test:{}", host.port);
    client.send(format!("GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n{AUTH}\r\n")).await;
    sender.send("data: 1\n\n".into()).unwrap();
    assert!(within(client.head()).await.contains("200 OK"));
    assert_eq!(within(client.chunk()).await, b"data: 1\n\n");
}

#[tokio::test]
async fn a_websocket_in_the_clear_passes_both_as_a_request_and_in_a_tunnel() {
    let world = World::new().await;
    let host = Host::answering(None, true, &[], websocket).await;
    world.local("host.test");
    let authority = format!("host.test:{}", host.port);
    let asking =
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n";
    let mut client = world.connect().await;
    client
        .send(format!("GET http://{authority}/ws HTTP/1.1\r\nHost: {authority}\r\n{AUTH}{asking}\r\n"))
        .await;
    let head = within(client.head()).await;
    assert!(head.contains("101") && head.to_lowercase().contains("upgrade: websocket"), "{head}");
    client.send([0x81, 2, b'h', b'i']).await;
    assert_eq!(within(client.exactly(4)).await, [0x81, 2, b'h', b'i']);

    let (_, mut client) = world.tunnel(&authority).await;
    client.send(format!("GET /ws HTTP/1.1\r\nHost: {authority}\r\n{asking}\r\n")).await;
    assert!(within(client.head()).await.contains("101"));
    client.send([0, 1, 2, b'\n']).await;
    assert_eq!(within(client.exactly(4)).await, [0, 1, 2, b'\n']);
    drop(client);
    world
        .until(|| world.outcomes().iter().any(|outcome| outcome.status == 101 && outcome.bytes_in == 4))
        .await;
}

#[tokio::test]
async fn a_websocket_with_a_credential_is_scrubbed_and_ends_with_its_allowance() {
    let world = World::new().await;
    let host = Host::answering(Some("api.test"), true, &["http/1.1"], websocket).await;
    world.bind("api.test", vec![in_headers()]);
    let stream = world.tls("api.test", host.port, &["http/1.1"]).await.unwrap();
    let mut client = Client::over(stream).await;
    let request = Request::get("/ws")
        .header("host", format!("api.test:{}", host.port))
        .header("authorization", format!("Bearer {PLACEHOLDER}"))
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-key", "x")
        .header("sec-websocket-extensions", "permessage-deflate")
        .body(Empty::new().boxed_unsync())
        .unwrap();
    let response = client.send(request).await.unwrap();
    assert_eq!(response.status(), 101);
    assert_eq!(host.last().header("authorization"), Some(format!("Bearer {SECRET}").as_str()));
    assert_eq!(host.last().header("sec-websocket-extensions"), None);
    let mut socket = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    // The host says back what it hears; here it hears the secret.
    socket.write_all(format!("a {SECRET} b").as_bytes()).await.unwrap();
    let mut said = vec![0; SECRET.len() + 4];
    within(socket.read_exact(&mut said)).await.unwrap();
    assert_eq!(said, format!("a {} b", "*".repeat(SECRET.len())).into_bytes());
    world.deny("GET /ws");
    let mut rest = Vec::new();
    let began = std::time::Instant::now();
    let _ = within(socket.read_to_end(&mut rest)).await;
    assert!(rest.is_empty() && began.elapsed() < Duration::from_secs(3));
}
