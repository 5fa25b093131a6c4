//! Ranges of addresses, and which addresses are the public internet's.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::text_form;
use crate::Invalid;

/// Whether an address is one of the public internet: what is private, shared, local, reserved, multicast, or hides an
/// IPv4 address inside, is not.
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => public_v4(v4),
        IpAddr::V6(v6) => public_v6(v6),
    }
}

/// By the registry of special-purpose addresses (RFC 6890 and its successors); what is globally reachable there but serves
/// no host, such as the anycast relays of 6to4, stays out.
fn public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(a == 0
        || a == 10
        || a == 127
        || (a == 100 && (64..128).contains(&b))
        || (a == 169 && b == 254)
        // The metadata service of a cloud.
        || address == Ipv4Addr::new(168, 63, 129, 16)
        || (a == 172 && (16..32).contains(&b))
        || (a == 192 && b == 0 && (c == 0 || c == 2))
        || (a == 192 && b == 31 && c == 196)
        || (a == 192 && b == 52 && c == 193)
        || (a == 192 && b == 88 && c == 99)
        || (a == 192 && b == 168)
        || (a == 192 && b == 175 && c == 48)
        || (a == 198 && (b == 18 || b == 19))
        || (a == 198 && b == 51 && c == 100)
        || (a == 203 && b == 0 && c == 113)
        || a >= 224)
}

/// Only `2000::/3` is given out; within it, `2001::/23` (Teredo, ORCHID, benchmarks), `2001:db8::/32` and `3fff::/20`
/// (documentation) and `2002::/16` (6to4) are not hosts of the internet.
fn public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    (0x2000..0x4000).contains(&a)
        && !(a == 0x2001 && (b < 0x200 || b == 0xdb8))
        && a != 0x2002
        && a != 0x3ffe
        && !(a == 0x3fff && b < 0x1000)
        && !(a == 0x2620 && b == 0x4f && address.segments()[2] == 0x8000)
}

/// A range of addresses: `10.0.0.0/8`, `2001:db8::/32`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    first: IpAddr,
    bits: u8,
}

impl Network {
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(other)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                first.to_bits() == other.to_bits() & mask
            }
            (IpAddr::V6(first), IpAddr::V6(other)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                first.to_bits() == other.to_bits() & mask
            }
            _ => false,
        }
    }

    /// Whether some address in it may be public; it may say so of a range that has none.
    pub(super) fn may_be_public(&self) -> bool {
        let last: IpAddr = match self.first {
            IpAddr::V4(first) => {
                let host = u32::MAX.checked_shr(self.bits.into()).unwrap_or(0);
                Ipv4Addr::from_bits(first.to_bits() | host).into()
            }
            IpAddr::V6(first) => {
                let host = u128::MAX.checked_shr(self.bits.into()).unwrap_or(0);
                Ipv6Addr::from_bits(first.to_bits() | host).into()
            }
        };
        // No block of addresses that are not public is larger than that.
        self.bits < 4 || is_public(self.first) || is_public(last)
    }

    /// Whether some address is in both.
    pub fn meets(&self, other: &Self) -> bool {
        if self.bits <= other.bits { self.contains(other.first) } else { other.contains(self.first) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.bits)
    }
}

impl FromStr for Network {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let no = |why: &str| Invalid::new("addresses", why);
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let first: IpAddr = address
            .parse()
            .map_err(|_| no("is no range of addresses as in \"10.0.0.0/8\" or \"2001:db8::/32\""))?;
        if first.to_canonical() != first {
            return Err(no("is an IPv4 address in IPv6 form: write the IPv4 range"));
        }
        let most: u8 = if first.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) => bits
                .parse()
                .ok()
                .filter(|n: &u8| *n <= most && bits.bytes().all(|b| b.is_ascii_digit()))
                .ok_or_else(|| no("has no such length: /0 to /32 for IPv4, /0 to /128 for IPv6"))?,
        };
        let network = Self { first, bits };
        if network.contains(first) {
            Ok(network)
        } else {
            Err(no("has bits set beyond its length: write the first address of the range"))
        }
    }
}

text_form!(Network, "10.0.0.0/8");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_of_the_internet_is_known() {
        let private = [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "168.63.129.16",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.9",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
            "::10.0.0.1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "100::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "2002:a00:1::1",
            "3fff::1",
            "5f00::1",
        ];
        for text in private {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
        for text in
            ["1.1.1.1", "100.63.0.1", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "2a00:1450::1"]
        {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn ranges_are_strict() {
        for text in [
            "10.0.0.1/8",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/+8",
            "10/8",
            "::ffff:10.0.0.0/104",
            "x",
            "10.0.0.0/",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
        let all: Network = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains("255.1.2.3".parse().unwrap()) && !all.contains("::1".parse().unwrap()));
        let one: Network = "10.0.0.7".parse().unwrap();
        assert!(
            one.contains("::ffff:10.0.0.7".parse().unwrap()) && !one.contains("10.0.0.6".parse().unwrap())
        );
        let v6: Network = "fd00::/8".parse().unwrap();
        assert!(v6.contains("fdff::1".parse().unwrap()) && !v6.contains("fe00::1".parse().unwrap()));
        assert!(all.meets(&one) && one.meets(&all) && !all.meets(&v6));
    }
}
