//! One request to an agent and its answer back: connection, retry, timeouts, upgrade, and every error to one
//! place (`Failure::rescue`).

use std::error::Error as _;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header, request};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use crate::answer::Obstacle;
use crate::body::{Body, Progress, RequestBody};
use crate::gateway::{Client, Shared};
use crate::inflight::InFlight;
use crate::passes::{self, Pass};
use crate::pool::{Endpoint, Lease};
use crate::route::{Route, RouteState};
use crate::tally::Tally;
use crate::tunnel;
use crate::upstream::{Connection, SendError, UpstreamBody};

/// A request that was let in, ready to go out.
pub(crate) struct Outgoing<'a> {
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) client: &'a Client,
    pub(crate) route: &'a Arc<Route>,
    pub(crate) address: SocketAddr,
    pub(crate) in_flight: InFlight,
    pub(crate) pass: Option<Pass>,
    /// Taken from a request that asks for a WebSocket.
    pub(crate) upgrade: Option<OnUpgrade>,
    /// Whether that is one stream of an HTTP/2 connection.
    pub(crate) over_h2: bool,
}

/// What kept an agent's answer from coming.
enum Failure {
    Obstacle(Obstacle),
    Timeout,
    Hyper(Box<SendError>),
}

impl Failure {
    /// The one mapping of everything that can go wrong with an agent.
    fn rescue(self, route: &Route, progress: Option<&Progress>) -> Obstacle {
        if progress.is_some_and(Progress::is_too_large) {
            return Obstacle::BodyTooLarge;
        }
        if progress.is_some_and(Progress::has_failed) {
            return Obstacle::BadRequest("The request body broke off.");
        }
        let is_unwell = matches!(route.state, RouteState::Unhealthy { .. });
        let obstacle = match self {
            Self::Obstacle(obstacle) => obstacle,
            Self::Timeout => Obstacle::Timeout,
            Self::Hyper(failure) => {
                tracing::debug!(instance = %route.instance_id, error = %failure.error, "no answer from an agent");
                Obstacle::Unreachable
            }
        };
        match obstacle {
            Obstacle::Unreachable | Obstacle::Timeout if is_unwell => Obstacle::Unhealthy,
            obstacle => obstacle,
        }
    }
}

impl Outgoing<'_> {
    /// Sends `parts` (headers already made for the agent) and returns the answer, its headers untouched.
    pub(crate) async fn send(
        self,
        mut parts: request::Parts,
        body: Incoming,
    ) -> Result<Response<Body>, Obstacle> {
        let limits = &self.shared.limits;
        let announced =
            parts.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        if announced.is_some_and(|length: u64| length > limits.request_body) {
            return Err(Obstacle::BodyTooLarge);
        }
        let (body, progress) = RequestBody::new(body, limits.request_body);
        parts.version = Version::HTTP_11;
        parts.extensions = http::Extensions::new();
        let request = Request::from_parts(parts, body);
        let answered = tokio::select! {
            biased;
            () = passes::ended(self.pass.as_ref()) => Err(Failure::Obstacle(Obstacle::NotAuthenticated)),
            answered = self.attempt(request, progress.as_deref()) => answered,
        };
        match answered {
            Ok((response, connection)) => self.complete(response, connection, progress),
            Err(failure) => Err(failure.rescue(self.route, progress.as_deref())),
        }
    }

    /// Tries a connection of the pool, and then, if that turned out to be dead, one new connection.
    async fn attempt(
        &self,
        request: Request<RequestBody>,
        progress: Option<&Progress>,
    ) -> Result<(Response<Incoming>, (Box<Connection>, Lease)), Failure> {
        let limits = &self.shared.limits;
        let endpoint = self.shared.pool.endpoint(self.address, limits);
        let mut request = request;
        if let Some((connection, lease)) = endpoint.reuse().await {
            let spare = spare(&request);
            match self.exchange(request, connection, progress).await {
                Ok((response, connection)) => return Ok((response, (connection, lease))),
                Err(Failure::Hyper(mut failure)) => {
                    // Not a byte went out, or it may be repeated and not a byte came back.
                    let unsent = failure.unsent.take();
                    let again = unsent.or_else(|| spare.filter(|_| is_silent_close(&failure.error)));
                    match again {
                        Some(again) => request = again,
                        None => return Err(Failure::Hyper(failure)),
                    }
                }
                Err(failure) => return Err(failure),
            }
        }
        self.fresh(request, &endpoint, progress).await
    }

    async fn fresh(
        &self,
        request: Request<RequestBody>,
        endpoint: &Arc<Endpoint>,
        progress: Option<&Progress>,
    ) -> Result<(Response<Incoming>, (Box<Connection>, Lease)), Failure> {
        let (connection, lease) = endpoint.connect(&self.shared.limits).await.map_err(Failure::Obstacle)?;
        let (response, connection) = self.exchange(request, connection, progress).await?;
        Ok((response, (connection, lease)))
    }

    async fn exchange(
        &self,
        request: Request<RequestBody>,
        mut connection: Box<Connection>,
        progress: Option<&Progress>,
    ) -> Result<(Response<Incoming>, Box<Connection>), Failure> {
        let patience = self.shared.limits.response_timeout;
        let sent = {
            let mut sending = std::pin::pin!(connection.send(request));
            let mut seen = 0;
            loop {
                match tokio::time::timeout(patience, sending.as_mut()).await {
                    Ok(sent) => break Some(sent),
                    // An upload that moves may take its time; the agent's time begins when it is complete.
                    Err(_) => match progress.map(Progress::bytes) {
                        Some(bytes) if bytes > seen => seen = bytes,
                        _ => break None,
                    },
                }
            }
        };
        match sent {
            Some(Ok(response)) => Ok((response, connection)),
            Some(Err(failure)) => Err(Failure::Hyper(Box::new(failure))),
            None => Err(Failure::Timeout),
        }
    }

    fn complete(
        self,
        response: Response<Incoming>,
        (connection, lease): (Box<Connection>, Lease),
        progress: Option<Arc<Progress>>,
    ) -> Result<Response<Body>, Obstacle> {
        let limits = &self.shared.limits;
        let tally = Tally::request(&self.shared.meter, self.route);
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let Some(upgrade) = self.upgrade else {
                // Nobody asked for it.
                return Err(Obstacle::Unreachable);
            };
            let (watch, in_flight, over_h2) = (Arc::clone(&self.client.watch), self.in_flight, self.over_h2);
            let pass = self.pass;
            let (connect_timeout, half_closed) = (limits.connect_timeout, limits.half_closed);
            self.client.tracker.spawn(async move {
                // All count as long as the tunnel lives.
                let _held = (in_flight, lease, watch.serving());
                let Some((agent, early)) = connection.into_tunnel(connect_timeout).await else { return };
                let Ok(upgraded) = upgrade.await else { return };
                let tunnel = std::pin::pin!(async {
                    tokio::select! {
                        () = passes::ended(pass.as_ref()) => {}
                        () = tunnel::run(TokioIo::new(upgraded), agent, early, tally, half_closed) => {}
                    }
                });
                if over_h2 {
                    // Ends with its connection, which is supervised already.
                    tunnel.await;
                } else {
                    watch.supervise(tunnel, |_| {}).await;
                }
            });
            let (parts, _) = response.into_parts();
            return Ok(Response::from_parts(parts, Body::empty()));
        }
        let (mut parts, incoming) = response.into_parts();
        if parts.headers.contains_key(header::TRANSFER_ENCODING) {
            // hyper read it by its coding; a length beside that is a lie.
            parts.headers.remove(header::CONTENT_LENGTH);
        }
        let reusable = parts.version == Version::HTTP_11 && !says_close(&parts.headers);
        let body =
            UpstreamBody::new(incoming, (connection, lease), reusable, progress, tally, self.in_flight);
        Ok(Response::from_parts(parts, Body::upstream(body.until_ended(self.pass))))
    }
}

/// A copy of a request that may be repeated: it changes nothing and has no body.
fn spare(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    let is_safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if !is_safe || !matches!(request.body(), RequestBody::Empty) {
        return None;
    }
    let mut copy = Request::new(RequestBody::Empty);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

/// The connection ended without a byte of an answer: what a pooled connection that the agent closed looks like.
fn is_silent_close(error: &hyper::Error) -> bool {
    error.is_incomplete_message()
        || error.is_canceled()
        || error.source().is_some_and(<dyn std::error::Error>::is::<std::io::Error>)
}

fn says_close(headers: &HeaderMap) -> bool {
    headers.get_all(header::CONNECTION).iter().any(|value| {
        value
            .to_str()
            .is_ok_and(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case("close")))
    })
}

/// Whether a request asks for a WebSocket in the way of RFC 6455.
pub(crate) fn asks_for_websocket(parts: &request::Parts) -> bool {
    let lists = |name: header::HeaderName, wanted: &str| {
        parts.headers.get_all(name).iter().any(|value| {
            value
                .to_str()
                .is_ok_and(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(wanted)))
        })
    };
    parts.version == Version::HTTP_11
        && parts.method == Method::GET
        && lists(header::UPGRADE, "websocket")
        && lists(header::CONNECTION, "upgrade")
}

/// Whether a request asks for one in the way of RFC 8441.
pub(crate) fn asks_for_websocket_over_h2(method: &Method, extensions: &http::Extensions) -> bool {
    method == Method::CONNECT
        && extensions.get::<hyper::ext::Protocol>().is_some_and(|protocol| protocol.as_str() == "websocket")
}

/// Makes the HTTP/1.1 handshake of a request over HTTP/2, which has none.
pub(crate) fn make_handshake(parts: &mut request::Parts) {
    parts.method = Method::GET;
    // The key keeps caches from answering; there is none between us and an agent, hence no need for chance.
    let key = HeaderValue::from_static("cnlva2FuLWdhdGV3YXktMQ==");
    parts.headers.insert(header::SEC_WEBSOCKET_KEY, key);
    parts.headers.entry(header::SEC_WEBSOCKET_VERSION).or_insert(HeaderValue::from_static("13"));
}

/// Tells the client in its own HTTP that its upgrade was granted.
pub(crate) fn confirm_upgrade(response: &mut Response<Body>, over_h2: bool) {
    if over_h2 {
        *response.status_mut() = StatusCode::OK;
        response.headers_mut().remove(header::SEC_WEBSOCKET_ACCEPT);
    } else {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
}
