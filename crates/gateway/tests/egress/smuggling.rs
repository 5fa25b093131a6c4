//! Bytes that two parsers could read differently are refused at the door and within what is looked into.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::support::within;
use super::world::{AUTH, Host, PLACEHOLDER, World, in_headers};

/// Header lines and body of a POST that hides a second request, or could be read so.
const TRICKS: &[&str] = &[
    "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: x\r\n\r\n",
    "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
    "Content-Length: 4, 5\r\n\r\nabcde",
    "Content-Length: +4\r\n\r\nabcd",
    "Content-Length: 0x4\r\n\r\nabcd",
    "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "X: a\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "X: a\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "X: a\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "X: a\0b\r\n\r\n",
    "Host: other.test\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n1;x\ny\r\na\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\na\r\n0\r\n\r\n",
];

#[tokio::test]
async fn tricks_are_refused_at_the_door() {
    let (world, host) = (World::new().await, Host::plain().await);
    world.local("host.test");
    let authority = format!("host.test:{}", host.port);
    for trick in TRICKS {
        let mut client = world.connect().await;
        client.send(format!("POST http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n{AUTH}{trick}")).await;
        let mut all = String::new();
        let _ = within(client.0.read_to_string(&mut all)).await;
        assert!(all.starts_with("HTTP/1.1 4") || all.is_empty(), "{trick:?} {all}");
        assert_eq!(all.matches("HTTP/1.1 ").count().max(1), 1, "{trick:?} {all}");
    }
    let got = host.got.lock().unwrap();
    assert!(got.iter().all(|got| got.uri == "/" && got.body.len() <= 1), "{got:?}");
}

#[tokio::test]
async fn tricks_are_refused_within_a_tunnel() {
    let (world, host) = (World::new().await, Host::tls("api.test").await);
    world.bind("api.test", vec![in_headers()]);
    let authority = format!("api.test:{}", host.port);
    for trick in TRICKS {
        let mut stream = world.tls("api.test", host.port, &["http/1.1"]).await.unwrap();
        let head = format!("POST / HTTP/1.1\r\nHost: {authority}\r\nX-Api-Key: {PLACEHOLDER}\r\n");
        stream.write_all(format!("{head}{trick}").as_bytes()).await.unwrap();
        let mut all = Vec::new();
        let _ = within(stream.read_to_end(&mut all)).await;
        let all = String::from_utf8_lossy(&all);
        assert!(all.starts_with("HTTP/1.1 4") || all.is_empty(), "{trick:?} {all}");
    }
    let got = host.got.lock().unwrap();
    assert!(got.iter().all(|got| got.uri == "/" && got.body.len() <= 1), "{got:?}");
}

#[tokio::test]
async fn what_follows_a_body_is_a_request_of_its_own() {
    let (world, host) = (World::new().await, Host::plain().await);
    world.local("host.test");
    world.deny("GET /hidden");
    let authority = format!("host.test:{}", host.port);
    let first = format!(
        "POST http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n{AUTH}Content-Length: 2\r\n\r\nab"
    );
    let second = format!("GET http://{authority}/hidden HTTP/1.1\r\nHost: {authority}\r\n{AUTH}\r\n");
    let mut client = world.connect().await;
    client.send(format!("{first}{second}")).await;
    assert_eq!(within(client.answer()).await.status, 200);
    assert_eq!(within(client.answer()).await.status, 403);
    // And one that does not say who asks gets nowhere.
    let mut client = world.connect().await;
    client.send(format!("{first}GET http://{authority}/x HTTP/1.1\r\nHost: {authority}\r\n\r\n")).await;
    assert_eq!(within(client.answer()).await.status, 200);
    assert_eq!(within(client.answer()).await.status, 407);
    assert_eq!(host.count(), 2);
}

#[tokio::test]
async fn a_second_proxy_or_http2_at_the_door_is_not_spoken() {
    let world = World::new().await;
    let mut client = world.connect().await;
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    let mut all = String::new();
    let _ = within(client.0.read_to_string(&mut all)).await;
    assert!(all.is_empty() || all.starts_with("HTTP/1.1 4"), "{all}");
    let mut client = world.connect().await;
    client.send("\x05\x01\0").await;
    let mut all = Vec::new();
    client.0.shutdown().await.unwrap();
    let _ = within(client.0.read_to_end(&mut all)).await;
    assert!(all.is_empty() || all.starts_with(b"HTTP/1.1 4"), "{all:?}");
}
