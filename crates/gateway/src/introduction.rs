//! What an agent is told about its client in `Forwarded` and the headers like it: made once for a connection, because
//! its requests come from one client to one host as a rule, and copied into each of them without a copy of the bytes.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::OnceLock;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::ports::Peer;

const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");

/// In place of a loopback address, which would be the agent itself where the agent is, and so be trusted by it: the
/// dummy address of RFC 7600, which belongs to nobody.
const THIS_MACHINE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 0, 8));

/// The values for one client at one host.
#[derive(Debug)]
pub(crate) struct Introduction {
    peer: Peer,
    host: HeaderValue,
    port: Option<u16>,
    /// `None` where the text is no header's, which does not happen.
    values: Option<Values>,
}

#[derive(Debug)]
struct Values {
    address: HeaderValue,
    port: HeaderValue,
    forwarded: HeaderValue,
}

impl Introduction {
    fn new(peer: &Peer, host: &HeaderValue, port: Option<u16>) -> Self {
        let values = Values::new(peer, host, port);
        Self { peer: peer.clone(), host: host.clone(), port, values }
    }

    /// Sets the headers for `peer`, who asked for `host`. `last` is the connection's, filled by its first request;
    /// whoever differs from that gets values of their own.
    pub(crate) fn insert(
        headers: &mut HeaderMap,
        last: &OnceLock<Self>,
        peer: &Peer,
        host: &HeaderValue,
        port: Option<u16>,
    ) {
        let known = last.get_or_init(|| Self::new(peer, host, port));
        if known.peer == *peer && known.host == *host && known.port == port {
            known.write(headers);
        } else {
            Self::new(peer, host, port).write(headers);
        }
    }

    fn write(&self, headers: &mut HeaderMap) {
        let Some(values) = &self.values else { return };
        headers.insert(X_REAL_IP, values.address.clone());
        headers.insert(X_FORWARDED_FOR, values.address.clone());
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(proto(&self.peer)));
        headers.insert(X_FORWARDED_HOST, self.host.clone());
        headers.insert(X_FORWARDED_PORT, values.port.clone());
        headers.insert(header::FORWARDED, values.forwarded.clone());
    }
}

impl Values {
    fn new(peer: &Peer, host: &HeaderValue, port: Option<u16>) -> Option<Self> {
        let ip = peer.ip.to_canonical();
        let ip = if ip.is_loopback() { THIS_MACHINE } else { ip };
        let port = port.unwrap_or(if peer.secure { 443 } else { 80 });
        let forwarded = forwarded(peer.ip, host.to_str().unwrap_or_default(), proto(peer));
        Some(Self {
            // Of shared bytes, so that a clone copies nothing.
            address: HeaderValue::from_maybe_shared(bytes::Bytes::from(ip.to_string())).ok()?,
            port: HeaderValue::from(port),
            forwarded: HeaderValue::from_maybe_shared(bytes::Bytes::from(forwarded)).ok()?,
        })
    }
}

fn proto(peer: &Peer) -> &'static str {
    if peer.secure { "https" } else { "http" }
}

/// The one hop that we vouch for, after RFC 7239: an IPv6 address stands in brackets, and what is no token in quotes.
fn forwarded(client: IpAddr, host: &str, proto: &str) -> String {
    let client = match client {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("\"[{address}]\""),
    };
    // A host that got here has letters, digits and `-_.:[]` alone: nothing that a quoted string would have to escape.
    format!("for={client};host=\"{host}\";proto={proto}")
}
