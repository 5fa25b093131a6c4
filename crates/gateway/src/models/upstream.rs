//! Lines to providers: pooled connections, how each is doing, and one exchange with its time-outs. Addresses of providers
//! are an operator's affair and may be private; redirects are not followed, and no proxy of the environment is used.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderMap, HeaderValue, header};
use ryokan_model::models::{Provider, ProviderKind};

use super::asked::Endpoint;
use super::fault::{Dialect, Fault, Kind};
use super::queue::{Bounds, Full, Queue};
use super::route::State;

/// Failures in a row after which a provider is left alone for a while.
const PATIENCE: u32 = 3;
const LONGEST_REST: Duration = Duration::from_secs(30);
/// An answer that does not stream.
const LARGEST: usize = 64 * 1024 * 1024;
/// An answer that says what was wrong.
const LARGEST_ERROR: usize = 256 * 1024;

/// What a provider is asked for, in its own dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    Chat,
    Embeddings,
    Messages,
    CountTokens,
}

pub(crate) const fn dialect_of(kind: ProviderKind) -> Dialect {
    match kind {
        ProviderKind::Ollama | ProviderKind::Openai => Dialect::Openai,
        ProviderKind::Anthropic => Dialect::Anthropic,
    }
}

impl Wire {
    /// How a provider of `dialect` answers this; `None` if it cannot.
    pub(crate) const fn of(endpoint: Endpoint, dialect: Dialect) -> Option<Self> {
        match (endpoint, dialect) {
            (Endpoint::Chat | Endpoint::Responses | Endpoint::Messages, Dialect::Openai) => Some(Self::Chat),
            (Endpoint::Embeddings, Dialect::Openai) => Some(Self::Embeddings),
            (Endpoint::Chat | Endpoint::Responses | Endpoint::Messages, Dialect::Anthropic) => {
                Some(Self::Messages)
            }
            (Endpoint::CountTokens, Dialect::Anthropic) => Some(Self::CountTokens),
            (Endpoint::Embeddings, Dialect::Anthropic) | (Endpoint::CountTokens, Dialect::Openai) => None,
        }
    }

    fn url(self, provider: &Provider) -> String {
        let base = &provider.base_url;
        let version = if provider.kind == ProviderKind::Ollama { "/v1" } else { "" };
        match self {
            Self::Chat => format!("{base}{version}/chat/completions"),
            Self::Embeddings => format!("{base}{version}/embeddings"),
            Self::Messages => format!("{base}/v1/messages"),
            Self::CountTokens => format!("{base}/v1/messages/count_tokens"),
        }
    }
}

#[derive(Default)]
struct Health {
    failures: u32,
    rests_until: Option<Instant>,
}

pub(crate) struct Line {
    pub(crate) provider: Arc<Provider>,
    pub(crate) queue: Arc<Queue>,
    client: reqwest::Client,
    health: Mutex<Health>,
}

/// Why an exchange brought no answer.
pub(crate) struct Trouble {
    pub(crate) fault: Fault,
    /// Somebody else may be asked, and so may the same provider.
    pub(crate) retry: bool,
    /// It came at once, so that the same one may be asked again at once.
    pub(crate) quick: bool,
}

/// A provider's refusal, in its own words.
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<u64>,
    pub(crate) body: Bytes,
}

pub(crate) enum Exchange {
    /// A good answer, its head read.
    Answer(reqwest::Response),
    Refusal(Refusal),
}

impl Line {
    fn new(provider: &Arc<Provider>) -> Result<Self, reqwest::Error> {
        let options = &provider.options;
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(Duration::from_millis(options.connect_ms))
            .pool_idle_timeout(Duration::from_secs(30))
            .tcp_nodelay(true)
            .build()?;
        let bounds = Bounds {
            running: options.concurrency,
            waiting: options.waiting,
            waiting_per_project: options.waiting_per_project,
            wait: Duration::from_millis(options.wait_ms),
        };
        let health = Mutex::default();
        Ok(Self { provider: provider.clone(), queue: Queue::new(bounds), client, health })
    }

    pub(crate) fn state(&self) -> State {
        let now = Instant::now();
        let rests = self.health.lock().unwrap_or_else(PoisonError::into_inner).rests_until;
        match rests.and_then(|until| until.checked_duration_since(now)) {
            Some(left) => State::Down(left.as_secs() + 1),
            None if self.queue.is_busy() => State::Busy,
            None => State::Ready,
        }
    }

    pub(crate) fn works(&self) {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = Health::default();
    }

    pub(crate) fn failed(&self) {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        health.failures = health.failures.saturating_add(1);
        if health.failures >= PATIENCE {
            let rest = Duration::from_secs(1 << (health.failures - PATIENCE).min(5)).min(LONGEST_REST);
            health.rests_until = Some(Instant::now() + rest);
        }
    }

    /// Sends, and waits for the head of the answer.
    pub(crate) async fn send(
        &self,
        wire: Wire,
        asked: &HeaderMap,
        body: Bytes,
        patience: Duration,
    ) -> Result<Exchange, Trouble> {
        let request = self
            .client
            .post(wire.url(&self.provider))
            .headers(self.headers(wire, asked))
            .header(header::CONTENT_TYPE, "application/json")
            .body(body);
        let response = match tokio::time::timeout(patience, request.send()).await {
            Err(_) => return Err(self.trouble(Kind::Timeout, "did not begin to answer in time", false)),
            Ok(Err(error)) if error.is_connect() || error.is_timeout() => {
                return Err(self.trouble(Kind::Upstream, "cannot be reached", true));
            }
            Ok(Err(error)) if error.is_builder() => {
                return Err(self.trouble(Kind::Internal, "has an address that is none", false));
            }
            Ok(Err(_)) => return Err(self.trouble(Kind::Upstream, "broke the connection off", true)),
            Ok(Ok(response)) => response,
        };
        let status = response.status().as_u16();
        let retry_after = response
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|v| v.to_str().ok()?.trim().parse().ok())
            .map(|seconds: u64| seconds.min(3_600));
        match status {
            200..=299 => Ok(Exchange::Answer(response)),
            401 | 403 => Err(self.trouble(Kind::Upstream, "refuses the key that it was given", false)),
            429 => {
                let fault = Fault::new(Kind::RateLimit, self.says("has too many calls; try again later"));
                let fault = Fault { retry_after: retry_after.or(Some(1)), ..fault };
                Err(Trouble { fault, retry: true, quick: false })
            }
            500..=599 => {
                let quick = matches!(status, 502 | 503 | 529);
                let mut trouble = self.trouble(Kind::Upstream, &format!("failed (HTTP {status})"), quick);
                if matches!(status, 503 | 529) {
                    trouble.fault.kind = Kind::Overloaded;
                    trouble.fault.retry_after = retry_after.or(Some(2));
                }
                Err(trouble)
            }
            300..=399 => {
                Err(self.trouble(Kind::Upstream, "answers with a redirect; its address is wrong", false))
            }
            _ => {
                let body = read(response, LARGEST_ERROR).await.unwrap_or_default();
                Ok(Exchange::Refusal(Refusal { status, retry_after, body }))
            }
        }
    }

    fn headers(&self, wire: Wire, asked: &HeaderMap) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::USER_AGENT, HeaderValue::from_static("ryokan"));
        let key = self.provider.key.as_ref().map(|key| key.expose());
        let secret = |text: String| {
            let mut value = HeaderValue::try_from(text).ok()?;
            value.set_sensitive(true);
            Some(value)
        };
        if let Wire::Messages | Wire::CountTokens = wire {
            let version = asked.get("anthropic-version").cloned();
            headers.insert("anthropic-version", version.unwrap_or(HeaderValue::from_static("2023-06-01")));
            if let Some(beta) = asked.get("anthropic-beta") {
                headers.insert("anthropic-beta", beta.clone());
            }
            if let Some(value) = key.and_then(|key| secret(key.to_owned())) {
                headers.insert("x-api-key", value);
            }
        } else if let Some(value) = key.and_then(|key| secret(format!("Bearer {key}"))) {
            headers.insert(header::AUTHORIZATION, value);
        }
        headers
    }

    fn says(&self, what: &str) -> String {
        format!("the provider `{}` {what}", self.provider.name)
    }

    /// Something that counts against the provider.
    pub(crate) fn trouble(&self, kind: Kind, what: &str, quick: bool) -> Trouble {
        self.failed();
        Trouble { fault: Fault::new(kind, self.says(what)), retry: true, quick }
    }

    pub(crate) fn full(&self, full: Full) -> Trouble {
        let (kind, what) = match full {
            Full::Queue => (Kind::RateLimit, "has no place for more calls"),
            Full::Project => (Kind::RateLimit, "has no place for more calls of this project"),
            Full::Time => (Kind::Overloaded, "had no place for this call in time"),
        };
        Trouble { fault: Fault::new(kind, self.says(what)).after(2), retry: true, quick: false }
    }
}

/// A whole body, if it is not larger.
async fn read(response: reqwest::Response, most: usize) -> Result<Bytes, &'static str> {
    let mut stream = response.bytes_stream();
    let mut all = Vec::new();
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(|_| "broke its answer off")?;
        if all.len() + piece.len() > most {
            return Err("sent an answer that is too large");
        }
        all.extend_from_slice(&piece);
    }
    Ok(all.into())
}

/// The same for an answer that is wanted.
pub(crate) async fn read_answer(
    line: &Line,
    response: reqwest::Response,
    patience: Duration,
) -> Result<Bytes, Trouble> {
    match tokio::time::timeout(patience, read(response, LARGEST)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(what)) => Err(line.trouble(Kind::Upstream, what, false)),
        Err(_) => Err(line.trouble(Kind::Timeout, "took too long", false)),
    }
}

/// One line for each provider, as long as it stays what it is.
#[derive(Default)]
pub(crate) struct Lines(Mutex<HashMap<String, Arc<Line>>>);

impl Lines {
    pub(crate) fn to(&self, provider: &Arc<Provider>) -> Result<Arc<Line>, Fault> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = lines.get(&provider.name)
            && (Arc::ptr_eq(&line.provider, provider) || line.provider == *provider)
        {
            return Ok(line.clone());
        }
        let line = Line::new(provider).map(Arc::new).map_err(|error| {
            tracing::error!(provider = provider.name, %error, "a client for a provider cannot be made");
            Fault::new(Kind::Internal, "the provider cannot be called; the server's log has more")
        })?;
        lines.insert(provider.name.clone(), line.clone());
        Ok(line)
    }

    /// Lets go of providers that are gone.
    pub(crate) fn keep(&self, known: impl Fn(&str) -> bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|name, _| known(name));
    }
}
