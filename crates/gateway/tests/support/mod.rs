//! A gateway on a real socket, scripted agents behind it, and a client that writes raw bytes.
#![expect(dead_code, unreachable_pub, reason = "each test binary uses its own part")]

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::body::Incoming;
use hyper::{Request, Response};
use ryokan_gateway::{
    Authenticator, Body, Cidr, Clock, ControlPlane, Gateway, Limits, Meter, Parts, Peer, ResponseFuture,
    Route, RouteState, RouteTable, SigningKey, Snapshot, Ticket, Usage, Verdict, mint_ticket,
};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Nothing in these tests takes longer, unless it hangs.
pub async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("took too long")
}

#[derive(Default)]
pub struct TestClock(Mutex<u64>);

impl TestClock {
    pub fn advance(&self, seconds: u64) {
        *self.0.lock().unwrap() += seconds;
    }
}

impl Clock for TestClock {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_000_000 + *self.0.lock().unwrap())
    }
}

#[derive(Default)]
pub struct TestMeter(pub Mutex<HashMap<String, Usage>>);

impl Meter for TestMeter {
    fn record(&self, instance_id: &str, usage: Usage) {
        let mut all = self.0.lock().unwrap();
        let sum = all.entry(instance_id.to_owned()).or_default();
        sum.requests += usage.requests;
        sum.bytes_in += usage.bytes_in;
        sum.bytes_out += usage.bytes_out;
    }
}

/// `owner` holds the token `ryk_good` (credential `good`), the dashboard cookie `dash` and any session that is not
/// revoked;
/// `stranger` is signed in and may use nothing.
#[derive(Default)]
pub struct TestAuthenticator {
    pub revoked: Mutex<HashSet<String>>,
    pub woken: AtomicUsize,
    /// Tokens that let nobody in; after three there is a wait.
    pub guesses: Mutex<Vec<String>>,
}

fn verdict(user: &str) -> Verdict {
    match user {
        "owner" => Verdict::Allowed { user: "owner".into(), credential: "good".into() },
        "stranger" => Verdict::Unknown,
        _ => Verdict::NotAuthenticated,
    }
}

impl Authenticator for TestAuthenticator {
    fn bearer(&self, token: &str, _: IpAddr, _: &Route) -> Verdict {
        match token {
            "ryk_good" | "plain-good" => verdict("owner"),
            "ryk_foreign" => verdict("stranger"),
            _ => Verdict::NotAuthenticated,
        }
    }

    fn refused(&self, token: &str, address: IpAddr) -> Option<u64> {
        assert!(address.is_loopback());
        let mut guesses = self.guesses.lock().unwrap();
        guesses.push(token.to_owned());
        (guesses.len() > 3).then_some(7)
    }

    fn is_secret(&self, text: &str) -> bool {
        text == "plain-good"
    }

    fn agent_session(&self, user: &str, session: &str, _: &Route) -> Verdict {
        if self.revoked.lock().unwrap().contains(session) { Verdict::NotAuthenticated } else { verdict(user) }
    }

    fn dashboard_session(&self, cookie: &str, _: &Route) -> Verdict {
        match cookie {
            "dash" => verdict("owner"),
            "foreign" => verdict("stranger"),
            _ => Verdict::NotAuthenticated,
        }
    }

    fn is_still_good(&self, credential: &str, _: &Route) -> bool {
        !self.revoked.lock().unwrap().contains(credential)
    }

    fn wake(&self, _: &Route) {
        self.woken.fetch_add(1, SeqCst);
    }
}

/// Says what it was asked; `/upgrade` echoes raw bytes.
struct TestControlPlane(TaskTracker, Mutex<HashSet<[u8; 16]>>);

impl ControlPlane for TestControlPlane {
    fn use_ticket(&self, nonce: [u8; 16]) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(async move { self.1.lock().unwrap().insert(nonce) })
    }

    fn handle(&self, mut request: Request<Incoming>, peer: Peer) -> ResponseFuture<'_> {
        let tasks = self.0.clone();
        Box::pin(async move {
            if request.uri().path() == "/upgrade" {
                let upgrade = hyper::upgrade::on(&mut request);
                tasks.spawn(async move {
                    let mut io = hyper_util::rt::TokioIo::new(upgrade.await.unwrap());
                    let mut buffer = [0; 1024];
                    while let Ok(read @ 1..) = io.read(&mut buffer).await {
                        io.write_all(&buffer[..read]).await.unwrap();
                    }
                });
                return Response::builder()
                    .status(101)
                    .header("connection", "upgrade")
                    .header("upgrade", "test")
                    .body(Body::empty())
                    .unwrap();
            }
            let names: Vec<_> = request.headers().keys().map(ToString::to_string).collect();
            let (path, secure) = (request.uri().path().to_owned(), peer.secure);
            Response::new(Body::full(format!("control {path} {} {secure} {}", peer.ip, names.join(","))))
        })
    }
}

pub struct World {
    pub address: SocketAddr,
    pub routes: Arc<RouteTable>,
    pub meter: Arc<TestMeter>,
    pub clock: Arc<TestClock>,
    pub authenticator: Arc<TestAuthenticator>,
    pub key: SigningKey,
    pub gateway: Gateway,
    pub soft: CancellationToken,
    pub hard: CancellationToken,
    pub tasks: TaskTracker,
    pub served: JoinHandle<()>,
}

impl World {
    pub async fn new(snapshot: Snapshot) -> Self {
        Self::with(snapshot, Limits::default(), &[]).await
    }

    pub async fn with(snapshot: Snapshot, limits: Limits, trusted: &[&str]) -> Self {
        let tasks = TaskTracker::new();
        let routes = Arc::new(RouteTable::new(snapshot));
        let (meter, clock, authenticator) = (Arc::default(), Arc::default(), Arc::default());
        let key = SigningKey::new(&[9; 32]);
        let gateway = Gateway::new(Parts {
            routes: Arc::clone(&routes),
            control_plane: Arc::new(TestControlPlane(tasks.clone(), Mutex::default())),
            authenticator: Arc::clone(&authenticator) as Arc<dyn Authenticator>,
            meter: Arc::clone(&meter) as Arc<dyn Meter>,
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            key: key.clone(),
            trusted_proxies: trusted.iter().map(|range| range.parse::<Cidr>().unwrap()).collect(),
            limits,
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (soft, hard) = (CancellationToken::new(), CancellationToken::new());
        let (soft_too, hard_too) = (soft.clone(), hard.clone());
        let serving = gateway.clone();
        let served = tasks.spawn(async move { serving.serve(listener, soft_too, hard_too).await });
        Self { address, routes, meter, clock, authenticator, key, gateway, soft, hard, tasks, served }
    }

    pub async fn connect(&self) -> Raw {
        Raw(BufReader::new(TcpStream::connect(self.address).await.unwrap()))
    }

    /// One request on a connection of its own.
    pub async fn ask(&self, request: &str) -> Answer {
        let mut client = self.connect().await;
        client.send(request).await;
        within(client.answer()).await
    }

    /// `GET path` of a host, with further header lines (each ending in CRLF).
    pub async fn get(&self, host: &str, path: &str, headers: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n")).await
    }

    pub fn ticket(&self, user: &str, instance: &str, host: &str, nonce: u8) -> String {
        let ticket = Ticket {
            instance_id: instance.into(),
            user: user.into(),
            session: "session-1".into(),
            host: host.into(),
        };
        mint_ticket(&self.key, &ticket, [nonce; 16], self.clock.now())
    }

    pub fn usage(&self, instance: &str) -> Usage {
        self.meter.0.lock().unwrap().get(instance).copied().unwrap_or_default()
    }

    /// Waits for something that other tasks bring about.
    pub async fn until(&self, done: impl Fn() -> bool) {
        within(async {
            while !done() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
    pub trailers: String,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<String> {
        headers(&self.head, name).into_iter().next()
    }

    pub fn headers(&self, name: &str) -> Vec<String> {
        headers(&self.head, name)
    }
}

/// All values of a header in a head.
pub fn headers(head: &str, name: &str) -> Vec<String> {
    head.lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .filter(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim().to_owned())
        .collect()
}

pub fn header(head: &str, name: &str) -> Option<String> {
    headers(head, name).into_iter().next()
}

/// One end of a connection, read with a parser that believes everything.
pub struct Raw(pub BufReader<TcpStream>);

impl Raw {
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // A gateway that refuses may have closed already.
        let _ = self.0.write_all(bytes.as_ref()).await;
    }

    /// Up to and with the blank line; empty at the end of the connection.
    pub async fn head(&mut self) -> String {
        let mut head = String::new();
        loop {
            let mut line = Vec::new();
            match self.0.read_until(b'\n', &mut line).await {
                Ok(0) | Err(_) => return head,
                Ok(_) => head.push_str(&String::from_utf8_lossy(&line)),
            }
            if line == b"\r\n" {
                return head;
            }
        }
    }

    pub async fn exactly(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.0.read_exact(&mut bytes).await.unwrap();
        bytes
    }

    pub async fn chunk(&mut self) -> Vec<u8> {
        let mut line = String::new();
        self.0.read_line(&mut line).await.unwrap();
        let length =
            usize::from_str_radix(line.trim(), 16).unwrap_or_else(|_| panic!("not a chunk: {line:?}"));
        if length == 0 {
            return Vec::new();
        }
        let mut bytes = self.exactly(length + 2).await;
        bytes.truncate(length);
        bytes
    }

    /// A body of a message with this head; `to_end` says what no framing means.
    pub async fn body(&mut self, head: &str, to_end: bool) -> (Vec<u8>, String) {
        let mut body = Vec::new();
        if header(head, "transfer-encoding").is_some() {
            loop {
                let chunk = self.chunk().await;
                if chunk.is_empty() {
                    return (body, self.head().await);
                }
                body.extend(chunk);
            }
        }
        match header(head, "content-length") {
            Some(length) => body = self.exactly(length.parse().unwrap()).await,
            None if to_end => {
                let _ = self.0.read_to_end(&mut body).await;
            }
            None => {}
        }
        (body, String::new())
    }

    pub async fn answer(&mut self) -> Answer {
        self.answer_to("GET").await
    }

    pub async fn answer_to(&mut self, method: &str) -> Answer {
        let head = self.head().await;
        let status: u16 = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        let bodiless = method == "HEAD" || status == 204 || status == 304 || status == 101 || status == 0;
        let (body, trailers) =
            if bodiless { (Vec::new(), String::new()) } else { self.body(&head, true).await };
        Answer { status, head, body, trailers }
    }

    /// Whether the other side has closed (or cut) the connection.
    pub async fn ended(&mut self) -> bool {
        let mut rest = Vec::new();
        within(self.0.read_to_end(&mut rest)).await.map_or(true, |_| rest.is_empty())
    }
}

/// A request as an agent got it.
#[derive(Clone, Debug)]
pub struct Got {
    pub head: String,
    pub body: Vec<u8>,
}

/// A scripted agent.
pub struct Agent {
    pub address: SocketAddr,
    pub got: Arc<Mutex<Vec<Got>>>,
    pub connections: Arc<AtomicUsize>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Agent {
    /// Every connection is given to `script`, with its number from 0.
    pub async fn scripted<F, R>(script: F) -> Self
    where
        F: Fn(Raw, usize, Arc<Mutex<Vec<Got>>>) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let agent = Self {
            address: listener.local_addr().unwrap(),
            got: Arc::default(),
            connections: Arc::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        let (got, count, tasks, stop) =
            (agent.got.clone(), agent.connections.clone(), agent.tasks.clone(), agent.stop.clone());
        agent.tasks.spawn(async move {
            loop {
                let accepted = tokio::select! {
                    () = stop.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                let raw = Raw(BufReader::new(accepted.unwrap().0));
                let running = script(raw, count.fetch_add(1, SeqCst), Arc::clone(&got));
                let stop = stop.clone();
                tasks.spawn(async move {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = running => {}
                    }
                });
            }
        });
        agent
    }

    /// Answers every request with the same bytes, on connections that stay open.
    pub async fn answering(response: impl Into<Vec<u8>>) -> Self {
        let response = Arc::new(response.into());
        Self::scripted(move |mut raw, _, got| {
            let response = Arc::clone(&response);
            async move {
                loop {
                    let head = raw.head().await;
                    if head.is_empty() {
                        return;
                    }
                    let (body, _) = raw.body(&head, false).await;
                    got.lock().unwrap().push(Got { head, body });
                    raw.send(response.as_slice()).await;
                }
            }
        })
        .await
    }

    pub async fn ok() -> Self {
        Self::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await
    }

    pub fn ready(&self) -> RouteState {
        RouteState::Ready { endpoint: self.address }
    }

    /// A public route `claw`, instance `i-1`.
    pub fn route(&self) -> Route {
        Route::new("i-1", "claw", self.ready())
    }

    pub fn last(&self) -> Got {
        self.got.lock().unwrap().last().cloned().expect("the agent got nothing")
    }

    pub fn count(&self) -> usize {
        self.got.lock().unwrap().len()
    }

    pub fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }
}

pub fn zone() -> Snapshot {
    Snapshot::new("localhost")
}
