//! Money over HTTP: from counters to a stopped agent that answers 402, and back.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ryokan_model::{InstanceId, Millis, ProjectId};
use ryokan_ports::usage::Reading;
use ryokan_server::config::Config;
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use crate::support::{Site, eventually, on_both, on_both_with, on_sqlite_with};

fn billing(config: &mut Config) {
    config.billing.enabled = true;
    config.billing.grace = "1s".parse().unwrap();
    config.billing.webhooks_to_private = true;
}

/// So many hours of one core since its start.
fn cores(site: &Site, project: ProjectId, instance: InstanceId, hours: u64) {
    site.usage.set(vec![Reading {
        instance,
        project,
        epoch: "run".into(),
        began: Some(Millis(i64::MAX)),
        cpu_nanos: hours * 3_600_000_000_000,
        memory_bytes: 0,
        disk_bytes: 0,
        network_bytes: 0,
        gpu_millis: 0,
    }]);
}

async fn project(site: &Site) -> ProjectId {
    site.operator().get("/v1/projects/operator").await.expect(200)["id"].as_str().unwrap().parse().unwrap()
}

/// As if two intervals had passed, and all was charged.
async fn bill(site: &Site) {
    site.app().sample_usage().await.unwrap();
    site.clock.forward(Duration::from_mins(11));
    site.app().close_intervals().await.unwrap();
    site.app().judge_projects().await.unwrap();
}

async fn balance(site: &Site) -> Value {
    site.operator().get("/v1/projects/operator/balance").await.expect(200)
}

#[tokio::test]
async fn who_owes_is_stopped_answers_402_and_comes_back_when_paid() {
    on_both_with(billing, async |site| {
        let operator = site.operator();
        let id = operator.ready("claw", json!({})).await;
        let of = project(site).await;
        cores(site, of, id, 0);
        bill(site).await;
        assert_eq!(balance(site).await["balance"], 0);
        cores(site, of, id, 1);
        bill(site).await;
        assert_eq!(balance(site).await["balance"], -12_000);
        site.clock.forward(Duration::from_secs(5));
        site.app().judge_projects().await.unwrap();
        operator.until("claw", "stopped").await;
        let standing = balance(site).await;
        assert_eq!((&standing["suspended_for"], &standing["billing"]), (&json!("balance"), &json!(true)));
        assert!(!site.engine.running(id) && site.engine.exists(id), "stopped, with all its data");
        assert_eq!(operator.show("claw").await["desired"], "running");

        let refused = eventually("the gateway says so", async || {
            let reply = operator.get("/gateway/claw/").await;
            if reply.status == 402 { Ok(reply) } else { Err(reply.text) }
        })
        .await;
        let challenge: Value = serde_json::from_str(&refused.text).unwrap();
        assert_eq!(
            (&challenge["code"], &challenge["reason"]),
            (&json!("payment_required"), &json!("balance"))
        );
        assert!(challenge["pay"].as_str().unwrap().ends_with(&format!("/projects/{of}/billing")));
        let page = operator.with("accept", "text/html").get("/gateway/claw/").await;
        assert!(page.status == 402 && page.text.contains("<a href="), "{}", page.text);
        for (path, body) in
            [("/v1/instances", json!({"image": "img"})), ("/v1/instances/claw/start", json!({}))]
        {
            assert_eq!(operator.post(path, body).await.expect(402)["code"], "payment_required", "{path}");
        }

        let credit = json!({"amount": 20_000, "reason": "paid in cash"});
        let keyed = operator.with("idempotency-key", "cash");
        let first = keyed.post("/v1/projects/operator/credits", credit.clone()).await.expect(201);
        assert_eq!(keyed.post("/v1/projects/operator/credits", credit).await.expect(201), first);
        assert_eq!(balance(site).await["balance"], 8_000);
        operator.until("claw", "ready").await;
        assert!(site.engine.running(id));
        let report = operator.post("/v1/ledger/verify", json!({})).await.expect(200);
        assert_eq!(report["differences"], 0, "{report}");
        let kinds: Vec<_> = site.events().await.iter().map(|e| e["kind"].clone()).collect();
        for kind in ["balance.crossed", "project.suspended", "project.credited", "project.resumed"] {
            assert_eq!(kinds.iter().filter(|k| *k == kind).count(), 1, "{kind}: {kinds:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn statements_usage_invoices_and_refunds() {
    on_both_with(billing, async |site| {
        let operator = site.operator();
        let id = operator.ready("claw", json!({})).await;
        let of = project(site).await;
        operator
            .post("/v1/projects/operator/credits", json!({"amount": 100_000, "reason": "start"}))
            .await
            .expect(201);
        cores(site, of, id, 0);
        bill(site).await;
        cores(site, of, id, 2);
        bill(site).await;
        let refund = json!({"amount": 1_000, "reason": "too much"});
        operator.post("/v1/projects/operator/refunds", refund).await.expect(201);
        let lines = operator.get("/v1/projects/operator/ledger").await.items();
        let kinds: Vec<_> =
            lines.iter().map(|l| (l["kind"].as_str().unwrap(), l["amount"].as_i64().unwrap())).collect();
        assert_eq!(kinds, [("refund", -1_000), ("usage", -24_000), ("credit", 100_000)]);
        assert_eq!(lines[0]["balance_after"], 75_000);
        let page = operator.get("/v1/projects/operator/ledger?limit=1").await.expect(200);
        let next = page["next"].as_str().unwrap();
        let second =
            operator.get(&format!("/v1/projects/operator/ledger?limit=1&after={next}")).await.items();
        assert_eq!(second[0]["kind"], "usage");
        for step in ["interval", "hour", "day"] {
            let used = operator.get(&format!("/v1/projects/operator/usage?step={step}&instance=claw")).await;
            let cpu: u64 = used.items().iter().map(|u| u["cpu_millis"].as_u64().unwrap()).sum();
            assert_eq!(cpu, 7_200_000, "{step}");
        }
        let month = Millis(site.app().clock.now().0).to_string()[..7].to_owned();
        let path = format!("/v1/projects/operator/invoices?month={month}");
        let invoice = operator.get(&path).await.expect(200);
        let sum: i64 =
            invoice["lines"].as_array().unwrap().iter().map(|l| l["amount"].as_i64().unwrap()).sum();
        assert_eq!(
            invoice["closing_balance"].as_i64().unwrap() - invoice["opening_balance"].as_i64().unwrap(),
            sum,
            "{invoice}"
        );
        let table = operator.with("accept", "text/csv").get(&path).await;
        assert!(table.text.contains(",usage,revenue:cpu,1,-24000\r\n"), "{}", table.text);
        for bad in [
            "usage?step=year",
            "usage?from=5&to=4",
            "usage?step=interval&from=0",
            "invoices?month=11",
            "ledger?after=x",
            "ledger?limit=0",
        ] {
            operator.get(&format!("/v1/projects/operator/{bad}")).await.expect(400);
        }
        for bad in [
            json!({"amount": 0, "reason": "x"}),
            json!({"amount": -1, "reason": "x"}),
            json!({"amount": 1, "reason": " "}),
            json!({"amount": 1.5, "reason": "x"}),
            json!({"amount": 1}),
        ] {
            operator.post("/v1/projects/operator/credits", bad).await.expect(400);
        }
        operator
            .post("/v1/projects/operator/refunds", json!({"amount": 75_001, "reason": "x"}))
            .await
            .expect(409);
    })
    .await;
}

#[tokio::test]
async fn a_member_looks_and_only_operators_move_money() {
    on_both(async |site| {
        let ann = site.user("ann").await;
        for path in ["balance", "ledger", "usage", "caps", "prices", "billing"] {
            ann.get(&format!("/v1/projects/ann/{path}")).await.expect(200);
        }
        let money = json!({"amount": 1, "reason": "x"});
        for path in ["credits", "refunds"] {
            ann.post(&format!("/v1/projects/ann/{path}"), money.clone()).await.expect(403);
        }
        ann.put("/v1/projects/ann/prices", json!({})).await.expect(403);
        ann.post("/v1/ledger/verify", json!({})).await.expect(403);
        let cap = json!({"kind": "compute", "period": "day", "amount": 5});
        ann.put("/v1/projects/ann/caps", cap).await.expect(200);
        let set = ann.get("/v1/projects/ann/caps").await.items();
        assert_eq!((set[0]["amount"].as_i64(), set[0]["reached"].as_bool()), (Some(5), Some(false)));
        ann.put("/v1/projects/ann/caps", json!({"kind": "compute", "period": "week"})).await.expect(400);
        let one_agents = json!({"kind": "funding", "period": "day", "amount": 5, "instance": "any"});
        let refused = ann.put("/v1/projects/ann/caps", one_agents).await.expect(400);
        assert_eq!(refused["field"], "instance", "{refused}");
        let free = json!({"rates": {"core": 0, "memory_gb": 0, "disk_gb": 0, "network_gb": 0, "gpu": 0}});
        let priced = site.operator().put("/v1/projects/ann/prices", free).await.expect(200);
        assert_eq!(priced["own"], true);
        assert_eq!(ann.get("/v1/projects/ann/prices").await.expect(200)["current"]["rates"]["core"], 0);
        for bad in [
            json!({"email": "nobody"}),
            json!({"webhook_url": "https://a.example"}),
            json!({"webhook_url": "ftp://a.example", "webhook_secret": "0123456789abcdef"}),
        ] {
            ann.put("/v1/projects/ann/billing", bad).await.expect(400);
        }
    })
    .await;
}

#[tokio::test]
async fn what_a_deleted_project_has_left_is_refunded_by_operators() {
    on_both_with(billing, async |site| {
        let (operator, bob) = (site.operator(), site.user("bob").await);
        bob.post("/v1/projects", json!({"name": "side"})).await.expect(201);
        let id = bob.get("/v1/projects/side").await.expect(200)["id"].as_str().unwrap().to_owned();
        let credit = json!({"amount": 5_000, "reason": "paid"});
        operator.post("/v1/projects/side/credits", credit.clone()).await.expect(201);
        assert!(operator.get("/v1/ledger/left-over").await.items().is_empty(), "it is not deleted");
        bob.delete("/v1/projects/side").await.expect(204);
        // Another one of that name is another project.
        bob.post("/v1/projects", json!({"name": "side"})).await.expect(201);

        let left = operator.get("/v1/ledger/left-over").await.items();
        assert_eq!(left.len(), 1, "{left:?}");
        assert_eq!(
            (&left[0]["project"], &left[0]["name"], &left[0]["owner"], &left[0]["balance"]),
            (&json!(id), &json!("side"), &json!("bob"), &json!(5_000))
        );
        bob.get("/v1/ledger/left-over").await.expect(403);
        for path in ["balance", "ledger"] {
            operator.get(&format!("/v1/projects/{id}/{path}")).await.expect(200);
            bob.get(&format!("/v1/projects/{id}/{path}")).await.expect(404);
        }
        let refund = |amount: i64| json!({"amount": amount, "reason": "it is gone"});
        let path = format!("/v1/projects/{id}/refunds");
        bob.post(&path, refund(5_000)).await.expect(404);
        operator.post(&path, refund(5_001)).await.expect(409);
        operator.post("/v1/projects/side/refunds", refund(1)).await.expect(409);
        operator.post(&format!("/v1/projects/{id}/credits"), credit).await.expect(404);
        let made = operator.with("idempotency-key", "back").post(&path, refund(5_000)).await.expect(201);
        assert_eq!(made["balance_after"], 0);
        let again = operator.with("idempotency-key", "back").post(&path, refund(5_000)).await.expect(201);
        assert_eq!(again, made);
        assert!(operator.get("/v1/ledger/left-over").await.items().is_empty());
        let told = site.events().await;
        let refunds: Vec<_> = told.iter().filter(|e| e["kind"] == "project.refunded").collect();
        assert_eq!((refunds.len(), &refunds[0]["subject_id"]), (1, &json!(id)));
        assert_eq!(operator.post("/v1/ledger/verify", json!({})).await.expect(200)["differences"], 0);
    })
    .await;
}

#[tokio::test]
async fn only_a_payment_has_a_long_head() {
    on_sqlite_with(billing, async |site| {
        let long = "a".repeat(100_000);
        let operator = site.operator();
        for (name, path) in [
            ("x-other", "/api/v1/project/operator/pay"),
            ("x-bsv-payment", "/v1/projects/operator"),
            ("x-other", "/v1/projects/operator"),
        ] {
            let refused = operator.with(name, &long).get(path).await;
            assert_eq!(refused.expect(431)["code"], "head_too_large", "{name} {path}");
        }
        let most = "a".repeat(400 * 1024);
        let pays = async |value: &str| {
            let body = json!({"amount": 1});
            operator.with("x-bsv-payment", value).post("/api/v1/project/operator/pay", body).await
        };
        // It is read, and then not taken from somebody who is no wallet.
        assert_eq!(pays(&most).await.status, 403);
        assert_eq!(pays(&format!("{most}aaaaa{}", "a".repeat(64 * 1024))).await.status, 431);
    })
    .await;
}

/// A web server that keeps what it is sent.
pub(super) async fn listener(answers: &'static [u16]) -> (String, Arc<Mutex<Vec<(String, String)>>>) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let kept: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
    let keep = kept.clone();
    TaskTracker::new().spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut read, mut buffer) = (Vec::new(), [0u8; 4096]);
            loop {
                let n = stream.read(&mut buffer).await.unwrap();
                read.extend_from_slice(&buffer[..n]);
                let text = String::from_utf8_lossy(&read).to_string();
                if let Some((head, body)) = text.split_once("\r\n\r\n") {
                    let length = head
                        .lines()
                        .find_map(|l| {
                            l.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned)
                        })
                        .map_or(0, |l| l.parse().unwrap());
                    if body.len() >= length {
                        keep.lock().unwrap().push((head.to_owned(), body.to_owned()));
                        break;
                    }
                }
            }
            let reply = format!("HTTP/1.1 {answer} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(reply.as_bytes()).await.unwrap();
        }
    });
    (url, kept)
}

#[tokio::test]
async fn a_crossing_is_posted_signed_and_again_after_a_failure() {
    on_sqlite_with(billing, async |site| {
        let (url, kept) = listener(&[503, 200]).await;
        let operator = site.operator();
        let secret = "a secret of sixteen";
        let settings = json!({"webhook_url": url, "webhook_secret": secret});
        let shown = operator.put("/v1/projects/operator/billing", settings).await.expect(200);
        assert!(!shown.to_string().contains(secret));
        operator
            .post("/v1/projects/operator/credits", json!({"amount": 40_000_000, "reason": "x"}))
            .await
            .expect(201);
        operator
            .post("/v1/projects/operator/refunds", json!({"amount": 15_000_000, "reason": "x"}))
            .await
            .expect(201);
        let (head, body) = eventually("it is posted twice", async || {
            let kept = kept.lock().unwrap();
            if kept.len() == 2 { Ok(kept[1].clone()) } else { Err(format!("{kept:?}")) }
        })
        .await;
        let message: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            (&message["event"], &message["data"]["threshold"]),
            (&json!("balance.crossed"), &json!(30_000_000))
        );
        let signature = head.lines().find_map(|l| l.strip_prefix("ryokan-signature: ")).unwrap();
        let (at, tag) = signature.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
        use hmac::Mac as _;
        let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(format!("{at}.{body}").as_bytes());
        assert_eq!(hex::encode(mac.finalize().into_bytes()), tag);
    })
    .await;
}

/// A mail server, as far as one message needs it.
pub(super) async fn mail_server() -> (u16, Arc<Mutex<Vec<String>>>) {
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let kept: Arc<Mutex<Vec<String>>> = Arc::default();
    let keep = kept.clone();
    TaskTracker::new().spawn(async move {
        // The first connection is cut off: the message must come again.
        let _ = listener.accept().await.unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (read, mut write) = stream.into_split();
            let mut lines = BufReader::new(read).lines();
            write.write_all(b"220 test\r\n").await.unwrap();
            let mut message: Option<String> = None;
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(text) = &mut message {
                    if line == "." {
                        keep.lock().unwrap().push(message.take().unwrap());
                        write.write_all(b"250 taken\r\n").await.unwrap();
                    } else {
                        text.push_str(&line);
                        text.push('\n');
                    }
                    continue;
                }
                let reply: &[u8] = match line.get(..4).unwrap_or_default() {
                    "DATA" => {
                        message = Some(String::new());
                        b"354 go on\r\n"
                    }
                    "QUIT" => b"221 bye\r\n",
                    _ => b"250 ok\r\n",
                };
                let _ = write.write_all(reply).await;
            }
        }
    });
    (port, kept)
}

#[tokio::test]
async fn a_crossing_is_mailed_once() {
    static PORT: std::sync::OnceLock<u16> = std::sync::OnceLock::new();
    let (port, kept) = mail_server().await;
    PORT.set(port).unwrap();
    let configure = |config: &mut Config| {
        billing(config);
        config.mail.host = Some("127.0.0.1".into());
        config.mail.port = PORT.get().copied();
        config.mail.encryption = Some("none".into());
        config.mail.from = Some("ryokan@example.com".into());
    };
    on_sqlite_with(configure, async |site| {
        let operator = site.operator();
        operator.put("/v1/projects/operator/billing", json!({"email": "ada@example.com"})).await.expect(200);
        for (path, amount) in [("credits", 11_000_000), ("refunds", 2_000_000), ("refunds", 1)] {
            let body = json!({"amount": amount, "reason": "x"});
            operator.post(&format!("/v1/projects/operator/{path}"), body).await.expect(201);
        }
        eventually("it is mailed", async || {
            let kept = kept.lock().unwrap();
            if kept.len() == 1 { Ok(()) } else { Err(format!("{kept:?}")) }
        })
        .await;
        let mail = kept.lock().unwrap()[0].clone();
        assert!(mail.contains("Subject: Urgent: balance of operator is below 10000000"), "{mail}");
        assert!(mail.contains("To: ada@example.com") && mail.contains("9000000"), "{mail}");
    })
    .await;
}
