//! What is asked: who, which action, on what, and the facts that conditions look at.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Action, AgentRole, Host, Kind, Path, Scheme};
use crate::{GroupId, InstanceId, Invalid, Millis, ProjectId, TaskId, UserId};

/// Who asks, as far as it was proved. All that is known is filled in: an instance's project too.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Who {
    pub user: Option<UserId>,
    pub groups: BTreeSet<GroupId>,
    pub project: Option<ProjectId>,
    pub instance: Option<InstanceId>,
    pub task: Option<TaskId>,
    pub role: Option<AgentRole>,
}

/// One question to the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub who: Who,
    pub action: Action,
    pub resource: Resource,
    pub now: Millis,
    /// Whether the asker has read something that nobody vouches for.
    pub tainted: bool,
    /// What is left of each budget that is known, by its name.
    pub budgets: BTreeMap<String, u64>,
}

impl Request {
    /// With no taint and no budgets.
    pub fn new(who: Who, action: Action, resource: Resource, now: Millis) -> Self {
        Self { who, action, resource, now, tainted: false, budgets: BTreeMap::new() }
    }
}

/// On what. It must be of the action's [`super::Kind`]; what is not is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    Network(Target),
    Named(String),
}

impl Resource {
    pub fn named(name: impl Into<String>) -> Self {
        Self::Named(name.into())
    }

    /// A connection to a host of which nothing is known but its name.
    pub fn host(host: Host, port: u16) -> Self {
        Self::Network(Target { host, port, addresses: None, http: None })
    }
}

/// A host and a port, with what is known of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub host: Host,
    pub port: u16,
    /// To what the name leads. `None`: nobody has asked yet; then rules are judged by the name alone, and no connection
    /// may be opened before they were judged again with the addresses.
    pub addresses: Option<Vec<IpAddr>>,
    /// What is asked of it, where that can be seen.
    pub http: Option<Http>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    pub scheme: Scheme,
    /// In upper case.
    pub method: String,
    pub path: Path,
}

impl Resource {
    /// As people write it: `GET https://api.github.com/user`, `api.github.com:443`, or a name.
    pub fn parse(action: Action, text: &str) -> Result<Self, Invalid> {
        if action.kind() == Kind::Named {
            let bad = text.is_empty()
                || text.len() > 512
                || text.chars().any(|c| c.is_control() || c.is_whitespace());
            return if bad {
                Err(Invalid::new("resource", "must be a name of 1 to 512 characters without spaces"))
            } else {
                Ok(Self::Named(text.to_owned()))
            };
        }
        let no = || {
            Invalid::new(
                "resource",
                "must be as in \"GET https://api.github.com/user\", or \"api.github.com:443\" for a connection",
            )
        };
        let (method, rest) = text.split_once(' ').unwrap_or(("GET", text));
        let Some((scheme, rest)) = rest.split_once("://") else {
            if method.len() + 1 + rest.len() == text.len() {
                return Err(no());
            }
            let (host, port) = authority(text)?;
            return Ok(Self::host(host, port.ok_or_else(no)?));
        };
        let scheme = match scheme {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(no()),
        };
        if method.is_empty()
            || method.len() > 20
            || !method.bytes().all(|b| b.is_ascii_uppercase() || b == b'-')
        {
            return Err(no());
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (host, port) = authority(&rest[..end])?;
        let http = Http { scheme, method: method.to_owned(), path: Path::parse(&rest[end..]) };
        let http = (action != Action::EgressConnect).then_some(http);
        Ok(Self::Network(Target { host, port: port.unwrap_or(scheme.port()), addresses: None, http }))
    }
}

/// A host, and a port if there is one.
fn authority(text: &str) -> Result<(Host, Option<u16>), Invalid> {
    let after = text.rfind(']').map_or(0, |at| at + 1);
    let (host, port) = match text[after..].rfind(':') {
        Some(colon) => (&text[..after + colon], Some(&text[after + colon + 1..])),
        None => (text, None),
    };
    let port = match port {
        None => None,
        Some(port) => Some(
            port.parse::<u16>()
                .ok()
                .filter(|n| *n > 0 && port.bytes().all(|b| b.is_ascii_digit()))
                .ok_or_else(|| Invalid::new("resource", "has no such port: 1 to 65535"))?,
        ),
    };
    Ok((host.parse().map_err(|invalid: Invalid| Invalid::new("resource", invalid.problem))?, port))
}

impl fmt::Display for Resource {
    /// As it is shown and recorded: no query, no user, no body.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => f.write_str(name),
            Self::Network(Target { host, port, http: None, .. }) => write!(f, "{host}:{port}"),
            Self::Network(Target { host, port, http: Some(http), .. }) => {
                write!(f, "{} {}://{host}", http.method, http.scheme.as_str())?;
                if *port != http.scheme.port() {
                    write!(f, ":{port}")?;
                }
                http.path.fmt(f)
            }
        }
    }
}
