//! Where a request meets its route: checks that need a whole request, then control plane or agent.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};

use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header, request};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::admission::{Admitted, OWN_PATHS, Refused, Visit};
use crate::answer::{Asker, Obstacle};
use crate::body::Body;
use crate::client::Watch;
use crate::forward::{self, Outgoing};
use crate::headers::{self, AnswerContext, Context};
use crate::host::{self, Host, Target};
use crate::inflight::Counts;
use crate::introduction::Introduction;
use crate::limits::Limits;
use crate::passes::Passes;
use crate::peer::{self, Cidr};
use crate::pool::Pool;
use crate::ports::{Authenticator, Clock, ControlPlane, Meter, Peer};
use crate::route::{Route, RouteState, RouteTable};
use crate::signed::SigningKey;

const MALFORMED_PATH: Obstacle = Obstacle::BadRequest("The path is malformed.");

/// What a gateway is made of.
pub struct Parts {
    pub routes: Arc<RouteTable>,
    pub control_plane: Arc<dyn ControlPlane>,
    pub authenticator: Arc<dyn Authenticator>,
    pub meter: Arc<dyn Meter>,
    pub clock: Arc<dyn Clock>,
    /// Signs tickets and agent cookies; the control plane mints tickets with the same one.
    pub key: SigningKey,
    /// Proxies in front whose `X-Forwarded-*` are believed.
    pub trusted_proxies: Vec<Cidr>,
    pub limits: Limits,
}

/// The data plane. Cheap to clone; all clones share connections and counts.
#[derive(Clone)]
pub struct Gateway {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) routes: Arc<RouteTable>,
    pub(crate) control_plane: Arc<dyn ControlPlane>,
    pub(crate) authenticator: Arc<dyn Authenticator>,
    pub(crate) meter: Arc<dyn Meter>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) key: SigningKey,
    pub(crate) trusted_proxies: Vec<Cidr>,
    pub(crate) limits: Limits,
    pub(crate) pool: Pool,
    pub(crate) passes: Arc<Passes>,
    pub(crate) in_flight: Arc<Counts<Arc<str>>>,
    pub(crate) addresses: Arc<Counts<std::net::IpAddr>>,
    pub(crate) connections: Arc<Semaphore>,
    /// When it was last said that no connection could be accepted.
    pub(crate) complained: Arc<Mutex<Option<Instant>>>,
}

/// The connection a request came by.
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    pub(crate) secure: bool,
    pub(crate) watch: Arc<Watch>,
    pub(crate) tracker: TaskTracker,
    pub(crate) introduction: OnceLock<Introduction>,
}

impl Gateway {
    /// Builds a gateway; nothing runs until `serve`.
    pub fn new(parts: Parts) -> Self {
        let connections = Arc::new(Semaphore::new(parts.limits.connections.min(Semaphore::MAX_PERMITS)));
        Self {
            shared: Arc::new(Shared {
                routes: parts.routes,
                control_plane: parts.control_plane,
                authenticator: parts.authenticator,
                meter: parts.meter,
                clock: parts.clock,
                key: parts.key,
                trusted_proxies: parts.trusted_proxies,
                limits: parts.limits,
                pool: Pool::default(),
                passes: Arc::default(),
                in_flight: Counts::new(),
                addresses: Counts::new(),
                connections,
                complained: Arc::default(),
            }),
        }
    }

    /// The same gateway with connections to agents of its own, for a runtime of its own: one single-threaded
    /// runtime a core, each with a listener on the same port (`SO_REUSEPORT`), is the fastest way to run this.
    /// Limits on clients and instances are shared; `connections_per_endpoint` is for each worker.
    #[must_use]
    pub fn worker(&self) -> Self {
        let shared = &*self.shared;
        Self {
            shared: Arc::new(Shared {
                routes: Arc::clone(&shared.routes),
                control_plane: Arc::clone(&shared.control_plane),
                authenticator: Arc::clone(&shared.authenticator),
                meter: Arc::clone(&shared.meter),
                clock: Arc::clone(&shared.clock),
                key: shared.key.clone(),
                trusted_proxies: shared.trusted_proxies.clone(),
                limits: shared.limits.clone(),
                pool: Pool::default(),
                passes: Arc::default(),
                in_flight: Arc::clone(&shared.in_flight),
                addresses: Arc::clone(&shared.addresses),
                connections: Arc::clone(&shared.connections),
                complained: Arc::clone(&shared.complained),
            }),
        }
    }
}

impl Shared {
    /// Answers any request. Never fails: what goes wrong becomes an answer.
    pub(crate) async fn answer(
        self: &Arc<Self>,
        client: &Client,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let serving = client.watch.serving();
        let asker = Asker::of(request.method(), request.headers());
        let is_h2 = request.version() == Version::HTTP_2;
        let mut response = match self.route(client, request).await {
            Ok(response) => response,
            Err(Refused::Redirect(response)) => *response,
            Err(Refused::With(obstacle)) => obstacle.answer(asker),
        };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            client.watch.enter_tunnel();
        }
        if is_h2 {
            headers::remove_hop_by_hop(response.headers_mut());
        }
        response.map(|body| body.holding(serving))
    }

    async fn route(
        self: &Arc<Self>,
        client: &Client,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, Refused> {
        let peer = peer::client(client.address, client.secure, request.headers(), &self.trusted_proxies);
        check_method(&request)?;
        match self.find(&mut request)? {
            None => {
                for name in peer::FORWARDING {
                    request.headers_mut().remove(name);
                }
                Ok(self.control_plane.handle(request, peer).await)
            }
            Some(place) => {
                let (parts, body) = request.into_parts();
                if head_bytes(&parts) > self.limits.header_bytes {
                    return Err(Obstacle::HeadTooLarge.into());
                }
                match self.enter(&peer, &place, &parts)? {
                    Entry::Session(response, nonce) => {
                        if self.control_plane.use_ticket(nonce).await {
                            Ok(*response)
                        } else {
                            Err(Obstacle::TicketRefused.into())
                        }
                    }
                    Entry::Admitted(admitted, framing) => {
                        Ok(self.agent(client, &peer, place, admitted, framing, parts, body).await?)
                    }
                }
            }
        }
    }

    /// Where a request goes; `None` is the control plane. Cuts the prefix of the path route off its target.
    fn find(&self, request: &mut Request<Incoming>) -> Result<Option<Place>, Obstacle> {
        // HTTP/1.0 without a host: a load balancer's probe.
        let Some((host, host_header)) = authority(request)? else { return Ok(None) };
        let snapshot = self.routes.load();
        match host::resolve(&snapshot, &host) {
            Target::Agent { route, port } => Ok(Some(Place { route, port, prefix: None, host, host_header })),
            Target::NoSuchAgent => Err(Obstacle::NoSuchAgent),
            Target::Unknown => Err(Obstacle::UnknownHost),
            Target::Control(_) => {
                let path = request.uri().path_and_query().map_or("", PathAndQuery::as_str);
                let Some((name, rest)) = host::split_gateway_path(path) else { return Ok(None) };
                let route = snapshot.by_name(&name).cloned().ok_or(Obstacle::NoSuchAgent)?;
                *request.uri_mut() = rest.parse().map_err(|_| MALFORMED_PATH)?;
                Ok(Some(Place {
                    route,
                    port: None,
                    prefix: Some(format!("/gateway/{name}")),
                    host,
                    host_header,
                }))
            }
        }
    }

    /// Decides who gets in; holds the snapshot no longer than that.
    fn enter(&self, peer: &Peer, place: &Place, parts: &request::Parts) -> Result<Entry, Refused> {
        let snapshot = self.routes.load();
        let by_path = place.prefix.is_some();
        let visit = Visit {
            parts,
            peer,
            host: &place.host,
            host_header: place.host_text(),
            route: &place.route,
            snapshot: &snapshot,
            by_path,
        };
        if by_path && parts.headers.contains_key("service-worker") {
            // It would rule the dashboard's origin.
            return Err(Obstacle::NoSuchAgent.into());
        }
        if !by_path && parts.uri.path().starts_with(OWN_PATHS) {
            let (response, nonce) = visit.begin_session(self)?;
            return Ok(Entry::Session(Box::new(response), nonce));
        }
        let admitted = visit.admit(self)?;
        let framing = (admitted.by_cookie && !by_path).then(|| visit.framing()).flatten();
        Ok(Entry::Admitted(admitted, framing))
    }

    #[expect(clippy::too_many_arguments, reason = "one request's own parts, used once")]
    async fn agent(
        self: &Arc<Self>,
        client: &Client,
        peer: &Peer,
        place: Place,
        admitted: Admitted,
        framing: Option<HeaderValue>,
        mut parts: request::Parts,
        body: Incoming,
    ) -> Result<Response<Body>, Obstacle> {
        let limit = self.limits.in_flight_per_instance;
        let instance_id = Arc::from(place.route.instance_id.as_str());
        let in_flight = self.in_flight.enter(instance_id, limit).ok_or(Obstacle::Busy)?;
        let pass = admitted.credential.map(|credential| self.passes.issue(credential, &place.route));
        let (route, address) = self.awake(Arc::clone(&place.route), place.port.as_deref()).await?;

        let over_h2 = forward::asks_for_websocket_over_h2(&parts.method, &parts.extensions);
        let websocket = over_h2 || forward::asks_for_websocket(&parts);
        if websocket && !route.websocket {
            return Err(Obstacle::NoWebSocket);
        }
        let path = parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let target = path.as_str().starts_with('/').then(|| headers::target(&route, &path)).flatten();
        parts.uri = target.ok_or(MALFORMED_PATH)?;
        let upgrade = parts.extensions.remove::<OnUpgrade>().filter(|_| websocket);
        headers::to_agent(
            &mut parts.headers,
            &Context {
                route: &route,
                endpoint: address,
                peer,
                introduction: &client.introduction,
                host: &place.host_header,
                port: place.host.port,
                prefix: place.prefix.as_deref(),
                authorization_used: admitted.authorization_used,
                is_secret: &|text| self.authenticator.is_secret(text),
                user: admitted.user.as_deref(),
                websocket,
            },
        );
        if over_h2 {
            forward::make_handshake(&mut parts);
        }
        let outgoing =
            Outgoing { shared: self, client, route: &route, address, in_flight, pass, upgrade, over_h2 };
        let mut response = outgoing.send(parts, body).await?;
        let is_upgrade = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let (host, prefix) = (place.host_text(), place.prefix.as_deref());
        headers::from_agent(
            response.headers_mut(),
            &AnswerContext { endpoint: address, host, prefix, framing },
        );
        if is_upgrade {
            forward::confirm_upgrade(&mut response, over_h2);
        }
        Ok(response)
    }

    /// The address to send to. A sleeping instance is woken and waited for; others that do not run are refused.
    async fn awake(
        &self,
        route: Arc<Route>,
        port: Option<&str>,
    ) -> Result<(Arc<Route>, SocketAddr), Obstacle> {
        if route.state != RouteState::Sleeping {
            let address = endpoint(&route, port)?;
            return Ok((route, address));
        }
        self.authenticator.wake(&route);
        let mut changes = self.routes.watch();
        let woken = async {
            loop {
                changes.borrow_and_update();
                let current = self.routes.load().by_name(&route.name.to_ascii_lowercase()).cloned();
                let Some(current) = current.filter(|current| current.instance_id == route.instance_id) else {
                    return Err(Obstacle::NoSuchAgent);
                };
                match current.state {
                    RouteState::Sleeping | RouteState::Pending | RouteState::Starting => {}
                    // Who may enter was decided by the old terms.
                    _ if current.access != route.access => return Err(Obstacle::Starting),
                    _ => return endpoint(&current, port).map(|address| (current, address)),
                }
                if changes.changed().await.is_err() {
                    return Err(Obstacle::Waking);
                }
            }
        };
        tokio::time::timeout(self.limits.wake_timeout, woken).await.unwrap_or(Err(Obstacle::Waking))
    }
}

/// Where a request goes, and how it said so.
struct Place {
    route: Arc<Route>,
    port: Option<String>,
    prefix: Option<String>,
    host: Host,
    host_header: HeaderValue,
}

impl Place {
    fn host_text(&self) -> &str {
        self.host_header.to_str().unwrap_or_default()
    }
}

enum Entry {
    Admitted(Admitted, Option<HeaderValue>),
    /// The start of a session, for the first who brings this ticket.
    Session(Box<Response<Body>>, [u8; 16]),
}

fn endpoint(route: &Route, port: Option<&str>) -> Result<SocketAddr, Obstacle> {
    let main = match &route.state {
        RouteState::Ready { endpoint } | RouteState::Unhealthy { endpoint } => *endpoint,
        RouteState::Pending | RouteState::Starting => return Err(Obstacle::Starting),
        RouteState::Sleeping => return Err(Obstacle::Waking),
        RouteState::Stopping | RouteState::Stopped => return Err(Obstacle::Stopped),
        RouteState::Failed { reason } => return Err(Obstacle::Failed { reason: reason.clone() }),
        RouteState::Suspended(why) => return Err(Obstacle::Suspended(why.clone())),
        RouteState::Deleting => return Err(Obstacle::NoSuchAgent),
    };
    match port {
        None => Ok(main),
        Some(port) => route.ports.get(port).copied().ok_or(Obstacle::NoSuchAgent),
    }
}

/// As HTTP/1 writes it: each line with what stands around it.
fn head_bytes(parts: &request::Parts) -> usize {
    let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    parts.headers.iter().fold(target, |sum, (name, value)| sum + name.as_str().len() + value.len() + 4)
}

fn check_method<B>(request: &Request<B>) -> Result<(), Obstacle> {
    match *request.method() {
        // RFC 8441: a WebSocket over HTTP/2.
        Method::CONNECT if forward::asks_for_websocket_over_h2(request.method(), request.extensions()) => {
            Ok(())
        }
        Method::CONNECT => Err(Obstacle::BadRequest("This is not a forward proxy.")),
        Method::TRACE => Err(Obstacle::BadRequest("TRACE is not served.")),
        _ => Ok(()),
    }
}

/// The host a request names, which must be the same wherever it names one.
fn authority(request: &Request<Incoming>) -> Result<Option<(Host, HeaderValue)>, Obstacle> {
    const MALFORMED: Obstacle = Obstacle::BadRequest("The host is missing, malformed or ambiguous.");
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (host, more) = (hosts.next(), hosts.next());
    if more.is_some() {
        return Err(MALFORMED);
    }
    let in_target = request.uri().authority().map(http::uri::Authority::as_str);
    let text = match (in_target, host.map(HeaderValue::to_str)) {
        (_, Some(Err(_))) => return Err(MALFORMED),
        (Some(target), Some(Ok(host))) if !target.eq_ignore_ascii_case(host) => return Err(MALFORMED),
        (Some(text), _) | (None, Some(Ok(text))) => text,
        (None, None) if request.version() == Version::HTTP_10 => return Ok(None),
        (None, None) => return Err(MALFORMED),
    };
    let parsed = Host::parse(text).ok_or(MALFORMED)?;
    let header = match (in_target, host) {
        // Shares the bytes.
        (None, Some(host)) => host.clone(),
        _ => HeaderValue::try_from(text).map_err(|_| MALFORMED)?,
    };
    Ok(Some((parsed, header)))
}
