//! Connections to hosts: resolve, check, pin, connect; and HTTP spoken over them.
//!
//! The address that was checked is the address that is connected to: nothing resolves a name twice.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;

use super::address::may_be_reached;
use super::door::Shared;
use super::host::RemoteHost;
use super::ports::{Ask, Caller, Scheme};
use super::refusal::Refusal;
use crate::body::BoxError;
use crate::serve::Executor;

/// No more addresses of a host are tried.
const MOST_ADDRESSES: usize = 8;
/// Time for one of several addresses.
const ONE_ADDRESS: Duration = Duration::from_secs(4);

pub(crate) type OutBody = UnsyncBoxBody<Bytes, BoxError>;

/// Addresses of a host, all of them checked.
#[derive(Clone, Debug)]
pub(crate) struct Pinned(Vec<SocketAddr>);

/// Finds and checks a host's addresses. One bad address spoils all: a name that leads both to us and away is an attack.
pub(crate) async fn locate(shared: &Shared, caller: &Caller, ask: &Ask) -> Result<Pinned, Refusal> {
    let (host, port) = (ask.host(), ask.port());
    let addresses: Vec<IpAddr> = match host {
        RemoteHost::Address(address) => vec![*address],
        RemoteHost::Name(name) => {
            let looking = tokio::time::timeout(shared.limits.connect_timeout, shared.resolver.resolve(name));
            match looking.await {
                Ok(Ok(found)) => found,
                Ok(Err(_)) => return Err(Refusal::NotResolved),
                Err(_) => return Err(Refusal::TooSlow),
            }
        }
    };
    if addresses.is_empty() {
        return Err(Refusal::NotResolved);
    }
    check(shared, caller, ask, &addresses)?;
    let endpoint = |address: IpAddr| SocketAddr::new(address, port);
    Ok(Pinned(addresses.into_iter().take(MOST_ADDRESSES).map(endpoint).collect()))
}

fn check(shared: &Shared, caller: &Caller, ask: &Ask, addresses: &[IpAddr]) -> Result<(), Refusal> {
    let by_address = || addresses.iter().all(|address| may_be_reached(*address, &shared.exceptions));
    let fine = shared.judge.may_reach(caller, ask, addresses).unwrap_or_else(by_address);
    if fine { Ok(()) } else { Err(Refusal::AddressNotPublic) }
}

impl Pinned {
    /// The same check for a further request to them.
    pub(crate) fn check(&self, shared: &Shared, caller: &Caller, ask: &Ask) -> Result<(), Refusal> {
        let addresses: Vec<IpAddr> = self.0.iter().map(SocketAddr::ip).collect();
        check(shared, caller, ask, &addresses)
    }

    /// A connection to the first address that answers.
    pub(crate) async fn connect(&self, patience: Duration) -> Result<TcpStream, Refusal> {
        let trying = async {
            let mut obstacle = Refusal::Unreachable;
            for (at, address) in self.0.iter().enumerate() {
                let is_last = at + 1 == self.0.len();
                let patience = if is_last { patience } else { ONE_ADDRESS.min(patience) };
                match tokio::time::timeout(patience, TcpStream::connect(address)).await {
                    Ok(Ok(stream)) => {
                        // Only costs latency if it fails.
                        let _ = stream.set_nodelay(true);
                        return Ok(stream);
                    }
                    Ok(Err(_)) => obstacle = Refusal::Unreachable,
                    Err(_) => obstacle = Refusal::TooSlow,
                }
            }
            Err(obstacle)
        };
        tokio::time::timeout(patience, trying).await.unwrap_or(Err(Refusal::TooSlow))
    }
}

/// HTTP over one connection.
pub(crate) enum Link {
    H1(http1::SendRequest<OutBody>),
    H2(http2::SendRequest<OutBody>),
}

impl Link {
    pub(crate) async fn handshake<S>(
        stream: S,
        is_h2: bool,
        tracker: &TaskTracker,
        head: usize,
    ) -> Result<Self, Refusal>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let io = TokioIo::new(stream);
        if is_h2 {
            let mut builder = http2::Builder::new(Executor(tracker.clone()));
            builder
                .timer(TokioTimer::new())
                .max_header_list_size(u32::try_from(head).unwrap_or(u32::MAX))
                .keep_alive_interval(Duration::from_secs(30))
                .keep_alive_timeout(Duration::from_secs(20));
            let (sender, connection) = builder.handshake(io).await.map_err(|_| Refusal::NoAnswer)?;
            tracker.spawn(connection);
            return Ok(Self::H2(sender));
        }
        let mut builder = http1::Builder::new();
        builder.max_buf_size(head.max(256 * 1024));
        let (sender, connection) = builder.handshake(io).await.map_err(|_| Refusal::NoAnswer)?;
        tracker.spawn(connection.with_upgrades());
        Ok(Self::H1(sender))
    }

    pub(crate) async fn send(
        &mut self,
        request: Request<OutBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<OutBody>>> {
        match self {
            Self::H1(sender) => sender.try_send_request(request).await,
            Self::H2(sender) => sender.try_send_request(request).await,
        }
    }

    pub(crate) fn is_h2(&self) -> bool {
        matches!(self, Self::H2(_))
    }

    /// Whether it can carry another request.
    async fn is_live(&mut self) -> bool {
        /// The end of the answer before may not have reached the connection's task yet.
        const MOMENT: Duration = Duration::from_millis(5);
        match self {
            Self::H1(sender) => {
                !sender.is_closed()
                    && matches!(tokio::time::timeout(MOMENT, sender.ready()).await, Ok(Ok(())))
            }
            Self::H2(sender) => !sender.is_closed(),
        }
    }
}

/// Which requests may share a connection: same host, same credentials in the same revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LinkKey {
    pub(crate) scheme: Scheme,
    pub(crate) host: RemoteHost,
    pub(crate) port: u16,
    pub(crate) keys: Vec<(std::sync::Arc<str>, u64)>,
}

/// The connections to hosts of one connection of a caller. They belong to it and end with it, so that no other instance
/// ever comes near them.
#[derive(Default)]
pub(crate) struct Links(Mutex<Vec<(Option<LinkKey>, Link)>>);

/// More are not kept; a caller that visits many hosts by one connection connects anew.
const MOST_LINKS: usize = 8;

impl Links {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Option<LinkKey>, Link)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One that no request went over yet.
    pub(crate) fn put_fresh(&self, link: Link) {
        self.lock().push((None, link));
    }

    pub(crate) fn put(&self, key: LinkKey, link: Link) {
        let mut links = self.lock();
        if links.len() >= MOST_LINKS {
            links.remove(0);
        }
        links.push((Some(key), link));
    }

    pub(crate) async fn take(&self, key: &LinkKey) -> Option<Link> {
        loop {
            let (known, mut link) = {
                let mut links = self.lock();
                let same = links.iter().position(|(known, _)| known.as_ref() == Some(key));
                let at = same.or_else(|| links.iter().position(|(known, _)| known.is_none()))?;
                links.remove(at)
            };
            if !link.is_live().await {
                continue;
            }
            if let Link::H2(sender) = &link {
                // Streams share it.
                self.lock().push((Some(known.unwrap_or_else(|| key.clone())), Link::H2(sender.clone())));
            }
            return Some(link);
        }
    }
}
