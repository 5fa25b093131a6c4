//! Credentials: where they go in, where they may not, and that nothing of them comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, Request};
use http_body_util::{BodyExt as _, StreamBody};
use ryokan_gateway::Secret;
use ryokan_gateway::egress::{
    CachedToken, Credential, Grant, Granted, Inject, Later, NoToken, Places, Source, TokenSource,
};

use super::world::{Client, Got, Host, PLACEHOLDER, SECRET, World, echo, in_headers, injected, text};

struct Case {
    world: World,
    host: Host,
}

impl Case {
    async fn new(credentials: Vec<Credential>) -> Self {
        let case = Self { world: World::new().await, host: Host::tls("api.test").await };
        case.world.bind("api.test", credentials);
        case
    }

    async fn ask(&self, request: http::request::Builder, body: &str) -> (u16, http::HeaderMap, String) {
        let stream = self.world.tls("api.test", self.host.port, &["http/1.1"]).await.unwrap();
        let request = request.header("host", format!("api.test:{}", self.host.port));
        Client::over(stream).await.ask(request, body).await
    }

    async fn got(&self, request: http::request::Builder, body: &str) -> Got {
        let (status, headers, answer) = self.ask(request, body).await;
        assert_eq!(status, 200, "{answer}");
        assert!(!answer.contains("sk-live") && !format!("{headers:?}").contains("sk-live"), "{answer}");
        self.host.last()
    }

    async fn refused(&self, request: http::request::Builder, body: &str, code: &str) {
        let before = self.host.count();
        let (status, headers, answer) = self.ask(request, body).await;
        assert!(status >= 400 && answer.contains(code), "{status} {answer}");
        assert!(!answer.contains("sk-live") && !format!("{headers:?}").contains("sk-live"), "{answer}");
        assert_eq!(self.host.count(), before);
    }
}

fn encoded() -> String {
    "sk-live%2F9f8e7d6c5b4a%223".into()
}

#[tokio::test]
async fn each_kind_goes_where_it_belongs() {
    let basic = format!("Basic {}", STANDARD.encode(format!("x-access-token:{SECRET}")));
    for (inject, name, value) in [
        (Inject::Bearer, "authorization", format!("Bearer {SECRET}")),
        (Inject::Basic { user: "x-access-token".into() }, "authorization", basic),
        (
            Inject::Header { name: "x-api-key".parse().unwrap(), prefix: String::new() },
            "x-api-key",
            SECRET.to_owned(),
        ),
        (
            Inject::Header { name: "authorization".parse().unwrap(), prefix: "Token ".into() },
            "authorization",
            format!("Token {SECRET}"),
        ),
    ] {
        let case = Case::new(vec![injected(inject)]).await;
        // Whatever the caller sent there is replaced.
        let got = case.got(Request::get("/").header(name, "mine"), "").await;
        assert_eq!(got.headers.get_all(name).iter().count(), 1);
        assert_eq!(got.header(name), Some(value.as_str()));
        assert_eq!(got.header("accept-encoding"), Some("identity"));
    }
    let case = Case::new(vec![injected(Inject::Query { name: "api key".into() })]).await;
    let got = case.got(Request::get("/x?a=1&api%20key=mine&b=2"), "").await;
    assert_eq!(got.uri, format!("/x?a=1&b=2&api%20key={}", encoded()));
}

#[tokio::test]
async fn placeholders_are_replaced_where_they_may_be() {
    let json = "application/json";
    let places = Places {
        headers: true,
        path: true,
        query: true,
        body: vec![json.into(), "application/x-www-form-urlencoded".into()],
    };
    let case = Case::new(vec![Credential { places, ..in_headers() }]).await;
    let got = case.got(Request::get(format!("/bot{PLACEHOLDER}:x/y?key={PLACEHOLDER}&z")), "").await;
    // It goes on there, and is therefore not this placeholder; the colon ends it.
    assert_eq!(got.uri, format!("/bot{}:x/y?key={}&z", encoded(), encoded()));
    let pair = STANDARD.encode(format!("user:{PLACEHOLDER}"));
    let got = case.got(Request::get("/").header("authorization", format!("Basic {pair}")), "").await;
    let expected = format!("Basic {}", STANDARD.encode(format!("user:{SECRET}")));
    assert_eq!(got.header("authorization"), Some(expected.as_str()));
    let request = Request::post("/").header("content-type", "application/json; charset=utf-8");
    let got = case.got(request, &format!(r#"{{"key":"{PLACEHOLDER}"}}"#)).await;
    assert_eq!(got.body, r#"{"key":"sk-live/9f8e7d6c5b4a\"3"}"#);
    assert_eq!(got.header("content-length"), Some(got.body.len().to_string().as_str()));
    let request = Request::post("/").header("content-type", "application/x-www-form-urlencoded");
    let got = case.got(request, &format!("a=b&client_secret={PLACEHOLDER}&c")).await;
    assert_eq!(got.body, format!("a=b&client_secret={}&c", encoded()));
    // Another type is passed as it is: a placeholder is no secret.
    let request = Request::post("/").header("content-type", "text/plain");
    assert_eq!(case.got(request, PLACEHOLDER).await.body, PLACEHOLDER);
    // Too large to be held back.
    let request = Request::post("/").header("content-type", json);
    case.refused(request, &"x".repeat(1024 * 1024 + 1), "body_too_large").await;
}

#[tokio::test]
async fn a_placeholder_elsewhere_is_refused_and_not_sent() {
    let case = Case::new(vec![Credential {
        methods: vec![Method::GET],
        paths: vec!["/v1/**".parse().unwrap()],
        ..in_headers()
    }])
    .await;
    let key = |request: http::request::Builder| request.header("x-api-key", PLACEHOLDER);
    assert_eq!(case.got(key(Request::get("/v1/x")), "").await.header("x-api-key"), Some(SECRET));
    // Its own host, but not where, how or for what it is good.
    case.refused(key(Request::post("/v1/x")), "", "credential_not_here").await;
    case.refused(key(Request::get("/v2")), "", "credential_not_here").await;
    case.refused(key(Request::get("/v1/../v2")), "", "credential_not_here").await;
    case.refused(key(Request::get("/v1/%2e%2e/v2")), "", "credential_not_here").await;
    case.refused(Request::get(format!("/v1?key={PLACEHOLDER}")), "", "credential_not_here").await;
    case.refused(Request::get(format!("/v1/{PLACEHOLDER}")), "", "credential_not_here").await;
    case.refused(Request::get("/v1?key=ryk%5Fcred_model0001"), "", "credential_not_here").await;
    // One that is not bound here at all, in any disguise.
    let other = "ryk_cred_other";
    case.refused(Request::get("/v1").header("x-api-key", other), "", "credential_not_for_host").await;
    case.refused(Request::get(format!("/v1?key={other}")), "", "credential_not_for_host").await;
    let pair = STANDARD.encode(format!("u:{other}"));
    let request = Request::get("/v1").header("authorization", format!("Basic {pair}"));
    case.refused(request, "", "credential_not_for_host").await;
}

#[tokio::test]
async fn an_unbound_host_never_gets_one() {
    let case = Case::new(Vec::new()).await;
    case.refused(Request::get("/").header("x-api-key", PLACEHOLDER), "", "credential_not_for_host").await;
    let (status, _, answer) = case.ask(Request::post("/"), &format!("a {PLACEHOLDER} b")).await;
    assert!(status == 403 && answer.contains("credential_not_for_host"), "{answer}");
    assert!(
        case.host
            .got
            .lock()
            .unwrap()
            .iter()
            .all(|got| !String::from_utf8_lossy(&got.body).contains(PLACEHOLDER))
    );
    // In the clear, and after a redirect to another host.
    let world = World::new().await;
    let (bound, other) = (Host::plain().await, Host::plain().await);
    world.bind("bound.test", vec![Credential { in_the_clear: true, ..in_headers() }]);
    world.local("other.test");
    let key = format!("X-Api-Key: {PLACEHOLDER}\r\n");
    assert_eq!(world.get(&format!("http://bound.test:{}/", bound.port), &key).await.status, 200);
    assert_eq!(bound.last().header("x-api-key"), Some(SECRET));
    let answer = world.get(&format!("http://other.test:{}/", other.port), &key).await;
    assert!(answer.status == 403 && answer.text().contains("credential_not_for_host"));
    assert_eq!(other.count(), 0);
    world.bind("bound.test", vec![in_headers()]);
    let answer = world.get(&format!("http://bound.test:{}/", bound.port), &key).await;
    assert!(answer.status == 403 && answer.text().contains("credential_needs_tls"), "{}", answer.text());
    assert_eq!(bound.count(), 1);
    // What is injected unasked stays away from the clear as well.
    world.bind("bound.test", vec![injected(Inject::Bearer)]);
    assert_eq!(world.get(&format!("http://bound.test:{}/", bound.port), "").await.status, 200);
    assert_eq!(bound.last().header("authorization"), None);
}

#[tokio::test]
async fn nothing_comes_back_in_any_form() {
    let world = World::new().await;
    let host = Host::answering(Some("api.test"), true, &["http/1.1", "h2"], |_| {
        let forms = [
            SECRET.to_owned(),
            encoded(),
            STANDARD.encode(SECRET),
            STANDARD.encode(format!("git:{SECRET}")),
            STANDARD.encode(format!("a:{SECRET}")),
            STANDARD.encode(format!("ab:{SECRET}!")),
            SECRET.replace('"', "\\\""),
        ];
        // Every form cut at every place.
        let mut frames: Vec<Result<_, std::convert::Infallible>> = Vec::new();
        for form in &forms {
            for at in 1..form.len() {
                frames.push(Ok(http_body::Frame::data(format!("<{}", &form[..at]).into())));
                frames.push(Ok(http_body::Frame::data(format!("{}>", &form[at..]).into())));
            }
        }
        let mut response =
            http::Response::new(StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync());
        let headers = response.headers_mut();
        headers.insert("x-echo", format!("a {SECRET} b").parse().unwrap());
        headers.insert("set-cookie", format!("k={}", encoded()).parse().unwrap());
        headers.insert("location", format!("https://evil.test/?k={}", encoded()).parse().unwrap());
        response
    })
    .await;
    world.bind("api.test", vec![injected(Inject::Basic { user: "git".into() })]);
    for protocol in ["h2", "http/1.1"] {
        let stream = world.tls("api.test", host.port, &[protocol]).await.unwrap();
        let authority = format!("api.test:{}", host.port);
        let request = if protocol == "h2" {
            Request::get(format!("https://{authority}/"))
        } else {
            Request::get("/").header("host", authority)
        };
        let (status, headers, body) = Client::over(stream).await.ask(request, "").await;
        assert_eq!(status, 200);
        for form in [SECRET, &encoded(), &STANDARD.encode(SECRET), &STANDARD.encode(format!("git:{SECRET}"))]
        {
            assert!(!body.contains(form) && !format!("{headers:?}").contains(form), "{body}");
        }
        // At most a few characters of an encoding are left, in which a neighbour has a part.
        let left = body.split(['<', '>', '*']).map(str::len).max().unwrap();
        assert!(left <= "Z2l0Om".len(), "{body}");
    }
}

#[tokio::test]
async fn a_compressed_answer_is_refused_and_length_and_ranges_stay_true() {
    let world = World::new().await;
    let host = Host::answering(Some("api.test"), true, &["http/1.1"], |got| {
        let mut response = text(format!("key={SECRET}."));
        if got.uri == "/gzip" {
            response.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
        }
        response
    })
    .await;
    world.bind("api.test", vec![in_headers()]);
    let case = Case { world, host };
    let key = |path: &str| {
        Request::get(path).header("x-api-key", PLACEHOLDER).header("accept-encoding", "gzip, br")
    };
    let (status, _, body) = case.ask(key("/gzip"), "").await;
    assert!(status == 502 && body.contains("answer_encoded"), "{body}");
    let (status, headers, body) = case.ask(key("/"), "").await;
    assert_eq!((status, body.as_str()), (200, "key=**********************."));
    assert_eq!(headers["content-length"], body.len().to_string().as_str());
    // Nor does it come back by a request that did not carry it.
    let (status, _, body) = case.ask(Request::get("/").header("accept-encoding", "gzip"), "").await;
    assert_eq!((status, body.as_str()), (200, "key=**********************."));
    let last = case.host.last();
    assert_eq!((last.header("accept-encoding"), last.header("x-api-key")), (Some("identity"), None));
    // Where none is bound, nothing is asked or changed.
    case.world.bind("api.test", Vec::new());
    let (status, headers, _) = case.ask(Request::get("/gzip").header("accept-encoding", "gzip"), "").await;
    assert_eq!((status, headers["content-encoding"].to_str().unwrap()), (200, "gzip"));
    assert_eq!(case.host.last().header("accept-encoding"), Some("gzip"));
}

#[tokio::test]
async fn a_value_that_does_not_fit_is_an_error_without_it() {
    let broken = Source::Fixed(Secret::from("sk-live\r\nX-Evil: 1"));
    let case = Case::new(vec![Credential { source: broken, ..injected(Inject::Bearer) }]).await;
    case.refused(Request::get("/"), "", "credential_unusable").await;
}

#[tokio::test]
async fn rotation_counts_from_the_next_request_and_disabling_ends_streams() {
    let world = World::new().await;
    let host = Host::answering(Some("api.test"), true, &["h2"], |got| {
        if got.uri.ends_with("/endless") {
            let body = StreamBody::new(futures_util::stream::unfold((), |()| async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Some((Ok(http_body::Frame::data("data: x\n\n".into())), ()))
            }));
            return http::Response::new(body.boxed_unsync());
        }
        echo(got)
    })
    .await;
    world.bind("api.test", vec![in_headers()]);
    let stream = world.tls("api.test", host.port, &["h2"]).await.unwrap();
    let mut client = Client::over(stream).await;
    let request = |path: &str| {
        Request::get(format!("https://api.test:{}{path}", host.port)).header("x-api-key", PLACEHOLDER)
    };
    let body = http_body_util::Empty::new().boxed_unsync();
    let mut endless = client.send(request("/endless").body(body).unwrap()).await.unwrap().into_body();
    assert!(super::support::within(endless.frame()).await.unwrap().is_ok());
    let rotated = Source::Fixed(Secret::from("sk-live-rotated"));
    world.bind("api.test", vec![Credential { revision: 2, source: rotated, ..in_headers() }]);
    assert_eq!(client.ask(request("/"), "").await.0, 200);
    let got = host.last();
    assert_eq!(got.header("x-api-key"), Some("sk-live-rotated"));
    // The old value's connection did not carry the new one.
    assert_ne!(got.connection, host.got.lock().unwrap()[0].connection);
    assert!(super::support::within(endless.frame()).await.unwrap().is_ok());
    world.state.disabled.lock().unwrap().insert("cred-1".into());
    world.bind("api.test", Vec::new());
    let began = std::time::Instant::now();
    while super::support::within(endless.frame()).await.unwrap().is_ok() {}
    assert!(began.elapsed() < Duration::from_secs(3));
    let (status, _, body) = client.ask(request("/"), "").await;
    assert!(status == 403 && body.contains("credential_not_for_host"), "{body}");
    world.until(|| world.outcomes().iter().any(|outcome| outcome.ended == Some("no_longer_allowed"))).await;
}

#[tokio::test]
async fn a_request_signed_for_aws_is_signed_anew() {
    let inject =
        Inject::SigV4 { access_key: "AKIAREAL".into(), session_token: Some(Secret::from("session-token")) };
    let case = Case::new(vec![Credential { inject: Some(inject), ..in_headers() }]).await;
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={PLACEHOLDER}/20261122/eu-west-1/s3/aws4_request, SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature=00"
    );
    let signed = |hash: &str| {
        Request::put("/bucket/key")
            .header("authorization", &authorization)
            .header("x-amz-date", "20261122T031500Z")
            .header("x-amz-content-sha256", hash)
    };
    let got = case.got(signed("UNSIGNED-PAYLOAD"), "body").await;
    let value = got.header("authorization").unwrap();
    assert!(value.contains("Credential=AKIAREAL/20261122/eu-west-1/s3/aws4_request"), "{value}");
    assert!(
        value.contains("SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token"),
        "{value}"
    );
    assert!(!value.contains("Signature=00"));
    assert_eq!(got.header("x-amz-security-token"), Some("session-token"));
    assert_eq!(got.body, "body");
    case.refused(signed("STREAMING-AWS4-HMAC-SHA256-PAYLOAD"), "", "request_not_signable").await;
    case.refused(Request::get("/"), "", "request_not_signable").await;
}

struct Issuer(AtomicUsize);

impl Grant for Issuer {
    fn fetch(&self) -> Later<'_, Result<Granted, NoToken>> {
        Box::pin(async {
            let number = self.0.fetch_add(1, SeqCst);
            tokio::time::sleep(Duration::from_millis(20)).await;
            if number == 2 {
                return Err(NoToken);
            }
            let expires_at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + 100);
            Ok(Granted { token: Secret::new(format!("token-{number}")), expires_at })
        })
    }
}

#[tokio::test]
async fn an_access_token_is_fetched_once_and_again_before_its_end() {
    let (issuer, clock) =
        (Arc::new(Issuer(AtomicUsize::new(0))), Arc::new(super::support::TestClock::default()));
    let tokens = CachedToken::new(Arc::clone(&issuer) as Arc<dyn Grant>, Arc::clone(&clock) as Arc<_>);
    let many = futures_util::future::join_all((0..50).map(|_| tokens.token())).await;
    assert!(many.iter().all(|token| token.as_ref().unwrap().expose() == "token-0"));
    assert_eq!(issuer.0.load(SeqCst), 1);
    clock.advance(80);
    assert_eq!(tokens.token().await.unwrap().expose(), "token-1");
    clock.advance(30);
    // A failure is not repeated by everybody at once.
    assert!(tokens.token().await.is_err() && tokens.token().await.is_err());
    assert_eq!(issuer.0.load(SeqCst), 3);
    clock.advance(3);
    assert!(tokens.token().await.is_ok());
}

#[tokio::test]
async fn a_token_that_cannot_be_had_is_an_error_that_says_nothing() {
    struct Never;
    impl TokenSource for Never {
        fn token(&self) -> Later<'_, Result<Secret, NoToken>> {
            Box::pin(async { Err(NoToken) })
        }
    }
    let case =
        Case::new(vec![Credential { source: Source::Token(Arc::new(Never)), ..injected(Inject::Bearer) }])
            .await;
    case.refused(Request::get("/"), "", "credential_unusable").await;
}
