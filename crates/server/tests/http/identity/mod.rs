//! Users, tokens, sessions: what each credential opens, and what ends it.

mod revocation;
mod sessions;
mod tokens;
mod users;
mod wallets;

use serde_json::{Value, json};

use crate::support::{Client, Site};

const PASSWORD: &str = "correct horse battery";

/// An account with a password.
async fn with_password(site: &Site, login: &str) {
    let body = json!({"login": login, "password": PASSWORD});
    site.operator().post("/v1/users", body).await.expect(201);
}

/// Signs in as a browser does; the client carries the cookie from then on and says that it is our own page.
async fn browser(site: &Site, body: Value) -> Client {
    let reply = site.anonymous().post("/v1/sessions", body).await;
    reply.expect(201);
    let cookie = reply.header("set-cookie").split(';').next().unwrap().to_owned();
    site.anonymous().with("cookie", &cookie).with("sec-fetch-site", "same-origin")
}

async fn signed_in(site: &Site, login: &str) -> Client {
    browser(site, json!({"login": login, "password": PASSWORD})).await
}
