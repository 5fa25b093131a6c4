//! The listener in a project's network, and the life of a connection to it.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::authority::Authority;
use super::leave::Leaves;
use super::limits::EgressLimits;
use super::ports::{Callers, DoorId, Inside, Judge, Keys, Resolver};
use super::proxy::{Place, Visit};
use super::tls::{TlsParts, UpstreamTls};
use super::upstream::Links;
use crate::client::{ClientIo, Watch};
use crate::inflight::Counts;
use crate::peer::Cidr;
use crate::ports::Clock;
use crate::serve::{Executor, Held, concerns_one_client};
use crate::supervisor::Supervisor;

const BREATHER: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nProxy-Status: ryokan; error=connection_limit_reached\r\nConnection: close\r\n\r\n";

/// What an egress proxy is made of.
pub struct EgressParts {
    pub callers: Arc<dyn Callers>,
    pub judge: Arc<dyn Judge>,
    pub keys: Arc<dyn Keys>,
    pub resolver: Arc<dyn Resolver>,
    pub inside: Arc<dyn Inside>,
    pub clock: Arc<dyn Clock>,
    pub authority: Arc<Authority>,
    /// Authorities that are trusted besides those of the web.
    pub tls: TlsParts,
    /// Ranges that the operator lets instances reach although they are not public.
    pub exceptions: Vec<Cidr>,
    pub limits: EgressLimits,
}

/// The egress proxy. Cheap to clone; all clones share their limits.
#[derive(Clone)]
pub struct Egress {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) callers: Arc<dyn Callers>,
    pub(crate) judge: Arc<dyn Judge>,
    pub(crate) keys: Arc<dyn Keys>,
    pub(crate) resolver: Arc<dyn Resolver>,
    pub(crate) inside: Arc<dyn Inside>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) authority: Arc<Authority>,
    pub(crate) tls: UpstreamTls,
    pub(crate) exceptions: Vec<Cidr>,
    pub(crate) limits: EgressLimits,
    pub(crate) in_flight: Arc<Counts<Arc<str>>>,
    addresses: Arc<Counts<(DoorId, IpAddr)>>,
    connections: Arc<Semaphore>,
}

/// What the connections of one listener have in common.
pub(crate) struct House {
    pub(crate) shared: Arc<Shared>,
    pub(crate) door: DoorId,
    pub(crate) tracker: TaskTracker,
    pub(crate) supervisor: Arc<Supervisor>,
    pub(crate) leaves: Arc<Leaves>,
}

impl Egress {
    /// Builds a proxy; nothing runs until `serve`.
    pub fn new(parts: EgressParts) -> Self {
        let connections = Arc::new(Semaphore::new(parts.limits.connections.min(Semaphore::MAX_PERMITS)));
        Self {
            shared: Arc::new(Shared {
                callers: parts.callers,
                judge: parts.judge,
                keys: parts.keys,
                resolver: parts.resolver,
                inside: parts.inside,
                clock: parts.clock,
                authority: parts.authority,
                tls: UpstreamTls::new(parts.tls),
                exceptions: parts.exceptions,
                limits: parts.limits,
                in_flight: Counts::new(),
                addresses: Counts::new(),
                connections,
            }),
        }
    }

    /// Serves the listener of one door until `soft` is cancelled and everything under way has ended, or `hard` is
    /// cancelled and everything was cut. Doors come and go at run time: one call each.
    pub async fn serve(
        &self,
        listener: TcpListener,
        door: DoorId,
        soft: CancellationToken,
        hard: CancellationToken,
    ) {
        let house = Arc::new(House {
            shared: Arc::clone(&self.shared),
            door,
            tracker: TaskTracker::new(),
            supervisor: Arc::default(),
            leaves: Arc::default(),
        });
        let done = CancellationToken::new();
        let accepting = async {
            house.accept(&listener, &soft, &hard).await;
            drop(listener);
            house.tracker.close();
            tokio::select! {
                () = house.tracker.wait() => {}
                // What a host keeps open has no say in how long we live.
                () = async { hard.cancelled().await; tokio::time::sleep(LONGEST_PAUSE).await } => {}
            }
            done.cancel();
        };
        let shared = &self.shared;
        let limits = shared.limits.for_supervisor();
        let review =
            || house.leaves.review(shared.callers.as_ref(), shared.judge.as_ref(), shared.keys.as_ref());
        let supervising = house.supervisor.run(&limits, &soft, &hard, &done, review);
        tokio::join!(accepting, supervising);
    }
}

impl House {
    async fn accept(
        self: &Arc<Self>,
        listener: &TcpListener,
        soft: &CancellationToken,
        hard: &CancellationToken,
    ) {
        let next = async || {
            let permit = Arc::clone(&self.shared.connections).acquire_owned().await;
            let permit = permit.map_err(|_| io::Error::other("closed"))?;
            let (stream, address) = listener.accept().await?;
            Ok::<_, io::Error>((stream, address, permit))
        };
        let mut pause = BREATHER;
        loop {
            let accepted = tokio::select! {
                biased;
                () = soft.cancelled() => return,
                () = hard.cancelled() => return,
                accepted = next() => accepted,
            };
            match accepted {
                Ok((stream, address, permit)) => {
                    pause = BREATHER;
                    self.welcome(stream, address, permit);
                }
                Err(error) if concerns_one_client(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, door = %self.door.0, "cannot accept connections for now");
                    tokio::select! {
                        () = soft.cancelled() => return,
                        () = hard.cancelled() => return,
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    fn welcome(self: &Arc<Self>, stream: TcpStream, source: SocketAddr, permit: OwnedSemaphorePermit) {
        // Only costs latency if it fails.
        let _ = stream.set_nodelay(true);
        let source = SocketAddr::new(source.ip().to_canonical(), source.port());
        let limit = self.shared.limits.connections_per_instance;
        let Some(counted) = self.shared.addresses.enter((self.door.clone(), source.ip()), limit) else {
            // Best effort: a fresh socket has room for it.
            let _ = stream.try_write(TOO_MANY);
            return;
        };
        let watch = Arc::new(Watch::default());
        let held = Held::new(self.supervisor.register(&watch), self.tracker.token(), (permit, counted));
        let visit = Visit {
            house: Arc::clone(self),
            source,
            watch: Arc::clone(&watch),
            place: Place::Door,
            links: Links::default(),
        };
        let io = ClientIo::screened(stream, Bytes::new(), watch, held);
        self.tracker.spawn(serve_http(io, Arc::new(visit), false));
    }
}

/// Speaks HTTP with a caller: at the door, or within a tunnel.
pub(crate) async fn serve_http<S>(io: ClientIo<S>, visit: Arc<Visit>, is_h2: bool)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let watch = Arc::clone(&visit.watch);
    let limits = visit.house.shared.limits.clone();
    let tracker = visit.house.tracker.clone();
    let service = service_fn(move |request| {
        let visit = Arc::clone(&visit);
        async move { Ok::<_, Infallible>(visit.answer(request).await) }
    });
    // How a connection ends is the caller's affair: nothing of it is worth more than a debug line of hyper's.
    if is_h2 {
        let mut builder = http2::Builder::new(Executor(tracker));
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams_per_connection)
            .max_header_list_size(u32::try_from(limits.head()).unwrap_or(u32::MAX))
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(20));
        let connection = std::pin::pin!(builder.serve_connection(TokioIo::new(io), service));
        watch.supervise(connection, http2::Connection::graceful_shutdown).await;
    } else {
        let mut builder = http1::Builder::new();
        // The supervisor watches for slow heads.
        builder
            .header_read_timeout(None)
            .max_header_size(limits.head())
            .max_buf_size(limits.head().max(256 * 1024));
        let connection = std::pin::pin!(builder.serve_connection(TokioIo::new(io), service).with_upgrades());
        watch.supervise(connection, http1::UpgradeableConnection::graceful_shutdown).await;
    }
}
