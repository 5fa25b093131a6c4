//! A server that gives the answers it was told to give, and remembers what it was asked.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures_util::{StreamExt as _, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

type Body = UnsyncBoxBody<Bytes, std::io::Error>;
type Task = Pin<Box<dyn Future<Output = ()> + Send>>;
pub(crate) type Socket = WebSocketStream<TokioIo<Upgraded>>;
type SocketScript = Arc<dyn Fn(Socket) -> Task + Send + Sync>;

/// A piece of a streamed answer.
#[derive(Clone)]
pub(crate) enum Piece {
    Text(String),
    /// Goes on when it is told to.
    Wait(Arc<Notify>),
    /// The connection breaks.
    Break,
}

#[derive(Clone)]
pub(crate) enum Answer {
    Whole {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: Vec<u8>,
    },
    Stream {
        kind: &'static str,
        pieces: Vec<Piece>,
    },
    Socket(SocketScript),
    /// The connection breaks before the answer begins.
    Nothing,
}

pub(crate) fn text(text: impl Into<String>) -> Piece {
    Piece::Text(text.into())
}

/// One server-sent event.
pub(crate) fn sse(event: &str, data: &Value) -> Piece {
    text(format!("event: {event}\ndata: {data}\n\n"))
}

impl Answer {
    pub(crate) fn json(body: &Value) -> Self {
        Self::status(200, body)
    }

    pub(crate) fn status(status: u16, body: &Value) -> Self {
        let headers = vec![("content-type", "application/json".to_owned())];
        Self::Whole { status, headers, body: body.to_string().into_bytes() }
    }

    pub(crate) fn empty() -> Self {
        Self::Whole { status: 204, headers: vec![], body: vec![] }
    }

    pub(crate) fn bytes(body: &[u8]) -> Self {
        let headers = vec![("content-type", "application/octet-stream".to_owned())];
        Self::Whole { status: 200, headers, body: body.to_vec() }
    }

    pub(crate) fn page(items: &[Value]) -> Self {
        Self::json(&json!({ "items": items }))
    }

    pub(crate) fn problem(status: u16, code: &str, detail: &str) -> Self {
        Self::status(status, &json!({ "title": code, "status": status, "code": code, "detail": detail }))
    }

    pub(crate) fn events(pieces: impl IntoIterator<Item = Piece>) -> Self {
        Self::Stream { kind: "text/event-stream", pieces: pieces.into_iter().collect() }
    }

    pub(crate) fn lines(pieces: impl IntoIterator<Item = Piece>) -> Self {
        Self::Stream { kind: "application/x-ndjson", pieces: pieces.into_iter().collect() }
    }

    pub(crate) fn socket<F: Future<Output = ()> + Send + 'static>(
        script: impl Fn(Socket) -> F + Send + Sync + 'static,
    ) -> Self {
        Self::Socket(Arc::new(move |socket| Box::pin(script(socket))))
    }
}

/// What the server was asked.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// `GET /v1/instances?limit=500`.
    pub(crate) line: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

#[derive(Default)]
struct Script {
    answers: HashMap<String, VecDeque<Answer>>,
    seen: Vec<Seen>,
}

pub(crate) struct Server {
    pub(crate) url: String,
    script: Arc<Mutex<Script>>,
    _tasks: JoinSet<()>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let script = Arc::new(Mutex::new(Script::default()));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, script.clone()));
        Self { url, script, _tasks: tasks }
    }

    /// The answer to `GET /v1/instances`, whatever the query. Several are given one after the other; the last stays.
    pub(crate) fn on(&self, route: &str, answer: Answer) -> &Self {
        self.script.lock().unwrap().answers.entry(route.to_owned()).or_default().push_back(answer);
        self
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.script.lock().unwrap().seen.clone()
    }

    /// The requests without their content.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.seen().into_iter().map(|s| s.line).collect()
    }
}

async fn accept(listener: TcpListener, script: Arc<Mutex<Script>>) {
    let mut tasks = JoinSet::new();
    let (spawn, mut spawned) = mpsc::unbounded_channel::<Task>();
    loop {
        tokio::select! {
            connection = listener.accept() => {
                let (script, spawn) = (script.clone(), spawn.clone());
                let io = TokioIo::new(connection.unwrap().0);
                tasks.spawn(async move {
                    let service = service_fn(move |request| serve(request, script.clone(), spawn.clone()));
                    // A connection that breaks is what some tests are about.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(io, service)
                        .with_upgrades()
                        .await;
                });
            }
            task = spawned.recv() => {
                tasks.spawn(task.unwrap());
            }
        }
    }
}

async fn serve(
    mut request: Request<Incoming>,
    script: Arc<Mutex<Script>>,
    spawn: mpsc::UnboundedSender<Task>,
) -> Result<Response<Body>, std::io::Error> {
    let route = format!("{} {}", request.method(), request.uri().path());
    let line = format!("{} {}", request.method(), request.uri());
    let headers = request.headers().clone();
    let body = request.body_mut().collect().await.map_err(std::io::Error::other)?.to_bytes().to_vec();
    let answer = {
        let mut script = script.lock().unwrap();
        script.seen.push(Seen { line: line.clone(), headers: headers.clone(), body });
        match script.answers.get_mut(&route) {
            Some(answers) if answers.len() > 1 => answers.pop_front().unwrap(),
            Some(answers) => answers[0].clone(),
            None => Answer::problem(404, "not_found", &format!("nothing is scripted for {line}")),
        }
    };
    match answer {
        Answer::Whole { status, headers, body } => {
            let mut response = Response::new(Full::new(body.into()).map_err(|e| match e {}).boxed_unsync());
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            for (name, value) in headers {
                response
                    .headers_mut()
                    .append(HeaderName::from_static(name), HeaderValue::try_from(value).unwrap());
            }
            Ok(response)
        }
        Answer::Stream { kind, pieces } => {
            let chunks = stream::iter(pieces).filter_map(async |piece| match piece {
                Piece::Text(text) => Some(Ok(Frame::data(Bytes::from(text)))),
                Piece::Wait(notify) => {
                    notify.notified().await;
                    None
                }
                Piece::Break => {
                    // The connection writes what it has before it asks again.
                    tokio::task::yield_now().await;
                    Some(Err(std::io::Error::other("broken on purpose")))
                }
            });
            let body = StreamBody::new(chunks);
            let mut response = Response::new(body.boxed_unsync());
            response.headers_mut().insert("content-type", HeaderValue::from_static(kind));
            Ok(response)
        }
        Answer::Socket(script) => {
            let upgrade = hyper::upgrade::on(&mut request);
            let task = async move {
                let io = TokioIo::new(upgrade.await.unwrap());
                script(WebSocketStream::from_raw_socket(io, Role::Server, None).await).await;
            };
            assert!(spawn.send(Box::pin(task)).is_ok());
            let key = headers.get("sec-websocket-key").unwrap().as_bytes();
            let response = Response::builder()
                .status(StatusCode::SWITCHING_PROTOCOLS)
                .header("connection", "Upgrade")
                .header("upgrade", "websocket")
                .header("sec-websocket-accept", derive_accept_key(key))
                .body(Full::default().map_err(|e| match e {}).boxed_unsync());
            Ok(response.unwrap())
        }
        Answer::Nothing => Err(std::io::Error::other("no answer on purpose")),
    }
}
