//! A provider of both dialects that does what it is told: fails, falls silent, breaks off, and counts what it was asked.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

pub(crate) const KEY: &str = "sk-upstream-0123456789";
/// What a good answer uses.
pub(crate) const INPUT: i64 = 10;
pub(crate) const OUTPUT: i64 = 5;

/// What it does with the next calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Good,
    Status(u16),
    /// Answers nothing, ever.
    Silent,
    /// Begins a stream, and falls silent.
    Stalls,
    /// Begins a stream, and breaks the connection off.
    Breaks,
    /// Says nothing about tokens.
    Uncounted,
}

struct Inside {
    mood: Mutex<Mood>,
    asked: AtomicUsize,
    bodies: Mutex<Vec<(String, HeaderMap, Bytes)>>,
    open: AtomicUsize,
}

pub(crate) struct Upstream {
    pub(crate) url: String,
    inside: Arc<Inside>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Upstream {
    #[expect(clippy::disallowed_methods, reason = "a fake server, aborted when it is dropped")]
    pub(crate) async fn start() -> Self {
        let inside = Arc::new(Inside {
            mood: Mutex::new(Mood::Good),
            asked: AtomicUsize::new(0),
            bodies: Mutex::default(),
            open: AtomicUsize::new(0),
        });
        let router = Router::new()
            .route("/v1/models", get(models))
            .route("/v1/chat/completions", post(chat))
            .route("/v1/embeddings", post(embeddings))
            .route("/v1/messages", post(messages))
            .route("/v1/messages/count_tokens", post(count))
            .layer(axum::extract::DefaultBodyLimit::disable())
            .with_state(inside.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, inside, task }
    }

    pub(crate) fn is(&self, mood: Mood) {
        *self.inside.mood.lock().unwrap() = mood;
    }

    pub(crate) fn asked(&self) -> usize {
        self.inside.asked.load(Ordering::SeqCst)
    }

    /// Streams that it still believes in.
    pub(crate) fn open(&self) -> usize {
        self.inside.open.load(Ordering::SeqCst)
    }

    /// The last request: path, headers, body as it came.
    pub(crate) fn last(&self) -> (String, HeaderMap, Bytes) {
        self.inside.bodies.lock().unwrap().last().cloned().expect("a request")
    }

    pub(crate) fn last_json(&self) -> Value {
        serde_json::from_slice(&self.last().2).unwrap()
    }
}

fn may(headers: &HeaderMap) -> bool {
    let bearer =
        headers.get("authorization").is_some_and(|v| v.as_bytes() == format!("Bearer {KEY}").as_bytes());
    bearer || headers.get("x-api-key").is_some_and(|v| v.as_bytes() == KEY.as_bytes())
}

async fn models(headers: HeaderMap) -> Response {
    if !may(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    Json(json!({"object": "list", "data": [{"id": "m", "object": "model", "max_model_len": 8192}, {"id": "org/n"}]}))
        .into_response()
}

/// Notes the request; what it does instead of a good answer.
async fn note(inside: &Inside, uri: &Uri, headers: HeaderMap, body: &Bytes) -> Result<Mood, Response> {
    inside.asked.fetch_add(1, Ordering::SeqCst);
    let good = may(&headers);
    inside.bodies.lock().unwrap().push((uri.path().to_owned(), headers, body.clone()));
    if !good {
        return Err(StatusCode::UNAUTHORIZED.into_response());
    }
    let mood = *inside.mood.lock().unwrap();
    match mood {
        Mood::Status(status) => {
            let error = json!({"error": {"message": "so it was told", "type": "x", "code": "y"}});
            Err((StatusCode::from_u16(status).unwrap(), Json(error)).into_response())
        }
        Mood::Silent => {
            std::future::pending::<Infallible>().await;
            Ok(mood)
        }
        _ => Ok(mood),
    }
}

/// Counts a stream for as long as somebody reads it.
struct Open(Arc<Inside>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

fn sse(inside: Arc<Inside>, events: Vec<String>, mood: Mood) -> Response {
    inside.open.fetch_add(1, Ordering::SeqCst);
    let open = Open(inside);
    let said = stream::iter(events).then(|event| async move {
        tokio::time::sleep(Duration::from_millis(2)).await;
        Ok::<_, std::io::Error>(Bytes::from(event))
    });
    let body = match mood {
        Mood::Stalls => Body::from_stream(said.take(3).chain(stream::pending()).map(move |x| (x, &open).0)),
        Mood::Breaks => {
            let broken = stream::once(async { Err(std::io::Error::other("broken")) });
            Body::from_stream(said.take(3).chain(broken).map(move |x| (x, &open).0))
        }
        _ => Body::from_stream(said.map(move |x| (x, &open).0)),
    };
    ([("content-type", "text/event-stream; charset=utf-8")], body).into_response()
}

/// With odd spaces, so that a rewritten stream is seen.
pub(crate) fn chat_events(usage: bool) -> Vec<String> {
    let chunk = |rest: &str| {
        format!(
            "data: {{\"id\":\"c\",  \"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",{rest}}}\n\n"
        )
    };
    let mut events = vec![
        ": a comment\n\n".to_owned(),
        chunk(r#""choices":[{"index":0,"delta":{"role":"assistant","content":"hel"},"finish_reason":null}]"#),
        chunk(r#""choices":[{"index":0,"delta":{"content":"lo"},"finish_reason":null}]"#),
        chunk(r#""choices":[{"index":0,"delta":{},"finish_reason":"stop"}]"#),
    ];
    if usage {
        events.push(chunk(&format!(
            r#""choices":[],"usage":{{"prompt_tokens":{INPUT},"completion_tokens":{OUTPUT},"total_tokens":15}}"#
        )));
    }
    events.push("data: [DONE]\n\n".into());
    events
}

async fn chat(State(inside): State<Arc<Inside>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let mood = match note(&inside, &uri, headers, &body).await {
        Ok(mood) => mood,
        Err(response) => return response,
    };
    let asked: Value = serde_json::from_slice(&body).unwrap();
    if asked["stream"] == true {
        let usage = asked["stream_options"]["include_usage"] == true && mood != Mood::Uncounted;
        return sse(inside, chat_events(usage), mood);
    }
    let message = match asked["tools"].as_array() {
        Some(_) => json!({"role": "assistant", "content": null, "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}}]}),
        None => json!({"role": "assistant", "content": "hello"}),
    };
    let finish = if asked["tools"].is_array() { "tool_calls" } else { "stop" };
    let mut answer = json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}]});
    if mood != Mood::Uncounted {
        answer["usage"] = json!({"prompt_tokens": INPUT, "completion_tokens": OUTPUT, "total_tokens": 15});
    }
    Json(answer).into_response()
}

async fn embeddings(
    State(inside): State<Arc<Inside>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match note(&inside, &uri, headers, &body).await {
        Ok(_) => Json(json!({"object": "list", "model": "m", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}],
            "usage": {"prompt_tokens": INPUT, "total_tokens": INPUT}}))
        .into_response(),
        Err(response) => response,
    }
}

fn message_events() -> Vec<String> {
    let event = |name: &str, data: Value| format!("event: {name}\ndata: {data}\n\n");
    vec![
        event(
            "message_start",
            json!({"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant",
            "model": "m", "content": [], "stop_reason": null, "stop_sequence": null,
            "usage": {"input_tokens": INPUT, "output_tokens": 1}}}),
        ),
        event(
            "content_block_start",
            json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        ),
        event(
            "content_block_delta",
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hello"}}),
        ),
        event("content_block_stop", json!({"type": "content_block_stop", "index": 0})),
        event(
            "message_delta",
            json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null},
            "usage": {"output_tokens": OUTPUT}}),
        ),
        event("message_stop", json!({"type": "message_stop"})),
    ]
}

async fn messages(State(inside): State<Arc<Inside>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let mood = match note(&inside, &uri, headers, &body).await {
        Ok(mood) => mood,
        Err(response) => return response,
    };
    let asked: Value = serde_json::from_slice(&body).unwrap();
    if asked["stream"] == true {
        return sse(inside, message_events(), mood);
    }
    Json(
        json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
        "stop_sequence": null, "content": [{"type": "text", "text": "hello"}],
        "usage": {"input_tokens": INPUT, "output_tokens": OUTPUT}}),
    )
    .into_response()
}

async fn count(State(inside): State<Arc<Inside>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    match note(&inside, &uri, headers, &body).await {
        Ok(_) => Json(json!({"input_tokens": 7})).into_response(),
        Err(response) => response,
    }
}
