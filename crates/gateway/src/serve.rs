//! Accepting, and ending: the loop of a listener and the life of a connection.

use std::any::Any;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::client::{ClientIo, Watch};
use crate::gateway::{Client, Gateway, Shared};
use crate::peer::is_trusted;
use crate::screen::{Opening, opening};
use crate::supervisor::{Registration, Supervisor};

/// Pause after an error that would come again at once, such as no more file descriptors; doubled up to `LONGEST_PAUSE`
/// while it lasts.
const BREATHER: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How often such errors are worth a line, of all listeners together.
const COMPLAIN_EVERY: Duration = Duration::from_mins(1);
const TOO_MANY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// Everything that ends with a connection, whoever holds it last.
#[derive(Debug)]
pub(crate) struct Held {
    _registration: Registration,
    _token: TaskTrackerToken,
    _counted: Box<dyn Any + Send + Sync>,
}

impl Held {
    /// `counted` is whatever counts the connection: permits, places.
    pub(crate) fn new<C>(registration: Registration, token: TaskTrackerToken, counted: C) -> Self
    where
        C: Any + Send + Sync,
    {
        Self { _registration: registration, _token: token, _counted: Box::new(counted) }
    }
}

impl Gateway {
    /// Serves a listener until `soft` is cancelled and everything under way has ended, or `hard` is cancelled
    /// and everything was cut. May be called for several listeners.
    pub async fn serve(&self, listener: TcpListener, soft: CancellationToken, hard: CancellationToken) {
        let tracker = TaskTracker::new();
        let supervisor = Arc::new(Supervisor::default());
        let done = CancellationToken::new();
        let accepting = async {
            self.accept(&listener, &tracker, &supervisor, &soft, &hard).await;
            drop(listener);
            tracker.close();
            tracker.wait().await;
            done.cancel();
        };
        let housekeeping = || {
            self.shared.pool.sweep(self.shared.limits.idle_timeout);
            self.shared.passes.review(self.shared.authenticator.as_ref());
        };
        let supervising = supervisor.run(&self.shared.limits, &soft, &hard, &done, housekeeping);
        tokio::join!(accepting, supervising);
    }

    async fn accept(
        &self,
        listener: &TcpListener,
        tracker: &TaskTracker,
        supervisor: &Arc<Supervisor>,
        soft: &CancellationToken,
        hard: &CancellationToken,
    ) {
        let next = async || {
            // A full house leaves newcomers in the kernel's queue.
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
                    self.welcome(stream, address, permit, tracker, supervisor, soft);
                }
                Err(error) if concerns_one_client(&error) => {}
                Err(error) => {
                    // They wait in the kernel's queue until there is room.
                    self.complain(&error);
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

    fn complain(&self, error: &io::Error) {
        let mut last = self.shared.complained.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|at: Instant| at.elapsed() >= COMPLAIN_EVERY) {
            *last = Some(Instant::now());
            tracing::warn!(
                %error,
                "cannot accept connections for now; if files are short, raise the limit of open files (`ulimit -n`, systemd's LimitNOFILE)"
            );
        }
    }

    fn welcome(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        permit: OwnedSemaphorePermit,
        tracker: &TaskTracker,
        supervisor: &Arc<Supervisor>,
        soft: &CancellationToken,
    ) {
        // Only costs latency if it fails.
        let _ = stream.set_nodelay(true);
        let counted = if is_trusted(address.ip().to_canonical(), &self.shared.trusted_proxies) {
            None
        } else {
            let limit = self.shared.limits.connections_per_address;
            let counted = self.shared.addresses.enter(neighbourhood(address.ip()), limit);
            if counted.is_none() {
                // Best effort: a fresh socket has room for it.
                let _ = stream.try_write(TOO_MANY);
                return;
            }
            counted
        };
        let watch = Arc::new(Watch::default());
        let held = Held::new(supervisor.register(&watch), tracker.token(), (permit, counted));
        let (tracker_of_client, introduction) = (tracker.clone(), OnceLock::new());
        let client = Client { address, secure: false, watch, tracker: tracker_of_client, introduction };
        tracker.spawn(serve_connection(Arc::clone(&self.shared), stream, client, held, soft.clone()));
    }
}

/// One connection, from its first byte to its last.
async fn serve_connection<S>(
    shared: Arc<Shared>,
    mut stream: S,
    client: Client,
    held: Held,
    soft: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let watch = Arc::clone(&client.watch);
    let detected = {
        let detecting = std::pin::pin!(async {
            tokio::select! {
                biased;
                () = soft.cancelled() => None,
                detected = tokio::time::timeout(shared.limits.header_timeout, detect(&mut stream)) => detected.ok(),
            }
        });
        watch.supervise(detecting, |_| {}).await.flatten()
    };
    let Some(Ok((version, opening))) = detected else { return };
    let tracker = client.tracker.clone();
    let client = Arc::new(client);
    let limits = shared.limits.clone();
    let service = service_fn(move |request| {
        let (shared, client) = (Arc::clone(&shared), Arc::clone(&client));
        async move { Ok::<_, Infallible>(shared.answer(&client, request).await) }
    });
    // How a connection ends is the client's affair: nothing of it is worth more than a debug line of hyper's.
    if version == Opening::Http2 {
        let io = TokioIo::new(ClientIo::open(stream, opening, Arc::clone(&watch), held));
        let mut builder = http2::Builder::new(Executor(tracker));
        builder
            .timer(TokioTimer::new())
            .enable_connect_protocol()
            .max_concurrent_streams(limits.streams_per_connection)
            .max_header_list_size(u32::try_from(limits.longest_head()).unwrap_or(u32::MAX))
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(20));
        let connection = std::pin::pin!(builder.serve_connection(io, service));
        watch.supervise(connection, http2::Connection::graceful_shutdown).await;
    } else {
        let io = TokioIo::new(ClientIo::screened(stream, opening, Arc::clone(&watch), held));
        let mut builder = http1::Builder::new();
        // The supervisor watches for slow heads, without a timer for every request.
        builder
            .header_read_timeout(None)
            .max_header_size(limits.longest_head())
            // A head must fit whole.
            .max_buf_size(limits.longest_head().max(256 * 1024));
        let connection = std::pin::pin!(builder.serve_connection(io, service).with_upgrades());
        watch.supervise(connection, http1::UpgradeableConnection::graceful_shutdown).await;
    }
}

/// Reads until it is clear which HTTP is spoken.
async fn detect<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<(Opening, Bytes)> {
    let mut bytes = BytesMut::with_capacity(2048);
    loop {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match opening(&bytes) {
            Opening::Undecided => {}
            version => return Ok((version, bytes.freeze())),
        }
    }
}

/// Whether an accept failed for a client that is gone already, so that the next may well succeed.
pub(crate) fn concerns_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// What counts as one address: an IPv6 client has a whole /64 to itself.
fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address @ IpAddr::V4(_) => address,
    }
}

/// HTTP/2 serves each stream in a task, which belongs to the listener like any other.
#[derive(Clone)]
pub(crate) struct Executor(pub(crate) TaskTracker);

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}
