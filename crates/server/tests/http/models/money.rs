//! Budgets and satoshis: nothing is overspent, whatever happens at once or in the middle.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use ryokan_model::models::{Need, Subject};
use ryokan_server::config::Config;
use serde_json::{Value, json};

use super::upstream::{INPUT, Mood, OUTPUT};
use super::{Upstream, ask, calls, nothing_held, provide, streamed};
use crate::support::{Client, Site, on_both, on_both_with};

fn billing(config: &mut Config) {
    config.billing.enabled = true;
    fast(config);
}

/// A thousand connections from one address are more than a stranger may have.
fn fast(config: &mut Config) {
    config.limits.requests_per_second = 100_000;
    config.server.trusted_proxies = vec!["127.0.0.1/32".into()];
}

async fn priced(site: &Site, client: &Client, credit: i64) {
    let prices =
        json!({"provider": "a", "prices": {"input": 2_000_000, "cached": 1_000_000, "output": 10_000_000}});
    client.put("/v1/model-prices", prices).await.expect(200);
    if credit > 0 {
        let credit = json!({"amount": credit, "reason": "test"});
        site.operator().post("/v1/projects/operator/credits", credit).await.expect(201);
    }
}

async fn balance(client: &Client) -> Value {
    client.get("/v1/projects/operator/balance").await.expect(200)
}

/// A thousand calls at once; how many were answered.
async fn race(client: &Client, body: &Value, refused: u16) -> i64 {
    let statuses: Vec<u16> = stream::iter(0..1_000)
        .map(|n: u32| {
            let mut body = body.clone();
            body["stream"] = json!(n.is_multiple_of(3));
            async move { client.post("/v1/chat/completions", body).await.status }
        })
        .buffer_unordered(1_000)
        .collect()
        .await;
    assert!(statuses.iter().all(|status| *status == 200 || *status == refused), "{statuses:?}");
    i64::try_from(statuses.iter().filter(|status| **status == 200).count()).unwrap()
}

#[tokio::test]
async fn a_thousand_calls_at_once_overspend_no_budget() {
    on_both_with(fast, async |site| {
        let upstream = Upstream::start().await;
        let wide = json!({"concurrency": 64, "waiting": 2_000, "waiting_per_project": 2_000});
        provide(site, "a", "openai", &upstream, wide).await;
        let operator = site.operator();
        let budget = json!({"unit": "tokens", "period": "day", "amount": 3_000});
        operator.put("/v1/projects/operator/model-budgets", budget).await.expect(200);
        let mut body = ask("m");
        body["max_tokens"] = json!(50);
        let answered = race(&operator, &body, 429).await;
        nothing_held(site).await;
        let spent = operator.get("/v1/projects/operator/model-budgets").await.items()[0].clone();
        let used = spent["spent"].as_i64().unwrap();
        assert!(used <= 3_000 && answered > 0, "{spent}");
        assert_eq!((used, spent["held"].as_i64()), (answered * (INPUT + OUTPUT), Some(0)));
        assert_eq!(
            i64::try_from(upstream.asked()).unwrap(),
            answered,
            "nobody was asked for what was refused"
        );
        // One at a time until it is full: what is left is less than a call may need.
        let full = operator
            .post("/v1/chat/completions", json!({"model": "m", "max_tokens": 3_000, "messages": []}))
            .await;
        assert_eq!(full.expect(429)["error"]["code"], "insufficient_quota");
        assert_eq!(full.header("x-should-retry"), "false");
    })
    .await;
}

#[tokio::test]
async fn a_thousand_calls_at_once_overspend_no_money() {
    on_both_with(billing, async |site| {
        let upstream = Upstream::start().await;
        let wide = json!({"concurrency": 64, "waiting": 2_000, "waiting_per_project": 2_000});
        provide(site, "a", "openai", &upstream, wide).await;
        let operator = site.operator();
        priced(site, &operator, 5_000).await;
        let mut body = ask("m");
        body["max_tokens"] = json!(20);
        let answered = race(&operator, &body, 402).await;
        nothing_held(site).await;
        let after = balance(&operator).await;
        let cost = answered * (INPUT * 2 + OUTPUT * 10);
        assert_eq!((&after["balance"], &after["reserved"]), (&json!(5_000 - cost), &json!(0)));
        assert!(cost <= 5_000 && answered > 0);
        let verified = operator.post("/v1/ledger/verify", json!({})).await.expect(200);
        assert_eq!(verified["differences"], 0, "{verified}");
        let usage = operator.get("/v1/projects/operator/model-usage").await.items();
        let charged: i64 = usage.iter().filter_map(|u| u["satoshis"].as_i64()).sum();
        assert_eq!(charged, cost);
    })
    .await;
}

#[tokio::test]
async fn parts_of_a_satoshi_are_carried_and_prices_are_versions() {
    on_both_with(billing, async |site| {
        let upstream = Upstream::start().await;
        provide(site, "a", "openai", &upstream, json!({})).await;
        let operator = site.operator();
        priced(site, &operator, 1_000).await;
        // A hundredth of a satoshi a token: 0.15 a call.
        let cheap = json!({"provider": "a", "model": "m", "reason": "cheap", "prices": {"input": 10_000, "output": 10_000}});
        let version = operator.put("/v1/model-prices", cheap).await.expect(200)["version"].clone();
        for _ in 0..10 {
            assert_eq!(operator.post("/v1/chat/completions", ask("m")).await.status, 200);
        }
        nothing_held(site).await;
        assert_eq!(balance(&operator).await["balance"], 999, "1.5 satoshis, of which one is whole");
        let rows = calls(&operator, 10).await;
        assert!(rows.iter().all(|row| row["price_version"] == version && row["microsats"] == 150_000), "{rows:?}");
        assert_eq!(operator.get("/v1/model-prices").await.items().len(), 2);
        // A limit on the output is put where it is needed for a bound, and only there.
        assert_eq!(upstream.last_json()["max_tokens"], 4_096);
        // A provider that says nothing is charged by an estimate, which says so.
        upstream.is(Mood::Uncounted);
        let stream = operator.post("/v1/chat/completions", streamed("m")).await;
        assert!(stream.text.contains("[DONE]"));
        let row = calls(&operator, 11).await[0].clone();
        assert_eq!((&row["estimated"], &row["outcome"]), (&json!(true), &json!("ok")));
        assert!(row["tokens"]["output"].as_i64().unwrap() >= 1 && row["tokens"]["input"].as_i64().unwrap() >= 1);
    })
    .await;
}

#[tokio::test]
async fn what_a_dead_server_had_set_aside_comes_back() {
    on_both_with(billing, async |site| {
        let upstream = Upstream::start().await;
        provide(site, "a", "openai", &upstream, json!({})).await;
        let operator = site.operator();
        priced(site, &operator, 1_000).await;
        let budget = json!({"unit": "tokens", "period": "total", "amount": 100});
        operator.put("/v1/projects/operator/model-budgets", budget).await.expect(200);
        // As a server has it that dies while it waits for the provider.
        let project =
            operator.get("/v1/projects/operator").await.expect(200)["id"].as_str().unwrap().parse().unwrap();
        let subject = Subject { project, user: None, instance: None };
        let need =
            Need { model: "m".into(), tokens: 80, microsats: 900_000_001, expires: Duration::from_mins(5) };
        site.app().reserve_model_call(&subject, need.clone()).await.unwrap();
        assert_eq!(balance(&operator).await["reserved"], 901);
        assert!(site.app().reserve_model_call(&subject, need.clone()).await.is_err(), "the budget is full");
        site.restart().await;
        site.clock.forward(Duration::from_mins(6));
        assert_eq!(site.app().release_lost_calls().await.unwrap(), 1);
        assert_eq!(site.app().release_lost_calls().await.unwrap(), 0);
        let after = balance(&operator_of(site)).await;
        assert_eq!((&after["balance"], &after["reserved"]), (&json!(1_000), &json!(0)));
        let rows = calls(&operator_of(site), 1).await;
        assert_eq!((&rows[0]["outcome"], &rows[0]["satoshis"]), (&json!("lost"), &json!(0)));
        site.app().reserve_model_call(&subject, need).await.unwrap();
        site.clock.forward(Duration::from_mins(6));
        site.app().release_lost_calls().await.unwrap();
    })
    .await;
}

/// At the address of the server that runs now.
fn operator_of(site: &Site) -> Client {
    site.operator()
}

#[tokio::test]
async fn budgets_are_each_one_s_own() {
    on_both(async |site| {
        let upstream = Upstream::start().await;
        provide(site, "a", "openai", &upstream, json!({})).await;
        let (operator, bob) = (site.operator(), site.user("bob").await);
        let none = json!({"unit": "tokens", "period": "month", "amount": 0});
        bob.put("/v1/users/bob/model-budgets", none.clone()).await.expect(403);
        operator.put("/v1/users/bob/model-budgets", none.clone()).await.expect(200);
        assert_eq!(bob.post("/v1/chat/completions", ask("m")).await.status, 429);
        assert_eq!(operator.post("/v1/chat/completions", ask("m")).await.status, 200);
        let mut away = none.clone();
        away["amount"] = Value::Null;
        operator.put("/v1/users/bob/model-budgets", away).await.expect(200);
        assert_eq!(bob.post("/v1/chat/completions", ask("m")).await.status, 200);
        bob.put("/v1/projects/bob/model-budgets", none.clone()).await.expect(200);
        assert_eq!(bob.post("/v1/chat/completions", ask("m")).await.status, 429);
        // Where nothing is charged, satoshis are not spent and never run out; tokens do.
        let sats = json!({"unit": "satoshis", "period": "day", "amount": 0});
        operator.put("/v1/projects/operator/model-budgets", sats).await.expect(200);
        assert_eq!(operator.post("/v1/chat/completions", ask("m")).await.status, 200);
        for bad in
            [json!({"unit": "tokens", "period": "day", "amount": -1}), json!({"unit": "x", "period": "day"})]
        {
            operator.put("/v1/projects/operator/model-budgets", bad).await.expect(400);
        }
    })
    .await;
}
