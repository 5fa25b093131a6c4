//! Hosts as they are asked for, in one form, and patterns over them.
//!
//! A name is ASCII, lower case and without a dot at its end; an address is an address however it is written, and what some
//! programs would take for one (`127.1`, `0x7f000001`) is refused.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::text_form;
use crate::Invalid;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    Name(String),
    Address(IpAddr),
}

/// As DNS has it.
const LONGEST: usize = 253;

impl Host {
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Name(name) => Some(name),
            Self::Address(_) => None,
        }
    }

    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Name(_) => None,
            Self::Address(address) => Some(*address),
        }
    }
}

impl fmt::Display for Host {
    /// As in a URL: an IPv6 address has brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

impl FromStr for Host {
    type Err = Invalid;

    /// Takes any case, one dot at the end, letters beyond ASCII, and IPv6 addresses with or without brackets. No port.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let no = |why: &str| Invalid::new("host", why);
        if text.len() > 4 * LONGEST {
            return Err(no("is too long"));
        }
        if let Some(inner) = text.strip_prefix('[') {
            let v6 = inner.strip_suffix(']').and_then(|v6| v6.parse().ok());
            let v6 = v6.ok_or_else(|| no("has brackets, but no IPv6 address between them"))?;
            return Ok(Self::Address(IpAddr::V6(v6).to_canonical()));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Address(address.to_canonical()));
        }
        name(text).map(Self::Name)
    }
}

text_form!(Host, "api.github.com");

fn name(text: &str) -> Result<String, Invalid> {
    let no = || Invalid::new("host", "is neither a host's name as in \"api.github.com\" nor an address");
    let ascii = if text.is_ascii() {
        text.to_ascii_lowercase()
    } else {
        idna::domain_to_ascii_cow(text.as_bytes(), idna::AsciiDenyList::STD3).map_err(|_| no())?.into_owned()
    };
    let name = ascii.strip_suffix('.').unwrap_or(&ascii);
    // Underscores are in no host's name by the book, and in many by custom.
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    let label = |l: &str| (1..=63).contains(&l.len()) && l.bytes().all(letter);
    if name.len() > LONGEST || !name.split('.').all(label) {
        return Err(no());
    }
    let last = name.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x") {
        return Err(Invalid::new(
            "host",
            "looks like an address, but is not one in the usual form (four numbers)",
        ));
    }
    Ok(name.to_owned())
}

/// `api.github.com`, `*.github.com` (what is below, not the domain itself), or `*`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    Any,
    Exact(String),
    /// Without the `*.`.
    Below(String),
}

impl HostPattern {
    pub fn fits(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::Any, _) => true,
            (_, Host::Address(_)) => false,
            (Self::Exact(exact), Host::Name(name)) => exact == name,
            (Self::Below(domain), Host::Name(name)) => is_below(name, domain),
        }
    }

    /// Whether some host fits both.
    pub fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) => true,
            (Self::Exact(a), Self::Exact(b)) => a == b,
            (Self::Exact(name), Self::Below(domain)) | (Self::Below(domain), Self::Exact(name)) => {
                is_below(name, domain)
            }
            (Self::Below(a), Self::Below(b)) => a == b || is_below(a, b) || is_below(b, a),
        }
    }
}

fn is_below(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(name) => f.write_str(name),
            Self::Below(domain) => write!(f, "*.{domain}"),
        }
    }
}

impl FromStr for HostPattern {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let no = |why: &str| Invalid::new("hosts", why);
        if text == "*" {
            return Ok(Self::Any);
        }
        let (below, rest) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        if rest.contains('*') {
            return Err(no("has a `*` only as its whole first part, as in \"*.github.com\""));
        }
        match rest.parse::<Host>() {
            Ok(Host::Name(name)) if below => Ok(Self::Below(name)),
            Ok(Host::Name(name)) => Ok(Self::Exact(name)),
            Ok(Host::Address(_)) => Err(no("is an address: put it under `addresses`")),
            Err(invalid) if rest.contains([':', '/', '@']) => {
                Err(no(&format!("{}; it has no scheme, port, path or user", invalid.problem)))
            }
            Err(invalid) => Err(no(&invalid.problem)),
        }
    }
}

text_form!(HostPattern, "*.github.com");
