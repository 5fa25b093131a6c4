//! Who a request really comes from: the TCP peer, unless that is a proxy that was configured as trusted.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use http::HeaderMap;

use crate::ports::Peer;

/// A range of addresses, such as `10.0.0.0/8` or `::1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    base: IpAddr,
    bits: u8,
}

/// Not a range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotACidr;

impl std::fmt::Display for NotACidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("not an address range such as 10.0.0.0/8 or ::1")
    }
}

impl std::error::Error for NotACidr {}

impl FromStr for Cidr {
    type Err = NotACidr;

    fn from_str(text: &str) -> Result<Self, NotACidr> {
        let (base, bits) = match text.split_once('/') {
            Some((base, bits)) => (base, Some(bits)),
            None => (text, None),
        };
        let base: IpAddr = base.parse().map_err(|_| NotACidr)?;
        let most = if base.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), str::parse).map_err(|_| NotACidr)?;
        if bits > most { Err(NotACidr) } else { Ok(Self { base, bits }) }
    }
}

impl Cidr {
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.base, address.to_canonical()) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(self.bits);
                base.to_bits().checked_shr(shift) == address.to_bits().checked_shr(shift)
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                let shift = 128 - u32::from(self.bits);
                base.to_bits().checked_shr(shift) == address.to_bits().checked_shr(shift)
            }
            _ => false,
        }
    }
}

/// Headers that say who asks; a client's own are never passed on.
pub(crate) const FORWARDING: [&str; 12] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-server",
    "x-forwarded-scheme",
    "x-forwarded-ssl",
    "x-real-ip",
    "x-client-ip",
    "true-client-ip",
];

pub(crate) fn is_trusted(address: IpAddr, trusted: &[Cidr]) -> bool {
    trusted.iter().any(|range| range.contains(address))
}

/// The client behind a connection. `secure` says whether the connection itself is TLS.
pub(crate) fn client(connection: SocketAddr, secure: bool, headers: &HeaderMap, trusted: &[Cidr]) -> Peer {
    let direct = connection.ip().to_canonical();
    if trusted.is_empty() || !is_trusted(direct, trusted) {
        return Peer { ip: direct, secure };
    }
    // From the right: each trusted proxy vouches for the one it added; the first untrusted one is the client.
    let mut ip = direct;
    let lines: Vec<&str> =
        headers.get_all("x-forwarded-for").iter().filter_map(|line| line.to_str().ok()).collect();
    for hop in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        let Some(address) = parse_hop(hop.trim()) else { break };
        ip = address;
        if !is_trusted(address, trusted) {
            break;
        }
    }
    let proto = headers.get_all("x-forwarded-proto").iter().next_back().and_then(|line| line.to_str().ok());
    let proto = proto.and_then(|line| line.rsplit(',').next()).map(str::trim);
    Peer { ip, secure: proto.map_or(secure, |proto| proto.eq_ignore_ascii_case("https")) }
}

fn parse_hop(hop: &str) -> Option<IpAddr> {
    let address =
        hop.parse::<IpAddr>().ok().or_else(|| hop.parse::<SocketAddr>().ok().map(|address| address.ip()));
    address.map(|address| address.to_canonical())
}

/// Whether a header of that name, in lower case, is one of `FORWARDING`.
pub(crate) fn is_forwarding(name: &str) -> bool {
    FORWARDING.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let inside =
            |range: &str, address: &str| range.parse::<Cidr>().unwrap().contains(address.parse().unwrap());
        assert!(inside("10.0.0.0/8", "10.255.1.2") && !inside("10.0.0.0/8", "11.0.0.1"));
        assert!(inside("10.0.0.1", "10.0.0.1") && !inside("10.0.0.1", "10.0.0.2"));
        assert!(inside("0.0.0.0/0", "1.2.3.4") && !inside("0.0.0.0/0", "::1"));
        assert!(inside("fd00::/8", "fd12::1") && inside("::/0", "::1"));
        assert!(inside("127.0.0.0/8", "::ffff:127.0.0.1"));
        for bad in ["", "10.0.0.0/33", "::/129", "x/8", "10.0.0.0/", "10.0.0.0/-1"] {
            assert_eq!(bad.parse::<Cidr>(), Err(NotACidr), "{bad}");
        }
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", "6.6.6.6, 1.2.3.4, 10.0.0.2".parse().unwrap());
        headers.insert("x-forwarded-proto", "https".parse().unwrap());
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let from = |text: &str, trusted: &[Cidr]| client(text.parse().unwrap(), false, &headers, trusted);
        assert_eq!(from("10.0.0.1:5", &trusted), Peer { ip: "1.2.3.4".parse().unwrap(), secure: true });
        assert_eq!(from("8.8.8.8:5", &trusted), Peer { ip: "8.8.8.8".parse().unwrap(), secure: false });
        assert_eq!(from("10.0.0.1:5", &[]), Peer { ip: "10.0.0.1".parse().unwrap(), secure: false });
    }
}
