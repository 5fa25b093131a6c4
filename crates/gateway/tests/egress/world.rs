//! A door on a loopback socket with a judge, callers and a resolver that tests change while it runs; and hosts.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use ryokan_gateway::egress::{
    Ask, Authority, AuthorityText, Bound, Caller, Callers, Credential, DoorId, Egress, EgressLimits,
    EgressParts, Inject, Inside, Judge, Judgement, Keys, Later, Outcome, Places, Rebuff, Record, RemoteHost,
    Resolver, Source, TlsParts, Treatment,
};
use ryokan_gateway::{Body, Clock, Secret};
use tokio::io::BufReader;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::support::{Answer, Raw, within};

pub const TOKEN: &str = "ryk_inst_one";
/// `agent:ryk_inst_one`.
pub const AUTH: &str = "Proxy-Authorization: Basic YWdlbnQ6cnlrX2luc3Rfb25l\r\n";
pub const SECRET: &str = "sk-live/9f8e7d6c5b4a\"3";
pub const PLACEHOLDER: &str = "ryk_cred_model0001";

struct Now;

impl Clock for Now {
    #[expect(
        clippy::disallowed_methods,
        reason = "certificates are checked by genuine clients, which know the time"
    )]
    fn now(&self) -> std::time::SystemTime {
        std::time::SystemTime::now()
    }
}

/// Policy and record, both open to tests.
#[derive(Default)]
pub struct State {
    /// `host:port` that may not be reached; and `METHOD path` likewise.
    pub denied: Mutex<HashSet<String>>,
    pub gone: Mutex<HashSet<String>>,
    pub asked: Mutex<Vec<Ask>>,
    pub done: Mutex<Vec<Outcome>>,
    pub rebuffed: Mutex<Vec<Rebuff>>,
    pub names: Mutex<HashMap<String, Vec<IpAddr>>>,
    pub resolved: Mutex<Vec<String>>,
    pub bound: Mutex<HashMap<String, Bound>>,
    /// Credentials that are disabled.
    pub disabled: Mutex<HashSet<String>>,
    next: AtomicU64,
}

fn deny_key(ask: &Ask) -> Vec<String> {
    let host = format!("{}:{}", ask.host(), ask.port());
    match ask {
        Ask::Connect { .. } => vec![host],
        Ask::Request { method, path, .. } => vec![host, format!("{method} {path}")],
    }
}

impl Callers for State {
    fn identify<'a>(
        &'a self,
        token: &'a str,
        source: SocketAddr,
        door: &'a DoorId,
    ) -> Later<'a, Option<Caller>> {
        Box::pin(async move {
            // The second instance has another address: its token is no good from this one.
            let instance = match token {
                "ryk_inst_one" if source.ip().to_string() == "127.0.0.1" => "one",
                "ryk_inst_two" if source.ip().to_string() == "127.0.0.2" => "two",
                _ => return None,
            };
            let caller = Caller { project: door.0.clone(), instance: instance.into(), token: token.into() };
            (&*door.0 == "project" && self.is_still(&caller)).then_some(caller)
        })
    }

    fn is_still(&self, caller: &Caller) -> bool {
        !self.gone.lock().unwrap().contains(&*caller.instance)
    }
}

impl Judge for State {
    fn judge<'a>(&'a self, caller: &'a Caller, ask: &'a Ask) -> Later<'a, Judgement> {
        Box::pin(async move {
            self.asked.lock().unwrap().push(ask.clone());
            if !self.is_still_allowed(caller, ask) {
                let sentence = "No rule allows this. Ask for it with \"egress.request\".".into();
                return Judgement::Denied { code: "egress_denied".into(), sentence };
            }
            let number = self.next.fetch_add(1, SeqCst).to_string();
            Judgement::Allowed { record: Record(number.into()) }
        })
    }

    fn is_still_allowed(&self, _: &Caller, ask: &Ask) -> bool {
        let denied = self.denied.lock().unwrap();
        !deny_key(ask).iter().any(|key| denied.contains(key))
    }

    fn done(&self, _: Record, outcome: Outcome) {
        self.done.lock().unwrap().push(outcome);
    }

    fn rebuffed(&self, rebuff: Rebuff) {
        self.rebuffed.lock().unwrap().push(rebuff);
    }
}

impl Keys for State {
    fn bound(&self, _: &Caller, host: &RemoteHost, _: u16) -> Bound {
        self.bound.lock().unwrap().get(&host.to_string()).cloned().unwrap_or_default()
    }

    fn is_good(&self, _: &Caller, credential: &str, _: u64) -> bool {
        !self.disabled.lock().unwrap().contains(credential)
    }
}

impl Resolver for State {
    fn resolve<'a>(&'a self, name: &'a str) -> Later<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            self.resolved.lock().unwrap().push(name.to_owned());
            let found = self.names.lock().unwrap().get(name).cloned();
            found.ok_or_else(|| io::ErrorKind::NotFound.into())
        })
    }
}

impl Inside for State {
    fn handle(&self, caller: Caller, request: Request<Incoming>) -> Later<'_, Response<Body>> {
        Box::pin(async move {
            let has_token = request.headers().values().any(|value| value.as_bytes().starts_with(b"Bearer"));
            let text = format!("inside {} {} token={has_token}", caller.instance, request.uri());
            Response::new(Body::full(text))
        })
    }
}

pub struct World {
    pub address: SocketAddr,
    pub state: Arc<State>,
    pub authority: AuthorityText,
    pub egress: Egress,
    pub soft: CancellationToken,
    pub hard: CancellationToken,
    pub tasks: TaskTracker,
    pub served: tokio::task::JoinHandle<()>,
}

impl World {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(adjust: impl FnOnce(&mut EgressLimits)) -> Self {
        let mut limits = EgressLimits::default();
        adjust(&mut limits);
        let state = Arc::new(State::default());
        let authority = Authority::create(Now.now()).unwrap();
        let egress = Egress::new(EgressParts {
            callers: Arc::clone(&state) as Arc<dyn Callers>,
            judge: Arc::clone(&state) as Arc<dyn Judge>,
            keys: Arc::clone(&state) as Arc<dyn Keys>,
            resolver: Arc::clone(&state) as Arc<dyn Resolver>,
            inside: Arc::clone(&state) as Arc<dyn Inside>,
            clock: Arc::new(Now),
            authority: Arc::new(
                Authority::load(&authority.certificate, &authority.key, limits.certificates).unwrap(),
            ),
            tls: TlsParts::with_roots(&test_ca().pem).unwrap(),
            exceptions: vec!["127.0.0.1".parse().unwrap()],
            limits,
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (soft, hard) = (CancellationToken::new(), CancellationToken::new());
        let tasks = TaskTracker::new();
        let serving = egress.clone();
        let (soft_too, hard_too) = (soft.clone(), hard.clone());
        let served = tasks.spawn(async move {
            serving.serve(listener, DoorId("project".into()), soft_too, hard_too).await;
        });
        Self { address, state, authority, egress, soft, hard, tasks, served }
    }

    /// `name` leads to these addresses.
    pub fn name(&self, name: &str, addresses: &[&str]) {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        self.state.names.lock().unwrap().insert(name.into(), addresses);
    }

    pub fn local(&self, name: &str) {
        self.name(name, &["127.0.0.1"]);
    }

    pub fn deny(&self, what: impl Into<String>) {
        self.state.denied.lock().unwrap().insert(what.into());
    }

    /// `name` is looked into, with these credentials.
    pub fn bind(&self, name: &str, credentials: Vec<Credential>) {
        self.local(name);
        let credentials = credentials.into_iter().map(Arc::new).collect();
        let bound = Bound { treatment: Treatment::Inspect, credentials };
        self.state.bound.lock().unwrap().insert(name.into(), bound);
    }

    pub async fn connect(&self) -> Raw {
        Raw(BufReader::new(TcpStream::connect(self.address).await.unwrap()))
    }

    /// A connection from another loopback address.
    pub async fn connect_from(&self, source: &str) -> Raw {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(source.parse().unwrap(), 0)).unwrap();
        Raw(BufReader::new(socket.connect(self.address).await.unwrap()))
    }

    /// One request on a connection of its own.
    pub async fn ask(&self, request: &str) -> Answer {
        let mut client = self.connect().await;
        client.send(request).await;
        within(client.answer()).await
    }

    /// `GET url` through the proxy, with further header lines.
    pub async fn get(&self, url: &str, headers: &str) -> Answer {
        let host = url.split('/').nth(2).unwrap();
        self.ask(&format!("GET {url} HTTP/1.1\r\nHost: {host}\r\n{AUTH}{headers}\r\n")).await
    }

    /// `CONNECT`; the answer, and the connection that is a tunnel now if it was granted.
    pub async fn tunnel(&self, authority: &str) -> (Answer, Raw) {
        let mut client = self.connect().await;
        client.send(format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{AUTH}\r\n")).await;
        let head = within(client.head()).await;
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        let body = if status == 200 { Vec::new() } else { within(client.body(&head, false)).await.0 };
        (Answer { status, head, body, trailers: String::new() }, client)
    }

    /// TLS to `name` through a tunnel, trusting our authority and the test's.
    pub async fn tls(&self, name: &str, port: u16, protocols: &[&str]) -> io::Result<TlsStream<TcpStream>> {
        let (answer, raw) = self.tunnel(&format!("{name}:{port}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        self.handshake(raw, name, protocols).await
    }

    pub async fn handshake(
        &self,
        raw: Raw,
        name: &str,
        protocols: &[&str],
    ) -> io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        for pem in [&self.authority.certificate, &test_ca().pem] {
            roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
        }
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let name = ServerName::try_from(name.trim_matches(['[', ']']).to_owned()).unwrap();
        within(TlsConnector::from(Arc::new(config)).connect(name, raw.0.into_inner())).await
    }

    pub fn outcomes(&self) -> Vec<Outcome> {
        self.state.done.lock().unwrap().clone()
    }

    pub fn rebuffs(&self) -> Vec<&'static str> {
        self.state.rebuffed.lock().unwrap().iter().map(|rebuff| rebuff.code).collect()
    }

    pub async fn until(&self, done: impl Fn() -> bool) {
        within(async {
            while !done() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

/// A credential with a placeholder in headers.
pub fn in_headers() -> Credential {
    Credential {
        id: "cred-1".into(),
        revision: 1,
        placeholder: Some(PLACEHOLDER.into()),
        places: Places { headers: true, ..Places::default() },
        inject: None,
        methods: Vec::new(),
        paths: Vec::new(),
        in_the_clear: false,
        source: Source::Fixed(Secret::from(SECRET)),
    }
}

pub fn injected(inject: Inject) -> Credential {
    Credential { placeholder: None, places: Places::default(), inject: Some(inject), ..in_headers() }
}

pub struct TestCa {
    pub pem: String,
    issuer: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
}

pub fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Vouches for all hosts of the tests; the proxy trusts it as an operator's own.
pub fn test_ca() -> &'static TestCa {
    static CA: OnceLock<TestCa> = OnceLock::new();
    CA.get_or_init(|| {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "hosts of the tests");
        let issuer =
            rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap();
        TestCa { pem: issuer.pem(), issuer }
    })
}

/// A chain and key for `name`, as PEM.
pub fn certificate_text(name: &str) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    (params.signed_by(&key, &test_ca().issuer).unwrap().pem(), key.serialize_pem())
}

/// A chain and key for `name`, by the tests' authority or by itself.
fn certificate(name: &str, is_trusted: bool) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = if is_trusted {
        params.signed_by(&key, &test_ca().issuer).unwrap()
    } else {
        params.self_signed(&key).unwrap()
    };
    (vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())))
}

/// A request as a host got it.
#[derive(Clone, Debug)]
pub struct Got {
    pub connection: usize,
    pub version: http::Version,
    pub method: Method,
    pub uri: String,
    pub headers: http::HeaderMap,
    pub body: Bytes,
    pub trailers: Option<http::HeaderMap>,
}

impl Got {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

pub type HostBody = UnsyncBoxBody<Bytes, Infallible>;
pub type Respond = Arc<dyn Fn(&Got) -> Response<HostBody> + Send + Sync>;

/// A genuine server: HTTP/1.1 and HTTP/2, with TLS or without.
pub struct Host {
    pub port: u16,
    pub got: Arc<Mutex<Vec<Got>>>,
    pub certificate: Option<CertificateDer<'static>>,
    stop: CancellationToken,
    _tasks: TaskTracker,
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub fn text(text: impl Into<Bytes>) -> Response<HostBody> {
    Response::new(Full::new(text.into()).boxed_unsync())
}

/// Says back what it got.
pub fn echo(got: &Got) -> Response<HostBody> {
    use std::fmt::Write as _;
    let mut out = format!("{:?} {} {}\n", got.version, got.method, got.uri);
    for (name, value) in &got.headers {
        let _ = writeln!(out, "{name}: {}", value.to_str().unwrap());
    }
    out.push_str(&String::from_utf8_lossy(&got.body));
    text(out)
}

impl Host {
    pub async fn plain() -> Self {
        Self::answering(None, true, &["http/1.1"], echo).await
    }

    pub async fn tls(name: &str) -> Self {
        Self::answering(Some(name), true, &["h2", "http/1.1"], echo).await
    }

    pub async fn answering<F>(name: Option<&str>, is_trusted: bool, protocols: &[&str], respond: F) -> Self
    where
        F: Fn(&Got) -> Response<HostBody> + Send + Sync + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (mut leaf, mut acceptor) = (None, None);
        if let Some(name) = name {
            let (chain, key) = certificate(name, is_trusted);
            leaf = chain.first().cloned();
            let mut config = ServerConfig::builder_with_provider(provider())
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(chain, key)
                .unwrap();
            config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
            acceptor = Some(TlsAcceptor::from(Arc::new(config)));
        }
        let (tasks, stop, got) = (TaskTracker::new(), CancellationToken::new(), Arc::default());
        let respond: Respond = Arc::new(respond);
        let (tasks_too, stop_too, got_too) = (tasks.clone(), stop.clone(), Arc::clone(&got));
        tasks.spawn(async move {
            for connection in 0.. {
                let stream = tokio::select! {
                    () = stop_too.cancelled() => return,
                    accepted = listener.accept() => accepted.unwrap().0,
                };
                let (respond, got, acceptor, stop) =
                    (Arc::clone(&respond), Arc::clone(&got_too), acceptor.clone(), stop_too.clone());
                tasks_too.spawn(async move {
                    let serving = async {
                        match acceptor {
                            Some(acceptor) => {
                                if let Ok(stream) = acceptor.accept(stream).await {
                                    serve(stream, connection, respond, got).await;
                                }
                            }
                            None => serve(stream, connection, respond, got).await,
                        }
                    };
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = serving => {}
                    }
                });
            }
        });
        Self { port, got, certificate: leaf, stop, _tasks: tasks }
    }

    pub fn last(&self) -> Got {
        self.got.lock().unwrap().last().cloned().expect("a request arrived")
    }

    pub fn count(&self) -> usize {
        self.got.lock().unwrap().len()
    }
}

async fn serve<S>(stream: S, connection: usize, respond: Respond, got: Arc<Mutex<Vec<Got>>>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |mut request: Request<Incoming>| {
        let (respond, got) = (Arc::clone(&respond), Arc::clone(&got));
        async move {
            let upgrade = request.headers().contains_key("upgrade").then(|| hyper::upgrade::on(&mut request));
            let (parts, body) = request.into_parts();
            let collected = body.collect().await;
            let (trailers, body) = match collected {
                Ok(collected) => (collected.trailers().cloned(), collected.to_bytes()),
                Err(_) => (None, Bytes::new()),
            };
            let request = Got {
                connection,
                version: parts.version,
                method: parts.method,
                uri: parts.uri.to_string(),
                headers: parts.headers,
                body,
                trailers,
            };
            let response = respond(&request);
            got.lock().unwrap().push(request);
            if let Some(upgrade) = upgrade.filter(|_| response.status() == 101) {
                // Says everything back.
                TaskTracker::new().spawn(async move {
                    let (mut read, mut write) = tokio::io::split(TokioIo::new(upgrade.await.unwrap()));
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
            Ok::<_, Infallible>(response)
        }
    });
    let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    let _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
}

/// HTTP over a stream: one request and its answer, collected.
pub struct Client {
    h1: Option<hyper::client::conn::http1::SendRequest<HostBody>>,
    h2: Option<hyper::client::conn::http2::SendRequest<HostBody>>,
    _tasks: TaskTracker,
}

impl Client {
    pub async fn over(stream: TlsStream<TcpStream>) -> Self {
        let tasks = TaskTracker::new();
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            let (sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                    .await
                    .unwrap();
            tasks.spawn(connection);
            return Self { h1: None, h2: Some(sender), _tasks: tasks };
        }
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tasks.spawn(connection.with_upgrades());
        Self { h1: Some(sender), h2: None, _tasks: tasks }
    }

    pub async fn send(&mut self, request: Request<HostBody>) -> hyper::Result<Response<Incoming>> {
        match (&mut self.h1, &mut self.h2) {
            (Some(sender), _) => within(sender.send_request(request)).await,
            (_, Some(sender)) => within(sender.send_request(request)).await,
            _ => unreachable!(),
        }
    }

    /// Status, head and body as text.
    pub async fn ask(
        &mut self,
        request: http::request::Builder,
        body: &str,
    ) -> (u16, http::HeaderMap, String) {
        let body = Full::new(Bytes::from(body.to_owned())).boxed_unsync();
        let response = self.send(request.body(body).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = within(body.collect()).await.unwrap().to_bytes();
        (parts.status.as_u16(), parts.headers, String::from_utf8_lossy(&body).into_owned())
    }
}
