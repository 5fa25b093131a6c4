//! Wallets at the HTTP API: the handshake at `/.well-known/auth`, requests that a wallet signs, registration by an identity
//! key, and the CORS headers that a wallet in a browser needs. The rules are `ryokan_brc`'s; here is the IO.

mod cors;
mod handshake;
mod register;
mod signed;

use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::http::{StatusCode, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use governor::clock::Clock as _;
use governor::{DefaultKeyedRateLimiter, Quota};
use ryokan_app::{App, Error};
use ryokan_brc::message::RequestedCertificates;
use ryokan_brc::session::{Limits, Sessions};
use ryokan_brc::{Nonce, PrivateKey};

use super::Context;
use super::error::problem;
use crate::identity::IdentitySection;

pub(crate) const WELL_KNOWN: &str = "/.well-known/auth";

/// Sessions with wallets, and what is asked of them. A restart ends all; clients shake hands again by themselves.
pub(crate) struct Wallets {
    key: PrivateKey,
    wanted: RequestedCertificates,
    max_body: usize,
    sessions: Mutex<Sessions>,
    handshakes: DefaultKeyedRateLimiter<String>,
}

impl Wallets {
    pub(crate) fn new(section: &IdentitySection, key: PrivateKey) -> Self {
        let per_minute = NonZeroU32::new(section.handshakes_per_minute).unwrap_or(NonZeroU32::MIN);
        Self {
            key,
            wanted: section.wanted(),
            max_body: usize::try_from(section.max_body.get()).unwrap_or(usize::MAX),
            sessions: Mutex::new(Sessions::new(Limits::default())),
            handshakes: governor::RateLimiter::keyed(Quota::per_minute(per_minute)),
        }
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more of what costs us something, for an address that has proved nothing.
    fn admit(&self, address: &str) -> Result<(), Error> {
        if self.handshakes.len() > 50_000 {
            self.handshakes.retain_recent();
        }
        self.handshakes.check_key(&address.to_owned()).map_err(|not_until| {
            let wait = not_until.wait_time_from(governor::clock::DefaultClock::default().now());
            let retry_after = wait.as_secs() + 1;
            let message = format!("too many handshakes from this address; wait {retry_after} s");
            Error::TooManyRequests { message, retry_after }
        })
    }
}

/// Milliseconds that no change of the clock moves.
fn steady(app: &App) -> u64 {
    u64::try_from(app.clock.steady().0).unwrap_or(0)
}

/// An identity key that has signed the request; on its extensions. It need not be anybody's yet.
#[derive(Debug, Clone)]
pub(crate) struct BrcIdentity {
    pub(crate) key: String,
    /// The session, to look up what its certificates have shown.
    pub(crate) session: Nonce,
}

pub(super) fn router() -> Router<Context> {
    Router::new()
        .route(WELL_KNOWN, post(handshake::answer))
        .route("/api/v1/register", post(register::register))
}

/// What goes around the whole API: answers are signed last, whatever made them.
pub(super) fn around(router: Router<Context>, context: &Context) -> Router<Context> {
    router.layer(from_fn_with_state(context.clone(), signed::layer)).layer(from_fn(cors::layer))
}

/// A refusal with a sentence and a code of its own, in the usual shape.
pub(super) fn refusal(status: StatusCode, code: &str, detail: impl Into<String>) -> Response {
    let mut problem = problem(&Error::Unauthenticated);
    problem.status = status.as_u16();
    status.canonical_reason().unwrap_or("Error").clone_into(&mut problem.title);
    code.clone_into(&mut problem.code);
    problem.detail = detail.into();
    let mut response = (status, axum::Json(problem)).into_response();
    let kind = http::HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Clients look for these very words, in an answer that nobody signed, and shake hands again.
fn stale(session: &Nonce) -> Response {
    refusal(
        StatusCode::UNAUTHORIZED,
        "stale_session",
        format!("Session not found for nonce: {session}. Shake hands again at `{WELL_KNOWN}`."),
    )
}
