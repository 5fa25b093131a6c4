//! Connections to agents: opened on demand, kept for a while, bounded per endpoint.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::task::Poll;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::answer::Obstacle;
use crate::limits::Limits;
use crate::upstream::Connection;

/// All connections to all agents.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    endpoints: RwLock<HashMap<SocketAddr, Arc<Endpoint>>>,
}

/// The connections to one address.
pub(crate) struct Endpoint {
    address: SocketAddr,
    /// Oldest first; taken from the end, so that a burst's extra connections age out.
    idle: Mutex<Vec<(Box<Connection>, Instant)>>,
    open: AtomicUsize,
    max_idle: usize,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("open", &self.open).finish_non_exhaustive()
    }
}

/// The right to one connection of an endpoint; dropping it without `give_back` says that it was closed.
#[derive(Debug)]
pub(crate) struct Lease {
    endpoint: Arc<Endpoint>,
    is_returned: bool,
}

impl Lease {
    /// Keeps the connection for the next request.
    pub(crate) fn give_back(mut self, connection: Box<Connection>) {
        let mut idle = self.endpoint.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < self.endpoint.max_idle {
            idle.push((connection, Instant::now()));
            self.is_returned = true;
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.is_returned {
            self.endpoint.open.fetch_sub(1, Relaxed);
        }
    }
}

impl Pool {
    pub(crate) fn endpoint(&self, address: SocketAddr, limits: &Limits) -> Arc<Endpoint> {
        let endpoints = self.endpoints.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(endpoint) = endpoints.get(&address) {
            return Arc::clone(endpoint);
        }
        drop(endpoints);
        let mut endpoints = self.endpoints.write().unwrap_or_else(PoisonError::into_inner);
        let fresh = || {
            let (idle, open) = (Mutex::new(Vec::new()), AtomicUsize::new(0));
            Arc::new(Endpoint { address, idle, open, max_idle: limits.idle_per_endpoint })
        };
        Arc::clone(endpoints.entry(address).or_insert_with(fresh))
    }

    /// Closes what was unused for too long and forgets endpoints without connections.
    pub(crate) fn sweep(&self, idle_timeout: Duration) {
        let now = Instant::now();
        let mut closing = Vec::new();
        let mut endpoints = self.endpoints.write().unwrap_or_else(PoisonError::into_inner);
        endpoints.retain(|_, endpoint| {
            let mut idle = endpoint.idle.lock().unwrap_or_else(PoisonError::into_inner);
            let fresh = idle.partition_point(|(_, since)| now - *since >= idle_timeout);
            endpoint.open.fetch_sub(fresh, Relaxed);
            closing.extend(idle.drain(..fresh));
            // The map's own reference is the only one left: nobody is about to connect.
            endpoint.open.load(Relaxed) > 0 || Arc::strong_count(endpoint) > 1
        });
    }
}

impl Endpoint {
    /// A live unused connection, if there is one.
    pub(crate) async fn reuse(self: &Arc<Self>) -> Option<(Box<Connection>, Lease)> {
        std::future::poll_fn(|cx| {
            loop {
                let taken = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let Some((mut connection, _)) = taken else { return Poll::Ready(None) };
                let lease = Lease { endpoint: Arc::clone(self), is_returned: false };
                if connection.revive(cx) {
                    return Poll::Ready(Some((connection, lease)));
                }
            }
        })
        .await
    }

    /// A new connection.
    pub(crate) async fn connect(
        self: &Arc<Self>,
        limits: &Limits,
    ) -> Result<(Box<Connection>, Lease), Obstacle> {
        if self.open.fetch_add(1, Relaxed) >= limits.connections_per_endpoint {
            self.open.fetch_sub(1, Relaxed);
            return Err(Obstacle::Busy);
        }
        let lease = Lease { endpoint: Arc::clone(self), is_returned: false };
        let connected = tokio::time::timeout(limits.connect_timeout, TcpStream::connect(self.address)).await;
        let stream = match connected {
            Err(_) => return Err(Obstacle::Timeout),
            Ok(Err(error)) => {
                tracing::debug!(%error, "cannot connect to an agent");
                return Err(Obstacle::Unreachable);
            }
            Ok(Ok(stream)) => stream,
        };
        // Nagle's delay would hold back small frames; failure to turn it off costs latency only.
        let _ = stream.set_nodelay(true);
        match Connection::handshake(stream).await {
            Ok(connection) => Ok((Box::new(connection), lease)),
            Err(_) => Err(Obstacle::Unreachable),
        }
    }
}
