//! The way out: a forward proxy for the instances of one project, at the door of their closed network.
//!
//! Who asks is told by token and address, what may be done by a judge who records it, and where it goes by addresses
//! that were checked and are then the ones connected to. Most tunnels pass untouched; those to hosts that credentials
//! are bound to are looked into, so that the sandbox never holds a secret. See `docs/egress.md`.

mod address;
mod apply;
mod authority;
mod bodies;
mod clean;
mod connect;
mod course;
mod door;
mod exchange;
mod hello;
mod host;
mod intercept;
mod keys;
mod leave;
mod limits;
mod ports;
mod proxy;
mod refusal;
mod scrub;
mod sigv4;
mod tls;
mod tokens;
mod tunnel;
mod upstream;

pub use address::{is_public, may_be_reached};
pub use authority::{Authority, AuthorityText, BadAuthority};
pub use door::{Egress, EgressParts};
pub use host::RemoteHost;
pub use keys::{Bound, Credential, Inject, NoToken, PLACEHOLDER, Places, Source, TokenSource, Treatment};
pub use limits::EgressLimits;
pub use ports::{
    Ask, Caller, Callers, DoorId, Inside, Judge, Judgement, Keys, Later, Outcome, Rebuff, Record, Resolver,
    Scheme,
};
pub use tls::{BadRoot, TlsParts};
pub use tokens::{CachedToken, Grant, Granted};
