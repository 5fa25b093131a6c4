//! The same request with the same key, for everything that a POST makes. For instances see `instances::create`.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use crate::support::{on_both, on_sqlite};

const TEMPLATE: &str = r#"{"name":"mine","summary":"s","spec":{"image":"img"}}"#;

#[tokio::test]
async fn the_same_key_and_request_give_the_same_answer_and_make_one_thing() {
    on_both(async |site| {
        let operator = site.operator();
        let template: serde_json::Value = serde_json::from_str(TEMPLATE).unwrap();
        let mut other_template = template.clone();
        other_template["summary"] = json!("t");
        let cases = [
            (
                "/v1/users",
                json!({"login": "ann", "password": "correct horse"}),
                json!({"login": "ann", "password": "battery staple"}),
            ),
            ("/v1/tokens", json!({"label": "ci"}), json!({"label": "cd"})),
            ("/v1/projects", json!({"name": "second"}), json!({"name": "third"})),
            ("/v1/templates", template, other_template),
            ("/v1/users/operator/login-link", json!({}), json!({})),
        ];
        for (path, body, other) in cases {
            let before = operator.get("/v1/events?limit=500").await.items().len();
            let keyed = operator.with("idempotency-key", path);
            let sent = (0..6).map(|_| keyed.post(path, body.clone()));
            let replies = futures_util::future::join_all(sent).await;
            let answers: BTreeSet<String> = replies.iter().map(|r| r.expect(201).to_string()).collect();
            assert_eq!(answers.len(), 1, "{path}: {answers:?}");
            assert_eq!(operator.get("/v1/events?limit=500").await.items().len(), before + 1, "{path}");
            if body != other {
                let refused = keyed.post(path, other).await.expect(409);
                assert!(refused["detail"].as_str().unwrap().contains("`Idempotency-Key`"), "{refused}");
            }
        }
        // The key stands for a request, whatever it asks for.
        let taken = operator.with("idempotency-key", "/v1/tokens");
        taken.post("/v1/projects", json!({"name": "fourth"})).await.expect(409);
        for bad in ["", &"x".repeat(201)] {
            let reply = operator.with("idempotency-key", bad).post("/v1/tokens", json!({"label": "x"})).await;
            assert_eq!(reply.expect(400)["field"], "Idempotency-Key");
        }
        operator.delete("/v1/users/ann").await.expect(204);
        let gone = operator.with("idempotency-key", "/v1/users");
        gone.post("/v1/users", json!({"login": "ann", "password": "correct horse"})).await.expect(409);
    })
    .await;
}

#[tokio::test]
async fn a_repeated_secret_is_the_same_credentials_alone_and_never_stored_plainly() {
    on_sqlite(async |site| {
        let operator = site.operator();
        let keyed = operator.with("idempotency-key", "k");
        let body = json!({"label": "ci", "scope": "read"});
        let made = keyed.post("/v1/tokens", body.clone()).await.expect(201);
        let secret = made["secret"].as_str().unwrap();
        site.with_token(secret).get("/v1/users/me").await.expect(200);
        // Another credential of the same account gets nothing by knowing the key.
        let second =
            operator.post("/v1/tokens", json!({"label": "second", "scope": "admin"})).await.expect(201);
        let second = site.with_token(second["secret"].as_str().unwrap()).with("idempotency-key", "k");
        let refused = second.post("/v1/tokens", body.clone()).await;
        assert!(refused.status == 409 && !refused.text.contains(secret), "{}", refused.text);
        // Neither the secret nor what a guess could be checked against is in the database.
        let user = json!({"login": "ann", "password": "correct horse"});
        operator.with("idempotency-key", "u").post("/v1/users", user).await.expect(201);
        let stored = site.database_bytes();
        for text in [secret, "correct horse"] {
            assert!(!stored.windows(text.len()).any(|w| w == text.as_bytes()), "{text} is in the database");
        }
        // A revoked token does not come back.
        operator.delete(&format!("/v1/tokens/{}", made["id"].as_str().unwrap())).await.expect(204);
        let gone = keyed.post("/v1/tokens", body).await;
        assert!(gone.expect(409)["detail"].as_str().unwrap().contains("is gone"), "{}", gone.text);
        assert!(!gone.text.contains(secret));
    })
    .await;
}

#[tokio::test]
async fn a_used_link_is_not_given_again() {
    on_sqlite(async |site| {
        let keyed = site.operator().with("idempotency-key", "k");
        let made = keyed.post("/v1/users/operator/login-link", json!({})).await.expect(201);
        let link = made["url"].as_str().unwrap().split_once("link=").unwrap().1.to_owned();
        site.anonymous().post("/v1/sessions", json!({"link": link})).await.expect(201);
        keyed.post("/v1/users/operator/login-link", json!({})).await.expect(409);
    })
    .await;
}

#[tokio::test]
async fn a_key_is_free_after_a_refusal_and_after_a_day() {
    on_both(async |site| {
        let keyed = site.operator().with("idempotency-key", "k");
        keyed.post("/v1/projects", json!({"name": "operator"})).await.expect(409);
        let first = keyed.post("/v1/tokens", json!({"label": "ci"})).await.expect(201);
        site.clock.forward(Duration::from_hours(23));
        assert_eq!(keyed.post("/v1/tokens", json!({"label": "ci"})).await.expect(201), first);
        site.clock.forward(Duration::from_hours(2));
        let second = keyed.post("/v1/tokens", json!({"label": "ci"})).await.expect(201);
        assert_ne!(second["id"], first["id"]);
        // The new secret took the place of the old one.
        assert_eq!(keyed.post("/v1/tokens", json!({"label": "ci"})).await.expect(201), second);
    })
    .await;
}
