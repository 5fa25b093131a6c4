//! Who gets in: bearer tokens, agent cookies, tickets, and what happens to those who do not.
//!
//! A cookie is sent by a browser whether or not the user meant it, and all agents of a zone are one *site*. So a
//! cookie only counts for requests of the agent's own pages and for navigations, never for another agent's page.

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header, request};

use crate::answer::{Asker, Obstacle};
use crate::body::Body;
use crate::cookie::{self, AGENT_COOKIE, AgentSession};
use crate::gateway::Shared;
use crate::host::{self, Host, Target};
use crate::ports::{Peer, Verdict};
use crate::query;
use crate::route::{Access, Route, Snapshot, UpstreamAuth};
use crate::ticket::{Opened, open_ticket};

/// Where a ticket is redeemed, on every agent host.
pub(crate) const SESSION_PATH: &str = "/.ryokan/session";
/// Paths under it are the gateway's and never reach an agent.
pub(crate) const OWN_PATHS: &str = "/.ryokan/";
const DASHBOARD_COOKIES: [&str; 2] = ["__Host-ryokan_session", "ryokan_session"];
const TOKEN_HEADER: &str = "x-ryokan-token";

/// A request as admission sees it.
pub(crate) struct Visit<'a> {
    pub(crate) parts: &'a request::Parts,
    pub(crate) peer: &'a Peer,
    pub(crate) host: &'a Host,
    pub(crate) host_header: &'a str,
    pub(crate) route: &'a Route,
    pub(crate) snapshot: &'a Snapshot,
    /// Whether the request came by `/gateway/NAME/...`.
    pub(crate) by_path: bool,
}

/// Someone who was let in.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Admitted {
    pub(crate) user: Option<String>,
    /// What let them in, if it took anything.
    pub(crate) credential: Option<String>,
    /// The `Authorization` header was meant for us.
    pub(crate) authorization_used: bool,
    pub(crate) by_cookie: bool,
}

impl Admitted {
    fn by(user: String, credential: String) -> Self {
        Self { user: Some(user), credential: Some(credential), ..Self::default() }
    }
}

pub(crate) enum Refused {
    With(Obstacle),
    /// To the control plane, to sign in.
    Redirect(Box<Response<Body>>),
}

impl From<Obstacle> for Refused {
    fn from(obstacle: Obstacle) -> Self {
        Self::With(obstacle)
    }
}

impl Visit<'_> {
    pub(crate) fn admit(&self, shared: &Shared) -> Result<Admitted, Refused> {
        let route = self.route;
        let is_public = route.access == Access::Public;
        let identity_matters =
            matches!(route.upstream_auth, UpstreamAuth::TrustedProxy { identity: None, .. });
        if is_public && !identity_matters {
            return Ok(Admitted::default());
        }
        match self.by_token(shared).and_then(|by_token| match by_token {
            Some(admitted) => Ok(Some(admitted)),
            None => self.by_cookie(shared),
        }) {
            Ok(Some(admitted)) => Ok(admitted),
            // What is open to all is open to strangers too.
            Ok(None) | Err(_) if is_public => Ok(Admitted::default()),
            Ok(None) => Err(self.guessed(shared).map_or_else(|| self.unauthenticated(), Into::into)),
            Err(Obstacle::NotAuthenticated) => {
                Err(self.guessed(shared).unwrap_or(Obstacle::NotAuthenticated).into())
            }
            Err(obstacle) => Err(obstacle.into()),
        }
    }

    /// Counts the token that did not let them in, if there was one.
    fn guessed(&self, shared: &Shared) -> Option<Obstacle> {
        let headers = &self.parts.headers;
        let own = headers.get(TOKEN_HEADER).and_then(|token| token.to_str().ok());
        let token = own.or_else(|| bearer(headers))?;
        let seconds = shared.authenticator.refused(token, self.peer.ip)?;
        Some(Obstacle::TooManyGuesses { seconds })
    }

    fn by_token(&self, shared: &Shared) -> Result<Option<Admitted>, Obstacle> {
        let headers = &self.parts.headers;
        if let Some(token) = headers.get(TOKEN_HEADER) {
            // Only ever meant for us: what is not valid is an error, not a reason to try something else.
            let token = token.to_str().map_err(|_| Obstacle::NotAuthenticated)?;
            return match shared.authenticator.bearer(token, self.peer.ip, self.route) {
                Verdict::Allowed { user, credential } => Ok(Some(Admitted::by(user, credential))),
                Verdict::NotAuthenticated => Err(Obstacle::NotAuthenticated),
                Verdict::Unknown => Err(Obstacle::NoSuchAgent),
            };
        }
        let Some(token) = bearer(headers) else { return Ok(None) };
        match shared.authenticator.bearer(token, self.peer.ip, self.route) {
            Verdict::Allowed { user, credential } => {
                Ok(Some(Admitted { authorization_used: true, ..Admitted::by(user, credential) }))
            }
            // Perhaps a token of the agent's own.
            Verdict::NotAuthenticated => Ok(None),
            Verdict::Unknown => Err(Obstacle::NoSuchAgent),
        }
    }

    fn by_cookie(&self, shared: &Shared) -> Result<Option<Admitted>, Obstacle> {
        let verdict = if self.by_path { self.dashboard_verdict(shared) } else { self.agent_verdict(shared) };
        match verdict {
            None | Some(Verdict::NotAuthenticated) => Ok(None),
            Some(Verdict::Unknown) => Err(Obstacle::NoSuchAgent),
            Some(Verdict::Allowed { .. }) if !self.cookie_is_meant() => Err(Obstacle::CrossSite),
            Some(Verdict::Allowed { user, credential }) => {
                Ok(Some(Admitted { by_cookie: true, ..Admitted::by(user, credential) }))
            }
        }
    }

    fn agent_verdict(&self, shared: &Shared) -> Option<Verdict> {
        let now = shared.clock.now();
        best(cookie::values(&self.parts.headers, AGENT_COOKIE).filter_map(|value| {
            let session = cookie::decode_agent_cookie(&shared.key, &self.route.instance_id, value, now)?;
            Some(shared.authenticator.agent_session(&session.user, &session.session, self.route))
        }))
    }

    fn dashboard_verdict(&self, shared: &Shared) -> Option<Verdict> {
        let headers = &self.parts.headers;
        best(
            DASHBOARD_COOKIES
                .iter()
                .flat_map(|name| cookie::values(headers, name))
                .map(|value| shared.authenticator.dashboard_session(value, self.route)),
        )
    }

    /// Whether a browser sent the cookie because the user or the agent's own page asked for it.
    fn cookie_is_meant(&self) -> bool {
        let headers = &self.parts.headers;
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let origin = headers.get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or("null"));
        let is_reading = self.parts.method == Method::GET || self.parts.method == Method::HEAD;
        let site = text("sec-fetch-site");
        if self.by_path {
            // This origin is the dashboard's. A sandboxed agent page has none, and must not act as the user.
            return match (site, origin) {
                (_, Some(origin)) => {
                    self.origin_is_ours(origin) && site.is_none_or(|site| site == "same-origin")
                }
                (Some("same-origin"), None) => true,
                (Some("none"), None) => is_reading,
                _ => false,
            };
        }
        if let Some(origin) = origin {
            return self.origin_is_ours(origin);
        }
        match site {
            None | Some("same-origin" | "none") => true,
            Some(_) => is_reading && text("sec-fetch-mode") == Some("navigate"),
        }
    }

    /// An origin of this very host, or (for agents) of another port or domain of the same instance.
    fn origin_is_ours(&self, origin: &str) -> bool {
        let Some((_, authority)) = origin.split_once("://") else { return false };
        if authority.eq_ignore_ascii_case(self.host_header) {
            return true;
        }
        if self.by_path {
            return false;
        }
        let found = Host::parse(authority).map(|host| host::resolve(self.snapshot, &host));
        matches!(found, Some(Target::Agent { route, .. }) if route.instance_id == self.route.instance_id)
    }

    fn unauthenticated(&self) -> Refused {
        let parts = self.parts;
        let is_page =
            parts.method == Method::GET && Asker::of(&parts.method, &parts.headers) == Asker::Browser;
        if self.route.access != Access::Private || self.by_path || !is_page {
            return Obstacle::NotAuthenticated.into();
        }
        let scheme = self.scheme();
        let path = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let back = query::encode(&format!("{scheme}://{}{path}", self.host_header));
        let name = query::encode(&self.route.name);
        let to = format!("{}/v1/gateway/authorize?instance={name}&return={back}", self.control_origin());
        match redirect(&to) {
            Some(response) => Refused::Redirect(Box::new(response)),
            None => Obstacle::NotAuthenticated.into(),
        }
    }

    fn scheme(&self) -> &'static str {
        if self.peer.secure { "https" } else { "http" }
    }

    /// The zone's origin, at the port the client used.
    fn control_origin(&self) -> String {
        let port = self.host.port.map_or(String::new(), |port| format!(":{port}"));
        format!("{}://{}{port}", self.scheme(), self.snapshot.zone())
    }

    /// Pages shown by virtue of a cookie may be framed by the agent itself and the dashboard, not by neighbours.
    pub(crate) fn framing(&self) -> Option<HeaderValue> {
        let port = self.host.port.map_or(String::new(), |port| format!(":{port}"));
        let (scheme, zone) = (self.scheme(), self.snapshot.zone());
        HeaderValue::try_from(format!(
            "frame-ancestors 'self' {scheme}://{zone}{port} {scheme}://admin.{zone}{port}"
        ))
        .ok()
    }

    /// Exchanges a ticket for a cookie; the answer counts only if the ticket, of which the number is given, is unused.
    pub(crate) fn begin_session(&self, shared: &Shared) -> Result<(Response<Body>, [u8; 16]), Obstacle> {
        if self.parts.uri.path() != SESSION_PATH || self.parts.method != Method::GET {
            return Err(Obstacle::NoSuchAgent);
        }
        let query = self.parts.uri.query().unwrap_or_default();
        let sealed = query::parameter(query, "ticket").ok_or(Obstacle::TicketRefused)?;
        let now = shared.clock.now();
        let opened = open_ticket(&shared.key, &sealed, &self.host.name, now).map_err(|reason| {
            tracing::debug!(?reason, "ticket refused");
            Obstacle::TicketRefused
        })?;
        let Opened { ticket, nonce } = opened;
        if ticket.instance_id != self.route.instance_id {
            return Err(Obstacle::TicketRefused);
        }
        match shared.authenticator.agent_session(&ticket.user, &ticket.session, self.route) {
            Verdict::Allowed { .. } => {}
            Verdict::NotAuthenticated => return Err(Obstacle::TicketRefused),
            Verdict::Unknown => return Err(Obstacle::NoSuchAgent),
        }
        let back = query::parameter(query, "return").filter(|path| host::is_local_path(path));
        let session = AgentSession { user: ticket.user, session: ticket.session };
        let value = cookie::encode_agent_cookie(&shared.key, &self.route.instance_id, &session, now);
        let mut response = redirect(back.as_deref().unwrap_or("/")).ok_or(Obstacle::TicketRefused)?;
        let set_cookie = cookie::set_agent_cookie(&value, self.peer.secure).ok_or(Obstacle::TicketRefused)?;
        response.headers_mut().insert(header::SET_COOKIE, set_cookie);
        Ok((response, nonce))
    }
}

/// The most favourable verdict of several cookies of one name.
fn best(verdicts: impl Iterator<Item = Verdict>) -> Option<Verdict> {
    let mut best = None;
    for verdict in verdicts {
        match verdict {
            Verdict::Allowed { .. } => return Some(verdict),
            Verdict::Unknown => best = Some(verdict),
            Verdict::NotAuthenticated => {
                best.get_or_insert(verdict);
            }
        }
    }
    best
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn redirect(to: &str) -> Option<Response<Body>> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::FOUND;
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, HeaderValue::try_from(to).ok()?);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Some(response)
}
