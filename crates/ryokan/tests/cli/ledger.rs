//! Money: what is asked of the server, and what is printed.

use serde_json::{Value, json};

use super::samples::{ID, ago};
use super::scripted::{Answer, Server};
use super::user::User;

fn line(seq: i64, kind: &str, amount: i64, after: i64) -> Value {
    json!({
        "seq": seq, "transaction": ID, "kind": kind, "amount": amount, "balance_after": after,
        "reason": if kind == "usage" { "usage" } else { "for the \u{1b}[31mtests" }, "actor": "ann", "at": ago(5),
    })
}

#[tokio::test]
async fn a_statement() {
    let server = Server::start().await;
    let page = [line(2, "usage", -1_510, 998_490), line(1, "credit", 1_000_000, 1_000_000)];
    server.on("GET /v1/projects/claw/ledger", Answer::page(&page));
    let user = User::of(&server);
    insta::assert_snapshot!("ledger_ls", user.run(&["ledger", "ls", "claw"]).await);
    assert_eq!(server.lines(), ["GET /v1/projects/claw/ledger?limit=50"]);
}

#[tokio::test]
async fn a_balance_of_who_is_suspended() {
    let server = Server::start().await;
    let balance = json!({
        "project": ID, "balance": -20_000_000, "reserved": 0, "billing": true, "suspended_for": "balance",
    });
    for _ in 0..2 {
        server.on("GET /v1/projects/claw/balance", Answer::json(&balance));
    }
    let user = User::of(&server);
    insta::assert_snapshot!("ledger_balance", user.run(&["ledger", "balance", "claw"]).await);
    insta::assert_snapshot!("ledger_balance_json", user.run(&["ledger", "balance", "claw", "--json"]).await);
}

#[tokio::test]
async fn money_is_moved_with_a_reason() {
    let server = Server::start().await;
    server.on("POST /v1/projects/claw/credits", Answer::status(201, &line(1, "credit", 500, 500)));
    server.on("POST /v1/projects/claw/refunds", Answer::status(201, &line(2, "refund", -200, 300)));
    let user = User::of(&server);
    let credit = user.run(&["ledger", "credit", "claw", "500", "--reason", "gift"]).await;
    insta::assert_snapshot!("ledger_credit", credit);
    let refund = user.run(&["ledger", "refund", "claw", "200", "--reason", "too much"]).await;
    assert_eq!(refund.stdout, "300\n");
    assert_eq!(user.run(&["ledger", "credit", "claw", "500"]).await.code, Some(2), "no reason");
    assert_eq!(user.run(&["ledger", "credit", "claw", "0.5", "--reason", "x"]).await.code, Some(2));
    assert!(!server.seen()[0].header("idempotency-key").is_empty());
}

#[tokio::test]
async fn differences_make_verify_fail() {
    let server = Server::start().await;
    let good =
        json!({"intervals": 8640, "from_samples": 288, "accounts": 7, "differences": 0, "examples": []});
    let bad = json!({"intervals": 8640, "from_samples": 288, "accounts": 7, "differences": 1,
        "examples": ["account grants: holds 5 in 1 entries, its entries sum to 4 in 1"]});
    server.on("POST /v1/ledger/verify", Answer::json(&good));
    server.on("POST /v1/ledger/verify", Answer::json(&bad));
    let user = User::of(&server);
    insta::assert_snapshot!("ledger_verify", user.run(&["ledger", "verify"]).await);
    insta::assert_snapshot!("ledger_verify_bad", user.run(&["ledger", "verify"]).await);
}

#[tokio::test]
async fn usage() {
    let server = Server::start().await;
    let sum = json!({
        "start": 1_763_700_000_000_i64, "cpu_millis": 3_600_000, "memory_mb_seconds": 7_200_000,
        "disk_mb_seconds": 36_000, "network_bytes": 1_234_567, "gpu_millis": 0, "microsats": 12_000_500_000_i64,
    });
    server.on("GET /v1/projects/claw/usage", Answer::page(&[sum]));
    let user = User::of(&server);
    insta::assert_snapshot!("usage", user.run(&["usage", "claw", "--by", "day", "--hours", "48"]).await);
}
