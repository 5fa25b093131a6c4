//! What agents get to see, and what of their answers gets out.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use http::{HeaderName, HeaderValue};
use ryokan_gateway::{Access, Limits, OriginPolicy, Route, RouteState, UpstreamAuth};
use support::{Agent, World, header, headers, zone};

const NOTHING_OF_OURS: [&str; 6] = ["ryokan", "ryk_", "evil-identity", "6.6.6.6", "hop-secret", "keep-alive"];

#[tokio::test]
async fn credentials_and_claims_do_not_reach_agents() {
    let agent = Agent::ok().await;
    let mut route = agent.route();
    route.upstream_auth = UpstreamAuth::TrustedProxy {
        user_header: HeaderName::from_static("x-forwarded-user"),
        headers: vec![(HeaderName::from_static("x-agent-scope"), HeaderValue::from_static("admin"))],
        identity: None,
    };
    let world = World::new(zone().route(route)).await;
    world
        .get(
            "claw.localhost",
            "/",
            "Cookie: own=1; ryokan_session=a; __Host-ryokan_session=b; ryokan_agent=c; RyoKan_x=d\r\n\
             Authorization: Bearer ryk_unknown\r\nX-API-Key: ryk_other\r\nX-Ryokan-Token-Hint: x\r\nX_Ryokan_User: x\r\n\
             X-Forwarded-User: evil-identity\r\nX_Forwarded_User: evil-identity\r\nX-Agent-Scope: evil-identity\r\n\
             X-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nTrue-Client-IP: 6.6.6.6\r\n\
             Forwarded: for=6.6.6.6;by=evil-identity\r\nX_Forwarded_For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: 6.6.6.6\r\n\
             Connection: keep-alive, X-Hop\r\nX-Hop: hop-secret\r\nKeep-Alive: timeout=5\r\n\
             Proxy-Authorization: Basic hop-secret\r\nOther: kept\r\n",
        )
        .await;
    let head = agent.last().head.to_lowercase();
    for trace in NOTHING_OF_OURS {
        assert!(!head.contains(trace), "{trace} in {head}");
    }
    assert_eq!(header(&head, "cookie").as_deref(), Some("own=1"));
    assert_eq!(header(&head, "other").as_deref(), Some("kept"));
    assert_eq!(header(&head, "x-agent-scope").as_deref(), Some("admin"));
    assert!(header(&head, "x-forwarded-user").is_none(), "nobody has no identity");
    // Not 127.0.0.1, which an agent would take for itself.
    assert_eq!(headers(&head, "x-forwarded-for"), ["192.0.0.8"]);
    assert_eq!(headers(&head, "x-real-ip"), ["192.0.0.8"]);
    assert_eq!(headers(&head, "x-forwarded-proto"), ["http"]);
    assert_eq!(headers(&head, "x-forwarded-host"), ["claw.localhost"]);
    assert_eq!(headers(&head, "x-forwarded-port"), ["80"]);
    assert!(header(&head, "authorization").is_none());
    assert_eq!(headers(&head, "forwarded"), [r#"for=127.0.0.1;host="claw.localhost";proto=http"#]);
}

#[tokio::test]
async fn a_secret_without_a_mark_does_not_reach_agents_either() {
    let agent = Agent::ok().await;
    let world = World::new(zone().route(agent.route())).await;
    for ours in [
        "Authorization: Bearer plain-good\r\n",
        "authorization: bearer   plain-good \r\n",
        "Authorization: plain-good\r\n",
        "Authorization: Basic eDpwbGFpbi1nb29k\r\n",
        "Authorization: Basic cGxhaW4tZ29vZDo=\r\n",
        "X-API-Key: plain-good\r\n",
        "Api-Key: plain-good\r\n",
        "Authorization: Bearer own\r\nAuthorization: Bearer plain-good\r\n",
    ] {
        assert_eq!(world.get("claw.localhost", "/", ours).await.status, 200, "{ours}");
        let head = agent.last().head.to_lowercase();
        assert!(!head.contains("authorization") && !head.contains("api-key"), "{ours}: {head}");
    }
    for own in ["Authorization: Bearer plain-good-own\r\n", "X-API-Key: not-plain-good\r\n"] {
        world.get("claw.localhost", "/", own).await;
        assert!(agent.last().head.contains("plain-good"), "{own}");
    }
}

#[tokio::test]
async fn an_agents_own_credentials_do_reach_it() {
    let agent = Agent::ok().await;
    let mut route = agent.route();
    route.access = Access::Token;
    let world = World::new(zone().route(route)).await;
    let own = "X-Ryokan-Token: ryk_good\r\nAuthorization: Bearer sk-own\r\nX-API-Key: own\r\n";
    assert_eq!(world.get("claw.localhost", "/", own).await.status, 200);
    let head = agent.last().head;
    assert_eq!(header(&head, "authorization").as_deref(), Some("Bearer sk-own"));
    assert_eq!(header(&head, "x-api-key").as_deref(), Some("own"));
    assert!(header(&head, "x-ryokan-token").is_none());
    // A token of ours without our prefix is removed because it was what let the request in.
    assert_eq!(world.get("claw.localhost", "/", "Authorization: Bearer plain-good\r\n").await.status, 200);
    assert!(header(&agent.last().head, "authorization").is_none());
    // Also inside Basic: this is base64 of `x:ryk_good`.
    let basic = "X-Ryokan-Token: ryk_good\r\nAuthorization: Basic eDpyeWtfZ29vZA==\r\n";
    assert_eq!(world.get("claw.localhost", "/", basic).await.status, 200);
    assert!(header(&agent.last().head, "authorization").is_none());
}

#[tokio::test]
async fn upstream_credentials_are_put_in() {
    let agent = Agent::ok().await;
    let with = |name: &str, auth| {
        let mut route = Route::new(name, name, agent.ready());
        route.upstream_auth = auth;
        route
    };
    let proxy = UpstreamAuth::TrustedProxy {
        user_header: HeaderName::from_static("x-user"),
        headers: vec![(HeaderName::from_static("x-forwarded-for"), HeaderValue::from_static("192.0.2.1"))],
        identity: Some("operator".into()),
    };
    let world = World::new(
        zone()
            .route(with("bearer", UpstreamAuth::Bearer { token: "s3cret".into() }))
            .route(with("basic", UpstreamAuth::Basic { user: "u".into(), password: "p".into() }))
            .route(with("query", UpstreamAuth::Query { name: "token".into(), value: "s3 cret".into() }))
            .route(with("proxy", proxy)),
    )
    .await;
    world.get("bearer.localhost", "/", "Authorization: Bearer client\r\n").await;
    assert_eq!(headers(&agent.last().head, "authorization"), ["Bearer s3cret"]);
    world.get("basic.localhost", "/", "").await;
    assert_eq!(headers(&agent.last().head, "authorization"), ["Basic dTpw"]);
    world.get("query.localhost", "/a?x=1&token=mine&%74oken=two&y", "").await;
    assert!(agent.last().head.starts_with("GET /a?x=1&y&token=s3%20cret HTTP/1.1"), "{}", agent.last().head);
    world.get("query.localhost", "/", "").await;
    assert!(agent.last().head.starts_with("GET /?token=s3%20cret HTTP/1.1"));
    world.get("proxy.localhost", "/", "X-User: mallory\r\n").await;
    assert_eq!(headers(&agent.last().head, "x-user"), ["operator"]);
    assert_eq!(headers(&agent.last().head, "x-forwarded-for"), ["192.0.2.1"]);
    assert_eq!(headers(&agent.last().head, "forwarded"), [""; 0], "nothing contradicts the template");
    let route = with("bearer", UpstreamAuth::Bearer { token: "s3cret".into() });
    assert!(!format!("{route:?}").contains("s3cret"));
}

#[tokio::test]
async fn origins_follow_the_policy() {
    let agent = Agent::ok().await;
    let with = |name: &str, origin| {
        let mut route = Route::new(name, name, agent.ready());
        route.origin = origin;
        route
    };
    let world = World::new(
        zone()
            .route(with("keep", OriginPolicy::Keep))
            .route(with("loop", OriginPolicy::RewriteLoopback))
            .route(with("set", OriginPolicy::Set(HeaderValue::from_static("https://x"))))
            .route(with("remove", OriginPolicy::Remove)),
    )
    .await;
    let loopback = format!("http://127.0.0.1:{}", agent.address.port());
    let upgrade =
        "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for (name, sent, expected) in [
        ("keep", "Origin: http://a\r\n", Some("http://a")),
        ("loop", "Origin: http://a\r\n", Some(loopback.as_str())),
        ("loop", "", None),
        ("loop", upgrade, Some(loopback.as_str())),
        ("set", "Origin: http://a\r\n", Some("https://x")),
        ("set", upgrade, Some("https://x")),
        ("remove", "Origin: http://a\r\n", None),
    ] {
        world.get(&format!("{name}.localhost"), "/", sent).await;
        assert_eq!(header(&agent.last().head, "origin").as_deref(), expected, "{name} {sent}");
    }
}

#[tokio::test]
async fn forwarding_headers_of_trusted_proxies_are_believed() {
    let agent = Agent::ok().await;
    let snapshot = || zone().route(agent.route());
    // What a proxy in front passes on as `Forwarded` may be its client's own: only one family is believed.
    let sent = "X-Forwarded-For: 9.9.9.9, 1.2.3.4\r\nX-Forwarded-Proto: https\r\nForwarded: for=6.6.6.6;proto=http\r\n";
    let world = World::with(snapshot(), Limits::default(), &["127.0.0.0/8"]).await;
    world.get("claw.localhost", "/", sent).await;
    assert_eq!(headers(&agent.last().head, "x-forwarded-for"), ["1.2.3.4"]);
    assert_eq!(headers(&agent.last().head, "x-forwarded-proto"), ["https"]);
    assert_eq!(headers(&agent.last().head, "x-forwarded-port"), ["443"]);
    assert_eq!(
        headers(&agent.last().head, "forwarded"),
        [r#"for=1.2.3.4;host="claw.localhost";proto=https"#]
    );
    let six = "X-Forwarded-For: 2001:db8::1\r\n";
    world.get("claw.localhost:7700", "/", six).await;
    assert_eq!(headers(&agent.last().head, "x-forwarded-for"), ["2001:db8::1"]);
    assert_eq!(
        headers(&agent.last().head, "forwarded"),
        [r#"for="[2001:db8::1]";host="claw.localhost:7700";proto=http"#]
    );
    assert!(world.get("localhost", "/", sent).await.text().starts_with("control / 1.2.3.4 true"));

    let world = World::new(snapshot()).await;
    let answer = world.get("localhost", "/", sent).await.text();
    assert_eq!(answer, "control / 127.0.0.1 false host", "forwarding headers do not reach the control plane");
    let mut quiet = agent.route();
    quiet.forwarded = false;
    world.routes.store(zone().route(quiet));
    world.get("claw.localhost", "/", sent).await;
    assert!(!agent.last().head.to_lowercase().contains("forwarded"));
}

const BAD_MANNERS: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: own=1; Domain=localhost; Path=/\r\n\
    Set-Cookie: ryokan_session=evil; Path=/\r\nSet-Cookie: ryokan_agent=evil\r\nStrict-Transport-Security: max-age=9\r\n\
    Alt-Svc: h2=\":1\"\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nClear-Site-Data: \"*\"\r\n\
    Service-Worker-Allowed: /\r\nContent-Security-Policy: default-src *\r\nWWW-Authenticate: Basic realm=x\r\n\r\nok";

#[tokio::test]
async fn answers_are_confined_to_the_agents_host() {
    let agent = Agent::answering(BAD_MANNERS).await;
    let world = World::new(zone().route(agent.route())).await;
    let answer = world.get("claw.localhost", "/", "").await;
    assert_eq!(answer.headers("set-cookie"), ["own=1; Path=/"]);
    for name in ["strict-transport-security", "alt-svc", "x-hop", "keep-alive", "connection"] {
        assert!(answer.header(name).is_none(), "{name}");
    }
    assert_eq!(answer.headers("content-security-policy"), ["default-src *"]);
    assert!(answer.header("clear-site-data").is_some() && answer.header("www-authenticate").is_some());
}

#[tokio::test]
async fn the_path_route_is_sandboxed() {
    let agent = Agent::answering(BAD_MANNERS).await;
    let world = World::new(zone().route(agent.route())).await;
    let answer = world.get("localhost", "/gateway/claw/a?b", "Cookie: own=1; ryokan_session=x\r\n").await;
    assert!(agent.last().head.starts_with("GET /a?b HTTP/1.1"));
    assert!(header(&agent.last().head, "cookie").is_none());
    assert_eq!(header(&agent.last().head, "x-forwarded-prefix").as_deref(), Some("/gateway/claw"));
    for name in ["set-cookie", "clear-site-data", "service-worker-allowed", "www-authenticate", "alt-svc"] {
        assert!(answer.header(name).is_none(), "{name}");
    }
    let policies = answer.headers("content-security-policy");
    assert_eq!(policies[0], "default-src *");
    assert!(policies[1].starts_with("sandbox ") && !policies[1].contains("allow-same-origin"));
    assert_eq!(world.get("localhost", "/gateway/claw/sw.js", "Service-Worker: script\r\n").await.status, 404);
    assert_eq!(agent.count(), 1);
    assert_eq!(world.get("localhost", "/gateway/nobody/", "").await.status, 404);
    assert_eq!(world.get("127.0.0.1", "/gateway/claw", "").await.status, 200);
    assert!(agent.last().head.starts_with("GET / HTTP/1.1"));
}

#[tokio::test]
async fn redirects_stay_on_their_route() {
    let agent = Agent::scripted(|mut raw, _, _| async move {
        let address = raw.0.get_ref().local_addr().unwrap();
        loop {
            let head = raw.head().await;
            let Some(path) = head.split(' ').nth(1) else { return };
            let location = match path {
                "/local" => "/login?x=1".to_owned(),
                "/mounted" => "/gateway/claw/login".to_owned(),
                "/self" => "http://localhost/a".to_owned(),
                "/inner" => format!("http://{address}//b?c#d"),
                "/relative" => "next".to_owned(),
                _ => "https://elsewhere.example/".to_owned(),
            };
            raw.send(format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"))
                .await;
        }
    })
    .await;
    let world = World::new(zone().route(agent.route())).await;
    for (path, by_path, by_host) in [
        ("/local", "/gateway/claw/login?x=1", "/login?x=1"),
        ("/mounted", "/gateway/claw/login", "/gateway/claw/login"),
        ("/self", "/gateway/claw/a", "http://localhost/a"),
        ("/inner", "/gateway/claw/b?c#d", "/b?c#d"),
        ("/relative", "next", "next"),
        ("/out", "https://elsewhere.example/", "https://elsewhere.example/"),
    ] {
        let answer = world.get("localhost", &format!("/gateway/claw{path}"), "").await;
        assert_eq!(answer.header("location").as_deref(), Some(by_path));
        let answer = world.get("claw.localhost", path, "").await;
        assert_eq!(answer.header("location").as_deref(), Some(by_host));
    }
}

#[tokio::test]
async fn upgrades_other_than_websocket_are_not_passed_on() {
    let agent = Agent::ok().await;
    let mut deaf = Route::new("i-2", "deaf", RouteState::Ready { endpoint: agent.address });
    deaf.websocket = false;
    let world = World::new(zone().route(agent.route()).route(deaf)).await;
    let h2c = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
    assert_eq!(world.get("claw.localhost", "/", h2c).await.status, 200);
    let head = agent.last().head.to_lowercase();
    assert!(!head.contains("upgrade") && !head.contains("http2-settings"), "{head}");
    let upgrade = "Connection: upgrade\r\nUpgrade: websocket\r\n";
    assert_eq!(world.get("deaf.localhost", "/", upgrade).await.status, 400);
}
