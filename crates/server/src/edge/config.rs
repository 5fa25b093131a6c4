//! `[egress]` of the configuration.

use std::path::PathBuf;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// The way out of sandboxes.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct EgressSection {
    /// Of the door to each project's network, at this machine's address there; the next one is our name server's.
    pub port: u16,
    /// A file of certificates (PEM) of authorities that hosts may have besides those of the web.
    pub authorities: Option<PathBuf>,
    /// Let credentials get their OAuth tokens from addresses that are not public.
    pub private_issuers: bool,
}

impl Default for EgressSection {
    fn default() -> Self {
        Self { port: 7780, authorities: None, private_issuers: false }
    }
}

impl EgressSection {
    /// Where we answer for names in closed networks: the next one.
    pub(crate) fn names_port(&self) -> u16 {
        self.port.checked_add(1).unwrap_or(self.port - 1)
    }

    pub(crate) fn tls(&self) -> anyhow::Result<ryokan_gateway::egress::TlsParts> {
        let text = match &self.authorities {
            None => String::new(),
            Some(path) => std::fs::read_to_string(path)
                .with_context(|| format!("egress.authorities: {} cannot be read", path.display()))?,
        };
        ryokan_gateway::egress::TlsParts::with_roots(&text).context("egress.authorities")
    }
}
