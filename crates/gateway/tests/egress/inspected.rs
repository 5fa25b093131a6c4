//! Hosts that are looked into: our certificate, the host's protocol, every request judged.

use http::Request;
use http_body_util::{BodyExt as _, Full, StreamBody};
use ryokan_gateway::egress::{Ask, Scheme};

use super::support::within;
use super::world::{Client, Host, World, echo, in_headers, injected, text};
use super::world::{PLACEHOLDER, SECRET};

fn get(path: &str, host: &Host, name: &str, is_h2: bool) -> http::request::Builder {
    let authority = format!("{name}:{}", host.port);
    if is_h2 {
        Request::get(format!("https://{authority}{path}"))
    } else {
        Request::get(path).header("host", authority)
    }
}

#[tokio::test]
async fn tls_ends_here_and_the_protocol_is_the_hosts() {
    let world = World::new().await;
    let both = Host::tls("api.test").await;
    let old = Host::answering(Some("api.test"), true, &["http/1.1"], echo).await;
    world.bind("api.test", vec![in_headers()]);
    for (host, offered, expected) in [
        (&both, &["h2", "http/1.1"][..], http::Version::HTTP_2),
        (&both, &["http/1.1"], http::Version::HTTP_11),
        (&old, &["h2", "http/1.1"], http::Version::HTTP_11),
        (&old, &[], http::Version::HTTP_11),
    ] {
        let stream = world.tls("api.test", host.port, offered).await.unwrap();
        assert_ne!(stream.get_ref().1.peer_certificates().unwrap()[0], *host.certificate.as_ref().unwrap());
        let mut client = Client::over(stream).await;
        let is_h2 = expected == http::Version::HTTP_2;
        let request =
            get("/v1/x?y", host, "api.test", is_h2).header("authorization", format!("Bearer {PLACEHOLDER}"));
        let (status, _, body) = client.ask(request, "").await;
        assert_eq!(status, 200, "{body}");
        let got = host.last();
        assert_eq!(
            (got.version, got.header("authorization")),
            (expected, Some(format!("Bearer {SECRET}").as_str()))
        );
        // The host echoed it; the caller does not see it.
        assert!(body.contains("authorization: Bearer ****") && !body.contains("sk-live"), "{body}");
    }
    let asked = world.state.asked.lock().unwrap();
    assert!(matches!(asked[0], Ask::Connect { .. }));
    assert!(matches!(&asked[1], Ask::Request { scheme: Scheme::Https, path, .. } if path == "/v1/x"));
}

#[tokio::test]
async fn one_connection_serves_many_and_is_nobody_elses() {
    let (world, host) = (World::new().await, Host::tls("api.test").await);
    world.bind("api.test", vec![in_headers()]);
    for (tunnel, protocol) in ["h2", "http/1.1"].iter().enumerate() {
        let stream = world.tls("api.test", host.port, &[protocol]).await.unwrap();
        let mut client = Client::over(stream).await;
        for with_key in [true, true, false, true] {
            let mut request = get("/", &host, "api.test", *protocol == "h2");
            if with_key {
                request = request.header("x-api-key", PLACEHOLDER);
            }
            assert_eq!(client.ask(request, "").await.0, 200);
        }
        let got = host.got.lock().unwrap()[tunnel * 4..].to_vec();
        assert_eq!(got[0].connection, got[1].connection, "{protocol}");
        assert_eq!(got[0].connection, got[3].connection, "{protocol}");
        // What goes without the credential goes another way.
        assert_ne!(got[0].connection, got[2].connection, "{protocol}");
    }
    // Nor do two tunnels share one.
    let got = host.got.lock().unwrap();
    assert!(got[..4].iter().all(|first| got[4..].iter().all(|second| first.connection != second.connection)));
}

#[tokio::test]
async fn every_request_is_for_the_tunnels_host_and_judged() {
    let (world, host) = (World::new().await, Host::tls("api.test").await);
    world.bind("api.test", vec![in_headers()]);
    world.deny("GET /forbidden");
    world.deny("POST /v1");
    let authority = format!("api.test:{}", host.port);
    let stream = world.tls("api.test", host.port, &["h2"]).await.unwrap();
    let mut client = Client::over(stream).await;
    let at = |url: String| Request::get(url);
    assert_eq!(client.ask(at(format!("https://{authority}/v1")), "").await.0, 200);
    assert_eq!(client.ask(at(format!("https://{authority}/forbidden")), "").await.0, 403);
    assert_eq!(client.ask(Request::post(format!("https://{authority}/v1")), "x").await.0, 403);
    assert_eq!(client.ask(at("https://evil.test/v1".into()), "").await.0, 421);
    assert_eq!(client.ask(at(format!("http://{authority}/v1")), "").await.0, 421);
    assert_eq!(
        client.ask(at(format!("https://{authority}/v1")).header("host", "evil.test"), "").await.0,
        421
    );
    assert_eq!(host.count(), 1);
    let stream = world.tls("api.test", host.port, &["http/1.1"]).await.unwrap();
    let mut client = Client::over(stream).await;
    assert_eq!(client.ask(Request::get("/v1").header("host", "evil.test"), "").await.0, 421);
    assert_eq!(client.ask(Request::get("/v1").header("host", &authority), "").await.0, 200);
    assert_eq!(client.ask(Request::get("/forbidden").header("host", &authority), "").await.0, 403);
    assert_eq!(host.count(), 2);
}

#[tokio::test]
async fn the_greetings_name_must_be_the_hosts() {
    let (world, host) = (World::new().await, Host::tls("api.test").await);
    world.bind("api.test", vec![in_headers()]);
    let (_, raw) = world.tunnel(&format!("api.test:{}", host.port)).await;
    assert!(world.handshake(raw, "other.test", &["h2"]).await.is_err());
    world.until(|| world.rebuffs().contains(&"host_mismatch")).await;
}

#[tokio::test]
async fn a_certificate_that_is_not_good_is_told_within_the_tunnel() {
    let world = World::new().await;
    let untrusted = Host::answering(Some("api.test"), false, &["h2", "http/1.1"], echo).await;
    let wrong = Host::tls("other.test").await;
    world.bind("api.test", vec![in_headers()]);
    for host in [&untrusted, &wrong] {
        let stream = world.tls("api.test", host.port, &["http/1.1"]).await.unwrap();
        let request = get("/", host, "api.test", false).header("x-api-key", PLACEHOLDER);
        let (status, _, body) = Client::over(stream).await.ask(request, "").await;
        assert_eq!(status, 502);
        assert!(body.contains("certificate_refused"), "{body}");
        assert_eq!(host.count(), 0);
    }
}

#[tokio::test]
async fn trailers_come_through_and_so_does_grpc_framing() {
    let world = World::new().await;
    let host = Host::answering(Some("api.test"), true, &["h2"], |got| {
        let mut trailers = http::HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        trailers.insert("grpc-message", got.header("authorization").unwrap().parse().unwrap());
        let frames =
            vec![Ok(http_body::Frame::data(got.body.clone())), Ok(http_body::Frame::trailers(trailers))];
        let mut response =
            http::Response::new(StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync());
        response.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        response
    })
    .await;
    world.bind("api.test", vec![injected(ryokan_gateway::egress::Inject::Bearer)]);
    let stream = world.tls("api.test", host.port, &["h2"]).await.unwrap();
    let mut client = Client::over(stream).await;
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-sum", "1".parse().unwrap());
    let frames =
        vec![Ok(http_body::Frame::data("\0\0\0\0\x01a".into())), Ok(http_body::Frame::trailers(trailers))];
    let body = StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync();
    let request = Request::post(format!("https://api.test:{}/pkg.Service/Call", host.port))
        .header("te", "trailers")
        .header("grpc-accept-encoding", "identity,gzip")
        .header("content-type", "application/grpc")
        .body(body)
        .unwrap();
    let response = client.send(request).await.unwrap();
    let collected = within(response.into_body().collect()).await.unwrap();
    let trailers = collected.trailers().cloned().unwrap();
    assert_eq!(trailers["grpc-status"], "0");
    assert!(!trailers["grpc-message"].to_str().unwrap().contains("sk-live"), "{trailers:?}");
    assert_eq!(collected.to_bytes(), "\0\0\0\0\x01a");
    let got = host.last();
    assert_eq!((got.header("te"), got.header("grpc-accept-encoding")), (Some("trailers"), Some("identity")));
    assert_eq!(got.trailers.unwrap()["x-sum"], "1");
}

#[tokio::test]
async fn large_bodies_stream_both_ways_with_100_continue() {
    let world = World::new().await;
    let host =
        Host::answering(Some("api.test"), true, &["http/1.1", "h2"], |got| text(got.body.clone())).await;
    world.bind("api.test", vec![in_headers()]);
    let body = vec![b'x'; 3_000_000];
    for protocol in ["h2", "http/1.1"] {
        let stream = world.tls("api.test", host.port, &[protocol]).await.unwrap();
        let mut client = Client::over(stream).await;
        let authority = format!("api.test:{}", host.port);
        let url = if protocol == "h2" { format!("https://{authority}/") } else { "/".into() };
        let mut request = Request::post(url).header("x-api-key", PLACEHOLDER);
        if protocol != "h2" {
            request = request.header("host", authority).header("expect", "100-continue");
        }
        let request = request.body(Full::new(body.clone().into()).boxed_unsync()).unwrap();
        let response = client.send(request).await.unwrap();
        assert_eq!(response.headers().get("content-length").unwrap(), "3000000");
        let collected = within(response.into_body().collect()).await.unwrap().to_bytes();
        assert_eq!(collected.len(), body.len());
        assert_eq!(host.last().header("expect"), None);
    }
}

#[tokio::test]
async fn addresses_are_looked_into_as_well() {
    let (world, host) = (World::new().await, Host::tls("127.0.0.1").await);
    world.bind("127.0.0.1", vec![in_headers()]);
    let stream = world.tls("127.0.0.1", host.port, &["http/1.1"]).await.unwrap();
    let request = get("/", &host, "127.0.0.1", false).header("x-api-key", PLACEHOLDER);
    assert_eq!(Client::over(stream).await.ask(request, "").await.0, 200);
    assert_eq!(host.last().header("x-api-key"), Some(SECRET));
}
