//! Credentials: what goes in never comes out, whoever asks, and a change is in force at once.

use serde_json::{Value, json};

use crate::support::{Site, on_both};

const VALUE: &str = "s3cr3t-that-nobody-may-see";

fn github() -> Value {
    json!({"name": "github", "kind": {"type": "bearer"}, "hosts": ["api.github.com"], "env": "GITHUB_TOKEN", "value": VALUE})
}

/// What the proxy would find for an instance of the operator's project: name, value, revision.
async fn held(site: &Site, instance: &str) -> Vec<(String, String)> {
    let project = site.operator().get("/v1/projects/operator").await.expect(200)["id"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let keyring = site.app().keyring();
    let of = |held: &std::sync::Arc<ryokan_app::credentials::Held>| {
        (held.row.name.to_string(), held.value.expose().to_owned())
    };
    keyring.of(project, &instance.parse().unwrap()).map(of).collect()
}

#[tokio::test]
async fn a_value_goes_in_and_never_comes_out() {
    on_both(async |site| {
        let operator = site.operator();
        let made = operator.post("/v1/credentials", github()).await.expect(201);
        let placeholder = made["placeholder"].as_str().unwrap();
        assert!(placeholder.starts_with("ryk_cred_") && placeholder.len() == 41, "{placeholder}");
        assert_eq!(made["project"], "operator");
        let id = made["id"].as_str().unwrap();
        assert_eq!(operator.get(&format!("/v1/credentials/{id}")).await.expect(200), made);
        assert_eq!(operator.get("/v1/credentials/github").await.expect(200), made);
        assert_eq!(held(site, "claw").await, [("github".to_owned(), VALUE.to_owned())]);

        for path in ["/v1/credentials", "/v1/credentials/github", "/v1/events?limit=500", "/v1/system/config"]
        {
            let reply = operator.get(path).await;
            assert_eq!(reply.status, 200, "{path}");
            assert!(!reply.text.contains(VALUE), "{path} tells it");
        }
        let refused =
            json!({"name": "x", "kind": {"type": "bearer"}, "hosts": ["https://a"], "value": VALUE});
        let reply = operator.post("/v1/credentials", refused).await;
        assert_eq!(reply.status, 400);
        assert!(reply.text.contains("hosts[0]") && !reply.text.contains(VALUE), "{}", reply.text);
    })
    .await;
}

#[tokio::test]
async fn rotating_and_switching_off_are_in_force_with_the_answer() {
    on_both(async |site| {
        let operator = site.operator();
        let made = operator.post("/v1/credentials", github()).await.expect(201);
        let before = site.app().keyring().clone();
        let id = made["id"].as_str().unwrap().parse().unwrap();
        assert!(before.is_current(id, 1));

        let rotated = operator.patch("/v1/credentials/github", json!({"value": "another"})).await.expect(200);
        assert_eq!(rotated["placeholder"], made["placeholder"], "sandboxes need not be told");
        assert_eq!(held(site, "claw").await, [("github".to_owned(), "another".to_owned())]);
        assert!(!site.app().keyring().is_current(id, 1), "what is under way with the old one is cut");

        operator.patch("/v1/credentials/github", json!({"enabled": false})).await.expect(200);
        assert_eq!(held(site, "claw").await, []);
        operator.patch("/v1/credentials/github", json!({"enabled": true})).await.expect(200);
        assert_eq!(held(site, "claw").await.len(), 1);
        operator.patch("/v1/credentials/github", json!({"instances": ["other"]})).await.expect(200);
        assert_eq!(held(site, "claw").await, []);
        assert_eq!(held(site, "other").await.len(), 1);
        operator.delete("/v1/credentials/github").await.expect(204);
        assert_eq!(held(site, "other").await, []);
        assert_eq!(operator.get("/v1/credentials/github").await.status, 404);
    })
    .await;
}

/// Whoever may change bindings could else send the value to a host of theirs and read it there.
#[tokio::test]
async fn a_value_follows_no_binding_that_it_was_not_given_for() {
    on_both(async |site| {
        let operator = site.operator();
        operator.post("/v1/credentials", github()).await.expect(201);
        for change in [
            json!({"hosts": ["api.github.com", "evil.example"]}),
            json!({"hosts": ["*.github.com"]}),
            json!({"hosts": ["api.github.com:8443"]}),
            json!({"kind": {"type": "oauth_client", "token_url": "https://evil.example", "client_id": "x"}}),
        ] {
            let reply = operator.patch("/v1/credentials/github", change.clone()).await;
            assert_eq!(reply.expect(400)["field"], "value", "{}", reply.text);
        }
        let moved = json!({"hosts": ["api.github.com", "uploads.github.com"], "value": "again-and-again"});
        operator.patch("/v1/credentials/github", moved).await.expect(200);
        let fewer = json!({"hosts": ["uploads.github.com"]});
        let shown = operator.patch("/v1/credentials/github", fewer).await.expect(200);
        assert_eq!(shown["hosts"], json!(["uploads.github.com"]));
    })
    .await;
}

#[tokio::test]
async fn names_roles_and_projects() {
    on_both(async |site| {
        let operator = site.operator();
        operator.post("/v1/credentials", github()).await.expect(201);
        assert_eq!(operator.post("/v1/credentials", github()).await.status, 409, "a name is taken once");
        let mut system = github();
        system["system"] = json!(true);
        let shared = operator.post("/v1/credentials", system.clone()).await.expect(201);
        assert_eq!(shared.get("project"), None);
        assert_eq!(operator.get("/v1/credentials/github").await.status, 409, "two have the name");
        assert_eq!(held(site, "claw").await.len(), 2, "its project's own goes first");

        let bob = site.user("bob").await;
        assert_eq!(bob.post("/v1/credentials", system).await.status, 403);
        assert_eq!(bob.get("/v1/credentials").await.items(), Vec::<Value>::new());
        bob.post("/v1/credentials", github()).await.expect(201);
        assert_eq!(bob.get("/v1/credentials").await.items().len(), 1);
        operator.post("/v1/projects", json!({"name": "tea"})).await.expect(201);
        operator.put("/v1/projects/tea/members/bob", json!({"role": "viewer"})).await.expect(200);
        let mut of_tea = github();
        of_tea["project"] = json!("tea");
        assert_eq!(bob.post("/v1/credentials", of_tea.clone()).await.status, 403, "a viewer only looks");
        operator.post("/v1/credentials", of_tea).await.expect(201);
        assert_eq!(bob.get("/v1/credentials?project=tea").await.items().len(), 1);
        let id = bob.get("/v1/credentials?project=tea").await.items()[0]["id"].as_str().unwrap().to_owned();
        assert_eq!(bob.delete(&format!("/v1/credentials/{id}")).await.status, 403);
        operator.delete("/v1/projects/tea").await.expect(204);
        assert_eq!(bob.get("/v1/credentials").await.items().len(), 1, "a project's go with it");
    })
    .await;
}

#[tokio::test]
async fn an_instance_is_given_placeholders_and_no_values() {
    on_both(async |site| {
        let operator = site.operator();
        let made = operator.post("/v1/credentials", github()).await.expect(201);
        operator.ready("claw", json!({"readiness": null})).await;
        let told = operator
            .post("/v1/instances/claw/exec", json!({"command": ["env"]}))
            .await
            .expect(200)
            .to_string();
        let given = format!("GITHUB_TOKEN={}", made["placeholder"].as_str().unwrap());
        assert!(told.contains(&given) && !told.contains(VALUE), "{told}");
    })
    .await;
}
