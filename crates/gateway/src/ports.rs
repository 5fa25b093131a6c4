//! What the gateway asks of the rest: four small traits that `server` implements.
//!
//! All but `ControlPlane` are synchronous and answer from memory: no database in the path of a request to an agent.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::SystemTime;

use http::{Request, Response};
use hyper::body::Incoming;

use crate::body::Body;
use crate::route::Route;

/// Who a request comes from, after trusted proxies were taken into account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The client's address: the TCP peer, or what a trusted proxy in front says.
    pub ip: IpAddr,
    /// Whether the client spoke https (to us, or to a trusted proxy in front).
    pub secure: bool,
}

pub type ResponseFuture<'a> = Pin<Box<dyn Future<Output = Response<Body>> + Send + 'a>>;

/// The dashboard and the API. Requests arrive whole, including the means to upgrade them; forwarding headers
/// were removed, `Peer` says what was true in them.
pub trait ControlPlane: Send + Sync + 'static {
    fn handle(&self, request: Request<Incoming>, peer: Peer) -> ResponseFuture<'_>;

    /// Uses a ticket up, for all servers: whether this was the first use. `false` when that cannot be told.
    fn use_ticket(&self, nonce: [u8; 16]) -> Pin<Box<dyn Future<Output = bool> + Send + '_>>;
}

/// What a credential is worth for one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Valid, and this user may use the instance. `credential` names what was presented without being it, for
    /// `Authenticator::is_still_good`.
    Allowed { user: String, credential: String },
    /// Not valid at all, expired or revoked.
    NotAuthenticated,
    /// Valid, but its holder may not know of the instance: answered as if it did not exist.
    Unknown,
}

/// Checks credentials from snapshots. Also the place of revocation: it is asked on every request, and about once a
/// second for what is open.
pub trait Authenticator: Send + Sync + 'static {
    /// A bearer token, as sent by the client at `address`.
    fn bearer(&self, token: &str, address: IpAddr, route: &Route) -> Verdict;

    /// Such a token let nobody in, which counts as a guess. The seconds that `address` has to wait after too many.
    fn refused(&self, token: &str, address: IpAddr) -> Option<u64>;

    /// Whether this is a secret of ours that does not look like a token; agents must not see it.
    fn is_secret(&self, text: &str) -> bool;

    /// An agent cookie whose signature, age and instance are right: is `session` still alive and `user` still
    /// a member?
    fn agent_session(&self, user: &str, session: &str, route: &Route) -> Verdict;

    /// A dashboard cookie (`ryokan_session` or `__Host-ryokan_session`), only ever asked about for same-origin
    /// requests to `/gateway/NAME/...`.
    fn dashboard_session(&self, cookie: &str, route: &Route) -> Verdict;

    /// Whether the credential that let somebody in (as `Verdict::Allowed` named it) would do so now.
    fn is_still_good(&self, credential: &str, route: &Route) -> bool;

    /// Someone allowed in asks for an instance that sleeps (asked again while they wait: must be idempotent
    /// and cheap). The default does nothing, and the request is answered with a waiting page.
    fn wake(&self, route: &Route) {
        let _ = route;
    }
}

/// What was used since the last report for the same exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// 1 in exactly one of the reports of a request, else 0.
    pub requests: u64,
    /// Body (or tunnel) bytes from the client to the agent.
    pub bytes_in: u64,
    /// Body (or tunnel) bytes from the agent to the client.
    pub bytes_out: u64,
}

/// Counts traffic. Called at the end of an exchange and, while a long one runs, every few MiB.
pub trait Meter: Send + Sync + 'static {
    fn record(&self, instance_id: &str, usage: Usage);
}

/// Wall-clock time, for tickets and cookies.
pub trait Clock: Send + Sync + 'static {
    fn now(&self) -> SystemTime;
}
