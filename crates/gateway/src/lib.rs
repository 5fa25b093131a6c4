//! Data plane: host routing and the proxy to agents. Reads snapshots, never the database.
//!
//! A request's host leads to the control plane (a port that `server` implements) or, by way of the current
//! `Snapshot`, to an agent. Agents are hostile: they get nothing of ours, and can do nothing to each other or to
//! the dashboard. Everything is bounded, streamed and drained. Why hyper is driven the way it is, is in
//! `docs/adr/0002-gateway-proxy-core.md`.

mod admission;
mod answer;
mod body;
mod client;
mod cookie;
pub mod egress;
mod forward;
mod gateway;
mod headers;
mod host;
mod inflight;
mod introduction;
mod limits;
pub mod models;
mod passes;
mod peer;
mod pool;
mod ports;
mod query;
mod route;
mod screen;
mod serve;
mod signed;
mod supervisor;
mod tally;
mod ticket;
mod tunnel;
mod upstream;

pub use body::{Body, BoxError};
pub use cookie::{
    AGENT_COOKIE, AGENT_SESSION_LIFETIME, AgentSession, decode_agent_cookie, encode_agent_cookie,
};
pub use gateway::{Gateway, Parts};
pub use host::{ControlHost, Host, Target, is_local_path, resolve, split_gateway_path};
pub use limits::Limits;
pub use peer::{Cidr, NotACidr};
pub use ports::{Authenticator, Clock, ControlPlane, Meter, Peer, ResponseFuture, Usage, Verdict};
pub use route::{Access, OriginPolicy, Route, RouteState, RouteTable, Snapshot, Suspended, UpstreamAuth};
pub use ryokan_model::Secret;
pub use signed::SigningKey;
pub use ticket::{TICKET_LIFETIME, Ticket, mint_ticket};
