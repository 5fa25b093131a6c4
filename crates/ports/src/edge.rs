//! The edge of a project's networks: what stands there, what an instance needs to use it, and what was turned away.
//!
//! An engine tells whoever stands at the edge of each network before anything runs in it, and again whenever it has
//! reason to; who is told acts once.

use std::net::IpAddr;

use async_trait::async_trait;
use ryokan_model::{ProjectId, Secret};

/// What stands at the edge of projects' networks: our door.
#[async_trait]
pub trait Edge: Send + Sync {
    /// The project's closed network is there, and nothing new runs in it before this returns. An error keeps it from
    /// running, and is for people. Called again for a network that is known.
    ///
    /// The host's address may be one that no interface has yet: Podman makes a bridge with its first container.
    async fn open(&self, at: &EdgeNetwork) -> Result<(), String>;

    /// The project has no network any more.
    async fn close(&self, project: ProjectId);
}

/// A project's networks, as their edge sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeNetwork {
    pub project: ProjectId,
    /// The closed network's interface on this machine; absent where the engine's networks are not this machine's.
    pub bridge: Option<String>,
    /// This machine's address in the closed network; absent where the engine's networks are not this machine's.
    pub host: Option<IpAddr>,
    /// The interface of the network that has a route, if the project has one.
    pub routed_bridge: Option<String>,
}

/// What a sandbox needs to use the door of its network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Door {
    /// At the host's address in the closed network.
    pub port: u16,
    /// The instance's own.
    pub token: Secret,
}

/// What was dropped on a project's networks since they were made, or since the machine's rules were last lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drops {
    pub project: ProjectId,
    pub reason: Reason,
    pub packets: u64,
    pub bytes: u64,
}

/// Why something was dropped: what it was on its way to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// An address that is not public: private, reserved, another tenant's.
    Private,
    /// The link-local addresses at which clouds hand out credentials.
    Metadata,
    /// This machine.
    Host,
    /// A public address, at a port that is closed.
    Port,
    /// A name server.
    Dns,
    /// All else, as ICMP and multicast.
    Other,
}

impl Reason {
    pub const ALL: [Self; 6] =
        [Self::Private, Self::Metadata, Self::Host, Self::Port, Self::Dns, Self::Other];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Metadata => "metadata",
            Self::Host => "host",
            Self::Port => "port",
            Self::Dns => "dns",
            Self::Other => "other",
        }
    }
}
