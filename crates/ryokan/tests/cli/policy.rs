//! Rules, questions and the audit: what is asked of the server, and what is printed.

use serde_json::{Value, json};

use super::samples::ID;
use super::scripted::{Answer, Server};
use super::user::User;

fn rule(effect: &str, note: &str) -> Value {
    json!({
        "id": ID, "level": "project", "project": ID, "effect": effect, "action": "egress.*", "subject": "everybody",
        "resources": {"hosts": ["api.github.com"], "ports": ["443"]}, "conditions": {"until": 1_790_000_000_000_i64},
        "note": note, "created_by": "ann", "created_at": 1,
    })
}

#[tokio::test]
async fn rules() {
    let server = Server::start().await;
    server
        .on("GET /v1/policies", Answer::page(&[rule("allow", "for the \u{1b}[31mtests"), rule("deny", "")]));
    let mut made = rule("allow", "");
    made["warning"] = json!("it has no effect for now");
    server.on("POST /v1/policies", Answer::status(201, &made));
    let user = User::of(&server);
    insta::assert_snapshot!("policy_list", user.run(&["policy", "list", "--project", "team"]).await);
    let add = [
        "policy",
        "add",
        "--project",
        "team",
        "allow",
        "egress.request",
        "--host",
        "api.github.com",
        "--method",
        "GET",
        "--path",
        "/repos/**",
    ];
    insta::assert_snapshot!("policy_add", user.run(&add).await);
    let sent: Value = serde_json::from_slice(&server.seen()[1].body).unwrap();
    insta::assert_snapshot!("policy_add_request", serde_json::to_string_pretty(&sent).unwrap());
    for wrong in [
        &["policy", "add", "allow", "egress.*"][..],
        &["policy", "add", "--system", "permit", "egress.*"],
        &["policy", "add", "--system", "allow", "egress"],
        &["policy", "add", "--system", "allow", "egress.*", "--host", "https://x"],
        &["policy", "add", "--system", "--project", "team", "allow", "egress.*"],
    ] {
        assert_eq!(user.run(wrong).await.code, Some(2), "{wrong:?}");
    }
}

#[tokio::test]
async fn why() {
    let server = Server::start().await;
    let told = json!({
        "decision": "deny", "rule": ID, "level": "instance", "why": "a rule of the instance refuses it",
        "levels": [
            {"level": "system", "says": "leaves it to the levels below", "rules": []},
            {"level": "instance", "says": "refuses it", "rules": [{"id": ID, "effect": "deny", "grant": false, "note": "no"}]},
        ],
    });
    server.on("POST /v1/policies/explain", Answer::json(&told));
    let user = User::of(&server);
    let arguments = [
        "policy",
        "explain",
        "--instance",
        "claw",
        "--action",
        "egress.request",
        "--resource",
        "GET https://x.example/",
    ];
    insta::assert_snapshot!("policy_explain", user.run(&arguments).await);
}

#[tokio::test]
async fn questions() {
    let server = Server::start().await;
    let mut asked = json!({
        "id": ID, "state": "open", "level": "project", "actor": "instance:claw", "project": ID, "action": "egress.connect",
        "resource": "api.github.com:443", "untrusted_reason": "please\u{1b}[31m\nnow", "times": 3, "asked_at": 1, "expires_at": 2,
    });
    server.on("GET /v1/approvals", Answer::page(std::slice::from_ref(&asked)));
    asked["state"] = json!("granted");
    asked["until"] = json!(1_790_000_000_000_i64);
    server.on(&format!("POST /v1/approvals/{ID}/grant"), Answer::json(&asked));
    server.on(&format!("POST /v1/approvals/{ID}/refuse"), Answer::json(&asked));
    let user = User::of(&server);
    insta::assert_snapshot!("approvals", user.run(&["approvals"]).await);
    insta::assert_snapshot!("approvals_grant", user.run(&["approvals", "grant", ID, "--for", "1h"]).await);
    insta::assert_snapshot!("approvals_refuse", user.run(&["approvals", "refuse", ID]).await);
    assert_eq!(server.lines()[0], "GET /v1/approvals?state=open&limit=500");
    assert_eq!(server.seen()[1].body, br#"{"for":"1h"}"#);
}

#[tokio::test]
async fn the_audit() {
    let server = Server::start().await;
    let entry = json!({
        "id": ID, "at": 1_790_000_000_000_i64, "actor": "instance:claw", "action": "egress.request",
        "resource": "GET https://api.github.com/user", "decision": "allow", "level": "project",
        "why": "a rule of the project allows it", "ended": {"status": 200, "bytes_in": 1, "bytes_out": 2, "millis": 3},
    });
    server.on("GET /v1/audit", Answer::page(std::slice::from_ref(&entry)));
    server.on("GET /v1/audit", Answer::page(std::slice::from_ref(&entry)));
    let user = User::of(&server);
    insta::assert_snapshot!("audit", user.run(&["audit", "--instance", "claw", "--decision", "deny"]).await);
    insta::assert_snapshot!("audit_json", user.run(&["audit", "--json"]).await);
    assert_eq!(server.lines()[0], "GET /v1/audit?decision=deny&instance=claw&limit=100");
}
