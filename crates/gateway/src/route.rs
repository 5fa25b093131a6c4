//! The snapshot that requests are routed by: which names and domains lead to which agent, and on what terms.
//!
//! The server builds a whole `Snapshot` on every change and stores it; a lookup is a load of a pointer and a
//! hash. Nothing here is ever edited in place, and nothing here asks a database.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::{HeaderName, HeaderValue};
use tokio::sync::watch;

use crate::host::normalise;
use ryokan_model::Secret;

/// Where an instance stands, as far as answering requests goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteState {
    Ready {
        endpoint: SocketAddr,
    },
    Pending,
    Starting,
    /// Runs but fails its probe: requests still go through, because its owner has to be able to look.
    Unhealthy {
        endpoint: SocketAddr,
    },
    Sleeping,
    Stopping,
    Stopped,
    /// `reason` is shown to whoever may use the instance: a sentence without addresses or secrets.
    Failed {
        reason: String,
    },
    Deleting,
    /// Kept from running until somebody pays, or a cap makes room.
    Suspended(Suspended),
}

/// Why an agent is kept from running, and what its owner can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspended {
    /// A stable word: `balance` or `cap`.
    pub reason: &'static str,
    /// The project that pays.
    pub project: String,
    /// Where its members pay: a page of the dashboard.
    pub pay: String,
}

/// Who may talk to an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everyone.
    Public,
    /// Holders of a bearer token that is valid for the instance, and its members' browsers once signed in.
    Token,
    /// Its members: browsers are sent to sign in, programs bring a bearer token.
    Private,
}

/// How the gateway proves itself to the agent. Its `Debug` names headers and users, never a credential.
#[derive(Clone, PartialEq, Eq)]
pub enum UpstreamAuth {
    None,
    Bearer {
        token: Secret,
    },
    Basic {
        user: String,
        password: Secret,
    },
    /// Adds (or replaces) one query parameter.
    Query {
        name: String,
        value: Secret,
    },
    /// The agent trusts headers from our address (`OpenClaw` calls it `trusted-proxy`). `identity` is sent in
    /// `user_header` when it is set, otherwise the signed-in user's id; a request of nobody carries none.
    /// `headers` are set last, so that a template may override even a forwarding header.
    TrustedProxy {
        user_header: HeaderName,
        headers: Vec<(HeaderName, HeaderValue)>,
        identity: Option<String>,
    },
}

impl fmt::Debug for UpstreamAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Bearer { .. } => f.write_str("Bearer([redacted])"),
            Self::Basic { user, .. } => write!(f, "Basic({user}, [redacted])"),
            Self::Query { name, .. } => write!(f, "Query({name}, [redacted])"),
            Self::TrustedProxy { user_header, headers, identity } => f
                .debug_struct("TrustedProxy")
                .field("user_header", user_header)
                .field("headers", &headers.iter().map(|(name, _)| name).collect::<Vec<_>>())
                .field("identity", identity)
                .finish(),
        }
    }
}

/// What happens to the `Origin` header: agents disagree on what they accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginPolicy {
    Keep,
    /// `http://127.0.0.1:PORT` of the agent's own port; added to a WebSocket handshake that has none.
    RewriteLoopback,
    /// A fixed origin, added to a WebSocket handshake that has none.
    Set(HeaderValue),
    Remove,
}

/// One instance and how to reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Stable id: tickets, cookies and meters are bound to it.
    pub instance_id: String,
    /// What users call it, the label under the zone.
    pub name: String,
    /// Whose it is; not interpreted here, for the `Authenticator`.
    pub owner_hint: String,
    pub state: RouteState,
    pub access: Access,
    pub upstream_auth: UpstreamAuth,
    pub origin: OriginPolicy,
    /// Whether `Upgrade: websocket` is passed on; otherwise it is refused with 400.
    pub websocket: bool,
    /// Whether `Forwarded`, `X-Forwarded-*` and `X-Real-IP` are sent (some agents refuse them from an unlisted proxy).
    pub forwarded: bool,
    /// Further named ports. The gateway's own is the endpoint in `state`.
    pub ports: HashMap<String, SocketAddr>,
}

impl Route {
    /// A public route without upstream credentials; set the fields that differ.
    pub fn new(instance_id: impl Into<String>, name: impl Into<String>, state: RouteState) -> Self {
        Self {
            instance_id: instance_id.into(),
            name: name.into(),
            owner_hint: String::new(),
            state,
            access: Access::Public,
            upstream_auth: UpstreamAuth::None,
            origin: OriginPolicy::Keep,
            websocket: true,
            forwarded: true,
            ports: HashMap::new(),
        }
    }
}

/// Everything requests are routed by, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    zone: String,
    control_hosts: HashSet<String>,
    routes: HashMap<String, Arc<Route>>,
    domains: HashMap<String, String>,
}

impl Snapshot {
    /// An empty snapshot of a zone such as `localhost` or `agents.example.com`.
    pub fn new(zone: &str) -> Self {
        Self { zone: normalise(zone), ..Self::default() }
    }

    /// A further host that is the control plane (beside the zone, `admin.`, `api.` and IP addresses).
    #[must_use]
    pub fn control_host(mut self, host: &str) -> Self {
        self.control_hosts.insert(normalise(host));
        self
    }

    #[must_use]
    pub fn route(mut self, route: Route) -> Self {
        self.insert(route);
        self
    }

    pub fn insert(&mut self, route: Route) {
        self.routes.insert(route.name.to_ascii_lowercase(), Arc::new(route));
    }

    /// Leads a custom domain to an instance by name. The caller has verified that the domain is its owner's.
    #[must_use]
    pub fn domain(mut self, domain: &str, name: &str) -> Self {
        self.domains.insert(normalise(domain), name.to_ascii_lowercase());
        self
    }

    /// Puts these in place of all custom domains: pairs of a domain and an instance's name.
    pub fn set_domains<'a>(&mut self, domains: impl IntoIterator<Item = (&'a str, &'a str)>) {
        self.domains = domains
            .into_iter()
            .map(|(domain, name)| (normalise(domain), name.to_ascii_lowercase()))
            .collect();
    }

    pub fn zone(&self) -> &str {
        &self.zone
    }

    /// `name` in lower case.
    pub fn by_name(&self, name: &str) -> Option<&Arc<Route>> {
        self.routes.get(name)
    }

    pub(crate) fn by_domain(&self, host: &str) -> Option<&Arc<Route>> {
        self.routes.get(self.domains.get(host)?)
    }

    pub(crate) fn is_control_host(&self, host: &str) -> bool {
        self.control_hosts.contains(host)
    }
}

/// The current snapshot: read without locks, swapped whole.
#[derive(Debug)]
pub struct RouteTable {
    current: ArcSwap<Snapshot>,
    version: watch::Sender<u64>,
}

impl RouteTable {
    pub fn new(snapshot: Snapshot) -> Self {
        Self { current: ArcSwap::from_pointee(snapshot), version: watch::Sender::new(0) }
    }

    /// Replaces everything; requests under way keep the route they started with.
    pub fn store(&self, snapshot: Snapshot) {
        self.current.store(Arc::new(snapshot));
        self.version.send_modify(|version| *version += 1);
    }

    pub fn load(&self) -> arc_swap::Guard<Arc<Snapshot>> {
        self.current.load()
    }

    /// Told of every `store`; what a request to a sleeping instance waits on.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }
}
