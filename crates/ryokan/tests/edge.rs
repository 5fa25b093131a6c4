//! An agent without a way out, on the machine's engine, with the real server: it reaches the API that it may, whose key it
//! never sees; it talks to a model whose key it never sees; all else is closed, whichever way it is asked for. In the
//! end the keys are looked for wherever they could have leaked to. `scripts/database-image` makes the agent's image.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test; it polls with a deadline"
)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

#[expect(dead_code, reason = "the crash suite uses the rest")]
#[path = "support/mod.rs"]
mod support;

use support::rig::{Place, Rig, eventually, skip};

const IMAGE: &str = "ryokan/databases:dev";
const FIRST: &str = "canary-Kq7v-first/value+1";
const SECOND: &str = "canary-Zt4x-second/value+2";
const MODEL_KEY: &str = "canary-Mw9p-model/key+3";
const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A name server for `*.tea.test`, and what it was asked. Each name gives its addresses one after the other, the last one
/// for ever.
#[derive(Clone, Default)]
struct Names {
    known: Arc<Mutex<BTreeMap<String, Vec<Ipv4Addr>>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Names {
    fn serve() -> (Self, String) {
        let (names, socket) = (Self::default(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let address = socket.local_addr().unwrap().to_string();
        let own = names.clone();
        std::thread::spawn(move || {
            let mut query = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut query) {
                if let Some(answer) = own.answer(&query[..length]) {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        (names, address)
    }

    fn lead(&self, name: &str, to: &[Ipv4Addr]) {
        self.known.lock().unwrap().insert(name.to_owned(), to.to_vec());
    }

    fn answer(&self, query: &[u8]) -> Option<Vec<u8>> {
        let (mut at, mut labels) = (12, Vec::new());
        loop {
            let length = usize::from(*query.get(at)?);
            if length == 0 {
                break;
            }
            labels.push(String::from_utf8_lossy(query.get(at + 1..=at + length)?).to_lowercase());
            at += length + 1;
        }
        let question = query.get(12..at + 5)?;
        let wants_v4 = question[question.len() - 4..] == [0, 1, 0, 1];
        let name = labels.join(".");
        self.asked.lock().unwrap().push(name.clone());
        let mut known = self.known.lock().unwrap();
        let addresses = known.get_mut(&name);
        let code = if addresses.is_some() { 0x80 } else { 0x83 };
        let address = match addresses {
            Some(left) if wants_v4 && left.len() > 1 => Some(left.remove(0)),
            Some(left) if wants_v4 => left.first().copied(),
            _ => None,
        };
        let count = u8::from(address.is_some());
        let mut answer = [&query[..2], &[0x81, code, 0, 1, 0, count, 0, 0, 0, 0], question].concat();
        if let Some(address) = address {
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
            answer.extend(address.octets());
        }
        Some(answer)
    }
}

/// A host that says what it was shown, and remembers it.
#[derive(Clone)]
struct Upstream {
    port: u16,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Upstream {
    /// With TLS by a certificate for `api.tea.test`, whose authority is in the answer; or in the clear.
    fn serve(tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind((LOCAL, 0)).unwrap();
        let upstream = Self { port: listener.local_addr().unwrap().port(), seen: Arc::default() };
        let own = upstream.clone();
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let (own, tls) = (own.clone(), tls.clone());
                std::thread::spawn(move || match tls {
                    Some(config) => {
                        let connection = rustls::ServerConnection::new(config).unwrap();
                        own.answer(rustls::StreamOwned::new(connection, stream));
                    }
                    None => own.answer(stream),
                });
            }
        });
        upstream
    }

    fn answer(&self, mut stream: impl Read + Write) {
        let mut text = Vec::new();
        let mut byte = [0];
        while !text.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
            text.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&text).into_owned();
        if head.is_empty() {
            return;
        }
        let length =
            head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        let _ = stream.read_exact(&mut body);
        self.seen.lock().unwrap().push(head.clone());
        let answer = if head.starts_with("GET /away") {
            "HTTP/1.1 302 Found\r\nlocation: http://10.9.8.7/latest\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                .to_owned()
        } else {
            let body = match head.split(' ').nth(1) {
                Some("/v1/models") => json!({"object": "list", "data": [{"id": "tea", "object": "model"}]}).to_string(),
                Some("/v1/chat/completions") => json!({
                    "id": "c", "object": "chat.completion", "created": 0, "model": "tea",
                    "choices": [{"index": 0, "message": {"role": "assistant", "content": "oolong"}, "finish_reason": "stop"}],
                    "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
                })
                .to_string(),
                // A host may well say what it was shown.
                _ => head,
            };
            format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            )
        };
        let _ = stream.write_all(answer.as_bytes());
        let _ = stream.flush();
    }

    fn seen(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

/// A certificate for `api.tea.test`, and the authority that vouches for it.
fn certificate() -> (Arc<rustls::ServerConfig>, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).unwrap();
    let issuer = rcgen::Issuer::new(params, key);
    let leaf_key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["api.tea.test".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&leaf_key, &issuer).unwrap();
    let secret = rustls::pki_types::PrivatePkcs8KeyDer::from(leaf_key.serialize_der());
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], secret.into())
            .unwrap();
    (Arc::new(config), authority.pem())
}

struct World {
    rig: Rig,
    names: Names,
    api: Upstream,
    model: Upstream,
}

impl World {
    fn new() -> Self {
        let (names, dns) = Names::serve();
        names.lead("api.tea.test", &[Ipv4Addr::LOCALHOST]);
        let (config, authority) = certificate();
        let folder = tempfile::tempdir().unwrap().keep();
        let file = folder.join("authority.pem");
        std::fs::write(&file, authority).unwrap();
        let place = Place {
            environment: vec![
                ("RYOKAN_DNS_SERVERS", dns),
                ("RYOKAN_EGRESS_AUTHORITIES", file.display().to_string()),
            ],
            ..Place::default()
        };
        let rig = Rig::new(place);
        rig.up();
        Self { rig, names, api: Upstream::serve(Some(config)), model: Upstream::serve(None) }
    }

    fn api(&self) -> String {
        format!("https://api.tea.test:{}", self.api.port)
    }

    fn post(&self, path: &str, body: &Value, code: u16) -> Value {
        let (status, answer) = self.rig.call("POST", path, &body.to_string()).expect("an answer");
        assert_eq!(status, code, "{path}: {answer}");
        answer
    }

    fn agent(&self, name: &str, project: Option<&str>) {
        let mut spec = json!({
            "name": name, "template": "custom", "image": IMAGE, "command": ["sleep", "1000000"], "stop_grace": "0s",
        });
        spec["project"] = project.map_or(Value::Null, Value::from);
        let (status, answer) = self.rig.call("POST", "/v1/instances", &spec.to_string()).expect("an answer");
        assert!((200..300).contains(&status), "{answer}");
        self.rig.wait_state(name, "ready");
    }

    /// Output of a script inside an instance, and its errors.
    fn inside(&self, name: &str, script: &str) -> String {
        let body = json!({"command": ["sh", "-c", script], "timeout": "20s"}).to_string();
        let path = format!("/v1/instances/{name}/exec");
        let (code, answer) = self.rig.call("POST", &path, &body).expect("an answer");
        assert_eq!(code, 200, "{script}: {answer}");
        format!("{}{}", answer["stdout"].as_str().unwrap(), answer["stderr"].as_str().unwrap())
    }

    /// What `curl` says, its status last.
    fn curl(&self, name: &str, arguments: &str) -> String {
        self.inside(name, &format!("curl -sS -m 8 -w ' %{{http_code}}/%{{http_connect}}' {arguments}"))
    }

    fn allow(&self, host: &str, port: u16) {
        let resources = json!({"hosts": [host], "ports": [port.to_string()], "addresses": ["127.0.0.1/32"]});
        let rule =
            json!({"level": "system", "effect": "allow", "action": "egress.*", "resources": resources});
        self.post("/v1/policies", &rule, 201);
    }

    fn audit(&self) -> Vec<Value> {
        let (code, text) = self.rig.get("/v1/audit?limit=500").unwrap();
        assert_eq!(code, 200, "{text}");
        serde_json::from_str::<Value>(&text).unwrap()["items"].as_array().unwrap().clone()
    }
}

#[test]
fn an_agent_reaches_what_it_may_with_keys_that_it_never_sees() {
    let there = Command::new("docker").args(["image", "inspect", IMAGE]).output();
    if !there.is_ok_and(|output| output.status.success()) {
        return skip("no container engine with the agent's image (scripts/database-image makes it)");
    }
    if !rustix::process::geteuid().is_root() {
        return skip("the machine's rules are only root's to write");
    }
    let world = World::new();
    let credential = json!({
        "name": "tea", "kind": {"type": "bearer"}, "hosts": [format!("api.tea.test:{}", world.api.port)],
        "env": "TEA_TOKEN", "value": FIRST,
    });
    let placeholder =
        world.post("/v1/credentials", &credential, 201)["placeholder"].as_str().unwrap().to_owned();
    let provider = json!({
        "name": "kettle", "kind": "openai", "base_url": format!("http://127.0.0.1:{}/v1", world.model.port), "key": MODEL_KEY,
    });
    world.post("/v1/providers", &provider, 200);
    world.agent("bot", None);
    world.agent("sibling", None);
    world.post("/v1/projects", &json!({"name": "elsewhere"}), 201);
    world.agent("stranger", Some("elsewhere"));

    nothing_is_open(&world);
    what_is_allowed_is_reached(&world, &placeholder);
    tricks_do_not_work(&world);
    a_key_is_changed_and_switched_off(&world);
    a_model_answers(&world);
    the_door_outlives_the_server(&world);
    no_key_is_anywhere(&world);
    world.rig.tear_down();
    let tables = Command::new("nft").args(["list", "tables"]).output().unwrap();
    let ours = world.rig.server_id().replace('-', "");
    assert!(!String::from_utf8_lossy(&tables.stdout).contains(&ours), "the rules went with the last network");
}

/// As things are at first: no rule allows anything.
fn nothing_is_open(world: &World) {
    world.names.asked.lock().unwrap().clear();
    let said = world.curl("bot", &format!("{}/", world.api()));
    assert!(said.contains("403"), "{said}");
    assert_eq!(world.api.seen(), Vec::<String>::new());
    let asked = world.names.asked.lock().unwrap().clone();
    assert!(!asked.iter().any(|name| name.contains("tea")), "a name was looked up for nothing: {asked:?}");
    let rows = world.audit();
    let row = rows.iter().find(|row| row["resource"] == format!("api.tea.test:{}", world.api.port)).unwrap();
    assert_eq!((&row["decision"], &row["action"]), (&json!("deny"), &json!("egress.connect")), "{row}");

    // Without the proxy there is nothing at all, this machine included.
    let server = world.rig.url("/healthz");
    let port = server.split(':').nth(2).unwrap().split('/').next().unwrap();
    for target in
        [format!("$RYOKAN_PROXY:{port}"), format!("$RYOKAN_PROXY:{}", world.api.port), "1.1.1.1:443".into()]
    {
        let said = world.inside("bot", &format!("curl -sS -m 4 --noproxy '*' http://{target}/ && echo OPEN"));
        assert!(!said.contains("OPEN"), "{target}: {said}");
    }
}

fn what_is_allowed_is_reached(world: &World, placeholder: &str) {
    world.allow("api.tea.test", world.api.port);
    let said = world.curl("bot", &format!("{}/leaves", world.api()));
    assert!(said.contains("200/200"), "{said}");
    let seen = world.api.seen().concat();
    assert!(seen.contains(&format!("authorization: Bearer {FIRST}")), "{seen}");
    assert!(
        !said.contains(FIRST) && said.contains("Bearer ****"),
        "what the host repeats is scrubbed: {said}"
    );
    // As programs send it: the placeholder where the token goes.
    let said = world.curl("bot", &format!("-H \"Authorization: Bearer $TEA_TOKEN\" {}/", world.api()));
    assert!(said.contains("200/200") && !said.contains(FIRST), "{said}");
    assert!(world.api.seen().concat().contains(FIRST));
    assert_eq!(world.inside("bot", "printf %s \"$TEA_TOKEN\""), placeholder);
    let row = world.audit().into_iter().find(|row| row["action"] == "egress.request").unwrap();
    assert_eq!(row["decision"], "allow", "{row}");
}

fn tricks_do_not_work(world: &World) {
    // A sibling's token, and a token from another project's network.
    let token = world.inside("sibling", "printf %s \"$RYOKAN_TOKEN\"");
    for name in ["bot", "stranger"] {
        let proxy = format!("-x http://agent:{token}@$RYOKAN_PROXY:7780");
        let said = world.curl(name, &format!("{proxy} {}/", world.api()));
        assert!(said.contains("407"), "{name}: {said}");
    }
    let said = world.curl("bot", &format!("-x http://$RYOKAN_PROXY:7780 {}/", world.api()));
    assert!(said.contains("407"), "without a token: {said}");
    // A door of another project's network.
    let door = world.inside("stranger", "printf %s \"$RYOKAN_PROXY\"");
    let said = world.inside("bot", &format!("curl -sS -m 4 --noproxy '*' http://{door}:7780/ && echo OPEN"));
    assert!(!said.contains("OPEN"), "{said}");
    // Other ports, literal addresses in whatever spelling, a redirect into a private range.
    for target in [
        "https://api.tea.test:22/",
        "http://127.1:22/",
        "http://2130706433/",
        "http://[::ffff:127.0.0.1]/",
        "http://0x7f.1/",
    ] {
        let said = world.curl("bot", &format!("--noproxy '' '{target}'"));
        assert!(said.contains("403") || said.contains("400"), "{target}: {said}");
    }
    let said = world.curl("bot", &format!("-L {}/away", world.api()));
    assert!(said.contains("403"), "{said}");
    // A name that leads elsewhere once it is allowed, and one that leads to both.
    world.allow("rebound.tea.test", world.api.port);
    world.names.lead("rebound.tea.test", &[Ipv4Addr::new(10, 9, 8, 7)]);
    let said = world.curl("bot", &format!("https://rebound.tea.test:{}/", world.api.port));
    assert!(said.contains("/403") || said.contains("/502"), "{said}");
    // A placeholder that goes where it may not.
    world.allow("other.tea.test", world.model.port);
    world.names.lead("other.tea.test", &[Ipv4Addr::LOCALHOST]);
    let said =
        world.curl("bot", &format!("-H \"x-key: $TEA_TOKEN\" http://other.tea.test:{}/", world.model.port));
    assert!(said.contains("credential_not_for_host"), "{said}");
    assert_eq!(world.model.seen().iter().filter(|head| head.contains("x-key")).count(), 0);
    world.api.seen();
}

fn a_key_is_changed_and_switched_off(world: &World) {
    let patch = |body: Value| {
        let (code, answer) = world.rig.call("PATCH", "/v1/credentials/tea", &body.to_string()).unwrap();
        assert_eq!(code, 200, "{answer}");
    };
    patch(json!({"value": SECOND}));
    let said = world.curl("bot", &format!("{}/", world.api()));
    assert!(said.contains("200/200") && !said.contains(SECOND), "{said}");
    let seen = world.api.seen().concat();
    assert!(seen.contains(SECOND) && !seen.contains(FIRST), "{seen}");
    patch(json!({"enabled": false}));
    let said = world.curl("bot", &format!("-H \"Authorization: Bearer $TEA_TOKEN\" -k {}/", world.api()));
    let seen = world.api.seen().concat();
    assert!(!seen.contains(SECOND) && !seen.contains(FIRST), "{said} {seen}");
    patch(json!({"enabled": true}));
}

fn a_model_answers(world: &World) {
    let ask = r#"curl -sS -m 8 "$OPENAI_BASE_URL/chat/completions" -H "Authorization: Bearer $OPENAI_API_KEY" \
        -H 'Content-Type: application/json' -d '{"model": "tea", "messages": [{"role": "user", "content": "which?"}]}'"#;
    let said = eventually(
        Duration::from_secs(30),
        || format!("no model answers: {}\n{}", world.inside("bot", ask), world.rig.log()),
        || Some(world.inside("bot", ask)).filter(|said| said.contains("oolong")),
    );
    assert!(!said.contains(MODEL_KEY), "{said}");
    assert!(world.model.seen().concat().contains(MODEL_KEY), "the provider was shown its key");
    let other = ask.replace("$OPENAI_API_KEY", "ryk_agent_made-up");
    let said = world.inside("bot", &other);
    assert!(said.contains("not_authenticated"), "{said}");
}

fn the_door_outlives_the_server(world: &World) {
    world.rig.kill();
    world.rig.up();
    eventually(
        Duration::from_secs(40),
        || format!("the door is not open again\n{}", world.rig.log()),
        || Some(world.curl("bot", &format!("{}/again", world.api()))).filter(|said| said.contains("200/200")),
    );
    assert!(world.api.seen().concat().contains(SECOND));
}

/// Looks for all values wherever something of ours is kept or shown.
fn no_key_is_anywhere(world: &World) {
    let rig = &world.rig;
    let mut places: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for name in ["bot", "sibling", "stranger"] {
        let script =
            "env; for p in /proc/[0-9]*; do cat $p/environ $p/cmdline; done 2>/dev/null | tr '\\0' '\\n'";
        places.insert(format!("environment of {name}"), world.inside(name, script).into_bytes());
    }
    for container in rig.holdings("containers") {
        let inspected = Command::new("docker").args(["inspect", &container]).output().unwrap();
        places.insert(format!("inspect {container}"), inspected.stdout);
        let exported = Command::new("sh")
            .args(["-c", &format!("docker export {container} | grep -a -o 'canary-....-[a-z]*' | sort -u")])
            .output();
        places.insert(format!("files of {container}"), exported.unwrap().stdout);
        let logs = Command::new("docker").args(["logs", &container]).output().unwrap();
        places.insert(format!("logs of {container}"), [logs.stdout, logs.stderr].concat());
    }
    let history = Command::new("docker").args(["history", "--no-trunc", IMAGE]).output().unwrap();
    places.insert("layers of the image".into(), history.stdout);
    places.insert(
        "arguments of all processes".into(),
        Command::new("ps").args(["axww"]).output().unwrap().stdout,
    );
    places.insert("the server's log".into(), rig.log().into_bytes());
    let pid = rig.pid().unwrap();
    places.insert("the server's environment".into(), std::fs::read(format!("/proc/{pid}/environ")).unwrap());
    for path in [
        "/v1/events?limit=500",
        "/v1/audit?limit=500",
        "/v1/audit/export",
        "/v1/credentials",
        "/v1/providers",
        "/v1/policies?level=system",
        "/v1/system",
        "/v1/system/config",
        "/v1/system/jobs",
        "/metrics",
        "/v1/instances/bot",
    ] {
        let (code, text) = rig.get(path).unwrap();
        assert_eq!(code, 200, "{path}: {text}");
        places.insert(path.to_owned(), text.into_bytes());
    }
    for entry in std::fs::read_dir(rig.data()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            places.insert(path.display().to_string(), std::fs::read(&path).unwrap());
        }
    }
    assert!(places.keys().any(|place| place.ends_with("ryokan.db")), "the database was looked at");
    for (place, content) in &places {
        for canary in [FIRST, SECOND, MODEL_KEY] {
            // Values end differently once they are encoded; their middle stays.
            let middle = &canary.as_bytes()[..11];
            let found = content.windows(middle.len()).any(|window| window == middle);
            assert!(!found, "`{canary}` is in {place}");
        }
    }
    // The hunt itself finds what is there.
    let shown = TcpStream::connect((LOCAL, world.model.port)).map(|mut stream| {
        write!(stream, "GET / HTTP/1.1\r\nhost: x\r\nx: {FIRST}\r\n\r\n").unwrap();
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        text
    });
    assert!(shown.unwrap().contains(&FIRST[..11]));
}
