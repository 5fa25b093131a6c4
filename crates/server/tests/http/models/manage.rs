//! Providers, their keys, what they offer, routes.

use serde_json::{Value, json};

use super::upstream::KEY;
use super::{Upstream, ask, provide};
use crate::support::{on_both, on_sqlite};

#[tokio::test]
async fn a_provider_s_key_is_never_seen_again() {
    on_both(async |site| {
        let upstream = Upstream::start().await;
        provide(site, "home", "openai", &upstream, json!({})).await;
        let operator = site.operator();
        let seen = operator.get("/v1/providers").await.text + &operator.get("/v1/providers/home").await.text;
        assert!(seen.contains("\"key\":true") && !seen.contains(KEY), "{seen}");
        let events = format!("{:?}", site.events().await);
        assert!(events.contains("provider.created") && !events.contains(KEY));
        assert!(!String::from_utf8_lossy(&site.database_bytes()).contains(KEY));
        operator.patch("/v1/providers/home", json!({"key": ""})).await.expect(200);
        let shown = operator.get("/v1/providers/home").await.expect(200);
        assert_eq!(shown["provider"]["key"], false);
        assert_eq!(shown["provider"]["problem"], "it refuses the key");
        // What it offered stays, for it may come back.
        assert_eq!(operator.get("/v1/models").await.expect(200)["data"].as_array().unwrap().len(), 2);
        operator.delete("/v1/providers/home").await.expect(204);
        assert_eq!(operator.get("/v1/models").await.expect(200)["data"], json!([]));
        operator.get("/v1/providers/home").await.expect(404);
    })
    .await;
}

#[tokio::test]
async fn what_is_said_of_models_and_routes_decides() {
    on_sqlite(async |site| {
        let (near, far) = (Upstream::start().await, Upstream::start().await);
        provide(site, "near", "openai", &near, json!({})).await;
        provide(site, "far", "openai", &far, json!({})).await;
        let operator = site.operator();
        operator.patch("/v1/providers/far", json!({"local": false})).await.expect(200);
        let found = operator.get("/v1/providers/near").await.expect(200);
        assert_eq!(found["models"][0]["capabilities"]["context"], 8192);
        operator
            .put("/v1/providers/near/models", json!({"name": "m", "capabilities": {"tools": false}}))
            .await
            .expect(200);
        let mut tools = ask("m");
        tools["tools"] = json!([{"type": "function", "function": {"name": "f"}}]);
        let reply = operator.post("/v1/chat/completions", tools).await;
        assert_eq!(reply.header("x-ryokan-route"), "model, external; near: has no tools");
        operator.put("/v1/providers/near/models", json!({"name": "m", "enabled": false})).await.expect(200);
        assert_eq!(operator.post("/v1/chat/completions", ask("m")).await.header("x-ryokan-provider"), "far");
        let route = json!({"candidates": [{"provider": "far", "model": "org/n"}, {"provider": "near", "model": "org/n"}]});
        operator.put("/v1/model-routes/smart", route).await.expect(200);
        let reply = operator.post("/v1/chat/completions", ask("smart")).await;
        assert_eq!((reply.header("x-ryokan-provider"), near.last_json()["model"].as_str()), ("near", Some("org/n")));
        let names: Vec<Value> = operator.get("/v1/models").await.expect(200)["data"].as_array().unwrap().clone();
        assert!(names.iter().any(|m| m["id"] == "smart"));
        operator.delete("/v1/model-routes/smart").await.expect(204);
        assert_eq!(operator.post("/v1/chat/completions", ask("smart")).await.status, 404);
        for (path, body) in [
            ("/v1/model-routes/x", json!({"candidates": []})),
            ("/v1/model-routes/x", json!({"candidates": [{"provider": "none", "model": "m"}]})),
            ("/v1/providers/near/models", json!({"name": "m", "capabilities": {"context": 0}})),
            ("/v1/model-prices", json!({"provider": "near", "prices": {"input": -1, "output": 0}})),
        ] {
            operator.put(path, body).await.expect(400);
        }
        for bad in [
            json!({"name": "A", "kind": "openai", "base_url": "http://x"}),
            json!({"name": "a", "kind": "openai", "base_url": "http://user:pw@x"}),
            json!({"name": "a", "kind": "telepathy", "base_url": "http://x"}),
            json!({"name": "a", "kind": "openai", "base_url": "http://x", "key": "two words"}),
            json!({"name": "a", "kind": "openai", "base_url": "http://x", "options": {"concurrency": 0}}),
        ] {
            operator.post("/v1/providers", bad).await.expect(400);
        }
        let again = json!({"name": "near", "kind": "openai", "base_url": "http://x"});
        operator.post("/v1/providers", again).await.expect(409);
    })
    .await;
}
