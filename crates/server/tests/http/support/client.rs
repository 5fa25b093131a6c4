//! An HTTP client that says what it got when it is not what was expected.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use reqwest::Method;
use ryokan_model::InstanceId;
use serde_json::{Value, json};

use super::{eventually, within};

#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    pub base: String,
    pub token: Option<String>,
    headers: Vec<(String, String)>,
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub what: String,
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Reply {
    /// The body, if the status is this one.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}: {}", self.what, self.text);
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    /// The items of a page.
    #[track_caller]
    pub(crate) fn items(&self) -> Vec<Value> {
        self.expect(200)["items"].as_array().expect("a page").clone()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }
}

impl Client {
    pub(crate) fn new(address: SocketAddr, token: Option<&str>) -> Self {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(Duration::from_mins(1))
            .build()
            .unwrap();
        Self { http, base: format!("http://{address}"), token: token.map(str::to_owned), headers: Vec::new() }
    }

    /// The same client with one more header on every request.
    pub(crate) fn with(&self, name: &str, value: &str) -> Self {
        let mut other = self.clone();
        other.headers.push((name.to_owned(), value.to_owned()));
        other
    }

    /// The same client without a header that it was given.
    pub(crate) fn without(&self, name: &str) -> Self {
        let mut other = self.clone();
        other.headers.retain(|(known, _)| known != name);
        other
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Reply {
        let request = request.build().unwrap();
        let what = format!("{} {}", request.method(), request.url().path());
        let response = self.http.execute(request).await.unwrap_or_else(|e| panic!("{what}: {e:?}"));
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Reply { what, status, headers, text: response.text().await.unwrap_or_default() }
    }

    pub(crate) async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Reply {
        let mut request = self.request(method.parse().unwrap(), path);
        if let Some(body) = body {
            request = request.json(&body);
        }
        self.send(request).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.call("GET", path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Reply {
        self.call("POST", path, Some(body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Reply {
        self.call("PATCH", path, Some(body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Reply {
        self.call("PUT", path, Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Reply {
        self.call("DELETE", path, None).await
    }

    /// A body exactly as given, without any `Content-Type`.
    pub(crate) async fn raw(&self, method: &str, path: &str, body: &str) -> Reply {
        self.send(self.request(method.parse().unwrap(), path).body(body.to_owned())).await
    }

    /// Opens a stream of events; it must be one.
    pub(crate) async fn stream(&self, method: &str, path: &str, body: Option<Value>) -> Sse {
        let mut request = self.request(method.parse().unwrap(), path).header("accept", "text/event-stream");
        if let Some(body) = body {
            request = request.json(&body);
        }
        Sse::open(request).await
    }

    /// Creates an instance of the image `img`, with more fields; its id.
    pub(crate) async fn create(&self, name: &str, more: Value) -> InstanceId {
        let mut body = json!({"name": name, "image": "img", "ports": [{"name": "http", "port": 3000}]});
        for (key, value) in more.as_object().into_iter().flatten() {
            body[key] = value.clone();
        }
        let made = self.post("/v1/instances", body).await.expect(202);
        made["id"].as_str().unwrap().parse().unwrap()
    }

    pub(crate) async fn show(&self, name: &str) -> Value {
        self.get(&format!("/v1/instances/{name}")).await.expect(200)
    }

    /// Waits for the instance to be in `state`.
    pub(crate) async fn until(&self, name: &str, state: &str) -> Value {
        self.until_within(Duration::from_secs(20), name, state).await
    }

    pub(crate) async fn until_within(&self, time: Duration, name: &str, state: &str) -> Value {
        within(time, &format!("{name} is {state}"), async || {
            let row = self.show(name).await;
            if row["state"] == state { Ok(row) } else { Err(row.to_string()) }
        })
        .await
    }

    pub(crate) async fn until_gone(&self, name: &str) {
        eventually(&format!("{name} is gone"), async || {
            let reply = self.get(&format!("/v1/instances/{name}")).await;
            if reply.status == 404 { Ok(()) } else { Err(reply.text) }
        })
        .await;
    }

    pub(crate) async fn ready(&self, name: &str, more: Value) -> InstanceId {
        let id = self.create(name, more).await;
        self.until(name, "ready").await;
        id
    }
}

/// One event of a stream; a keep-alive is one with the name `:`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    pub name: String,
    pub id: String,
    pub data: Value,
}

/// A stream of events as it arrives.
pub(crate) struct Sse {
    body: std::pin::Pin<Box<dyn Stream<Item = reqwest::Result<bytes::Bytes>> + Send>>,
    buffer: String,
}

impl Sse {
    pub(crate) async fn open(request: reqwest::RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        let (status, kind) = (response.status(), response.headers()["content-type"].clone());
        assert!(
            status.is_success() && kind == "text/event-stream",
            "{status} {kind:?}: {}",
            response.text().await.unwrap()
        );
        Self { body: Box::pin(response.bytes_stream()), buffer: String::new() }
    }

    /// The next event or keep-alive; `None` at the end of the stream.
    pub(crate) async fn any(&mut self) -> Option<Event> {
        loop {
            if let Some(end) = self.buffer.find("\n\n") {
                let block: String = self.buffer.drain(..end + 2).collect();
                let mut event = Event { name: String::new(), id: String::new(), data: Value::Null };
                for line in block.lines().filter(|l| !l.is_empty()) {
                    let (field, value) = line.split_once(':').unwrap_or((line, ""));
                    let value = value.strip_prefix(' ').unwrap_or(value);
                    match field {
                        "event" => value.clone_into(&mut event.name),
                        "id" => value.clone_into(&mut event.id),
                        "data" => event.data = serde_json::from_str(value).unwrap(),
                        "" => event.name = ":".into(),
                        other => panic!("unknown field {other} in {block}"),
                    }
                }
                return Some(event);
            }
            let chunk = tokio::time::timeout(Duration::from_secs(20), self.body.next())
                .await
                .expect("something within 20 s")?;
            self.buffer.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
        }
    }

    /// The next event.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            let event = self.any().await?;
            if event.name != ":" {
                return Some(event);
            }
        }
    }

    /// All events to the end of the stream.
    pub(crate) async fn all(mut self) -> Vec<Event> {
        let mut events = Vec::new();
        let reading = async {
            while let Some(event) = self.next().await {
                events.push(event);
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(40), reading).await;
        assert!(ended.is_ok(), "a stream without an end: {events:?}");
        events
    }
}

/// The names of events, without repeats in a row.
pub(crate) fn names(events: &[Event]) -> Vec<&str> {
    let mut names: Vec<&str> = events.iter().map(|e| e.name.as_str()).collect();
    names.dedup();
    names
}
