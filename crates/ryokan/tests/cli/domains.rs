//! Custom domains: what is asked of the server, and what is printed.

use serde_json::{Value, json};

use super::samples::ago;
use super::scripted::{Answer, Server};
use super::user::User;

fn domain(state: &str, reason: Option<&str>) -> Value {
    let mut domain = json!({
        "domain": "bot.example.com", "instance": "bot", "state": state, "url": "https://bot.example.com/",
        "verification": [
            { "type": "TXT", "name": "_ryokan.bot.example.com", "value": "ryokan-verification=0b1c" },
            { "type": "TXT", "name": "mandala_project.bot.example.com", "value": "mandala-project-verification=0199:agent" },
        ],
        "target": { "type": "CNAME", "name": "bot.example.com", "value": "bot.agents.example.org" },
        "created_at": 0, "last_check": ago(5),
    });
    if let Some(reason) = reason {
        domain["reason"] = reason.into();
    }
    domain
}

#[tokio::test]
async fn a_domain_from_its_record_to_its_end() {
    let server = Server::start().await;
    let why =
        "the TXT record `_ryokan.bot.example.com` does not exist; it should hold `ryokan-verification=0b1c`";
    server.on("POST /v1/instances/bot/domains", Answer::json(&domain("pending", None)));
    server
        .on(
            "POST /v1/instances/bot/domains/bot.example.com/check",
            Answer::json(&domain("pending", Some(why))),
        )
        .on("POST /v1/instances/bot/domains/bot.example.com/check", Answer::json(&domain("verified", None)));
    let page = [domain("active", None), domain("failed", Some("the TXT record \u{1b}[31mis gone"))];
    let mut fixed = domain("active", None);
    fixed["last_check"] = 5.into();
    server
        .on("GET /v1/instances/bot/domains", Answer::page(&page))
        .on("GET /v1/instances/bot/domains", Answer::page(&[fixed]));
    server.on("DELETE /v1/instances/bot/domains/bot.example.com", Answer::empty());
    let user = User::of(&server);
    insta::assert_snapshot!("domains_add", user.run(&["domains", "add", "bot", "bot.example.com"]).await);
    assert_eq!(server.seen()[0].json(), json!({ "domain": "bot.example.com" }));
    let check = ["domains", "check", "bot", "bot.example.com"];
    insta::assert_snapshot!("domains_check_pending", user.run(&check).await);
    insta::assert_snapshot!("domains_check", user.run(&check).await);
    insta::assert_snapshot!("domains_ls", user.run(&["domains", "ls", "bot"]).await);
    insta::assert_snapshot!("domains_ls_json", user.run(&["domains", "ls", "bot", "--json"]).await);
    insta::assert_snapshot!("domains_rm", user.run(&["domains", "rm", "bot", "bot.example.com"]).await);
}
