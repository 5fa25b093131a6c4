//! Who calls: a bearer token, or a session cookie that only our own pages may use.
//!
//! Agents' hosts are same-site with the zone and their pages are hostile, so `SameSite` protects nothing here: a cookie
//! counts only for requests that the browser itself marks as coming from this very origin.

use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use axum_extra::extract::CookieJar;
use axum_extra::extract::cookie::{Cookie, SameSite};
use ryokan_app::{App, Error};
use ryokan_gateway::Peer;
use ryokan_model::permission::Caller;
use ryokan_model::{Secret, SessionId};

use super::Context;
use super::error::{ApiError, REQUEST_ID};

pub(crate) const PLAIN_COOKIE: &str = "ryokan_session";
pub(crate) const SECURE_COOKIE: &str = "__Host-ryokan_session";

/// A checked caller.
pub(crate) struct Auth(pub(crate) Caller);

impl FromRequestParts<Context> for Auth {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, context: &Context) -> Result<Self, ApiError> {
        let identity = match parts.extensions.get::<Identity>() {
            Some(identity) => identity.clone(),
            None => identify(&parts.headers, &parts.method, &address(parts), secure(parts), context),
        };
        let mut caller = match identity {
            Identity::Known(caller) => *caller,
            Identity::Token(token) => {
                context.app.authenticate_bearer(token.expose(), &address(parts)).await?
            }
            Identity::ForeignPage => {
                return Err(Error::Forbidden(
                    "a page of another origin may not use your session; programs send a token".into(),
                )
                .into());
            }
            Identity::Nobody | Identity::Stranger => return Err(Error::Unauthenticated.into()),
        };
        caller.request_id = REQUEST_ID.try_with(Clone::clone).ok();
        Ok(Self(caller))
    }
}

/// Who a request's credential says that it is, by the snapshot alone. Decided once a request: what counts against
/// somebody's budget is what acts for them.
#[derive(Clone)]
pub(crate) enum Identity {
    Known(Box<Caller>),
    /// A bearer token that the snapshot does not know; it may be a moment old, or a guess.
    Token(Secret),
    /// A session's cookie, sent by a page that may not use it.
    ForeignPage,
    Nobody,
    /// An identity key signed the request, and is no account's that may act.
    Stranger,
}

impl Identity {
    pub(crate) fn caller(&self) -> Option<&Caller> {
        match self {
            Self::Known(caller) => Some(caller),
            _ => None,
        }
    }

    /// The caller behind a token that the snapshot did not know at first.
    pub(crate) fn again(&self, app: &App, address: &str) -> Option<Caller> {
        match self {
            Self::Token(token) => app.bearer(token.expose(), address),
            _ => None,
        }
    }
}

pub(crate) fn identify(
    headers: &HeaderMap,
    method: &Method,
    address: &str,
    secure: bool,
    context: &Context,
) -> Identity {
    if let Some(token) = bearer(headers) {
        return match context.app.bearer(&token, address) {
            Some(caller) => Identity::Known(Box::new(caller)),
            None => Identity::Token(Secret::new(token)),
        };
    }
    match session(headers, secure) {
        Some(secret) if same_origin(headers, method) => context
            .app
            .authenticate_session(&secret, address)
            .map_or(Identity::Nobody, |(caller, _)| Identity::Known(Box::new(caller))),
        Some(_) => Identity::ForeignPage,
        None => Identity::Nobody,
    }
}

/// The client's address as the audit shows it.
pub(crate) fn address(parts: &Parts) -> String {
    parts.extensions.get::<Peer>().map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.ip).to_string()
}

pub(crate) fn secure(parts: &Parts) -> bool {
    parts.extensions.get::<Peer>().is_some_and(|peer| peer.secure)
}

pub(crate) fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned()).filter(|t| !t.is_empty())
}

pub(crate) fn session(headers: &HeaderMap, secure: bool) -> Option<String> {
    let jar = CookieJar::from_headers(headers);
    jar.get(if secure { SECURE_COOKIE } else { PLAIN_COOKIE }).map(|c| c.value().to_owned())
}

/// The session that the request's cookie names, whatever page it comes from: only for navigations.
pub(crate) fn navigating_session(parts: &Parts, context: &Context) -> Option<(Caller, SessionId)> {
    let secret = session(&parts.headers, secure(parts))?;
    context.app.authenticate_session(&secret, &address(parts))
}

/// Whether a browser says that a page of another origin asks. Programs say nothing.
pub(crate) fn foreign(headers: &HeaderMap) -> bool {
    let says = headers.contains_key("sec-fetch-site") || headers.contains_key(header::ORIGIN);
    says && !same_origin(headers, &Method::GET)
}

/// Whether the browser says that the request comes from a page of this very origin, or was typed by its user.
fn same_origin(headers: &HeaderMap, method: &Method) -> bool {
    let text = |name| headers.get(name).and_then(|v: &http::HeaderValue| v.to_str().ok());
    match text("sec-fetch-site") {
        Some("same-origin") => true,
        Some("none") => method == Method::GET,
        Some(_) => false,
        // An older browser: it still sends an origin with everything that can change something.
        None => match (text("origin"), text("host")) {
            (Some(origin), Some(host)) => {
                origin.split_once("://").is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host))
            }
            (None, _) => method == Method::GET || method == Method::HEAD,
            (Some(_), None) => false,
        },
    }
}

/// The cookie of a new session: host-only, out of reach of scripts.
pub(crate) fn session_cookie(secret: &Secret, secure: bool) -> Cookie<'static> {
    Cookie::build((if secure { SECURE_COOKIE } else { PLAIN_COOKIE }, secret.expose().to_owned()))
        .path("/")
        .http_only(true)
        .secure(secure)
        .same_site(SameSite::Lax)
        .build()
}

/// Makes the browser forget the session.
pub(crate) fn removed_cookie(secure: bool) -> Cookie<'static> {
    let mut cookie = session_cookie(&Secret::new(""), secure);
    cookie.make_removal();
    cookie
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap())).collect::<HeaderMap>()
    }

    #[test]
    fn only_our_own_pages_may_use_a_cookie() {
        type Case<'a> = (&'a [(&'a str, &'a str)], Method, bool);
        let cases: &[Case] = &[
            (&[("sec-fetch-site", "same-origin")], Method::POST, true),
            (
                &[("sec-fetch-site", "same-site"), ("origin", "http://claw.localhost:7700")],
                Method::POST,
                false,
            ),
            (&[("sec-fetch-site", "cross-site")], Method::GET, false),
            (&[("sec-fetch-site", "none")], Method::GET, true),
            (&[("sec-fetch-site", "none")], Method::POST, false),
            (&[("origin", "http://localhost:7700"), ("host", "localhost:7700")], Method::POST, true),
            (&[("origin", "http://claw.localhost:7700"), ("host", "localhost:7700")], Method::GET, false),
            (&[("origin", "null"), ("host", "localhost:7700")], Method::GET, false),
            (&[("host", "localhost:7700")], Method::GET, true),
            (&[("host", "localhost:7700")], Method::DELETE, false),
        ];
        for (pairs, method, expected) in cases {
            let pairs: HeaderMap = pairs
                .iter()
                .map(|(n, v)| {
                    (n.parse::<http::HeaderName>().unwrap(), v.parse::<http::HeaderValue>().unwrap())
                })
                .collect();
            assert_eq!(same_origin(&pairs, method), *expected, "{pairs:?} {method}");
        }
    }

    #[test]
    fn bearer_tokens() {
        assert_eq!(bearer(&headers(&[("authorization", "Bearer x")])).as_deref(), Some("x"));
        assert_eq!(bearer(&headers(&[("authorization", "bearer  x ")])).as_deref(), Some("x"));
        assert_eq!(bearer(&headers(&[("authorization", "Basic x")])), None);
        assert_eq!(bearer(&headers(&[("authorization", "Bearer ")])), None);
    }
}
