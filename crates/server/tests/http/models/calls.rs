//! Calls that go well, and those that are refused before anybody is asked.

use reqwest::Method;
use serde_json::{Value, json};

use super::upstream::{INPUT, OUTPUT, chat_events};
use super::{Upstream, ask, calls, provide, streamed};
use crate::support::{on_both, on_sqlite};

#[tokio::test]
async fn the_same_dialect_passes_byte_by_byte() {
    on_both(async |site| {
        let upstream = Upstream::start().await;
        provide(site, "home", "openai", &upstream, json!({})).await;
        let operator = site.operator();
        let body =
            r#"{ "model":"m","messages":[{"role":"user","content":"h\u00e9"}], "future_field": 1.50 }"#;
        let reply = operator.raw("POST", "/v1/chat/completions", body).await;
        assert_eq!(reply.expect(200)["choices"][0]["message"]["content"], "hello");
        assert_eq!(upstream.last().2, body.as_bytes(), "a request that needs no change is not changed");
        assert_eq!(
            (reply.header("x-ryokan-provider"), reply.header("x-ryokan-route")),
            ("home", "model, local")
        );
        // We ask for the usage ourselves, and take out that one event.
        let reply = operator.raw("POST", "/v1/chat/completions", &streamed("m").to_string()).await;
        assert_eq!(upstream.last_json()["stream_options"], json!({"include_usage": true}));
        assert_eq!(reply.text, chat_events(false).concat());
        let mut wants = streamed("m");
        wants["stream_options"] = json!({"include_usage": true});
        let reply = operator.raw("POST", "/v1/chat/completions", &wants.to_string()).await;
        assert_eq!(reply.text, chat_events(true).concat());
        assert_eq!(reply.header("content-type"), "text/event-stream");
        // Neither our token nor what else the client sent goes on.
        let (_, headers, _) = upstream.last();
        assert!(!format!("{headers:?}").contains(operator.token.as_deref().unwrap()));
        assert!(!headers.contains_key("cookie"));
        let rows = calls(&operator, 3).await;
        for row in &rows {
            assert_eq!((&row["outcome"], &row["estimated"]), (&json!("ok"), &json!(false)));
            assert_eq!(row["tokens"], json!({"input": INPUT, "cached": 0, "output": OUTPUT}));
        }
        let usage = operator.get("/v1/projects/operator/model-usage").await.items();
        assert_eq!((&usage[0]["calls"], &usage[0]["tokens"]["input"]), (&json!(3), &json!(3 * INPUT)));
        let embedded = operator.post("/v1/embeddings", json!({"model": "m", "input": "x"})).await.expect(200);
        assert_eq!(embedded["data"][0]["embedding"], json!([0.5]));
    })
    .await;
}

#[tokio::test]
async fn every_dialect_leads_to_every_provider() {
    on_sqlite(async |site| {
        let (open, other) = (Upstream::start().await, Upstream::start().await);
        provide(site, "open", "openai", &open, json!({})).await;
        provide(site, "anth", "anthropic", &other, json!({})).await;
        let operator = site.operator();
        let body = |model: &str, stream: bool| {
            json!({"model": model, "stream": stream, "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]})
        };
        for provider in ["open", "anth"] {
            let model = format!("{provider}/m");
            let chat = operator.post("/v1/chat/completions", body(&model, false)).await.expect(200);
            assert_eq!(chat["choices"][0]["message"]["content"], "hello", "{provider}");
            assert_eq!(chat["usage"]["total_tokens"], INPUT + OUTPUT);
            let message = operator.with("anthropic-version", "2023-06-01");
            let message = message.post("/v1/messages", body(&model, false)).await.expect(200);
            assert_eq!(message["content"][0]["text"], "hello", "{provider}");
            let ask = json!({"model": model, "input": "x", "max_output_tokens": 9});
            let response = operator.post("/v1/responses", ask).await.expect(200);
            assert_eq!(response["output"][0]["content"][0]["text"], "hello", "{provider}: {response}");
            for path in ["/v1/chat/completions", "/v1/messages", "/v1/responses"] {
                let mut ask = body(&model, true);
                if path == "/v1/responses" {
                    ask = json!({"model": model, "input": "x", "stream": true});
                }
                let reply = operator.post(path, ask).await;
                assert_eq!(reply.status, 200, "{provider} {path}: {}", reply.text);
                let end = match path {
                    "/v1/chat/completions" => "[DONE]",
                    "/v1/messages" => "message_stop",
                    _ => "response.completed",
                };
                assert!(reply.text.contains(end) && !reply.text.contains("provider_failed"), "{provider} {path}: {}", reply.text);
            }
        }
        let rows = calls(&operator, 12).await;
        for row in rows {
            assert_eq!(row["tokens"], json!({"input": INPUT, "cached": 0, "output": OUTPUT}), "{row}");
        }
        // Who counts is asked; else it is an estimate that says so.
        let counted = operator.post("/v1/messages/count_tokens", body("anth/m", false)).await;
        assert_eq!(counted.expect(200)["input_tokens"], 7);
        let guessed = operator.post("/v1/messages/count_tokens", body("open/m", false)).await;
        assert_eq!(guessed.header("x-ryokan-estimated"), "true");
        assert!(guessed.expect(200)["input_tokens"].as_i64().unwrap() > 0);
        // Counting is no use.
        let rows = calls(&operator, 14).await;
        assert!(rows[..2].iter().all(|row| row["tokens"]["input"] == 0 && row["endpoint"] == "count_tokens"));
    })
    .await;
}

#[tokio::test]
async fn errors_are_in_the_dialect_of_the_route() {
    on_sqlite(async |site| {
        let upstream = Upstream::start().await;
        provide(site, "home", "openai", &upstream, json!({})).await;
        let (operator, nobody) = (site.operator(), site.anonymous());
        let refused = nobody.post("/v1/chat/completions", ask("m")).await;
        let error = refused.expect(401)["error"].clone();
        assert_eq!(
            (&error["code"], &error["type"]),
            (&json!("invalid_api_key"), &json!("invalid_request_error"))
        );
        let refused = nobody.with("x-api-key", "wrong").post("/v1/messages", ask("m")).await.expect(401);
        assert_eq!(
            (&refused["type"], &refused["error"]["type"]),
            (&json!("error"), &json!("authentication_error"))
        );
        let token = operator.token.clone().unwrap();
        let listed = nobody.with("x-api-key", &token).get("/v1/models").await.expect(200);
        assert_eq!(listed["object"], "list");
        let names: Vec<&str> =
            listed["data"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect();
        assert_eq!(names, ["m", "org/n"]);
        assert_eq!(operator.get("/v1/models/org/n").await.expect(200)["owned_by"], "home");
        assert_eq!(operator.get("/v1/models/home/m").await.expect(200)["id"], "home/m");
        assert_eq!(operator.get("/v1/models/none").await.expect(404)["error"]["code"], "model_not_found");
        let anthropic = operator.with("anthropic-version", "2023-06-01");
        assert_eq!(anthropic.get("/v1/models").await.expect(200)["data"][0]["type"], "model");
        for (path, body, status, field) in [
            ("/v1/chat/completions", json!({}), 400, Some("model")),
            ("/v1/chat/completions", ask("none"), 404, Some("model")),
            ("/v1/chat/completions", json!({"model": "m", "max_tokens": -1}), 400, Some("max_tokens")),
            (
                "/v1/responses",
                json!({"model": "m", "input": "x", "previous_response_id": "r"}),
                400,
                Some("previous_response_id"),
            ),
        ] {
            let error = operator.post(path, body).await.expect(status)["error"].clone();
            assert_eq!(error["param"].as_str(), field, "{error}");
        }
        let lie = operator
            .post("/v1/messages", json!({"model": "m", "max_tokens": 1, "top_k": 3, "messages": []}))
            .await;
        assert!(lie.expect(400)["error"]["message"].as_str().unwrap().starts_with("top_k"), "{}", lie.text);
        // A project that the caller may not know does not exist.
        let bob = site.user("bob").await;
        let foreign = bob.with("openai-project", "operator").post("/v1/chat/completions", ask("m")).await;
        assert_eq!(foreign.expect(404)["error"]["type"], "invalid_request_error");
        assert_eq!(bob.post("/v1/chat/completions", ask("m")).await.status, 200);
        // A token that may only look may not spend.
        let narrow = json!({"label": "r", "scope": "read"});
        let made = operator.post("/v1/tokens", narrow).await.expect(201);
        let reader = site.with_token(made["secret"].as_str().unwrap());
        assert_eq!(
            reader.post("/v1/chat/completions", ask("m")).await.expect(403)["error"]["code"],
            "forbidden"
        );
        // Twenty megabytes with an image in it are fine; more than we take is refused in the same dialect.
        let image = "A".repeat(5 * 1024 * 1024);
        let mut large = ask("m");
        large["messages"][0]["content"] =
            json!([{"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{image}")}}]);
        assert_eq!(operator.post("/v1/chat/completions", large).await.status, 200);
        let request =
            operator.request(Method::POST, "/v1/chat/completions").body(vec![b' '; 33 * 1024 * 1024]);
        let refused: Value = operator.send(request).await.expect(413);
        assert_eq!(refused["error"]["code"], "request_too_large");
    })
    .await;
}

#[tokio::test]
async fn a_stop_stops() {
    on_both(async |site| {
        let upstream = Upstream::start().await;
        provide(site, "home", "openai", &upstream, json!({})).await;
        let (operator, bob) = (site.operator(), site.user("bob").await);
        let rules = "/v1/projects/bob/model-rules";
        bob.put(rules, json!({"stopped": true})).await.expect(200);
        let asked = upstream.asked();
        assert_eq!(
            bob.post("/v1/chat/completions", ask("m")).await.expect(403)["error"]["code"],
            "forbidden"
        );
        assert_eq!(operator.post("/v1/chat/completions", ask("m")).await.status, 200);
        bob.put(rules, json!({"stopped": false})).await.expect(200);
        assert_eq!(bob.post("/v1/chat/completions", ask("m")).await.status, 200);
        // An operator's stop is not a member's to undo.
        operator.put(rules, json!({"stopped": true})).await.expect(200);
        bob.put(rules, json!({"stopped": false})).await.expect(403);
        bob.put(rules, json!({"stopped": true})).await.expect(200);
        bob.put(rules, json!({"stopped": false})).await.expect(403);
        operator.put(rules, json!({"stopped": false})).await.expect(200);
        bob.put("/v1/model-rules", json!({"stopped": true})).await.expect(403);
        operator.put("/v1/model-rules", json!({"stopped": true})).await.expect(200);
        assert_eq!(operator.post("/v1/chat/completions", ask("m")).await.status, 403);
        operator.put("/v1/model-rules", json!({"stopped": false})).await.expect(200);
        assert_eq!(upstream.asked(), asked + 2);
        // What must stay here does not leave.
        operator.patch("/v1/providers/home", json!({"local": false})).await.expect(200);
        bob.put(rules, json!({"external": false})).await.expect(200);
        assert_eq!(bob.post("/v1/chat/completions", ask("m")).await.status, 403);
        assert_eq!(operator.post("/v1/chat/completions", ask("m")).await.status, 200);
    })
    .await;
}
