//! Who somebody is: where the token comes from, where it is kept, and to whom it is never sent.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use super::samples;
use super::scripted::{Answer, Server};
use super::user::User;

const STORED: &str = ".config/ryokan/cli.json";

async fn server() -> Server {
    let server = Server::start().await;
    server.on("GET /v1/users/me", Answer::json(&samples::fixed(samples::user("ann", true))));
    server.on("GET /v1/instances", Answer::page(&[]));
    server
}

#[tokio::test]
async fn a_token_is_checked_and_stored_for_its_owner_only() {
    let server = server().await;
    let user = User::new(&server.url);
    let ran = user.run_with_input(&["--url", &server.url, "login", "--token-stdin"], "ryk_hush\n").await;
    insta::assert_snapshot!("login", ran);
    let meta = std::fs::metadata(user.path(STORED)).unwrap();
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    let stored: serde_json::Value =
        serde_json::from_slice(&std::fs::read(user.path(STORED)).unwrap()).unwrap();
    assert_eq!(stored, json!({ "url": server.url, "token": "ryk_hush" }));
    assert_eq!(user.run(&["ps"]).await.code, Some(0));
    assert_eq!(server.seen()[1].header("authorization"), "Bearer ryk_hush");
    insta::assert_snapshot!("logout", user.run(&["logout"]).await);
    assert!(!user.path(STORED).exists());
    insta::assert_snapshot!("logout_again", user.run(&["logout"]).await);
}

#[tokio::test]
async fn a_refused_token_is_not_stored() {
    let server = Server::start().await;
    server.on("GET /v1/users/me", Answer::problem(401, "unauthenticated", "The token is not known here."));
    let user = User::new(&server.url);
    let ran = user.run_with_input(&["--url", &server.url, "login", "--token-stdin"], "ryk_hush").await;
    insta::assert_snapshot!("login_refused", ran);
    assert!(!user.path(STORED).exists());
}

#[tokio::test]
async fn without_a_terminal_nothing_is_asked() {
    let server = server().await;
    let user = User::new(&server.url).with("RYOKAN_URL", &server.url);
    insta::assert_snapshot!("login_no_terminal", user.run(&["login"]).await);
    assert_eq!(user.run(&["login", "--password"]).await.code, Some(2));
    assert_eq!(user.run_with_input(&["login", "--token-stdin"], "\n").await.code, Some(2));
}

#[tokio::test]
async fn a_password_becomes_a_token_that_logout_revokes() {
    let server = server().await;
    let session = json!({ "user": samples::user("ann", true), "expires_at": 1 });
    let headers = vec![
        ("content-type", "application/json".to_owned()),
        ("set-cookie", "ryokan_session=cookiehush; HttpOnly; Path=/".to_owned()),
    ];
    let body = session.to_string().into_bytes();
    server.on("POST /v1/sessions", Answer::Whole { status: 201, headers, body });
    server.on("DELETE /v1/sessions", Answer::empty());
    let mut created = samples::token("ryokan login");
    created["secret"] = json!("ryk_new_hush");
    server.on("POST /v1/tokens", Answer::status(201, &created));
    server.on(&format!("DELETE /v1/tokens/{}", samples::ID), Answer::empty());
    let user = User::new(&server.url).with("RYOKAN_URL", &server.url);
    let arguments = ["login", "--user", "ann", "--password-stdin"];
    assert_eq!(user.run_with_input(&arguments, "hush\n").await.code, Some(0));
    assert_eq!(user.run(&["logout"]).await.code, Some(0));
    let seen = server.seen();
    assert_eq!(
        server.lines(),
        [
            "POST /v1/sessions",
            "POST /v1/tokens",
            "DELETE /v1/sessions",
            "GET /v1/users/me",
            &format!("DELETE /v1/tokens/{}", samples::ID)
        ]
    );
    assert_eq!(seen[0].json(), json!({ "login": "ann", "password": "hush" }));
    assert_eq!(seen[1].header("cookie"), "ryokan_session=cookiehush");
    assert_eq!(seen[1].header("origin"), server.url);
    assert_eq!(seen[3].header("authorization"), "Bearer ryk_new_hush");
}

#[tokio::test]
async fn a_stored_token_goes_to_its_own_server_only() {
    let (ours, other) = (server().await, server().await);
    let user = User::new(&other.url);
    std::fs::create_dir_all(user.path(".config/ryokan")).unwrap();
    std::fs::write(user.path(STORED), json!({ "url": ours.url, "token": "ryk_hush" }).to_string()).unwrap();
    assert_eq!(user.run(&["ps"]).await.code, Some(0));
    assert_eq!(user.run(&["--url", &other.url, "ps"]).await.code, Some(0));
    assert_eq!(user.run(&["--url", &format!("{}/", ours.url), "ps"]).await.code, Some(0));
    assert_eq!(ours.seen().iter().filter(|s| s.header("authorization") == "Bearer ryk_hush").count(), 2);
    assert_eq!(other.seen()[0].header("authorization"), "");
}

#[tokio::test]
async fn sources_in_their_order() {
    let server = server().await;
    let bearer = |n: usize| server.seen()[n].header("authorization").to_owned();
    let fresh = || User::new(&server.url);
    // What a server on this machine left.
    let user = fresh();
    std::fs::write(user.path("cli.json"), json!({ "url": server.url, "token": "ryk_0" }).to_string())
        .unwrap();
    let folder = user.home.path().to_str().unwrap().to_owned();
    let user = user.with("RYOKAN_DATA_DIR", &folder);
    assert_eq!(user.run(&["ps"]).await.code, Some(0));
    assert_eq!(bearer(0), "Bearer ryk_0");
    // The stored login.
    std::fs::create_dir_all(user.path(".config/ryokan")).unwrap();
    std::fs::write(user.path(STORED), json!({ "url": server.url, "token": "ryk_1" }).to_string()).unwrap();
    user.run(&["ps"]).await;
    assert_eq!(bearer(1), "Bearer ryk_1");
    // Crabshack's variables, then ours, then the flags.
    let user = user.with("CRABSHACK_API_URL", &server.url).with("CRABSHACK_ADMIN_SECRET", "ryk_2");
    user.run(&["ps"]).await;
    assert_eq!(bearer(2), "Bearer ryk_2");
    let user = user.with("RYOKAN_TOKEN", "ryk_3");
    user.run(&["ps"]).await;
    assert_eq!(bearer(3), "Bearer ryk_3");
    std::fs::write(user.path("token"), " ryk_4\n").unwrap();
    user.run(&["ps", "--token-file", "token"]).await;
    assert_eq!(bearer(4), "Bearer ryk_4");
}

#[tokio::test]
async fn proxies_are_not_asked_for_this_machine() {
    let server = server().await;
    let user =
        User::of(&server).with("HTTP_PROXY", "http://127.0.0.1:1").with("http_proxy", "http://127.0.0.1:1");
    assert_eq!(user.run(&["ps"]).await.code, Some(0));
}

#[tokio::test]
async fn names_below_localhost_need_no_resolver() {
    let server = server().await;
    let user = User::new(&server.url);
    let url = server.url.replace("127.0.0.1", "api.localhost");
    assert_eq!(user.run(&["--url", &url, "ps"]).await.code, Some(0));
    assert_eq!(server.seen()[0].header("host"), url.strip_prefix("http://").unwrap());
}

#[tokio::test]
async fn a_spoilt_login_is_named_and_not_shown() {
    let user = User::new("http://nowhere");
    std::fs::create_dir_all(user.path(".config/ryokan")).unwrap();
    std::fs::write(user.path(STORED), "{\"token\": \"ryk_hush\", ").unwrap();
    insta::assert_snapshot!("login_spoilt", user.run(&["ps"]).await);
}
