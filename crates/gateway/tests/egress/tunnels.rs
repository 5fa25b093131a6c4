//! Tunnels: untouched where nothing is bound, and never to another host than the one that was asked for.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::support::{Agent, within};
use super::world::{Client, Host, World};

#[tokio::test]
async fn an_unbound_host_shows_its_own_certificate() {
    let (world, host) = (World::new().await, Host::tls("host.test").await);
    world.local("host.test");
    for protocol in ["h2", "http/1.1"] {
        let stream = world.tls("host.test", host.port, &[protocol]).await.unwrap();
        assert_eq!(stream.get_ref().1.peer_certificates().unwrap()[0], *host.certificate.as_ref().unwrap());
        let url = format!("https://host.test:{}/", host.port);
        let mut client = Client::over(stream).await;
        let request = http::Request::get(if protocol == "h2" { url.as_str() } else { "/" })
            .header("host", format!("host.test:{}", host.port))
            .header("x-key", "ryk_cred_other");
        let (status, _, _) = client.ask(request, "").await;
        assert_eq!(status, 200);
        // Nobody looked into it.
        assert_eq!(host.last().header("x-key"), Some("ryk_cred_other"));
    }
    world.until(|| world.outcomes().len() == 2).await;
    let outcome = &world.outcomes()[0];
    assert!(outcome.status == 200 && outcome.bytes_in > 200 && outcome.bytes_out > 500, "{outcome:?}");
}

#[tokio::test]
async fn a_greeting_for_another_host_goes_nowhere() {
    let (world, host) = (World::new().await, Host::tls("front.test").await);
    world.local("front.test");
    let (answer, raw) = world.tunnel(&format!("front.test:{}", host.port)).await;
    assert_eq!(answer.status, 200);
    assert!(world.handshake(raw, "hidden.test", &["h2"]).await.is_err());
    world.until(|| world.rebuffs().contains(&"host_mismatch")).await;
    // By address, with a name that was not judged.
    let (answer, raw) = world.tunnel(&format!("127.0.0.1:{}", host.port)).await;
    assert_eq!(answer.status, 200);
    assert!(world.handshake(raw, "front.test", &["h2"]).await.is_err());
    world
        .until(|| world.outcomes().iter().filter(|done| done.ended == Some("host_mismatch")).count() == 2)
        .await;
}

#[tokio::test]
async fn a_greeting_in_pieces_is_read_as_a_whole() {
    let (world, host) = (World::new().await, Host::tls("front.test").await);
    world.local("front.test");
    let (_, raw) = world.tunnel(&format!("front.test:{}", host.port)).await;
    let (ours, theirs) = tokio::io::duplex(7);
    // A relay of seven bytes at a time.
    let tasks = tokio_util::task::TaskTracker::new();
    tasks.spawn(async move {
        let (mut a, mut b) = (theirs, raw.0.into_inner());
        let _ = tokio::io::copy_bidirectional_with_sizes(&mut a, &mut b, 7, 7).await;
    });
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(
            <rustls::pki_types::CertificateDer<'_> as rustls::pki_types::pem::PemObject>::from_pem_slice(
                super::world::test_ca().pem.as_bytes(),
            )
            .unwrap(),
        )
        .unwrap();
    let config = rustls::ClientConfig::builder_with_provider(super::world::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    within(connector.connect("front.test".try_into().unwrap(), ours)).await.unwrap();
}

#[tokio::test]
async fn http_in_the_clear_within_a_tunnel_is_judged_request_by_request() {
    let (world, host) = (World::new().await, Host::plain().await);
    world.local("host.test");
    let authority = format!("host.test:{}", host.port);
    world.deny("GET /forbidden");
    let (answer, mut raw) = world.tunnel(&authority).await;
    assert_eq!(answer.status, 200);
    raw.send(format!("GET /fine HTTP/1.1\r\nHost: {authority}\r\n\r\n")).await;
    assert_eq!(within(raw.answer()).await.status, 200);
    raw.send(format!("GET /forbidden HTTP/1.1\r\nHost: {authority}\r\n\r\n")).await;
    assert_eq!(within(raw.answer()).await.status, 403);
    raw.send("GET /fine HTTP/1.1\r\nHost: hidden.test\r\n\r\n").await;
    assert_eq!(within(raw.answer()).await.status, 421);
    assert_eq!(host.count(), 1);
    for trick in [
        "get / http/1.1\r\nHost: hidden.test\r\n\r\n",
        "\r\n\r\n\r\nFOO / HTTP/1.1\r\nHost: hidden.test\r\n\r\n",
        "BREW / HTTP/1.1\nHost: hidden.test\n\n",
        "GET http://hidden.test/ HTTP/1.1\r\nHost: hidden.test\r\n\r\n",
        "GET /old\r\n\r\n",
    ] {
        let (_, mut raw) = world.tunnel(&authority).await;
        raw.send(trick).await;
        let status = within(raw.answer()).await.status;
        assert!(matches!(status, 0 | 400 | 421), "{trick:?} {status}");
    }
    assert_eq!(host.count(), 1);
}

#[tokio::test]
async fn hosts_that_speak_first_and_protocols_of_bytes_pass() {
    let world = World::new().await;
    world.local("ssh.test");
    let first = Agent::scripted(|mut raw, _, _| async move {
        raw.send("SSH-2.0-test\r\n").await;
        let said = raw.exactly(5).await;
        raw.send(said).await;
    })
    .await;
    let (_, mut raw) = world.tunnel(&format!("ssh.test:{}", first.address.port())).await;
    assert_eq!(within(raw.exactly(14)).await, b"SSH-2.0-test\r\n");
    raw.send("hello").await;
    assert_eq!(within(raw.exactly(5)).await, b"hello");

    let bytes = Agent::scripted(|mut raw, _, _| async move {
        let said = raw.exactly(8).await;
        raw.send(said).await;
    })
    .await;
    let (_, mut raw) = world.tunnel(&format!("ssh.test:{}", bytes.address.port())).await;
    raw.send(b"\0\0\0\x08\x04\xd2\x16\x2f").await;
    assert_eq!(within(raw.exactly(8)).await, b"\0\0\0\x08\x04\xd2\x16\x2f");
    // Where a rule looks into a host, bytes that cannot be looked into do not pass.
    world.bind("ssh.test", Vec::new());
    let (_, mut raw) = world.tunnel(&format!("ssh.test:{}", bytes.address.port())).await;
    raw.send(b"\0\0\0\x08\x04\xd2\x16\x2f").await;
    assert!(raw.ended().await);
}

#[tokio::test]
async fn half_a_tunnel_may_close_before_the_other() {
    let world = World::new().await;
    world.local("host.test");
    let host = Agent::scripted(|mut raw, _, _| async move {
        let mut all = Vec::new();
        raw.0.read_to_end(&mut all).await.unwrap();
        raw.send(format!("got {}", all.len())).await;
    })
    .await;
    let (_, mut raw) = world.tunnel(&format!("host.test:{}", host.address.port())).await;
    raw.send(vec![0; 100_000]).await;
    raw.0.shutdown().await.unwrap();
    let mut said = String::new();
    within(raw.0.read_to_string(&mut said)).await.unwrap();
    assert_eq!(said, "got 100000");
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_its_tunnel() {
    let (world, host) = (World::new().await, Host::tls("host.test").await);
    world.local("host.test");
    let mut raw = world.connect().await;
    raw.send(format!("CONNECT host.test:{} HTTP/1.0\r\n{}\r\n", host.port, super::world::AUTH)).await;
    assert!(within(raw.head()).await.contains(" 200 "));
    let stream = world.handshake(raw, "host.test", &["http/1.1"]).await.unwrap();
    assert_eq!(Client::over(stream).await.ask(http::Request::get("/").header("host", "x"), "").await.0, 200);
}
