//! What each path answers. Bodies of any size pass through without being held.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::stream;
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode, header};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::serve::{Agent, Body};

const PAGE: &str = include_str!("page.html");

fn respond(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    response
}

pub(crate) fn json(status: StatusCode, value: &Value) -> Response<Body> {
    respond(status, "application/json", Full::from(format!("{value}\n")).boxed_unsync())
}

fn refuse(status: StatusCode, reason: &str) -> Response<Body> {
    json(status, &json!({ "error": reason }))
}

/// The value of `key` in the query; none of our values needs percent-decoding.
fn query<'a, B>(request: &'a Request<B>, key: &str) -> Option<&'a str> {
    request
        .uri()
        .query()?
        .split('&')
        .find_map(|pair| pair.split_once('=').filter(|(name, _)| *name == key))
        .map(|(_, value)| value)
}

pub(crate) fn index(agent: &Agent) -> Response<Body> {
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
    let page =
        PAGE.replace("{{greeting}}", &escape(&agent.greeting)).replace("{{name}}", &escape(&agent.name));
    respond(StatusCode::OK, "text/html; charset=utf-8", Full::from(page).boxed_unsync())
}

pub(crate) fn health(agent: &Agent) -> Response<Body> {
    let (status, word) = if agent.healthy.load(Ordering::Relaxed) {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "unhealthy")
    };
    json(status, &json!({ "status": word, "name": agent.name, "version": env!("CARGO_PKG_VERSION") }))
}

pub(crate) fn not_found(path: &str) -> Response<Body> {
    json(StatusCode::NOT_FOUND, &json!({ "error": "nothing here", "path": path }))
}

/// One event a second, the first at once. Ids count on from `Last-Event-ID`.
pub(crate) fn clock<B>(agent: &Agent, request: &Request<B>) -> Response<Body> {
    let seen = request.headers().get("last-event-id").and_then(|id| id.to_str().ok()?.parse::<u64>().ok());
    let first = seen.map_or(1, |id| id.saturating_add(1));
    let ticks = tokio::time::interval(Duration::from_secs(1));
    let ending = agent.ending.clone();
    let events = stream::unfold((ticks, first), move |(mut ticks, id)| {
        let ending = ending.clone();
        async move {
            tokio::select! {
                _ = ticks.tick() => {}
                () = ending.cancelled() => return None,
            }
            let event = format!("id: {id}\ndata: {:.3}\n\n", jiff::Timestamp::now());
            Some((Ok::<_, Infallible>(Frame::data(Bytes::from(event))), (ticks, id.saturating_add(1))))
        }
    });
    respond(StatusCode::OK, "text/event-stream", StreamBody::new(events).boxed_unsync())
}

pub(crate) fn environment() -> Response<Body> {
    let mut names: Vec<String> = std::env::vars_os().map(|(name, _)| name.display().to_string()).collect();
    names.sort();
    json(StatusCode::OK, &json!({ "names": names }))
}

/// Every header with all its values, in the order in which they came.
pub(crate) fn headers<B>(request: &Request<B>, peer: SocketAddr) -> Response<Body> {
    let mut headers = BTreeMap::<&str, Vec<String>>::new();
    for (name, value) in request.headers() {
        headers
            .entry(name.as_str())
            .or_default()
            .push(String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    let seen = json!({
        "method": request.method().as_str(),
        "uri": request.uri().to_string(),
        "version": format!("{:?}", request.version()),
        "peer": peer.to_string(),
        "headers": headers,
    });
    json(StatusCode::OK, &seen)
}

pub(crate) async fn upload(request: Request<Incoming>) -> Response<Body> {
    if !matches!(*request.method(), Method::POST | Method::PUT) {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "POST or PUT a body");
    }
    let mut body = request.into_body();
    let (mut hash, mut count) = (Sha256::new(), 0_u64);
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return refuse(StatusCode::BAD_REQUEST, "the body broke off") };
        if let Some(data) = frame.data_ref() {
            hash.update(data);
            count = count.saturating_add(data.remaining() as u64);
        }
    }
    json(StatusCode::OK, &json!({ "bytes": count, "sha256": hex::encode(hash.finalize()) }))
}

pub(crate) fn bytes<B>(request: &Request<B>) -> Response<Body> {
    match query(request, "n").and_then(|count| count.parse().ok()) {
        Some(left) => respond(StatusCode::OK, "application/octet-stream", Pattern { left }.boxed_unsync()),
        None => refuse(StatusCode::BAD_REQUEST, "say how many: /bytes?n=1024"),
    }
}

/// The answer still goes out: the server drains before it ends.
pub(crate) fn exit<B>(agent: &Agent, request: &Request<B>) -> Response<Body> {
    let Ok(code) = query(request, "code").unwrap_or("0").parse::<u8>() else {
        return refuse(StatusCode::BAD_REQUEST, "an exit code is 0 to 255");
    };
    let _ = agent.exit.send(code);
    json(StatusCode::OK, &json!({ "exit": code }))
}

/// `left` bytes, the i-th being `i % 256`, so that a test sees any byte that is lost or moved.
struct Pattern {
    left: u64,
}

static PATTERN: [u8; 64 * 1024] = {
    let mut bytes = [0; 64 * 1024];
    let mut i = 0;
    while i < bytes.len() {
        bytes[i] = i.to_le_bytes()[0];
        i += 1;
    }
    bytes
};

impl http_body::Body for Pattern {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(PATTERN.len());
        self.left -= count as u64;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&PATTERN[..count])))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
