//! What a rule is about: hosts, addresses, ports, methods and paths, or names. An empty list is no condition.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{ActionPattern, Glob, HostPattern, Kind, Network, PathPattern, text_form};
use crate::Invalid;

/// The most entries of a list.
const MOST: usize = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    pub const fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// `443`, or `8000-8100`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    pub const fn one(port: u16) -> Self {
        Self { first: port, last: port }
    }

    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    pub fn meets(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { self.first.fmt(f) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

impl FromStr for PortRange {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let port = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            text.parse::<u16>().ok().filter(|port| digits && *port > 0)
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (port(first), port(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self { first, last }),
            _ => Err(Invalid::new("ports", "must be a port as in \"443\" or a range as in \"8000-8100\"")),
        }
    }
}

text_form!(PortRange, "443");

/// Each list that is given must have an entry that fits.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = PolicyResources))]
pub struct Resources {
    /// Names: `api.github.com`, `*.github.com` (what is below it), `*`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<HostPattern>,
    /// Ranges of addresses. Without any, what allows reaches public addresses only, and what refuses or asks fits all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Network>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortRange>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub schemes: Vec<Scheme>,
    /// In upper case.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<PathPattern>,
    /// Of what has a name: models, tools, credentials, operations, repositories, images.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<Glob>,
}

impl Resources {
    /// Whether it can be decided only by whoever sees the requests of a connection.
    pub fn looks_inside(&self) -> bool {
        !(self.schemes.is_empty() && self.methods.is_empty() && self.paths.is_empty())
    }

    /// What is wrong with it for these actions.
    pub fn validate(&self, action: ActionPattern) -> Result<(), Invalid> {
        let given = [
            ("hosts", self.hosts.len(), Kind::Network),
            ("addresses", self.addresses.len(), Kind::Network),
            ("ports", self.ports.len(), Kind::Network),
            ("schemes", self.schemes.len(), Kind::Network),
            ("methods", self.methods.len(), Kind::Network),
            ("paths", self.paths.len(), Kind::Network),
            ("names", self.names.len(), Kind::Named),
        ];
        for (field, n, kind) in given {
            if n > MOST {
                return Err(Invalid::new(field, format!("has more than {MOST} entries")));
            }
            if n > 0 && action.kind() != Some(kind) {
                let why = match action.kind() {
                    None => format!("cannot be told for all of `{action}`: name one action"),
                    Some(Kind::Named) => format!("means nothing to `{action}`, which goes by `names`"),
                    Some(Kind::Network) => {
                        format!("means nothing to `{action}`, which goes by `hosts`, `addresses` and `ports`")
                    }
                };
                return Err(Invalid::new(field, why));
            }
        }
        if self.looks_inside() && action.fits(super::Action::EgressConnect) {
            return Err(Invalid::new(
                "action",
                "schemes, methods and paths are not seen of a mere connection: the action is `egress.request`",
            ));
        }
        for (i, method) in self.methods.iter().enumerate() {
            let ok = (1..=20).contains(&method.len())
                && method.bytes().all(|b| b.is_ascii_uppercase() || b == b'-');
            if !ok {
                return Err(Invalid::new(
                    format!("methods[{i}]"),
                    "must be a method in upper case, as in \"GET\"",
                ));
            }
        }
        Ok(())
    }
}
