//! Identity keys as credentials: what they open, what ends them, and that registration makes one account however often
//! and wherever it is asked for. Genuine wallets do the same in `e2e/interop`.

use std::sync::Arc;
use std::time::Duration;

use ryokan_brc::message::names;
use ryokan_brc::preimage::{Request, Response, response_headers};
use ryokan_brc::session::Link;
use ryokan_brc::{Nonce, PrivateKey};
use serde_json::{Value, json};

use crate::support::{Client, Reply, Site, on_both, on_postgres_only, on_sqlite, on_sqlite_with};

/// A wallet with a session.
struct Wallet {
    key: PrivateKey,
    client: Client,
    link: Arc<Link>,
    count: std::cell::Cell<u8>,
}

impl Wallet {
    fn key_of(n: u8) -> PrivateKey {
        PrivateKey::from_bytes(&[n; 32]).unwrap()
    }

    /// Shakes hands.
    async fn new(client: Client, n: u8) -> Self {
        let key = Self::key_of(n);
        let nonce = Nonce::from_random([n; 48]);
        let hello = json!({
            "version": "0.1", "messageType": "initialRequest", "identityKey": key.public().to_string(),
            "initialNonce": nonce.as_str(), "requestedCertificates": {"certifiers": [], "types": {}},
        });
        let welcome = client.post("/.well-known/auth", hello).await.expect(200);
        assert_eq!(welcome["yourNonce"], nonce.as_str());
        let theirs = welcome["initialNonce"].as_str().unwrap().parse().unwrap();
        let server = welcome["identityKey"].as_str().unwrap().parse().unwrap();
        // Seen from here, the server's nonce is theirs, and ours is ours.
        let link = Arc::new(Link::new(&key, server, theirs, nonce));
        Self { key, client, link, count: 0.into() }
    }

    fn identity(&self) -> String {
        self.key.public().to_string()
    }

    /// A signed request whose answer is signed, too.
    async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Reply {
        self.count.set(self.count.get() + 1);
        let id = [self.count.get(); 32];
        let (plain, query) = path.split_once('?').map_or((path, None), |(p, q)| (p, Some(format!("?{q}"))));
        let body = body.map(|body| body.to_string());
        let kind = body.as_ref().map(|_| ("content-type".to_owned(), "application/json".to_owned()));
        let data = Request {
            id,
            method: method.to_owned(),
            path: Some(plain.to_owned()),
            query,
            headers: kind.clone().into_iter().collect(),
            body: body.clone().map(String::into_bytes),
        };
        let nonce = Nonce::from_random([self.count.get() ^ 0x80; 48]);
        let signature = self.link.sign(&self.key, &nonce, &data.to_bytes()).unwrap();
        let mut request = self
            .client
            .request(method.parse().unwrap(), path)
            .header(names::VERSION, "0.1")
            .header(names::IDENTITY_KEY, self.identity())
            .header(names::NONCE, nonce.as_str())
            .header(names::YOUR_NONCE, self.link.theirs.as_str())
            .header(names::REQUEST_ID, base64(&id))
            .header(names::SIGNATURE, hex::encode(signature));
        if let (Some((name, value)), Some(body)) = (kind, body) {
            request = request.header(name, value).body(body);
        }
        let reply = self.client.send(request).await;
        if !reply.header(names::SIGNATURE).is_empty() {
            let headers = reply.headers.iter().filter_map(|(n, v)| Some((n.as_str(), v.to_str().ok()?)));
            let answer = Response {
                id,
                status: reply.status,
                headers: response_headers(headers),
                body: reply.text.clone().into_bytes(),
            };
            let signature = hex::decode(reply.header(names::SIGNATURE)).unwrap();
            let nonce: Nonce = reply.header(names::NONCE).parse().unwrap();
            assert!(self.link.verify(&nonce, &answer.to_bytes(), &signature), "{}", reply.what);
        }
        reply
    }

    async fn get(&self, path: &str) -> Reply {
        self.call("GET", path, None).await
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn is_signed(reply: &Reply) -> bool {
    !reply.header(names::SIGNATURE).is_empty()
}

async fn wallet(site: &Site, n: u8) -> Wallet {
    Wallet::new(site.anonymous(), n).await
}

#[tokio::test]
async fn registration_makes_one_account() {
    on_both(async |site| {
        let wallet = wallet(site, 7).await;
        assert!(is_signed(&wallet.get("/v1/users/me").await));
        wallet.get("/v1/users/me").await.expect(401);
        let answer = wallet.call("POST", "/api/v1/register", Some(json!({}))).await.expect(200);
        assert_eq!(answer, json!({"message": "User registered", "userCount": 2}));
        let again = wallet.call("POST", "/api/v1/register", None).await.expect(200);
        assert_eq!(again, json!({"message": "User already registered", "userCount": 2}));
        let me = wallet.get("/v1/users/me").await.expect(200);
        assert_eq!(me["login"], format!("brc-{}", &wallet.identity()[..18]));
        assert_eq!((&me["has_password"], &me["operator"]), (&json!(false), &json!(false)));
        // A second wallet is somebody else, and sees nothing of the first.
        let other = self::wallet(site, 8).await;
        other.call("POST", "/api/v1/register", None).await.expect(200);
        let first = me["default_project"].as_str().unwrap();
        other.get(&format!("/v1/projects/{first}")).await.expect(404);
        wallet.get(&format!("/v1/projects/{first}")).await.expect(200);
        wallet.get("/v1/users").await.expect(403);
        let events = site.events().await;
        let made: Vec<_> = events.iter().filter(|e| e["data"]["by"] == "identity").collect();
        assert_eq!(made.len(), 2, "{events:?}");
        // Unsigned, it registers nobody.
        site.operator().post("/api/v1/register", json!({})).await.expect(401);
        site.anonymous().post("/api/v1/register", json!({})).await.expect(401);
    })
    .await;
}

#[tokio::test]
async fn registration_at_two_servers_at_once_makes_one_account() {
    on_postgres_only(async |site| {
        let beside = site.beside().await;
        let here = wallet(site, 7).await;
        let there = Wallet::new(Client::new(beside.address, None), 7).await;
        assert_eq!(here.link.identity, there.link.identity, "both servers have one key");
        let both = futures_util::future::join_all(
            [&here, &there].map(|wallet| wallet.call("POST", "/api/v1/register", None)),
        );
        let created = both.await.iter().filter(|r| r.expect(200)["message"] == "User registered").count();
        assert_eq!(created, 1);
        // Neither has to wait until it has heard of the other's.
        assert_eq!(here.get("/v1/users/me").await.expect(200), there.get("/v1/users/me").await.expect(200));
        let another = Wallet::new(Client::new(beside.address, None), 8).await;
        site.user("alice").await;
        let key = json!({"key": another.identity()});
        site.operator().post("/v1/users/alice/keys", key).await.expect(201);
        another.get("/v1/users/me").await.expect(200);
        assert_eq!(site.operator().get("/v1/users").await.items().len(), 3);
        // A session is one server's; the other says so in the words that clients look for.
        let elsewhere = Wallet { client: Client::new(beside.address, None), count: 9.into(), ..here };
        let stale = elsewhere.get("/v1/users/me").await;
        assert!(
            stale.status == 401 && !is_signed(&stale) && stale.text.contains("Session not found for nonce")
        );
        assert!(beside.stop().await);
    })
    .await;
}

#[tokio::test]
async fn a_server_may_make_no_accounts_by_itself() {
    on_sqlite_with(
        |config| config.identity.open_registration = false,
        async |site| {
            let wallet = wallet(site, 7).await;
            let refused = wallet.call("POST", "/api/v1/register", None).await;
            assert!(is_signed(&refused));
            refused.expect(403);
            let key = json!({"key": wallet.identity()});
            site.operator().post("/v1/users/operator/keys", key).await.expect(201);
            wallet.call("POST", "/api/v1/register", None).await.expect(200);
            assert_eq!(wallet.get("/v1/users/me").await.expect(200)["login"], "operator");
        },
    )
    .await;
}

#[tokio::test]
async fn a_key_and_a_token_are_one_user() {
    on_both(async |site| {
        let operator = site.operator();
        let alice = site.user("alice").await;
        let wallet = wallet(site, 7).await;
        let key = json!({"key": wallet.identity().to_uppercase(), "label": " phone "});
        let made = operator.post("/v1/users/alice/keys", key.clone()).await.expect(201);
        assert_eq!((&made["key"], &made["label"]), (&json!(wallet.identity()), &json!("phone")));
        wallet.call("POST", "/v1/projects", Some(json!({"name": "side"}))).await.expect(201);
        let (one, two) = (wallet.get("/v1/projects").await, alice.get("/v1/projects").await);
        assert_eq!(one.text, two.text);
        assert_eq!(alice.get("/v1/users/me/keys").await.items().len(), 1);
        // It does not make what would outlive it.
        let token = wallet.call("POST", "/v1/tokens", Some(json!({"label": "x"}))).await.expect(201);
        assert_eq!(token["user"], "alice");
        // A key is one account's.
        operator.post("/v1/users/operator/keys", key).await.expect(409);
        site.user("bob").await.get("/v1/users/alice/keys").await.expect(404);

        operator.patch("/v1/users/alice", json!({"disabled": true})).await.expect(200);
        wallet.get("/v1/projects").await.expect(401);
        wallet.call("POST", "/api/v1/register", None).await.expect(403);
        operator.patch("/v1/users/alice", json!({"disabled": false})).await.expect(200);
        wallet.get("/v1/projects").await.expect(200);
        alice.delete(&format!("/v1/users/me/keys/{}", made["id"].as_str().unwrap())).await.expect(204);
        wallet.get("/v1/projects").await.expect(401);
        alice.delete(&format!("/v1/users/me/keys/{}", wallet.identity())).await.expect(404);
        let kinds: Vec<_> = site.events().await.iter().map(|e| e["kind"].clone()).collect();
        assert!(kinds.contains(&json!("key.created")) && kinds.contains(&json!("key.deleted")), "{kinds:?}");
        // With the account go its keys, and are free again.
        operator.post("/v1/users/alice/keys", json!({"key": wallet.identity()})).await.expect(201);
        operator.delete("/v1/users/alice").await.expect(204);
        wallet.get("/v1/projects").await.expect(401);
        let again = wallet.call("POST", "/api/v1/register", None).await.expect(200);
        assert_eq!(again["message"], "User registered");
    })
    .await;
}

#[tokio::test]
async fn nobody_takes_a_key_that_it_does_not_hold() {
    on_sqlite(async |site| {
        let alice = site.user("alice").await;
        let wallet = wallet(site, 7).await;
        let proof = |signer: u8, of: &str| {
            let invoice = ryokan_brc::Protocol::new(2, "ryokan identity key").unwrap().invoice(of).unwrap();
            let key = Wallet::key_of(signer);
            let derived = key.derive(&key.shared(&wallet.link.identity), &invoice).unwrap();
            hex::encode(derived.sign(of.as_bytes()))
        };
        for (proof, why) in [
            (None, "none"),
            (Some(proof(8, "alice")), "another key's"),
            (Some(proof(7, "bob")), "for another account"),
            (Some("zz".to_owned()), "nonsense"),
        ] {
            let body = json!({"key": wallet.identity(), "proof": proof});
            assert_eq!(alice.post("/v1/users/me/keys", body).await.expect(400)["field"], "proof", "{why}");
        }
        let body = json!({"key": wallet.identity(), "proof": proof(7, "alice")});
        alice.post("/v1/users/me/keys", body).await.expect(201);
        for (body, field) in [
            (json!({"key": "02ff"}), "key"),
            (json!({"key": wallet.identity(), "kind": "ssh"}), "kind"),
            (json!({"key": wallet.identity(), "label": "x".repeat(101)}), "label"),
            (json!({}), "key"),
        ] {
            assert_eq!(alice.post("/v1/users/me/keys", body).await.expect(400)["field"], field);
        }
        let narrow = json!({"label": "n", "scope": "write", "user": "alice"});
        let narrow = site.operator().post("/v1/tokens", narrow).await.expect(201);
        let narrow = site.with_token(narrow["secret"].as_str().unwrap());
        narrow.post("/v1/users/me/keys", json!({"key": wallet.identity()})).await.expect(403);
        narrow.delete(&format!("/v1/users/me/keys/{}", wallet.identity())).await.expect(403);
    })
    .await;
}

#[tokio::test]
async fn failures_are_signed_and_streams_refused() {
    on_sqlite(async |site| {
        let wallet = wallet(site, 7).await;
        let key = json!({"key": wallet.identity()});
        site.operator().post("/v1/users/operator/keys", key).await.expect(201);
        site.operator().ready("claw", json!({})).await;
        for path in ["/v1/instances/claw", "/v1/instances/claw/stats", "/v1/instances/claw/logs"] {
            let reply = wallet.get(path).await;
            assert!(is_signed(&reply) && reply.status == 200, "{path}: {}", reply.text);
            assert!(!reply.header("x-request-id").is_empty());
        }
        // Asked for by a browser's `EventSource`, or to be followed without an end.
        let eager = Wallet { client: wallet.client.with("accept", "text/event-stream"), ..wallet };
        for path in ["/v1/events", "/v1/instances/claw/logs?follow=true"] {
            let reply = eager.get(path).await;
            assert!(is_signed(&reply));
            assert_eq!(reply.expect(406)["code"], "not_signable");
        }
        let wallet = Wallet { client: eager.client.without("accept"), ..eager };
        let socket = Wallet {
            client: wallet.client.with("connection", "upgrade").with("upgrade", "websocket"),
            ..wallet
        };
        let reply = socket.get("/v1/instances/claw/exec?command=id").await;
        assert!(is_signed(&reply));
        reply.expect(406);
        site.engine.down();
        let wallet = Wallet { client: socket.client.without("upgrade").without("connection"), ..socket };
        let reply = wallet.get("/v1/instances/claw/stats").await;
        assert!(is_signed(&reply), "{}", reply.text);
        reply.expect(503);
        site.engine.up();
    })
    .await;
}

#[tokio::test]
async fn use_is_recorded_and_sessions_end() {
    on_sqlite(async |site| {
        let wallet = wallet(site, 7).await;
        wallet.call("POST", "/api/v1/register", None).await.expect(200);
        wallet.get("/v1/users/me").await.expect(200);
        site.clock.forward(Duration::from_mins(59));
        wallet.get("/v1/users/me").await.expect(200);
        site.clock.forward(Duration::from_mins(61));
        let stale = wallet.get("/v1/users/me").await;
        assert!(stale.status == 401 && !is_signed(&stale), "{}", stale.text);
    })
    .await;
}

#[tokio::test]
async fn wrong_signatures_are_throttled_by_address() {
    on_sqlite(async |site| {
        let wallet = wallet(site, 7).await;
        wallet.call("POST", "/api/v1/register", None).await.expect(200);
        let mut last = 0;
        for n in 0..10 {
            let forged = wallet
                .client
                .request("GET".parse().unwrap(), "/v1/users/me")
                .header(names::VERSION, "0.1")
                .header(names::IDENTITY_KEY, wallet.identity())
                .header(names::NONCE, Nonce::from_random([200 + n; 48]).as_str())
                .header(names::YOUR_NONCE, wallet.link.theirs.as_str())
                .header(names::REQUEST_ID, base64(&[1; 32]))
                .header(names::SIGNATURE, hex::encode(wallet.key.sign(b"something else")));
            let reply = wallet.client.send(forged).await;
            assert!(is_signed(&reply), "{}", reply.text);
            last = reply.status;
        }
        assert_eq!(last, 429);
    })
    .await;
}

#[tokio::test]
async fn the_server_s_own_key_is_kept_sealed_or_configured() {
    on_both(async |site| {
        let first = wallet(site, 7).await.link.identity;
        site.restart().await;
        assert_eq!(wallet(site, 7).await.link.identity, first);
        let secret = site.app().settings.identity.mainnet.to_hex();
        assert_eq!(PrivateKey::from_hex(&secret).unwrap().public(), first);
        let (stored, shown) = (site.database_bytes(), site.operator().get("/v1/system/config").await.text);
        assert!(!stored.windows(secret.len()).any(|w| w == secret.as_bytes()));
        assert!(!shown.contains(&secret));
    })
    .await;
    on_sqlite_with(
        |config| config.identity.mainnet_key = Some(ryokan_model::Secret::new("22".repeat(32))),
        async |site| {
            assert_eq!(wallet(site, 7).await.link.identity, Wallet::key_of(0x22).public());
            let shown = site.operator().get("/v1/system/config").await;
            assert!(!shown.text.contains(&"22".repeat(32)) && shown.text.contains("(set)"), "{}", shown.text);
        },
    )
    .await;
}
