//! Requests that a wallet signs (BRC-104), and answers that we sign to it: all of them from the moment that its session is
//! known, also refusals and failures, because a client takes an unsigned answer for none.
//!
//! The whole answer is signed, so it is collected first: there are no streams here.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use http_body_util::LengthLimitError;
use ryokan_app::Error;
use ryokan_brc::message::{SignedHeaders, VERSION, names};
use ryokan_brc::preimage::{self, AUTH_PREFIX, RequestId};
use ryokan_brc::session::{Link, Refused};
use ryokan_brc::{Nonce, PrivateKey};

use super::{BrcIdentity, WELL_KNOWN, refusal, stale, steady};
use crate::http::Context;
use crate::http::auth::{Identity, address};
use crate::http::error::ApiError;
use crate::http::stream::wants_stream;

/// How long a client may take to send what it has signed.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long an answer may take to end; one that goes on is a stream.
const ANSWER_WITHIN: Duration = Duration::from_mins(1);
const LONGEST_ANSWER: usize = 16 * 1024 * 1024;

/// Whether a request claims to be signed.
pub(super) fn is_signed(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with(AUTH_PREFIX))
}

pub(super) async fn layer(State(context): State<Context>, request: Request, next: Next) -> Response {
    if !is_signed(request.headers()) || request.uri().path() == WELL_KNOWN {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let signed = match SignedHeaders::read(|name| parts.headers.get(name)?.to_str().ok()) {
        Ok(signed) => signed,
        Err(error) => return refusal(StatusCode::UNAUTHORIZED, "bad_auth_headers", error.to_string()),
    };
    let session = &signed.signed.session;
    let Some(link) = context.wallets.sessions().find(session, steady(&context.app)) else {
        return stale(session);
    };
    if link.identity != signed.signed.identity {
        let why = "`x-bsv-auth-identity-key` is not the key of this session";
        return refusal(StatusCode::UNAUTHORIZED, "wrong_identity", why);
    }
    let exchange = Exchange {
        key: context.wallets.key.clone(),
        link,
        id: signed.request_id,
        id_text: signed.request_id_text.clone(),
    };
    let response = match take(&context, &exchange, &signed, parts, body).await {
        // A handler that panics is answered, too.
        Ok(request) => AssertUnwindSafe(next.run(request)).catch_unwind().await.unwrap_or_else(|_| {
            ApiError(Error::internal("the handler of a signed request panicked")).into_response()
        }),
        Err(Refusal::Signed(response)) => *response,
        Err(Refusal::Stale) => return stale(session),
    };
    exchange.answer(response, Nonce::from_random(context.app.nonce())).await
}

enum Refusal {
    Signed(Box<Response>),
    /// Must not be signed, or the client would not shake hands again.
    Stale,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Signed(Box::new(ApiError(error).into_response()))
    }
}

fn unauthorised(code: &str, why: &str) -> Refusal {
    Refusal::Signed(Box::new(refusal(StatusCode::UNAUTHORIZED, code, why)))
}

/// The request that was signed, verified, with whoever it comes from.
async fn take(
    context: &Context,
    exchange: &Exchange,
    signed: &SignedHeaders,
    mut parts: Parts,
    body: Body,
) -> Result<Request, Refusal> {
    let (app, wallets, from) = (&context.app, &context.wallets, address(&parts));
    if app.signatures_locked(&from) {
        app.refuse_signature(&from)?;
    }
    if parts.headers.contains_key(header::UPGRADE) || wants_stream(&parts.headers) {
        return Err(unsignable());
    }
    if parts.headers.contains_key(header::AUTHORIZATION) {
        let why = "a request has one credential: sign it with your identity key, or send a token";
        return Err(Error::invalid("Authorization", why).into());
    }
    let body = read(&parts, body, wallets.max_body).await?;
    let data = preimage(&parts, exchange.id, &body)?;
    if !exchange.link.verify(&signed.signed.nonce, &data, &signed.signed.signature) {
        app.refuse_signature(&from)?;
        return Err(unauthorised("wrong_signature", "the request's signature is not good"));
    }
    match wallets.sessions().accept(&signed.signed.session, &signed.signed.nonce, steady(app)) {
        Ok(()) => {}
        Err(Refused::Stale) => return Err(Refusal::Stale),
        Err(Refused::Replayed) => {
            return Err(unauthorised("replayed", "this request was sent before"));
        }
    }
    let key = exchange.link.identity.to_string();
    let identity = match app.authenticate_identity(&key, &from).await? {
        Some(caller) => Identity::Known(Box::new(caller)),
        None => Identity::Stranger,
    };
    parts.extensions.insert(identity);
    parts.extensions.insert(BrcIdentity { key, session: signed.signed.session.clone() });
    // What is signed is what the client reads: nothing is compressed, and no cookie adds to who it is.
    parts.headers.remove(header::ACCEPT_ENCODING);
    parts.headers.remove(header::COOKIE);
    Ok(Request::from_parts(parts, Body::from(body)))
}

fn unsignable() -> Refusal {
    Refusal::Signed(Box::new(endless()))
}

fn endless() -> Response {
    refusal(
        StatusCode::NOT_ACCEPTABLE,
        "not_signable",
        "a stream cannot be signed: ask without `Accept: text/event-stream` and without following, or use a token",
    )
}

/// The body, whose length is bounded before anybody has proved anything.
async fn read(parts: &Parts, body: Body, max: usize) -> Result<Bytes, Refusal> {
    let too_large = || {
        let why = format!("the body of a signed request has at most {max} bytes; upload files with a token");
        Refusal::Signed(Box::new(refusal(StatusCode::PAYLOAD_TOO_LARGE, "too_large", why)))
    };
    let length =
        parts.headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > max) {
        return Err(too_large());
    }
    match tokio::time::timeout(PATIENCE, to_bytes(body, max)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_too_long(&error) => Err(too_large()),
        Ok(Err(_)) => Err(Error::invalid("", "the body could not be read to its end").into()),
        Err(_) => {
            let why = "the body did not arrive in time";
            Err(Refusal::Signed(Box::new(refusal(StatusCode::REQUEST_TIMEOUT, "timeout", why))))
        }
    }
}

fn is_too_long(error: &axum::Error) -> bool {
    use std::error::Error as _;
    error.source().is_some_and(|source| source.is::<LengthLimitError>())
}

/// Path and query as they came, never decoded.
fn preimage(parts: &Parts, id: RequestId, body: &Bytes) -> Result<Vec<u8>, Refusal> {
    let mut headers = Vec::new();
    for (name, value) in &parts.headers {
        let name = name.as_str();
        if name.starts_with("x-bsv-") || name == "content-type" {
            let value = value
                .to_str()
                .map_err(|_| Error::invalid(name, "has characters that are not visible ASCII"))?;
            headers.push((name, value));
        }
    }
    let request = preimage::Request {
        id,
        method: parts.method.as_str().to_owned(),
        path: Some(parts.uri.path().to_owned()),
        query: parts.uri.query().filter(|query| !query.is_empty()).map(|query| format!("?{query}")),
        headers: preimage::request_headers(headers.into_iter()),
        body: (!body.is_empty()).then(|| body.to_vec()),
    };
    Ok(request.to_bytes())
}

/// A request of a session, for its answer.
struct Exchange {
    key: PrivateKey,
    link: Arc<Link>,
    id: RequestId,
    id_text: String,
}

impl Exchange {
    async fn answer(self, response: Response, fresh: Nonce) -> Response {
        let (mut parts, body) = collected(response).await;
        let ours: Vec<HeaderName> =
            parts.headers.keys().filter(|name| name.as_str().starts_with(AUTH_PREFIX)).cloned().collect();
        for name in ours {
            parts.headers.remove(name);
        }
        let headers = parts.headers.iter().filter_map(|(n, v)| Some((n.as_str(), v.to_str().ok()?)));
        let data = preimage::Response {
            id: self.id,
            status: parts.status.as_u16(),
            headers: preimage::response_headers(headers),
            body: body.to_vec(),
        };
        let Ok(signature) = self.link.sign(&self.key, &fresh, &data.to_bytes()) else {
            return ApiError(Error::internal("an answer cannot be signed")).into_response();
        };
        for (name, value) in [
            (names::VERSION, VERSION.to_owned()),
            (names::IDENTITY_KEY, self.key.public().to_string()),
            (names::NONCE, fresh.to_string()),
            (names::YOUR_NONCE, self.link.theirs.to_string()),
            (names::REQUEST_ID, self.id_text),
            (names::SIGNATURE, hex::encode(signature)),
        ] {
            // All are base64, hexadecimal or came in a header.
            if let Ok(value) = HeaderValue::try_from(value) {
                parts.headers.insert(HeaderName::from_static(name), value);
            }
        }
        Response::from_parts(parts, Body::from(body))
    }
}

/// The whole answer, or one that says that it has no end.
async fn collected(response: Response) -> (http::response::Parts, Bytes) {
    let is_stream = response.status() == StatusCode::SWITCHING_PROTOCOLS
        || response
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    if !is_stream {
        let (mut parts, body) = response.into_parts();
        if let Ok(Ok(bytes)) = tokio::time::timeout(ANSWER_WITHIN, to_bytes(body, LONGEST_ANSWER)).await {
            if parts.headers.contains_key(header::TRANSFER_ENCODING) {
                parts.headers.remove(header::TRANSFER_ENCODING);
            }
            return (parts, bytes);
        }
    }
    let (parts, body) = endless().into_parts();
    (parts, to_bytes(body, LONGEST_ANSWER).await.unwrap_or_default())
}
