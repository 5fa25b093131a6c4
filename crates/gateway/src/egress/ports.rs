//! What the egress proxy asks of the rest; `server` implements these.
//!
//! What is asked per request is asynchronous, because it may take a look into a store or at an engine. What is asked
//! about once a second of everything that is open is synchronous and answers from memory.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use http::{Method, Request, Response};
use hyper::body::Incoming;

use super::host::RemoteHost;
use super::keys::Bound;
use crate::body::Body;

/// A future of a port.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Which door a caller came to: the project whose network the listener is in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DoorId(pub Arc<str>);

/// An instance that was recognised.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Caller {
    pub project: Arc<str>,
    pub instance: Arc<str>,
    /// Names the token that was presented without being it, for `Callers::is_still`.
    pub token: Arc<str>,
}

/// Knows instances by their token and the address that the engine gave them.
pub trait Callers: Send + Sync + 'static {
    /// Both must fit, and the instance must belong to the door's project. Else `None`, whatever the reason.
    fn identify<'a>(
        &'a self,
        token: &'a str,
        source: SocketAddr,
        door: &'a DoorId,
    ) -> Later<'a, Option<Caller>>;

    /// Whether it would be recognised now; from memory. `false` ends everything it has open.
    fn is_still(&self, caller: &Caller) -> bool;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// What a caller wants to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Open a tunnel. For hosts that are looked into (`Treatment::Inspect`), and for HTTP in the clear within the
    /// tunnel, every request is asked about as well.
    Connect { host: RemoteHost, port: u16 },
    /// `path` is as sent, with its placeholders and without its query.
    Request { method: Method, scheme: Scheme, host: RemoteHost, port: u16, path: String },
}

impl Ask {
    pub fn host(&self) -> &RemoteHost {
        match self {
            Self::Connect { host, .. } | Self::Request { host, .. } => host,
        }
    }

    pub fn port(&self) -> u16 {
        match self {
            Self::Connect { port, .. } | Self::Request { port, .. } => *port,
        }
    }
}

/// Names an entry of the audit, for `Judge::done`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Record(pub Arc<str>);

/// What was decided, and durably recorded before it was said.
#[derive(Clone, Debug)]
pub enum Judgement {
    Allowed {
        record: Record,
    },
    /// `code` is for programs, `sentence` for the agent: what it may do about it. Also when nothing can be recorded.
    Denied {
        code: String,
        sentence: String,
    },
}

/// How something that was allowed ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What the caller was answered; 0 if it never was.
    pub status: u16,
    /// Bytes of bodies or of the tunnel, from the caller and to it.
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub millis: u64,
    /// Why we ended it, if we did: a code of `crate::egress` such as `address_not_public` or `no_longer_allowed`.
    pub ended: Option<&'static str>,
}

/// Something refused before, or without, asking the judge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebuff {
    pub door: DoorId,
    pub source: SocketAddr,
    pub caller: Option<Caller>,
    pub code: &'static str,
    /// Where it was to go, if that could be read.
    pub host: Option<RemoteHost>,
}

/// Decides by policy, and records.
pub trait Judge: Send + Sync + 'static {
    fn judge<'a>(&'a self, caller: &'a Caller, ask: &'a Ask) -> Later<'a, Judgement>;

    /// Whether what was allowed by its name may lead to these addresses; from memory. `None` leaves it to the addresses
    /// alone: they must be public, or among the operator's exceptions.
    fn may_reach(&self, caller: &Caller, ask: &Ask, addresses: &[IpAddr]) -> Option<bool> {
        let _ = (caller, ask, addresses);
        None
    }

    /// Whether the answer would be the same now; from memory, nothing is recorded. Asked about once a second of
    /// everything open.
    fn is_still_allowed(&self, caller: &Caller, ask: &Ask) -> bool;

    /// Never blocks.
    fn done(&self, record: Record, outcome: Outcome);

    /// For the audit and for counters; never blocks.
    fn rebuffed(&self, rebuff: Rebuff) {
        let _ = rebuff;
    }
}

/// Which hosts are looked into, and with which credentials; from memory.
pub trait Keys: Send + Sync + 'static {
    fn bound(&self, caller: &Caller, host: &RemoteHost, port: u16) -> Bound;

    /// Whether what was opened with this revision of a credential may go on: `false` once the credential is
    /// disabled, deleted or no longer the caller's; after a rotation that is the operator's choice.
    fn is_good(&self, caller: &Caller, credential: &str, revision: u64) -> bool;
}

/// Turns names into addresses; the addresses are checked here, not there.
pub trait Resolver: Send + Sync + 'static {
    fn resolve<'a>(&'a self, name: &'a str) -> Later<'a, io::Result<Vec<IpAddr>>>;
}

/// What the door itself offers: model gateway and MCP.
pub trait Inside: Send + Sync + 'static {
    /// The caller's token is taken out of the request.
    fn handle(&self, caller: Caller, request: Request<Incoming>) -> Later<'_, Response<Body>>;
}
