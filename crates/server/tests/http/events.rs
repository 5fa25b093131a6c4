//! The event log: pages, streams that resume, who sees what, and the audit of refusals.

use serde_json::json;

use crate::support::{Client, Site, eventually, on_both};

/// Makes many events from several writers at once.
async fn storm(site: &Site, clients: &[Client], each: usize) {
    let writers = clients.iter().enumerate().map(|(i, client)| async move {
        for n in 0..each {
            client.post("/v1/projects", json!({"name": format!("w{i}-{n}")})).await.expect(201);
        }
    });
    futures_util::future::join_all(writers).await;
    let _ = site;
}

async fn writers(site: &Site, logins: &[&str]) -> Vec<Client> {
    let mut all = Vec::new();
    for login in logins {
        all.push(site.user(login).await);
    }
    all
}

#[tokio::test]
async fn pages_go_on_where_the_last_one_ended() {
    on_both(async |site| {
        let operator = site.operator();
        storm(site, &writers(site, &["a", "b", "c"]).await, 10).await;
        let (mut after, mut seen) = (0, Vec::new());
        loop {
            let page = operator.get(&format!("/v1/events?limit=7&after={after}")).await.expect(200);
            let items = page["items"].as_array().unwrap().clone();
            seen.extend(items.iter().map(|e| e["seq"].as_i64().unwrap()));
            match page["next"].as_str() {
                Some(next) => after = next.parse().unwrap(),
                None => break,
            }
        }
        let all: Vec<_> = site.events().await.iter().map(|e| e["seq"].as_i64().unwrap()).collect();
        assert_eq!(seen, all);
        assert!(seen.is_sorted_by(|a, b| a < b));
        let made = operator.get("/v1/events?limit=500&kind=project.created").await.items();
        assert_eq!(made.len(), 30);
        let users = operator.get("/v1/events?limit=500&kind=user.").await.items();
        assert!(!users.is_empty() && users.iter().all(|e| e["kind"].as_str().unwrap().starts_with("user.")));
        // What does not match takes no room on a page.
        let first = operator.get("/v1/events?limit=2&kind=user.").await.expect(200);
        assert_eq!(first["items"].as_array().unwrap()[..], users[..2]);
        let (mut after, mut newest_first) = (String::new(), Vec::new());
        loop {
            let page = operator.get(&format!("/v1/events?order=desc&limit=7{after}")).await.expect(200);
            newest_first.extend(page["items"].as_array().unwrap().iter().map(|e| e["seq"].as_i64().unwrap()));
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        assert_eq!(newest_first, all.iter().rev().copied().collect::<Vec<_>>());
        for (query, field) in
            [("limit=0", "limit"), ("after=x", "after"), ("kinds=a", "kinds"), ("order=up", "order")]
        {
            assert_eq!(operator.get(&format!("/v1/events?{query}")).await.expect(400)["field"], field);
        }
        let backwards = operator.with("accept", "text/event-stream").get("/v1/events?order=desc").await;
        assert_eq!(backwards.expect(400)["field"], "order");
        let odd = operator.with("last-event-id", "x").with("accept", "text/event-stream");
        assert_eq!(odd.get("/v1/events").await.expect(400)["field"], "Last-Event-ID");
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_breaks_resumes_without_loss_or_repeat_while_others_write() {
    on_both(async |site| {
        let operator = site.operator();
        let clients = writers(site, &["a", "b", "c", "d"]).await;
        let begin = site.events().await.last().unwrap()["seq"].as_i64().unwrap();
        let reading = async {
            let (mut last, mut seen) = (begin, Vec::new());
            while seen.len() < 80 {
                let request = operator.with("last-event-id", &last.to_string());
                let mut stream = request.stream("GET", "/v1/events", None).await;
                // Hangs up every few events, in the middle of what comes.
                for _ in 0..7 {
                    let event = stream.next().await.expect("an event");
                    assert_eq!(event.data["seq"].to_string(), event.id);
                    assert_eq!(event.data["kind"], event.name.as_str());
                    last = event.id.parse().unwrap();
                    seen.push(last);
                    if seen.len() == 80 {
                        break;
                    }
                }
            }
            seen
        };
        let (seen, ()) = tokio::join!(reading, storm(site, &clients, 20));
        let page = operator.get(&format!("/v1/events?limit=500&after={begin}")).await.items();
        let all: Vec<_> = page.iter().map(|e| e["seq"].as_i64().unwrap()).collect();
        assert_eq!(seen, all);
    })
    .await;
}

#[tokio::test]
async fn a_stream_without_a_number_starts_now_and_with_zero_at_the_beginning() {
    on_both(async |site| {
        let operator = site.operator();
        let mut now = operator.stream("GET", "/v1/events", None).await;
        let mut all = operator.stream("GET", "/v1/events?after=0", None).await;
        operator.post("/v1/projects", json!({"name": "later"})).await.expect(201);
        assert_eq!(now.next().await.unwrap().data["subject_name"], "later");
        assert_ne!(all.next().await.unwrap().data["subject_name"], "later");
        // Both end when the server stops, and do not hold it up.
        site.stop().await;
        while now.any().await.is_some() {}
        site.start().await;
    })
    .await;
}

#[tokio::test]
async fn tenants_see_their_own_and_operators_all() {
    on_both(async |site| {
        let (alice, bob) = (site.user("alice").await, site.user("bob").await);
        let mut stream = bob.stream("GET", "/v1/events?after=0", None).await;
        alice.ready("hers", json!({})).await;
        bob.ready("his", json!({})).await;
        let of = async |client: &Client| client.get("/v1/events?limit=500").await.text;
        let (hers, his) = (of(&alice).await, of(&bob).await);
        assert!(hers.contains("hers") && !hers.contains("\"his\""), "{hers}");
        assert!(his.contains("\"his\"") && !his.contains("hers"), "{his}");
        assert!(!his.contains("user.created"), "what belongs to no project is the operators'");
        loop {
            let event = stream.next().await.unwrap();
            assert_ne!(event.data["subject_name"], "hers");
            if event.name == "instance.ready" {
                break;
            }
        }
        let all = of(&site.operator()).await;
        assert!(all.contains("hers") && all.contains("\"his\"") && all.contains("user.created"));
        bob.get("/v1/events?instance=hers").await.expect(404);
        bob.get("/v1/events?project=alice").await.expect(404);
        bob.get("/v1/instances/hers/events").await.expect(404);
        let own = alice.get("/v1/instances/hers/events?limit=500").await.items();
        let kinds: Vec<_> = own.iter().map(|e| e["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds.first(), Some(&"instance.created"));
        assert_eq!(kinds.last(), Some(&"instance.ready"), "{kinds:?}");
        assert_eq!(
            (&own[0]["actor"], &own[0]["address"], &own[0]["outcome"]),
            (&json!("alice"), &json!("127.0.0.1"), &json!("allowed"))
        );
    })
    .await;
}

#[tokio::test]
async fn refused_writes_are_recorded_with_who_and_from_where() {
    on_both(async |site| {
        let (operator, bob) = (site.operator(), site.user("bob").await);
        operator.ready("claw", json!({})).await;
        let refused = bob.post("/v1/instances/claw/stop", json!({})).await;
        refused.expect(404);
        bob.delete("/v1/users/operator").await.expect(403);
        bob.delete("/instances/claw").await.expect(404);
        let socket = bob.with("connection", "upgrade").with("upgrade", "websocket");
        let socket =
            socket.with("sec-websocket-version", "13").with("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        socket.get("/v1/instances/claw/exec?command=sh&command=hunter2").await.expect(404);
        bob.get("/v1/instances/claw").await.expect(404);
        let denied = operator.get("/v1/events?limit=500&kind=request.denied").await.items();
        let actions: Vec<_> = denied.iter().map(|e| e["data"]["action"].as_str().unwrap()).collect();
        assert_eq!(
            actions,
            [
                "POST /v1/instances/claw/stop",
                "DELETE /v1/users/operator",
                "DELETE /instances/claw",
                "GET /v1/instances/claw/exec"
            ]
        );
        assert_eq!(denied[0]["request_id"], refused.header("x-request-id"));
        for event in &denied {
            assert_eq!(event["request_id"].as_str().map(str::len), Some(16), "{event}");
            assert_eq!(
                (&event["actor"], &event["outcome"], &event["address"]),
                (&json!("bob"), &json!("denied"), &json!("127.0.0.1"))
            );
            assert!(event["data"]["credential"].as_str().unwrap().starts_with("token:"), "{event}");
        }
        assert!(!bob.get("/v1/events").await.text.contains("request.denied"));
        eventually("settled", async || Ok(())).await;
    })
    .await;
}
