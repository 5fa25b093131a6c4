//! What is open when its credential ends is cut within moments; what it has set in motion goes on.

use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, join_all};
use futures_util::{FutureExt as _, StreamExt as _};
use reqwest::Method;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use super::{signed_in, with_password};
use crate::support::{Client, Site, on_both, on_postgres_only};

/// Two looks, a second apart, and some air.
const SOON: Duration = Duration::from_secs(5);

/// What is open, each with a future that gives the last that came of it.
type Open = Vec<(&'static str, BoxFuture<'static, String>)>;

/// Reads an answer, of which the head is here already, to its end or break.
async fn reading(client: &Client, path: &str, accept: &str) -> BoxFuture<'static, String> {
    let response = client.request(Method::GET, path).header("accept", accept).send().await.unwrap();
    assert_eq!(response.status(), 200, "{path}");
    let mut body = response.bytes_stream();
    async move {
        while let Some(chunk) = body.next().await {
            if let Err(error) = chunk {
                return format!("broken: {error:?}");
            }
        }
        "a quiet end".to_owned()
    }
    .boxed()
}

/// One stream of each kind, on the ready instance `claw`.
async fn open(client: &Client) -> Open {
    let mut request = format!("{}/v1/instances/claw/exec?command=sleep", client.base.replace("http", "ws"))
        .into_client_request()
        .unwrap();
    let like = client.request(Method::GET, "/").build().unwrap();
    request.headers_mut().extend(like.headers().clone());
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    let exec = async move {
        while let Some(message) = socket.next().await {
            match message {
                Ok(Message::Text(text)) => return text.to_string(),
                Ok(_) => {}
                Err(error) => return error.to_string(),
            }
        }
        "a quiet end".to_owned()
    };
    vec![
        ("events", reading(client, "/v1/events", "text/event-stream").await),
        ("logs", reading(client, "/v1/instances/claw/logs?follow=true", "text/event-stream").await),
        ("lines", reading(client, "/v1/instances/claw/logs?follow=true", "*/*").await),
        ("agent", reading(client, "/gateway/claw/hold", "*/*").await),
        ("exec", exec.boxed()),
    ]
}

/// All of them end soon, and none as if it had come to its own end.
async fn all_end(why: &str, open: Open) {
    let begin = Instant::now();
    let ends =
        open.into_iter().map(|(what, end)| async move { (what, tokio::time::timeout(SOON, end).await) });
    for (what, end) in join_all(ends).await {
        let end = end.unwrap_or_else(|_| panic!("{why}: {what} is still open after {:?}", begin.elapsed()));
        assert!(end.starts_with("broken") || end.contains("no longer valid"), "{why}: {what}: {end}");
    }
}

async fn none_ends(open: &mut Open) {
    let mut ends =
        futures_util::future::select_all(open.iter_mut().map(|(what, end)| end.map(|e| (*what, e))));
    let early = tokio::time::timeout(Duration::from_millis(2500), &mut ends).await;
    assert!(early.is_err(), "cut without a reason: {:?}", early.map(|(end, ..)| end));
}

#[tokio::test]
async fn whatever_ends_a_credential_cuts_what_it_opened() {
    on_both(async |site| {
        let operator = site.operator();
        with_password(site, "alice").await;
        let token = async |expires: Option<&str>| {
            let body = json!({"label": "x", "scope": "admin", "user": "alice", "expires_in": expires});
            let made = operator.post("/v1/tokens", body).await.expect(201);
            (made["id"].as_str().unwrap().to_owned(), site.with_token(made["secret"].as_str().unwrap()))
        };
        let (kept_id, kept) = token(None).await;
        kept.ready("claw", json!({})).await;
        let mut others = open(&kept).await;

        let (id, revoked) = token(None).await;
        let opened = open(&revoked).await;
        operator.delete(&format!("/v1/tokens/{id}")).await.expect(204);
        all_end("a revoked token", opened).await;

        let session = signed_in(site, "alice").await;
        let opened = open(&session).await;
        session.delete("/v1/sessions").await.expect(204);
        all_end("signing out", opened).await;

        let (_, expiring) = token(Some("1h")).await;
        let opened = open(&expiring).await;
        none_ends(&mut others).await;
        site.clock.forward(Duration::from_secs(3601));
        all_end("an expired token", opened).await;

        operator.patch("/v1/users/alice", json!({"disabled": true})).await.expect(200);
        all_end("a disabled account", others).await;
        operator.patch("/v1/users/alice", json!({"disabled": false})).await.expect(200);
        let last = open(&site_token(site, &operator, "carol").await).await;
        operator.patch("/v1/users/carol", json!({"operator": false})).await.expect(200);
        all_end("an operator who is none any more", last).await;
        let carol = site_token(site, &operator, "dave").await;
        let last = open(&carol).await;
        operator.delete("/v1/users/dave").await.expect(204);
        all_end("a deleted account", last).await;
        operator.delete(&format!("/v1/tokens/{kept_id}")).await.expect(204);
    })
    .await;
}

/// Another operator.
async fn site_token(site: &Site, operator: &Client, login: &str) -> Client {
    operator.post("/v1/users", json!({"login": login, "operator": true})).await.expect(201);
    let body = json!({"label": "x", "scope": "admin", "user": login});
    let made = operator.post("/v1/tokens", body).await.expect(201);
    site.with_token(made["secret"].as_str().unwrap())
}

#[tokio::test]
async fn a_cut_creation_says_so_and_goes_on() {
    on_both(async |site| {
        let operator = site.operator();
        let alice = site.user("alice").await;
        let tokens = alice.get("/v1/tokens").await.items();
        site.engine.image("slow").pull_waits();
        let body = json!({"name": "claw", "image": "slow", "ports": [{"name": "http", "port": 3000}]});
        let mut stream = alice.stream("POST", "/v1/instances", Some(body)).await;
        assert_eq!(stream.next().await.unwrap().name, "created");
        operator.delete(&format!("/v1/tokens/{}", tokens[0]["id"].as_str().unwrap())).await.expect(204);
        let events = tokio::time::timeout(SOON, stream.all()).await.expect("the stream ends");
        let last = events.last().unwrap();
        assert_eq!((last.name.as_str(), &last.data["name"]), ("error", &json!("claw")));
        assert!(last.data["message"].as_str().unwrap().contains("goes on"), "{last:?}");
        site.engine.heal();
        operator.until("claw", "ready").await;
    })
    .await;
}

#[tokio::test]
async fn another_server_s_revocation_cuts_here_too() {
    on_postgres_only(async |site| {
        let operator = site.operator();
        operator.ready("claw", json!({})).await;
        let beside = site.beside().await;
        let made = operator.post("/v1/tokens", json!({"label": "x", "scope": "admin"})).await.expect(201);
        // The other server has not heard of the token when it comes first.
        let client = Client::new(beside.address, made["secret"].as_str());
        client.get("/v1/instances/claw").await.expect(200);
        let opened = open(&client).await;
        operator.delete(&format!("/v1/tokens/{}", made["id"].as_str().unwrap())).await.expect(204);
        all_end("a token revoked elsewhere", opened).await;
        assert!(beside.stop().await);
    })
    .await;
}
