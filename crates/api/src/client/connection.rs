//! The connection behind every call: address, credential, time limits, and how an answer becomes a value or an error.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rand::TryRngCore as _;
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, COOKIE, HeaderMap, HeaderName, HeaderValue, ORIGIN,
};
use reqwest::{Method, Request, RequestBuilder, Response, Url};
use ryokan_model::Secret;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::ClientError;
use crate::{Page, Problem};

const CONNECT: Duration = Duration::from_secs(10);
const CALL: Duration = Duration::from_secs(30);
const KEEP_ALIVE: Duration = Duration::from_secs(20);
const MAX_ANSWER: usize = 64 * 1024 * 1024;
const MAX_PROBLEM: usize = 256 * 1024;
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
pub(super) const EVENT_STREAM: &str = "text/event-stream";

/// How the client shows who it is.
#[derive(Debug, Clone, Default)]
pub enum Credential {
    #[default]
    None,
    Token(Secret),
    /// A session cookie, `NAME=VALUE`, as [`Client::sign_in`] returns it.
    Session(Secret),
}

/// A handle to one server; cheap to clone.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    http: reqwest::Client,
    base: Url,
    credential: Credential,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("base", &self.inner.base.as_str())
            .field("credential", &self.inner.credential)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// `base` is the address of the server, as in `http://127.0.0.1:7700`; a path in it is kept.
    pub fn new(base: &str, credential: Credential) -> Result<Self, ClientError> {
        let base = parse_base(base)?;
        let http = build(&base, &credential, false)?;
        Ok(Self { inner: Arc::new(Inner { http, base, credential }) })
    }

    /// The server's address, without a trailing `/`.
    pub fn base(&self) -> String {
        shown(&self.inner.base)
    }

    /// The server is on this machine.
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.inner.base)
    }

    /// The address of a route. A segment that would change the path's meaning is refused.
    pub(super) fn url(&self, segments: &[&str], query: &impl Serialize) -> Result<Url, ClientError> {
        if let Some(bad) = segments.iter().find(|s| matches!(**s, "" | "." | "..")) {
            return Err(ClientError::Invalid(format!("`{bad}` is not a name or id")));
        }
        let mut url = self.inner.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        for (name, value) in pairs(query) {
            url.query_pairs_mut().append_pair(&name, &value);
        }
        Ok(url)
    }

    pub(super) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.inner.http.request(method, url)
    }

    /// For a WebSocket, which needs HTTP/1.1.
    pub(super) fn http1_get(&self, url: Url) -> Result<RequestBuilder, ClientError> {
        Ok(build(&self.inner.base, &self.inner.credential, true)?.get(url))
    }

    /// Sends without a limit of time and returns the answer when it is a success. What is safe to repeat is sent once
    /// more when the connection breaks before the answer begins.
    pub(super) async fn open(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let fail = |e: &reqwest::Error| ClientError::from_reqwest(&self.base(), e);
        let request = request.build().map_err(|e| fail(&e))?;
        let again = if is_repeatable(&request) { request.try_clone() } else { None };
        let response = match (self.inner.http.execute(request).await, again) {
            (Err(error), Some(again)) if !error.is_connect() && !error.is_timeout() => {
                self.inner.http.execute(again).await
            }
            (result, _) => result,
        };
        self.check(response.map_err(|e| fail(&e))?).await
    }

    /// A success as it is; anything else as the error that it tells.
    pub(super) async fn check(&self, response: Response) -> Result<Response, ClientError> {
        let status = response.status();
        if status.is_success() || status.as_u16() == 101 {
            return Ok(response);
        }
        if status.is_redirection() {
            let to =
                response.headers().get("location").and_then(|v| v.to_str().ok()).unwrap_or("another address");
            return Err(ClientError::Protocol(format!(
                "{} redirects to {to}: use that address",
                self.base()
            )));
        }
        let retry_after =
            response.headers().get("retry-after").and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
        let body = self.body(response, MAX_PROBLEM).await.unwrap_or_default();
        if let Ok(mut problem) = serde_json::from_slice::<Problem>(&body) {
            problem.status = status.as_u16();
            problem.retry_after = problem.retry_after.or(retry_after);
            return Err(ClientError::problem(problem));
        }
        if matches!(status.as_u16(), 502..=504) {
            let why = format!("a proxy in front of it answered {status}");
            return Err(ClientError::Unreachable { url: self.base(), why });
        }
        Err(ClientError::Protocol(format!(
            "{} answered {status} without saying why: is it a ryokan server?",
            self.base()
        )))
    }

    pub(super) async fn body(&self, mut response: Response, limit: usize) -> Result<Vec<u8>, ClientError> {
        let mut body = Vec::new();
        while let Some(chunk) =
            response.chunk().await.map_err(|e| ClientError::from_reqwest(&self.base(), &e))?
        {
            if body.len() + chunk.len() > limit {
                return Err(ClientError::Protocol(format!("{} sent more than {limit} bytes", self.base())));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    pub(super) async fn decode<T: DeserializeOwned>(&self, response: Response) -> Result<T, ClientError> {
        let body = self.body(response, MAX_ANSWER).await?;
        serde_json::from_slice(&body).map_err(|e| {
            ClientError::Protocol(format!("{} sent an answer that is not as documented: {e}", self.base()))
        })
    }

    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        segments: &[&str],
        query: &impl Serialize,
    ) -> Result<T, ClientError> {
        let request = self.request(Method::GET, self.url(segments, query)?).timeout(CALL);
        self.decode(self.open(request).await?).await
    }

    /// Sends JSON, reads JSON.
    pub(super) async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        segments: &[&str],
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let request = self.request(method, self.url(segments, &())?).json(body).timeout(CALL);
        self.decode(self.open(request).await?).await
    }

    /// A POST that makes something, and makes it once however often it arrives.
    pub(super) async fn create<T: DeserializeOwned>(
        &self,
        segments: &[&str],
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let request = self.request(Method::POST, self.url(segments, &())?).json(body).timeout(CALL);
        self.decode(self.open(keyed(request)?).await?).await
    }

    /// A call whose answer has no body of interest.
    pub(super) async fn act(&self, method: Method, segments: &[&str]) -> Result<(), ClientError> {
        let request = self.request(method, self.url(segments, &())?).timeout(CALL);
        self.open(request).await.map(drop)
    }

    /// All pages of a list. `query` must not hold a cursor.
    pub(super) async fn all<T: DeserializeOwned>(
        &self,
        segments: &[&str],
        query: &impl Serialize,
    ) -> Result<Vec<T>, ClientError> {
        let (mut items, mut after) = (Vec::new(), None::<String>);
        loop {
            let mut url = self.url(segments, query)?;
            url.query_pairs_mut().append_pair("limit", "500");
            if let Some(after) = &after {
                url.query_pairs_mut().append_pair("after", after);
            }
            let response = self.open(self.request(Method::GET, url).timeout(CALL)).await?;
            let page: Page<T> = self.decode(response).await?;
            items.extend(page.items);
            match page.next {
                Some(next) if after.as_ref() != Some(&next) => after = Some(next),
                Some(_) => return Err(ClientError::Protocol(format!("{} repeats a page", self.base()))),
                None => return Ok(items),
            }
        }
    }
}

impl Credential {
    fn headers(&self, base: &Url) -> Result<HeaderMap, ClientError> {
        let (name, value) = match self {
            Self::None => return Ok(HeaderMap::new()),
            Self::Token(token) => {
                (AUTHORIZATION, HeaderValue::try_from(format!("Bearer {}", token.expose())))
            }
            Self::Session(cookie) => (COOKIE, HeaderValue::try_from(cookie.expose())),
        };
        let mut value = value
            .map_err(|_| ClientError::Invalid("the token holds characters that no token has".to_owned()))?;
        value.set_sensitive(true);
        let mut headers = HeaderMap::from_iter([(name, value)]);
        if matches!(self, Self::Session(_)) {
            headers.insert(ORIGIN, origin(base)?);
        }
        Ok(headers)
    }
}

/// The cookie counts only for what comes from the server's own pages.
fn origin(base: &Url) -> Result<HeaderValue, ClientError> {
    HeaderValue::try_from(base.origin().ascii_serialization())
        .map_err(|_| ClientError::Invalid("the address holds characters that no address has".to_owned()))
}

fn build(base: &Url, credential: &Credential, http1: bool) -> Result<reqwest::Client, ClientError> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("ryokan/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT)
        .tcp_keepalive(KEEP_ALIVE)
        .redirect(reqwest::redirect::Policy::none())
        .default_headers(credential.headers(base)?);
    if http1 {
        builder = builder.http1_only();
    }
    if base.scheme() == "http" {
        // Without TLS no trust anchors are needed; reading the system's would fail where there are none.
        builder = builder.tls_certs_only([]);
    }
    if is_loopback(base) {
        builder = builder.no_proxy();
    }
    if let Some(host) = base.host_str().filter(|h| h.ends_with(".localhost")) {
        // RFC 6761 §6.3; many resolvers do not know it.
        let addresses: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        builder = builder.resolve_to_addrs(host, &addresses.map(|ip| SocketAddr::new(ip, 0)));
    }
    builder.build().map_err(|e| ClientError::from_reqwest(&shown(base), &e))
}

/// Adds a fresh `Idempotency-Key`.
pub(super) fn keyed(request: RequestBuilder) -> Result<RequestBuilder, ClientError> {
    let mut random = [0u8; 16];
    rand::rngs::OsRng
        .try_fill_bytes(&mut random)
        .map_err(|e| ClientError::Invalid(format!("the system gives no random numbers: {e}")))?;
    Ok(request.header(IDEMPOTENCY_KEY, format!("{:032x}", u128::from_be_bytes(random))))
}

pub(super) fn accept_stream(request: RequestBuilder) -> RequestBuilder {
    request.header(ACCEPT, format!("{EVENT_STREAM}, application/json;q=0.5"))
}

pub(super) fn has_type(response: &Response, kind: &str) -> bool {
    response.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).is_some_and(|v| v.starts_with(kind))
}

fn is_repeatable(request: &Request) -> bool {
    request.method() == Method::GET || request.headers().contains_key(IDEMPOTENCY_KEY)
}

/// Scheme, host, port and path, nothing else: no user, password or query.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    url.as_str().trim_end_matches('/').to_owned()
}

fn parse_base(text: &str) -> Result<Url, ClientError> {
    let bad =
        |why: &str| Err(ClientError::Invalid(format!("`{text}` is not the address of a server: {why}")));
    let Ok(url) = Url::parse(text) else { return bad("write it as in http://127.0.0.1:7700") };
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return bad("it must begin with http:// or https://");
    }
    if !url.username().is_empty() || url.password().is_some() {
        // Repeating it would show the password.
        return Err(ClientError::Invalid(
            "an address must hold no user and password: use a token".to_owned(),
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return bad("it must hold no `?` and no `#`");
    }
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The fields of a query struct as pairs. Lists repeat their name; `false` and nothing are left out.
fn pairs(query: &impl Serialize) -> Vec<(String, String)> {
    use serde_json::Value;
    let Ok(Value::Object(fields)) = serde_json::to_value(query) else { return Vec::new() };
    let mut pairs = Vec::new();
    for (name, value) in fields {
        let values = if let Value::Array(values) = value { values } else { vec![value] };
        for value in values {
            match value {
                Value::Null | Value::Bool(false) => {}
                Value::String(text) => pairs.push((name.clone(), text)),
                other => pairs.push((name.clone(), other.to_string())),
            }
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::ExecQuery;

    #[test]
    fn a_credential_is_never_shown() {
        let client =
            Client::new("http://127.0.0.1:7700", Credential::Token(Secret::new("ryk_hush"))).unwrap();
        assert!(!format!("{client:?}").contains("hush"));
        let error = Client::new("http://root:hush@127.0.0.1", Credential::None).unwrap_err();
        assert!(!format!("{error:?} {error}").contains("hush"));
        let error = Client::new("http://127.0.0.1", Credential::Token(Secret::new("hush\n"))).unwrap_err();
        assert!(!format!("{error:?} {error}").contains("hush"));
    }

    #[test]
    fn addresses_keep_their_path_and_names_cannot_leave_theirs() {
        let client = Client::new("https://example.com/rooms/", Credential::None).unwrap();
        let query = ExecQuery { command: vec!["a b".into(), "&".into()], tty: true, ..Default::default() };
        let url = client.url(&["v1", "instances", "a/../b?", "exec"], &query).unwrap();
        assert_eq!(
            url.as_str(),
            "https://example.com/rooms/v1/instances/a%2F..%2Fb%3F/exec?command=a+b&command=%26&tty=true"
        );
        for bad in ["", ".", ".."] {
            assert!(client.url(&["v1", bad], &()).is_err());
        }
    }

    #[test]
    fn bad_addresses_are_refused() {
        for bad in ["", "127.0.0.1:7700", "ftp://x", "http://", "http://x/?a=b", "localhost:7700"] {
            assert!(matches!(Client::new(bad, Credential::None), Err(ClientError::Invalid(_))), "{bad}");
        }
    }

    #[test]
    fn loopback_is_known_in_every_spelling() {
        for (text, expected) in [
            ("http://localhost:7700", true),
            ("http://api.localhost", true),
            ("http://127.3.2.1", true),
            ("http://[::1]:7700", true),
            ("http://10.0.0.1", false),
            ("http://localhost.example.com", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(text).unwrap()), expected, "{text}");
        }
    }
}
