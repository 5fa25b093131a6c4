//! What is asked: who, which action, on what, and the facts that conditions look at.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Action, AgentRole, Host, Path, Scheme};
use crate::{GroupId, InstanceId, Millis, ProjectId, TaskId, UserId};

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
