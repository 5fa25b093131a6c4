//! Providers that fail in every way that we could think of.

use std::time::{Duration, Instant};

use serde_json::json;

use super::upstream::Mood;
use super::{Upstream, ask, calls, nothing_held, provide, streamed};
use crate::support::{Sse, eventually, on_both, on_sqlite};

const QUICK: &str = r#"{"first_byte_ms": 300, "idle_ms": 300, "connect_ms": 300}"#;

fn quick() -> serde_json::Value {
    serde_json::from_str(QUICK).unwrap()
}

#[tokio::test]
async fn another_is_asked_only_before_the_first_byte() {
    on_sqlite(async |site| {
        let (first, second) = (Upstream::start().await, Upstream::start().await);
        provide(site, "a", "openai", &first, quick()).await;
        provide(site, "b", "openai", &second, quick()).await;
        let operator = site.operator();
        for (n, mood) in [Mood::Status(500), Mood::Status(429), Mood::Silent].into_iter().enumerate() {
            first.is(mood);
            let reply = operator
                .post("/v1/chat/completions", if n % 2 == 0 { ask("m") } else { streamed("m") })
                .await;
            assert_eq!(
                (reply.status, reply.header("x-ryokan-provider")),
                (200, "b"),
                "{mood:?}: {}",
                reply.text
            );
            assert!(
                reply.header("x-ryokan-route").contains("failed over from a"),
                "{}",
                reply.header("x-ryokan-route")
            );
            // Successes in between, so that it is not left alone.
            first.is(Mood::Good);
            assert_eq!(
                operator.post("/v1/chat/completions", ask("m")).await.header("x-ryokan-provider"),
                "a"
            );
        }
        // What the provider says of the request itself is its answer.
        first.is(Mood::Status(422));
        let reply = operator.post("/v1/chat/completions", ask("m")).await;
        assert_eq!(reply.expect(422)["error"]["message"], "so it was told");
        let before = second.asked();
        for mood in [Mood::Breaks, Mood::Stalls] {
            first.is(mood);
            let reply = operator.post("/v1/chat/completions", streamed("m")).await;
            assert_eq!(reply.status, 200);
            // What came stays, and is followed by an error that the SDKs raise.
            assert!(reply.text.contains("hel") && reply.text.contains(r#"data: {"error""#), "{}", reply.text);
            assert!(!reply.text.contains("[DONE]"));
        }
        assert_eq!(second.asked(), before);
        let rows = calls(&operator, 9).await;
        assert_eq!((&rows[0]["outcome"], &rows[0]["estimated"]), (&json!("broken"), &json!(true)));
    })
    .await;
}

#[tokio::test]
async fn whoever_fails_again_and_again_is_left_alone_for_a_while() {
    on_sqlite(async |site| {
        let upstream = Upstream::start().await;
        provide(site, "a", "openai", &upstream, quick()).await;
        let operator = site.operator();
        upstream.is(Mood::Status(500));
        for _ in 0..3 {
            assert_eq!(operator.post("/v1/chat/completions", ask("m")).await.status, 502);
        }
        let asked = upstream.asked();
        let reply = operator.post("/v1/chat/completions", ask("m")).await;
        assert_eq!((reply.status, upstream.asked()), (503, asked), "{}", reply.text);
        assert!(reply.header("retry-after").parse::<u64>().unwrap() >= 1);
        upstream.is(Mood::Good);
        eventually("it is asked again", async || {
            match operator.post("/v1/chat/completions", ask("m")).await.status {
                200 => Ok(()),
                status => Err(status.to_string()),
            }
        })
        .await;
        // A key that is refused is the installation's fault, not the caller's.
        operator.patch("/v1/providers/a", json!({"key": "sk-wrong"})).await.expect(200);
        let reply = operator.post("/v1/chat/completions", ask("m")).await;
        assert_eq!(reply.expect(502)["error"]["code"], "provider_failed");
        assert!(!reply.text.contains("sk-"), "{}", reply.text);
    })
    .await;
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_call_and_pays_for_what_came() {
    on_both(async |site| {
        let upstream = Upstream::start().await;
        provide(site, "a", "openai", &upstream, json!({})).await;
        let operator = site.operator();
        let budget = json!({"unit": "tokens", "period": "day", "amount": 1_000_000});
        operator.put("/v1/projects/operator/model-budgets", budget).await.expect(200);
        upstream.is(Mood::Stalls);
        let mut sse: Sse = operator.stream("POST", "/v1/chat/completions", Some(streamed("m"))).await;
        while !format!("{:?}", sse.any().await.expect("an event")).contains("hel") {}
        assert_eq!(upstream.open(), 1);
        drop(sse);
        eventually(
            "the provider is told",
            async || if upstream.open() == 0 { Ok(()) } else { Err("open".into()) },
        )
        .await;
        let rows = calls(&operator, 1).await;
        assert_eq!(
            (&rows[0]["outcome"], &rows[0]["estimated"], &rows[0]["status"]),
            (&json!("cancelled"), &json!(true), &json!(499))
        );
        assert!(rows[0]["tokens"]["output"].as_i64().unwrap() >= 1);
        nothing_held(site).await;
        // Before the first byte too.
        upstream.is(Mood::Silent);
        let request = operator.request(reqwest::Method::POST, "/v1/chat/completions").json(&ask("m"));
        let waiting = tokio::time::timeout(Duration::from_millis(300), operator.send(request)).await;
        assert!(waiting.is_err());
        assert_eq!(calls(&operator, 2).await[0]["outcome"], "cancelled");
        nothing_held(site).await;
        let spent = operator.get("/v1/projects/operator/model-budgets").await.items();
        assert_eq!(spent[0]["held"], 0);
        assert!(spent[0]["spent"].as_i64().unwrap() > 0);
    })
    .await;
}

#[tokio::test]
async fn places_are_few_and_the_queue_is_bounded() {
    on_sqlite(async |site| {
        let upstream = Upstream::start().await;
        let few = json!({"concurrency": 1, "waiting": 1, "waiting_per_project": 1, "wait_ms": 300, "first_byte_ms": 60_000});
        provide(site, "a", "openai", &upstream, few).await;
        let operator = site.operator();
        upstream.is(Mood::Stalls);
        let mut first = operator.stream("POST", "/v1/chat/completions", Some(streamed("m"))).await;
        assert!(first.any().await.is_some());
        let begun = Instant::now();
        let (one, two) = tokio::join!(
            operator.post("/v1/chat/completions", ask("m")),
            operator.post("/v1/chat/completions", ask("m")),
        );
        let mut statuses = [one.status, two.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [429, 503], "{} {}", one.text, two.text);
        assert!(begun.elapsed() >= Duration::from_millis(300));
        assert!(one.headers.contains_key("retry-after") && two.headers.contains_key("retry-after"));
        upstream.is(Mood::Good);
        drop(first);
        eventually("there is a place again", async || {
            match operator.post("/v1/chat/completions", ask("m")).await.status {
                200 => Ok(()),
                status => Err(status.to_string()),
            }
        })
        .await;
    })
    .await;
}
