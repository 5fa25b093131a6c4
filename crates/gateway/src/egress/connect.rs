//! `CONNECT`: a tunnel is opened, and what its caller says first decides what it is.
//!
//! TLS to a host that is looked into ends here (`super::intercept`); TLS to any other passes untouched, once the name in
//! its first message is the one that was asked for. HTTP in the clear is served request by request. Everything else
//! is bytes.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::course::Course;
use super::hello::{Hello, Opening};
use super::host::RemoteHost;
use super::intercept;
use super::keys::Treatment;
use super::leave::Leave;
use super::ports::{Ask, Caller, Judgement, Later, Scheme};
use super::proxy::{Place, Turned, Visit, Way};
use super::refusal::Refusal;
use super::tunnel::{self, Early};
use super::upstream::{Link, Links, Pinned, locate};
use crate::body::Body;
use crate::client::{ClientIo, Watch};
use crate::inflight::InFlight;
use crate::serve::Held;

/// A tunnel that was allowed.
pub(crate) struct Tunnel {
    pub(crate) visit: Arc<Visit>,
    pub(crate) caller: Caller,
    pub(crate) host: RemoteHost,
    pub(crate) port: u16,
    pub(crate) pinned: Pinned,
    pub(crate) course: Arc<Course>,
}

/// Boxed, because a tunnel leads back here: HTTP is spoken in it.
pub(crate) fn open(
    visit: &Arc<Visit>,
    caller: Caller,
    request: Request<Incoming>,
) -> Later<'_, Result<Response<Body>, Turned>> {
    Box::pin(open_one(visit, caller, request))
}

async fn open_one(
    visit: &Arc<Visit>,
    caller: Caller,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Turned> {
    let shared = &visit.house.shared;
    // Authority form and nothing else: a URL there would be read differently by others.
    let authority = request.uri().authority().filter(|_| request.uri().scheme().is_none());
    let authority = authority.map_or("", |authority| authority.as_str());
    let Some((host, port)) = RemoteHost::parse_authority(authority, None) else {
        let refusal = Refusal::BadRequest("CONNECT wants a host and a port, and no user name.");
        return Err(Turned { refusal, caller: Some(caller), host: None });
    };
    for value in request.headers().get_all(http::header::HOST) {
        // Some clients leave the port out there; a host that differs is a trick.
        let named = value.to_str().ok().and_then(|text| RemoteHost::parse_authority(text, Some(port)));
        if named.is_none_or(|(named, named_port)| named != host || named_port != port) {
            return Err(Turned::of(Refusal::HostMismatch, &caller, &host));
        }
    }
    let limit = shared.limits.in_flight_per_instance;
    let Some(in_flight) = shared.in_flight.enter(Arc::clone(&caller.instance), limit) else {
        return Err(Turned::of(Refusal::Busy, &caller, &host));
    };
    let ask = Ask::Connect { host: host.clone(), port };
    let record = match shared.judge.judge(&caller, &ask).await {
        Judgement::Allowed { record } => record,
        Judgement::Denied { code, sentence } => {
            return Err(Turned::of(Refusal::Denied { code, sentence }, &caller, &host));
        }
    };
    let course = Course::new(&shared.judge, record);
    let leave = visit.house.leaves.grant(caller.clone(), ask.clone(), Vec::new());
    let connecting = async {
        let pinned = locate(shared, &caller, &ask).await?;
        let stream = pinned.connect(shared.limits.connect_timeout).await?;
        Ok::<_, Refusal>((pinned, stream))
    };
    let (pinned, stream) = match connecting.await {
        Ok(connected) => connected,
        Err(refusal) => {
            course.refused(&refusal);
            return Ok(refusal.answer(request.method()));
        }
    };
    course.answered(200);
    let upgrade = hyper::upgrade::on(&mut request);
    // Before the answer: what follows it is not HTTP of this connection.
    visit.watch.enter_tunnel();
    let tunnel = Tunnel { visit: Arc::clone(visit), caller, host, port, pinned, course };
    visit.house.tracker.spawn(tunnel.live(upgrade, stream, leave, in_flight));
    Ok(Response::new(Body::empty()))
}

impl Tunnel {
    async fn live(self, upgrade: OnUpgrade, stream: TcpStream, leave: Leave, in_flight: InFlight) {
        let watch = Arc::clone(&self.visit.watch);
        let total = self.visit.house.shared.limits.total;
        let course = Arc::clone(&self.course);
        // Both count as long as the tunnel lives.
        let _held = (in_flight, watch.serving());
        let living = std::pin::pin!(async {
            tokio::select! {
                () = leave.ended() => course.ended_by("no_longer_allowed"),
                () = tokio::time::sleep(total) => course.ended_by("too_long"),
                () = self.carry(upgrade, stream, &leave) => {}
            }
        });
        watch.supervise(living, |_| {}).await;
    }

    async fn carry(self, upgrade: OnUpgrade, stream: TcpStream, leave: &Leave) {
        let Ok(upgraded) = upgrade.await else { return };
        let mut caller = TokioIo::new(upgraded);
        let shared = &self.visit.house.shared;
        let mut hello = Hello::default();
        let opening = tokio::select! {
            biased;
            // A host that speaks first is neither TLS nor HTTP.
            _ = stream.readable() => Opening::Other,
            read = tokio::time::timeout(shared.limits.header_timeout, hello.read(&mut caller)) => {
                read.unwrap_or(Opening::Unreadable)
            }
        };
        match opening {
            Opening::Tls(accepted) => {
                let accepted = *accepted;
                if !self.is_named(accepted.client_hello().server_name()) {
                    return self.refuse(Refusal::HostMismatch);
                }
                let bound = shared.keys.bound(&self.caller, &self.host, self.port);
                if bound.treatment == Treatment::Inspect {
                    return intercept::run(self, caller, stream, accepted).await;
                }
                self.pass(caller, stream, &hello, leave).await;
            }
            Opening::Http { is_h2 } => {
                let Ok(link) =
                    Link::handshake(stream, is_h2, &self.visit.house.tracker, shared.limits.head()).await
                else {
                    return self.refuse(Refusal::NoAnswer);
                };
                self.serve(caller, hello.take(), Scheme::Http, is_h2, Some(link)).await;
            }
            Opening::Other => {
                let bound = shared.keys.bound(&self.caller, &self.host, self.port);
                if bound.treatment == Treatment::Inspect {
                    return self.refuse(Refusal::BadRequest("Only HTTP can be looked into."));
                }
                self.pass(caller, stream, &hello, leave).await;
            }
            Opening::Unreadable => self.refuse(Refusal::BadRequest("The first bytes cannot be read.")),
            Opening::Closed => {}
        }
    }

    /// Untouched, byte by byte.
    async fn pass(
        &self,
        caller: TokioIo<hyper::upgrade::Upgraded>,
        stream: TcpStream,
        hello: &Hello,
        leave: &Leave,
    ) {
        leave.passes_untouched();
        let early = Early { up: hello.bytes(), ..Early::default() };
        tunnel::run(caller, stream, early, &self.course, &self.visit.house.shared.limits).await;
    }

    /// Whether the name in a TLS greeting, if there is one, is the host's.
    fn is_named(&self, name: Option<&str>) -> bool {
        name.is_none_or(|name| RemoteHost::parse(name).as_ref() == Some(&self.host))
    }

    pub(crate) fn refuse(&self, refusal: Refusal) {
        self.course.ended_by(refusal.code());
        self.visit.report(Turned::of(refusal, &self.caller, &self.host));
    }

    /// Speaks HTTP with the caller within the tunnel. `link` is a first connection to the host.
    pub(crate) async fn serve<S>(
        &self,
        stream: S,
        opening: Bytes,
        scheme: Scheme,
        is_h2: bool,
        link: Option<Link>,
    ) where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let house = &self.visit.house;
        let watch = Arc::new(Watch::default());
        // Within the tunnel it is a connection like any other: slow heads, idleness and drain concern it.
        let held = Held::new(house.supervisor.register(&watch), house.tracker.token(), ());
        let way = Way {
            scheme,
            host: self.host.clone(),
            port: self.port,
            pinned: Some(self.pinned.clone()),
            is_h2,
        };
        let links = Links::default();
        if let Some(link) = link {
            links.put_fresh(link);
        }
        let visit = Visit {
            house: Arc::clone(house),
            source: self.visit.source,
            watch: Arc::clone(&watch),
            place: Place::Within { caller: self.caller.clone(), way },
            links,
        };
        let io = if is_h2 {
            ClientIo::open(stream, opening, watch, held)
        } else {
            ClientIo::screened(stream, opening, watch, held)
        };
        Box::pin(super::door::serve_http(io, Arc::new(visit), is_h2)).await;
    }
}
