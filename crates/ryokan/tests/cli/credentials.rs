//! Credentials: what is asked of the server, and what is printed. The value comes by standard input, and is in no output.

use serde_json::{Value, json};

use super::samples::ago;
use super::scripted::{Answer, Server};
use super::user::User;

fn credential(name: &str, kind: Value, enabled: bool) -> Value {
    json!({
        "id": "0199c2a0-0000-7000-8000-000000000001", "name": name, "project": "tea", "kind": kind,
        "hosts": ["api.github.com", "*.example.com:8443"], "methods": [], "paths": [], "instances": [],
        "env": "GITHUB_TOKEN", "placeholder": "ryk_cred_000102030405060708090a0b0c0d0e0f", "enabled": enabled,
        "created_at": 0, "rotated_at": ago(300), "last_used_at": ago(5),
    })
}

#[tokio::test]
async fn a_credential_from_its_making_to_its_end() {
    let server = Server::start().await;
    let bearer = || credential("github", json!({"type": "bearer"}), true);
    server.on("POST /v1/credentials", Answer::json(&bearer()));
    server.on("PATCH /v1/credentials/github", Answer::json(&bearer()));
    server.on(
        "PATCH /v1/credentials/github",
        Answer::json(&credential("github", json!({"type": "bearer"}), false)),
    );
    let off = credential("search", json!({"type": "query", "name": "key"}), false);
    server.on("GET /v1/credentials", Answer::page(&[bearer(), off]));
    server.on("DELETE /v1/credentials/github", Answer::empty());
    let user = User::of(&server);

    let add = [
        "credentials",
        "add",
        "github",
        "--bearer",
        "--host",
        "api.github.com",
        "--host",
        "*.example.com:8443",
        "--env",
        "GITHUB_TOKEN",
        "--project",
        "tea",
        "--stdin",
    ];
    insta::assert_snapshot!("credentials_add", user.run_with_input(&add, "hush\n").await);
    assert_eq!(
        server.seen()[0].json(),
        json!({
            "name": "github", "project": "tea", "system": false, "kind": {"type": "bearer"},
            "hosts": ["api.github.com", "*.example.com:8443"], "env": "GITHUB_TOKEN", "value": "hush",
        })
    );
    user.run_with_input(&["credentials", "rotate", "github", "--stdin"], "new").await;
    assert_eq!(server.seen()[1].json(), json!({"value": "new"}));
    user.run(&["credentials", "disable", "github"]).await;
    assert_eq!(server.seen()[2].json(), json!({"enabled": false}));
    insta::assert_snapshot!("credentials_ls", user.run(&["credentials", "ls"]).await);
    insta::assert_snapshot!("credentials_rm", user.run(&["credentials", "rm", "github"]).await);
}

#[tokio::test]
async fn what_is_wrong_is_said_before_anything_is_sent() {
    let server = Server::start().await;
    let user = User::of(&server);
    let none = ["credentials", "add", "github", "--host", "api.github.com", "--stdin"];
    insta::assert_snapshot!("credentials_no_kind", user.run_with_input(&none, "x").await);
    let host = ["credentials", "add", "github", "--bearer", "--host", "https://api.github.com", "--stdin"];
    insta::assert_snapshot!("credentials_bad_host", user.run_with_input(&host, "x").await);
    assert!(server.seen().is_empty());
}
