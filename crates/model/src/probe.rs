//! How an agent is asked whether it works. Startup and readiness are apart: the first gates `starting`, the second
//! moves between `ready` and `unhealthy`.

use serde::{Deserialize, Serialize};

use crate::Invalid;
use crate::quantity::Span;

/// What is asked, how often, and when the answer counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Probe {
    pub check: Check,
    /// Between two questions.
    #[serde(default = "Probe::default_interval")]
    pub interval: Span,
    /// How long an answer may take.
    #[serde(default = "Probe::default_timeout")]
    pub timeout: Span,
    /// Failures inside this span after the container's start do not count.
    #[serde(default = "Probe::default_start_period")]
    pub start_period: Span,
    /// Failures in a row until the agent counts as failed.
    #[serde(default = "Probe::default_retries")]
    pub retries: u32,
}

/// One question to an agent. `port` is the name of one of the spec's ports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Check {
    /// `GET path` answers with a status below 400, and with a body that holds `body` when that is given.
    Http {
        port: String,
        #[serde(default = "root")]
        path: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        body: Option<String>,
        /// Sent as they are; some agents answer only to a known `Host`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        headers: Vec<(String, String)>,
    },
    /// A connection is accepted.
    Tcp { port: String },
    /// The command exits with 0 inside the container.
    Command { command: Vec<String> },
}

fn root() -> String {
    "/".to_owned()
}

impl Probe {
    fn default_interval() -> Span {
        Span::seconds(5)
    }
    fn default_timeout() -> Span {
        Span::seconds(3)
    }
    fn default_start_period() -> Span {
        Span::seconds(60)
    }
    fn default_retries() -> u32 {
        3
    }

    /// A TCP probe with the default pace: what an image gets that says nothing about its health.
    pub fn tcp(port: &str) -> Self {
        Self {
            check: Check::Tcp { port: port.to_owned() },
            interval: Self::default_interval(),
            timeout: Self::default_timeout(),
            start_period: Self::default_start_period(),
            retries: Self::default_retries(),
        }
    }

    pub fn validate(&self, ports: &[crate::spec::Port]) -> Result<(), Invalid> {
        let known = |port: &str| {
            if ports.iter().any(|p| p.name == port) {
                Ok(())
            } else {
                Err(Invalid::new("check.port", format!("`{port}` is not one of the instance's ports")))
            }
        };
        match &self.check {
            Check::Http { port, path, headers, .. } => {
                known(port)?;
                if !path.starts_with('/') || path.bytes().any(|b| b <= b' ' || b == 0x7f) {
                    return Err(Invalid::new("check.path", "must begin with `/` and hold no spaces"));
                }
                if headers.iter().any(|(n, v)| {
                    n.is_empty()
                        || !n.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                        || v.bytes().any(|b| b < b' ')
                }) {
                    return Err(Invalid::new(
                        "check.headers",
                        "a header's name has letters, digits and `-`, its value no control characters",
                    ));
                }
            }
            Check::Tcp { port } => known(port)?,
            Check::Command { command } if command.is_empty() => {
                return Err(Invalid::new("check.command", "must not be empty"));
            }
            Check::Command { .. } => {}
        }
        if self.interval < Span::millis(100) {
            return Err(Invalid::new("interval", "must be at least 100ms"));
        }
        if self.timeout < Span::millis(100) || self.timeout > Span::seconds(300) {
            return Err(Invalid::new("timeout", "must be between 100ms and 5m"));
        }
        if self.retries == 0 || self.retries > 1000 {
            return Err(Invalid::new("retries", "must be between 1 and 1000"));
        }
        Ok(())
    }
}
