//! One listener in each project's closed network, opened before anything runs there and closed with the network.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use ryokan_gateway::egress::{DoorId, Egress};
use ryokan_model::ProjectId;
use ryokan_ports::edge::{Edge, EdgeNetwork};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) struct Doors {
    egress: Egress,
    port: u16,
    open: Mutex<BTreeMap<ProjectId, Open>>,
    serving: TaskTracker,
    soft: CancellationToken,
    hard: CancellationToken,
}

struct Open {
    at: SocketAddr,
    close: CancellationToken,
}

impl Doors {
    pub(crate) fn new(egress: Egress, port: u16) -> Self {
        Self {
            egress,
            port,
            open: Mutex::default(),
            serving: TaskTracker::new(),
            soft: CancellationToken::new(),
            hard: CancellationToken::new(),
        }
    }

    /// Nobody new comes in; returns when those who are have gone.
    pub(crate) async fn drain(&self) {
        self.soft.cancel();
        self.serving.close();
        self.serving.wait().await;
    }

    pub(crate) fn cut(&self) {
        self.hard.cancel();
    }

    fn shut(&self, project: ProjectId) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&project);
        if let Some(open) = open {
            open.close.cancel();
        }
    }
}

#[async_trait]
impl Edge for Doors {
    async fn open(&self, network: &EdgeNetwork) -> Result<(), String> {
        // Where the engine's networks are not this machine's there is nothing to listen on; the engine's warnings say so.
        let Some(host) = network.host else { return Ok(()) };
        let at = SocketAddr::new(host, self.port);
        let known = self
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&network.project)
            .map(|open| open.at);
        match known {
            Some(known) if known == at => return Ok(()),
            // The network was made anew, elsewhere.
            Some(_) => self.shut(network.project),
            None => {}
        }
        let listener = listen(at).map_err(|error| {
            format!(
                "the door to the network of its project cannot be opened at {at}: {error}; `egress.port` \
                 (RYOKAN_EGRESS_PORT) names another port"
            )
        })?;
        let close = self.soft.child_token();
        let (egress, door) = (self.egress.clone(), DoorId(network.project.to_string().into()));
        let (soft, hard) = (close.clone(), self.hard.clone());
        self.serving.spawn(async move { egress.serve(listener, door, soft, hard).await });
        let replaced = self
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(network.project, Open { at, close });
        // Two that were asked at once: the second one could not have bound the same address.
        debug_assert!(replaced.is_none_or(|replaced| replaced.at != at));
        Ok(())
    }

    async fn close(&self, project: ProjectId) {
        self.shut(project);
    }
}

/// At an address that need not exist yet: Podman makes a bridge with its first container.
fn listen(at: SocketAddr) -> std::io::Result<tokio::net::TcpListener> {
    let domain = if at.is_ipv6() { socket2::Domain::IPV6 } else { socket2::Domain::IPV4 };
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    if at.is_ipv4() {
        socket.set_freebind_v4(true)?;
    } else {
        socket.set_freebind_v6(true)?;
    }
    socket.bind(&at.into())?;
    socket.listen(1024)?;
    tokio::net::TcpListener::from_std(socket.into())
}
