//! Tokens: their bounds, their end, and that no secret is where it should not be.

use serde_json::{Value, json};

use super::{PASSWORD, with_password};
use crate::support::{eventually, on_both};

#[tokio::test]
async fn scopes_and_projects_bound_a_token() {
    on_both(async |site| {
        let operator = site.operator();
        let alice = site.user("alice").await;
        alice.post("/v1/projects", json!({"name": "side"})).await.expect(201);
        alice.ready("main-one", json!({})).await;
        alice.ready("side-one", json!({"project": "side"})).await;
        let make = async |body: Value| {
            let made = alice.post("/v1/tokens", body).await.expect(201);
            site.with_token(made["secret"].as_str().unwrap())
        };
        let read = make(json!({"label": "r", "scope": "read"})).await;
        let write = make(json!({"label": "w"})).await;
        let side = make(json!({"label": "s", "scope": "admin", "project": "side"})).await;
        // Read looks and changes nothing.
        read.get("/v1/instances/main-one").await.expect(200);
        for (method, path) in [
            ("POST", "/v1/instances"),
            ("POST", "/v1/instances/main-one/stop"),
            ("POST", "/instances/main-one/stop"),
            ("DELETE", "/v1/instances/main-one"),
            ("POST", "/v1/instances/main-one/exec"),
            ("PUT", "/v1/instances/main-one/files?path=/x"),
            ("POST", "/v1/tokens"),
            ("POST", "/v1/projects"),
            ("PATCH", "/v1/users/me"),
        ] {
            let body = match path {
                "/v1/instances" => json!({"image": "img"}),
                "/v1/tokens" => json!({"label": "x", "scope": "read"}),
                "/v1/projects" => json!({"name": "p"}),
                "/v1/instances/main-one/exec" => json!({"command": ["x"]}),
                _ => json!({}),
            };
            let reply = read.call(method, path, Some(body)).await;
            assert_eq!(reply.status, 403, "{method} {path}: {}", reply.text);
            assert!(reply.text.contains("scope"), "{}", reply.text);
        }
        // Write runs things, and neither accounts nor projects.
        write.post("/v1/instances/main-one/restart", json!({})).await.expect(202);
        write.patch("/v1/users/me", json!({"name": "X"})).await.expect(403);
        write.delete("/v1/projects/side").await.expect(403);
        write.post("/v1/tokens", json!({"label": "x", "scope": "admin"})).await.expect(403);
        // One project: the other does not exist.
        assert_eq!(side.get("/v1/instances").await.items().len(), 1);
        assert_eq!(side.get("/v1/projects").await.items().len(), 1);
        side.get("/v1/instances/main-one").await.expect(404);
        side.get("/gateway/main-one/").await.expect(404);
        side.get("/v1/projects/alice").await.expect(404);
        side.post("/v1/instances", json!({"image": "img", "project": "alice"})).await.expect(404);
        side.post("/v1/projects", json!({"name": "third"})).await.expect(403);
        side.patch("/v1/users/me", json!({"name": "X"})).await.expect(403);
        let made = side.post("/v1/instances", json!({"image": "img", "name": "new-one"})).await.expect(202);
        assert_eq!(made["project"], "side", "what names no project goes where the token is for");
        assert!(
            side.get("/v1/events?limit=500").await.items().iter().all(|e| e["subject_name"] != "main-one")
        );
        let listed = side.get("/v1/tokens").await.items();
        assert!(listed.iter().all(|t| t["project"] == "side"), "{listed:?}");
        // An operator's narrow token is no operator's.
        let narrow = operator.post("/v1/tokens", json!({"label": "n", "scope": "write"})).await.expect(201);
        let narrow = site.with_token(narrow["secret"].as_str().unwrap());
        narrow.get("/v1/users").await.expect(403);
        narrow.get("/v1/instances/main-one").await.expect(404);
    })
    .await;
}

#[tokio::test]
async fn a_token_never_gives_more_than_its_maker() {
    on_both(async |site| {
        let alice = site.user("alice").await;
        alice.post("/v1/projects", json!({"name": "side"})).await.expect(201);
        let narrow = json!({"label": "n", "scope": "write", "project": "side", "expires_in": "1h"});
        let narrow = alice.post("/v1/tokens", narrow).await.expect(201);
        let client = site.with_token(narrow["secret"].as_str().unwrap());
        client.post("/v1/tokens", json!({"label": "x", "scope": "admin"})).await.expect(403);
        client.post("/v1/tokens", json!({"label": "x", "project": "alice"})).await.expect(404);
        client.post("/v1/tokens", json!({"label": "x", "user": "operator"})).await.expect(404);
        for asked in [json!({"label": "x"}), json!({"label": "x", "expires_in": "30d"})] {
            let child = client.post("/v1/tokens", asked).await.expect(201);
            assert_eq!((&child["project"], &child["scope"]), (&json!("side"), &json!("write")), "{child}");
            assert_eq!(child["expires_at"], narrow["expires_at"], "it outlives its maker");
        }
        let brief = client.post("/v1/tokens", json!({"label": "x", "expires_in": "1m"})).await.expect(201);
        assert!(brief["expires_at"].as_i64() < narrow["expires_at"].as_i64());
        for (body, field) in [
            (json!({"label": ""}), "label"),
            (json!({"label": "x", "scope": "root"}), "scope"),
            (json!({"label": "x", "expires_in": "soon"}), "expires_in"),
            (json!({}), "label"),
        ] {
            assert_eq!(alice.post("/v1/tokens", body).await.expect(400)["field"], field);
        }
    })
    .await;
}

#[tokio::test]
async fn revoking_a_token_is_effective_at_once_also_at_the_gateway() {
    on_both(async |site| {
        let operator = site.operator();
        operator.ready("claw", json!({})).await;
        let made = operator.post("/v1/tokens", json!({"label": "x", "scope": "admin"})).await.expect(201);
        let token = site.with_token(made["secret"].as_str().unwrap());
        token.get("/v1/users").await.expect(200);
        assert_eq!(token.get("/gateway/claw/").await.status, 200);
        operator.delete(&format!("/v1/tokens/{}", made["id"].as_str().unwrap())).await.expect(204);
        token.get("/v1/users").await.expect(401);
        assert_eq!(token.get("/gateway/claw/").await.status, 401);
        operator.delete(&format!("/v1/tokens/{}", made["id"].as_str().unwrap())).await.expect(404);
        // A token may end itself.
        let made = operator.post("/v1/tokens", json!({"label": "y"})).await.expect(201);
        let token = site.with_token(made["secret"].as_str().unwrap());
        token.delete(&format!("/v1/tokens/{}", made["id"].as_str().unwrap())).await.expect(204);
        token.get("/v1/instances").await.expect(401);
    })
    .await;
}

/// Collects what is logged, at every level.
#[derive(Clone, Default)]
struct Captured(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn secrets_are_shown_once_and_are_nowhere_else() {
    let captured = Captured::default();
    let writer = captured.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    on_both(async |site| {
        let operator = site.operator();
        with_password(site, "alice").await;
        let made = operator
            .post("/v1/tokens", json!({"label": "x", "user": "alice", "scope": "admin"}))
            .await
            .expect(201);
        let token = made["secret"].as_str().unwrap().to_owned();
        let alice = site.with_token(&token);
        let secret = "env-value-hunter2";
        alice.ready("claw", json!({"secret_env": {"KEY": secret}})).await;
        alice
            .put(
                "/v1/projects/alice/registries/r.example",
                json!({"username": "u", "password": "registry-hunter3"}),
            )
            .await
            .expect(204);
        let link = operator.post("/v1/users/alice/login-link", json!({})).await.expect(201);
        let link = link["url"].as_str().unwrap().split_once("link=").unwrap().1.to_owned();
        let reply = site.anonymous().post("/v1/sessions", json!({"link": link})).await;
        let session = reply.header("set-cookie").split(['=', ';']).nth(1).unwrap().to_owned();
        // Errors on the way of each, too.
        alice
            .post("/v1/instances", json!({"image": "img", "secret_env": {"K": secret, "1": "x"}}))
            .await
            .expect(400);
        alice
            .raw("POST", "/v1/instances", &format!(r#"{{"secret_env":{{"K":"{secret}"}},"#))
            .await
            .expect(400);
        site.anonymous()
            .post("/v1/sessions", json!({"login": "alice", "password": "guess-hunter4"}))
            .await
            .expect(403);
        site.with_token("ryk_wrong-hunter5").get("/v1/instances").await.expect(401);
        alice
            .patch("/v1/instances/claw", json!({"secret_env": {"KEY": "changed-hunter6"}}))
            .await
            .expect(202);
        alice.until("claw", "ready").await;
        let secrets = [
            token.as_str(),
            &session,
            &link,
            secret,
            PASSWORD,
            &site.first_token(),
            &site.first_link(),
            "registry-hunter3",
            "guess-hunter4",
            "ryk_wrong-hunter5",
            "changed-hunter6",
        ]
        .map(str::to_owned);
        let mut shown = String::new();
        for path in [
            "/v1/events?limit=500",
            "/v1/tokens",
            "/v1/users",
            "/v1/instances",
            "/instances",
            "/instances/claw",
            "/v1/instances/claw",
            "/v1/system/jobs",
            "/v1/system/config",
            "/v1/projects/alice/registries",
            "/metrics",
        ] {
            shown.push_str(&operator.get(path).await.text);
        }
        let stored = site.database_bytes();
        let logged = captured.0.lock().unwrap().clone();
        assert!(logged.len() > 1000, "nothing was captured");
        for secret in &secrets {
            assert!(!shown.contains(secret), "{secret} is shown again");
            let inside = |bytes: &[u8]| bytes.windows(secret.len()).any(|w| w == secret.as_bytes());
            assert!(!inside(&stored), "{secret} is in the database");
            assert!(!inside(&logged), "{secret} is in the log");
        }
        eventually("settled", async || Ok(())).await;
    })
    .await;
}
