//! A chain for one test: a service of headers and ARC over plain HTTP, money that only they know, and a wallet that pays
//! with it. What the network was told is remembered.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ryokan_brc::message::names as auth;
use ryokan_brc::payment::{invoice, names as payment, p2pkh};
use ryokan_brc::preimage::{Request, request_headers};
use ryokan_brc::session::Link;
use ryokan_brc::{Nonce, PrivateKey, PublicKey};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::rig::Rig;

#[derive(Default)]
struct Known {
    /// Height and merkle root, as explorers show it.
    roots: BTreeMap<u64, String>,
    /// Transactions that ARC was given, in the order in which it was.
    told: Vec<String>,
    /// The script of an address that is asked for, and how much was told before its owner emptied it.
    agent: String,
    spent: usize,
}

/// Lives as long as the test.
pub(crate) struct Chain {
    pub(crate) url: String,
    known: Arc<Mutex<Known>>,
}

impl Chain {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let known = Arc::new(Mutex::new(Known::default()));
        let shared = known.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let known = shared.clone();
                // A server that dies in the middle of a question is no failure of ours.
                std::thread::spawn(move || drop(answer(stream, &known)));
            }
        });
        Self { url, known }
    }

    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("RYOKAN_ARC_URL", format!("{}/arc", self.url)),
            ("RYOKAN_HEADERS_URL", format!("{}/headers", self.url)),
            ("RYOKAN_ADDRESSES_URL", format!("{}/addresses", self.url)),
        ]
    }

    /// How many times ARC was told of a transaction with this output script.
    pub(crate) fn told_of(&self, script: &[u8]) -> usize {
        let script = hex::encode(script);
        self.known.lock().unwrap().told.iter().filter(|raw| raw.contains(&script)).count()
    }

    /// Whose address is asked for: it holds something when ARC was told of a transaction to it.
    pub(crate) fn watch(&self, key: &str) {
        self.known.lock().unwrap().agent = hex::encode(p2pkh(&key.parse().unwrap()));
    }

    /// The address's owner has spent all.
    pub(crate) fn empty(&self) {
        let mut known = self.known.lock().unwrap();
        known.spent = known.told.len();
    }

    /// Different transactions to the address, of which ARC was told.
    pub(crate) fn sent(&self) -> usize {
        let known = self.known.lock().unwrap();
        known.told.iter().filter(|raw| raw.contains(&known.agent)).collect::<BTreeSet<_>>().len()
    }

    /// Atomic BEEF of a transaction that pays `amount` to `script`, from mined money that anybody may spend. `salt` makes
    /// it another one, and where the money comes from has an output of so many bytes more.
    pub(crate) fn pay(&self, salt: u8, amount: u64, script: &[u8], ballast: usize) -> Vec<u8> {
        const ANYBODY: &[u8] = &[0x51];
        // What nobody can spend: `OP_FALSE OP_RETURN`, and anything.
        let mut more = vec![0x00, 0x6a];
        more.resize(2 + ballast, 0x61);
        let source = transaction([salt; 32], ANYBODY, &[(amount + 10, ANYBODY), (0, &more)]);
        let spend = transaction(hash(&source), &[], &[(amount, script)]);
        // Its block holds one more: the first is the coinbase.
        let (coinbase, mined) = ([salt ^ 0xff; 32], hash(&source));
        let mut root = hash(&[coinbase, mined].concat());
        let height = 800_000 + u64::from(salt);
        let mut beef = vec![1, 1, 1, 1];
        beef.extend(hash(&spend));
        beef.extend([1, 0, 0xbe, 0xef, 1, 0xfe]);
        beef.extend(u32::try_from(height).unwrap().to_le_bytes());
        // One level of two leaves: the coinbase's hash, and the source's, which is one of ours.
        beef.extend([1, 2, 0, 0]);
        beef.extend(coinbase);
        beef.extend([1, 2]);
        beef.extend(mined);
        // Two transactions: the first is in the first block path, the second in none.
        beef.push(2);
        beef.extend(source);
        beef.extend([1, 0]);
        beef.extend(spend);
        beef.push(0);
        root.reverse();
        self.known.lock().unwrap().roots.insert(height, hex::encode(root));
        beef
    }
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(Sha256::digest(bytes)).into()
}

/// Of one input, output 0 of `spent`.
fn transaction(spent: [u8; 32], unlocking: &[u8], outputs: &[(u64, &[u8])]) -> Vec<u8> {
    let mut raw = vec![1, 0, 0, 0, 1];
    raw.extend(spent);
    raw.extend([0; 4]);
    raw.push(u8::try_from(unlocking.len()).unwrap());
    raw.extend(unlocking);
    raw.extend([0xff; 4]);
    raw.push(u8::try_from(outputs.len()).unwrap());
    for (satoshis, script) in outputs {
        raw.extend(satoshis.to_le_bytes());
        match u8::try_from(script.len()) {
            Ok(short @ ..0xfd) => raw.push(short),
            _ => {
                raw.push(0xfe);
                raw.extend(u32::try_from(script.len()).unwrap().to_le_bytes());
            }
        }
        raw.extend(*script);
    }
    raw.extend([0; 4]);
    raw
}

/// One request of a connection.
fn answer(stream: TcpStream, known: &Mutex<Known>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut reader = BufReader::new(&stream);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? <= 2 {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let path = first.split(' ').nth(1).unwrap_or_default();
    let height = path.strip_prefix("/headers/block/").and_then(|rest| rest.strip_suffix("/header"));
    let mut known = known.lock().unwrap();
    let (status, value) = match height {
        Some(height) => match height.parse().ok().and_then(|height: u64| known.roots.get(&height)) {
            Some(root) => (200, json!({"merkleroot": root})),
            None => (404, json!({})),
        },
        None if path == "/arc/v1/tx" => {
            let given: Value = serde_json::from_slice(&body).unwrap_or_default();
            known.told.push(given["rawTx"].as_str().unwrap_or_default().to_owned());
            (200, json!({"txStatus": "SEEN_ON_NETWORK"}))
        }
        None if path.ends_with("/unconfirmed/balance") => (200, json!({"unconfirmed": 0})),
        None if path.starts_with("/addresses/address/") => {
            let held = known.told[known.spent..].iter().any(|raw| raw.contains(&known.agent));
            (200, json!({"confirmed": if held { 500 } else { 0 }}))
        }
        None => (404, json!({})),
    };
    let text = value.to_string();
    let head = format!(
        "HTTP/1.1 {status} Told\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        text.len()
    );
    (&stream).write_all(format!("{head}{text}").as_bytes())
}

/// Somebody who pays, with a session at the server.
pub(crate) struct Wallet {
    key: PrivateKey,
    link: Link,
    count: u8,
}

/// An answer: its status, its headers with their names in small letters, its body.
pub(crate) type Answer = (u16, BTreeMap<String, String>, Value);

impl Wallet {
    /// Sessions end with the server's process, so each life needs a new one; `salt` is another in each.
    pub(crate) fn open(rig: &Rig, key: u8, salt: u8) -> Self {
        let key = PrivateKey::from_bytes(&[key; 32]).unwrap();
        let nonce = Nonce::from_random([salt; 48]);
        let hello = json!({
            "version": "0.1", "messageType": "initialRequest", "identityKey": key.public().to_string(),
            "initialNonce": nonce.as_str(), "requestedCertificates": {"certifiers": [], "types": {}},
        });
        let headers = [("content-type".to_owned(), "application/json".to_owned())];
        let (code, _, welcome) = curl(rig, "/.well-known/auth", &headers, &hello.to_string()).unwrap();
        assert_eq!(code, 200, "{welcome}");
        let text = |field: &str| welcome[field].as_str().unwrap();
        let server: PublicKey = text("identityKey").parse().unwrap();
        // Seen from here, the server's nonce is theirs, and ours is ours.
        let link = Link::new(&key, server, text("initialNonce").parse().unwrap(), nonce);
        Self { key, link, count: 0 }
    }

    pub(crate) fn identity(&self) -> String {
        self.key.public().to_string()
    }

    /// The script that pays the server for a challenge.
    pub(crate) fn script(&self, prefix: &str, suffix: &str) -> [u8; 25] {
        let (server, shared) = (&self.link.identity, self.key.shared(&self.link.identity));
        p2pkh(&server.derive(&shared, &invoice(prefix, suffix).unwrap()).unwrap())
    }

    /// Asks what to pay, or pays. `None` when no answer came.
    pub(crate) fn pay(&mut self, rig: &Rig, amount: u64, offer: Option<&str>) -> Option<Answer> {
        self.count += 1;
        let (path, body) = ("/api/v1/project/operator/pay", json!({"amount": amount}).to_string());
        let mut plain = vec![("content-type".to_owned(), "application/json".to_owned())];
        plain.extend(offer.map(|offer| (payment::PAYMENT.to_owned(), offer.to_owned())));
        let id = [self.count; 32];
        let data = Request {
            id,
            method: "POST".into(),
            path: Some(path.into()),
            query: None,
            headers: request_headers(plain.iter().map(|(n, v)| (n.as_str(), v.as_str()))),
            body: Some(body.clone().into_bytes()),
        };
        let nonce = Nonce::from_random([self.count ^ 0x80; 48]);
        let signature = self.link.sign(&self.key, &nonce, &data.to_bytes()).unwrap();
        for (name, value) in [
            (auth::VERSION, "0.1".to_owned()),
            (auth::IDENTITY_KEY, self.identity()),
            (auth::NONCE, nonce.to_string()),
            (auth::YOUR_NONCE, self.link.theirs.to_string()),
            (auth::REQUEST_ID, BASE64.encode(id)),
            (auth::SIGNATURE, hex::encode(signature)),
        ] {
            plain.push((name.to_owned(), value));
        }
        curl(rig, path, &plain, &body)
    }

    /// What is sent along to pay.
    pub(crate) fn offer(prefix: &str, suffix: &str, beef: &[u8]) -> String {
        json!({"derivationPrefix": prefix, "derivationSuffix": suffix, "transaction": BASE64.encode(beef)})
            .to_string()
    }
}

/// A POST without the operator's token: a request has one credential.
fn curl(rig: &Rig, path: &str, headers: &[(String, String)], body: &str) -> Option<Answer> {
    // In a file: one may be longer than an argument.
    let lines = tempfile::NamedTempFile::new().unwrap();
    for (name, value) in headers {
        writeln!(lines.as_file(), "{name}: {value}").unwrap();
    }
    let mut command = Command::new("curl");
    command.args(["-sS", "-m", "15", "-D", "-", "-d", body]);
    command.arg("-H").arg(format!("@{}", lines.path().display()));
    let output = command.arg(rig.url(path)).stderr(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").filter(|_| output.status.success())?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let fields = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    let headers = fields.map(|(name, value)| (name.to_lowercase(), value.trim().to_owned())).collect();
    Some((status, headers, serde_json::from_str(body).unwrap_or(Value::String(body.to_owned()))))
}
