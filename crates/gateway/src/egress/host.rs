//! Where a request wants to go, in exactly one spelling.
//!
//! Programs read `0x7f.1`, `2130706433`, `017700000001` and `[::ffff:127.0.0.1]` as addresses. So do we, and before
//! anything is judged: what the judge sees is what is connected to. What has no single reading is refused.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// A host name in lower case without a dot at its end, or an address (never an IPv4 one in IPv6 clothes).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RemoteHost {
    Name(Arc<str>),
    Address(IpAddr),
}

impl fmt::Display for RemoteHost {
    /// As it stands in a URL.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

impl RemoteHost {
    /// Reads a host as it stands in a URL: IPv6 in brackets. `None` for what is not a host, or not surely one.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(inner) = text.strip_prefix('[') {
            let address: Ipv6Addr = inner.strip_suffix(']')?.parse().ok()?;
            return Some(Self::Address(IpAddr::V6(address).to_canonical()));
        }
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() || text.len() > 253 {
            return None;
        }
        if ends_in_number(text) {
            return parse_ipv4(text).map(|address| Self::Address(IpAddr::V4(address)));
        }
        let is_label = |label: &str| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            (1..=63).contains(&label.len()) && label.bytes().all(fits)
        };
        text.split('.').all(is_label).then(|| Self::Name(text.to_ascii_lowercase().into()))
    }

    /// Host and port of an authority (`host`, `host:port`); no user info.
    pub fn parse_authority(text: &str, default_port: Option<u16>) -> Option<(Self, u16)> {
        let colon = text.rfind(':').filter(|colon| !text[*colon..].contains(']'));
        let (host, port) = match colon {
            Some(colon) => {
                let digits = &text[colon + 1..];
                // `parse` would take a sign.
                let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
                (&text[..colon], is_number.then(|| digits.parse().ok()).flatten()?)
            }
            None => (text, default_port?),
        };
        (port != 0).then_some(())?;
        Some((Self::parse(host)?, port))
    }

    /// As it stands in a `Host` header.
    pub fn authority(&self, port: u16, default_port: u16) -> String {
        if port == default_port { self.to_string() } else { format!("{self}:{port}") }
    }
}

/// The URL Standard's test for "this is meant as an IPv4 address".
fn ends_in_number(text: &str) -> bool {
    let last = text.rsplit('.').next().unwrap_or_default();
    let is_hex = last
        .strip_prefix("0x")
        .or_else(|| last.strip_prefix("0X"))
        .is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    is_hex || (!last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()))
}

/// One to four numbers, decimal, octal or hexadecimal; the last fills what is left. As `inet_aton` reads them.
fn parse_ipv4(text: &str) -> Option<Ipv4Addr> {
    let parts: Vec<u64> = text.split('.').map(parse_number).collect::<Option<_>>()?;
    let (last, leading) = parts.split_last()?;
    if leading.len() > 3 || leading.iter().any(|part| *part > 255) {
        return None;
    }
    let free_bits = 8 * (4 - leading.len());
    if *last >> free_bits != 0 {
        return None;
    }
    let mut bits = *last;
    for (at, part) in leading.iter().enumerate() {
        bits |= part << (8 * (3 - at));
    }
    u32::try_from(bits).ok().map(Ipv4Addr::from_bits)
}

fn parse_number(text: &str) -> Option<u64> {
    let (digits, radix) = if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        if hex.is_empty() {
            return Some(0);
        }
        (hex, 16)
    } else if text.len() > 1 && text.starts_with('0') {
        (&text[1..], 8)
    } else {
        (text, 10)
    };
    let is_number = !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix));
    is_number.then(|| u64::from_str_radix(digits, radix).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn host(text: &str) -> Option<String> {
        RemoteHost::parse(text).map(|host| host.to_string())
    }

    #[test]
    fn every_spelling_of_an_address_is_that_address() {
        for text in [
            "127.0.0.1",
            "127.1",
            "127.0.1",
            "2130706433",
            "0x7f000001",
            "0x7F.1",
            "0177.0.0.1",
            "017700000001",
            "127.0.0.1.",
            "0x7f.0x0.0x0.0x1",
            "00000177.1",
            "[::ffff:127.0.0.1]",
            "[::FFFF:7f00:1]",
        ] {
            assert_eq!(host(text).as_deref(), Some("127.0.0.1"), "{text}");
        }
        assert_eq!(host("[0:0::1]").as_deref(), Some("[::1]"));
        assert_eq!(host("0").as_deref(), Some("0.0.0.0"));
    }

    #[test]
    fn names_have_one_spelling() {
        assert_eq!(host("Example.COM.").as_deref(), Some("example.com"));
        assert_eq!(host("xn--bcher-kva.example").as_deref(), Some("xn--bcher-kva.example"));
        assert_eq!(host("_dmarc.a-b.example").as_deref(), Some("_dmarc.a-b.example"));
        assert_eq!(host("1.2.3.4.example").as_deref(), Some("1.2.3.4.example"));
    }

    #[test]
    fn what_is_not_surely_a_host_is_refused() {
        for text in [
            "",
            ".",
            "..",
            "a..b",
            ".a",
            "a.b..",
            "256.0.0.1",
            "1.2.3.4.5",
            "1.2.3.256",
            "4294967296",
            "09.0.0.1",
            "0x100000000",
            "1.2.3.0x",
            "a.0xzz.1",
            "user@host",
            "a b",
            "a%2eb",
            "b\u{fc}cher.example",
            "\u{ff11}27.0.0.1",
            "::1",
            "[::1",
            "::1]",
            "[fe80::1%eth0]",
            "[fe80::1%25eth0]",
            "[127.0.0.1]",
            "[]",
            "a/b",
            "a?b",
            "a#b",
            "a\\b",
            "127\u{3002}0.0.1",
            "a\0b",
            "-1.2.3.4.-5.6\n",
            "[::1]x",
        ] {
            // `1.2.3.0x` is read as an address by some and must not be read as a name.
            let read = host(text);
            assert!(
                read.is_none() || text == "1.2.3.0x" && read.as_deref() == Some("1.2.3.0"),
                "{text} {read:?}"
            );
        }
        let long = format!("{}.example", "a".repeat(64));
        assert_eq!(host(&long), None);
        assert_eq!(host(&vec!["a"; 128].join(".")), None);
    }

    #[test]
    fn authorities() {
        let read = |text: &str| {
            RemoteHost::parse_authority(text, Some(80)).map(|(host, port)| (host.to_string(), port))
        };
        assert_eq!(read("a:443"), Some(("a".into(), 443)));
        assert_eq!(read("a"), Some(("a".into(), 80)));
        assert_eq!(read("[::1]:8"), Some(("[::1]".into(), 8)));
        assert_eq!(read("[::1]"), Some(("[::1]".into(), 80)));
        for text in ["a:", "a:0", "a:65536", "a:+1", "a:b", "u@a:1", "a:1:2", "::1", ":80", "u:p@a"] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(RemoteHost::parse_authority("a", None), None);
    }

    proptest! {
        /// Whatever is read reads the same again: there is one spelling.
        #[test]
        fn reading_is_idempotent(text in "[a-zA-Z0-9.x_:%@\\[\\]-]{0,24}") {
            if let Some(read) = RemoteHost::parse(&text) {
                prop_assert_eq!(RemoteHost::parse(&read.to_string()), Some(read));
            }
        }

        /// No spelling of an address passes as a name.
        #[test]
        fn spelt_addresses_are_addresses(bits: u32, form in 0u8..7) {
            let [a, b, c, d] = bits.to_be_bytes();
            let text = match form {
                0 => format!("{bits}"),
                1 => format!("0x{bits:x}"),
                2 => format!("0{bits:o}"),
                3 => format!("{a}.{}", bits & 0x00ff_ffff),
                4 => format!("{a}.0x{b:X}.{}", bits & 0xffff),
                5 => format!("0{a:o}.{b}.{c}.{d}."),
                _ => format!("[::ffff:{a}.{b}.{c}.{d}]"),
            };
            prop_assert_eq!(RemoteHost::parse(&text), Some(RemoteHost::Address(Ipv4Addr::from_bits(bits).into())));
        }

        #[test]
        fn no_bytes_make_it_panic(text in ".{0,64}") {
            let _ = RemoteHost::parse(&text);
            let _ = RemoteHost::parse_authority(&text, Some(1));
        }
    }
}
