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
        "agents": {"balance": 7, "checked_at": 1, "refused": "the project's balance leaves no room for 523 satoshis"},
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

fn cap(instance: Option<&str>, kind: &str, period: &str, amount: i64, spent: i64) -> Value {
    let mut cap = json!({
        "kind": kind, "period": period, "amount": amount, "spent": spent, "reserved": 7, "reached": spent >= amount,
    });
    if let Some(instance) = instance {
        cap["instance"] = json!(instance);
    }
    cap
}

#[tokio::test]
async fn caps() {
    const GONE: &str = "01941f29-7c00-7000-8000-000000000002";
    let server = Server::start().await;
    let all = [
        cap(None, "compute", "month", 1_000_000, 12_345),
        cap(Some(ID), "compute", "day", 5_000, 5_000),
        cap(Some(ID), "models", "day", 70, 0),
        cap(Some(GONE), "tools", "total", 9, 1),
    ];
    server.on("GET /v1/projects/claw/caps", Answer::page(&all));
    server
        .on(&format!("GET /v1/instances/{ID}"), Answer::json(&super::samples::instance("lobster", "ready")));
    server.on(
        &format!("GET /v1/instances/{GONE}"),
        Answer::problem(404, "not_found", "there is no such instance"),
    );
    let user = User::of(&server);
    insta::assert_snapshot!("caps_ls", user.run(&["caps", "ls", "claw"]).await);
    assert_eq!(server.lines().len(), 3, "each instance is asked for once");
}

#[tokio::test]
async fn caps_are_set_and_taken_away() {
    let server = Server::start().await;
    for _ in 0..2 {
        server.on("PUT /v1/projects/claw/caps", Answer::page(&[cap(None, "models", "day", 500, 0)]));
    }
    let user = User::of(&server);
    let set = user.run(&["caps", "set", "claw", "models", "day", "500", "--instance", "lobster"]).await;
    insta::assert_snapshot!("caps_set", set);
    let removed = user.run(&["caps", "rm", "claw", "funding", "total", "--json"]).await;
    insta::assert_snapshot!("caps_rm_json", removed);
    let sent: Vec<Value> = server.seen().iter().map(|seen| seen.json()).collect();
    assert_eq!(sent[0], json!({"instance": "lobster", "kind": "models", "period": "day", "amount": 500}));
    assert_eq!(sent[1], json!({"kind": "funding", "period": "total"}));
    for wrong in [
        &["caps", "set", "claw", "fun", "day", "5"][..],
        &["caps", "set", "claw", "models", "week", "5"],
        &["caps", "set", "claw", "models", "day"],
        &["caps", "set", "claw", "models", "day", "1.5"],
    ] {
        assert_eq!(user.run(wrong).await.code, Some(2), "{wrong:?}");
    }
}

fn price(version: i64, own: bool, cleared: bool, core: i64, reason: &str) -> Value {
    json!({
        "version": version, "own": own, "from": 1_763_700_000_000_i64 + version, "cleared": cleared, "reason": reason,
        "rates": {"core": core, "memory_gb": 500, "disk_gb": 10, "network_gb": 200, "gpu": 20_000},
    })
}

#[tokio::test]
async fn prices() {
    let server = Server::start().await;
    let versions = json!([price(5, true, true, 0, "back"), price(4, true, false, 900, "a friend")]);
    let found = json!({"current": price(1, false, false, 1_000, "configuration"), "versions": versions});
    server.on("GET /v1/projects/claw/prices", Answer::json(&found));
    let user = User::of(&server);
    insta::assert_snapshot!("prices_ls", user.run(&["prices", "ls", "claw"]).await);
}

#[tokio::test]
async fn prices_are_changed_in_part_or_given_up() {
    let server = Server::start().await;
    server.on(
        "GET /v1/projects/claw/prices",
        Answer::json(&json!({"current": price(1, false, false, 1_000, "x"), "versions": []})),
    );
    for version in 2..=4 {
        server.on(
            "PUT /v1/projects/claw/prices",
            Answer::json(&price(version, true, version == 4, 7, "friend")),
        );
    }
    let user = User::of(&server);
    insta::assert_snapshot!(
        "prices_set",
        user.run(&["prices", "set", "claw", "--core", "7", "--reason", "friend"]).await
    );
    assert_eq!(
        user.run(&["prices", "set", "claw", "--free", "--gpu", "1", "--reason", "friend"]).await.stdout,
        "3\n"
    );
    assert_eq!(user.run(&["prices", "clear", "claw", "--reason", "no friend"]).await.stdout, "4\n");
    let sent: Vec<Value> = server.seen().iter().skip(1).map(|seen| seen.json()).collect();
    assert_eq!(
        sent[0]["rates"],
        json!({"core": 7, "memory_gb": 500, "disk_gb": 10, "network_gb": 200, "gpu": 20_000})
    );
    assert_eq!(sent[1]["rates"], json!({"core": 0, "memory_gb": 0, "disk_gb": 0, "network_gb": 0, "gpu": 1}));
    assert_eq!(sent[2], json!({"reason": "no friend"}));
    for wrong in [&["prices", "set", "claw", "--reason", "x"][..], &["prices", "set", "claw", "--core", "1"]]
    {
        assert_eq!(user.run(wrong).await.code, Some(2), "{wrong:?}");
    }
}

#[tokio::test]
async fn what_deleted_projects_have_left() {
    let server = Server::start().await;
    let left =
        json!({"project": ID, "name": "claw", "owner": "ann", "deleted_at": ago(90), "balance": 12_345});
    server.on("GET /v1/ledger/left-over", Answer::page(&[left]));
    let user = User::of(&server);
    insta::assert_snapshot!("ledger_left_over", user.run(&["ledger", "left-over"]).await);
}
