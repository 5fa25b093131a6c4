//! The one check that every address passes before anything is connected to it: public, or named by the operator.
//!
//! Sources: the special-purpose registries of IANA (RFC 6890 and its updates), and the metadata services of clouds that
//! hide behind public addresses. IPv6 is public only inside `2000::/3`, and not where it carries an IPv4 address in it.

use std::net::IpAddr;

use crate::peer::Cidr;

/// Whether an address belongs to the public internet. An IPv4 address in IPv6 clothes never does.
pub fn is_public(address: IpAddr) -> bool {
    address.to_canonical() == address && ryokan_model::policy::is_public(address)
}

/// Whether it may be connected to: public, or in a range that the operator named. An IPv4 address in IPv6 clothes
/// never is; where one is meant it was undressed before.
pub fn may_be_reached(address: IpAddr, exceptions: &[Cidr]) -> bool {
    if matches!(address, IpAddr::V6(six) if six.to_ipv4_mapped().is_some()) {
        return false;
    }
    is_public(address) || exceptions.iter().any(|range| range.contains(address))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn reachable(text: &str) -> bool {
        may_be_reached(text.parse().unwrap(), &[])
    }

    #[test]
    fn what_is_not_public_is_refused() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "168.63.129.16",
            "169.254.169.254",
            "169.254.170.2",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.255.255.250",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:8.8.8.8",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:0:4136:e378::1",
            "2001:2::1",
            "2001:20::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "3fff::1",
            "3ffe::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "4000::1",
            "2620:4f:8000::1",
        ] {
            assert!(!reachable(text), "{text}");
        }
    }

    #[test]
    fn what_is_public_is_reached() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "168.63.129.17",
            "2606:4700::1111",
            "2a00:1450::1",
            "2001:4860:4860::8888",
            "2001:200::1",
            "3000::1",
        ] {
            assert!(reachable(text), "{text}");
        }
    }

    #[test]
    fn an_operator_names_exceptions() {
        let ranges = ["10.1.0.0/16".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let reachable = |text: &str| may_be_reached(text.parse().unwrap(), &ranges);
        assert!(reachable("10.1.2.3") && reachable("fd12::1") && reachable("8.8.8.8"));
        assert!(!reachable("10.2.0.1") && !reachable("::ffff:10.1.2.3") && !reachable("127.0.0.1"));
    }

    proptest! {
        /// The standard library's own predicates never disagree in the dangerous direction.
        #[test]
        fn never_laxer_than_the_standard_library(bits: u32) {
            let address = Ipv4Addr::from_bits(bits);
            let special = address.is_private() || address.is_loopback() || address.is_link_local()
                || address.is_broadcast() || address.is_documentation() || address.is_multicast()
                || address.is_unspecified();
            prop_assert!(!(special && is_public(address.into())));
        }

        /// An address that carries another in it is refused, whatever the other is.
        #[test]
        fn clothes_do_not_help(bits: u32, low: u64) {
            let embedded = u128::from(bits);
            for address in [
                Ipv6Addr::from_bits(embedded),
                Ipv6Addr::from_bits(0xffff_0000_0000 | embedded),
                Ipv6Addr::from_bits((0x2002_u128 << 112) | (embedded << 80) | u128::from(low)),
                Ipv6Addr::from_bits((0x0064_ff9b_u128 << 96) | embedded),
                Ipv6Addr::from_bits((0x2001_0000_u128 << 96) | u128::from(low)),
            ] {
                prop_assert!(!may_be_reached(address.into(), &[]), "{}", address);
            }
        }
    }
}
