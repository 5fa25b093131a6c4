//! The sections `[payments]` and `[funding]`: who tells of headers and addresses, and who takes transactions to miners, for
//! both chains; and what of what was paid may be sent on to agents.

use std::time::Duration;

use ryokan_adapters::bsv::{Bsv, Chain, HeaderSource};
use ryokan_app::funding::Funding;
use ryokan_model::quantity::Span;
use ryokan_model::{Sats, Secret};
use serde::{Deserialize, Serialize};

use crate::config::ConfigError;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PaymentsSection {
    /// Take payments over the chain. Without it only the operator credits projects.
    pub enabled: bool,
    /// ARC's base address for mainnet.
    pub arc_url: String,
    pub arc_key: Option<Secret>,
    pub testnet_arc_url: String,
    pub testnet_arc_key: Option<Secret>,
    /// What kind of service tells of headers: `whatsonchain` or `block-headers-service`.
    pub headers: String,
    pub headers_url: String,
    pub headers_key: Option<Secret>,
    pub testnet_headers_url: String,
    pub testnet_headers_key: Option<Secret>,
    /// Who tells what addresses hold, as `WhatsOnChain` does.
    pub addresses_url: String,
    pub addresses_key: Option<Secret>,
    pub testnet_addresses_url: String,
    pub testnet_addresses_key: Option<Secret>,
}

/// Money on the chain for the agents of projects that ask for it.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct FundingSection {
    /// Top agents up from what was paid to this server, at their project's cost.
    pub enabled: bool,
    /// How often their addresses are looked up: 1m to 1d.
    pub every: Span,
    /// Satoshis below which an address is topped up,
    pub minimum: i64,
    /// and to which.
    pub target: i64,
    /// Satoshis for a thousand bytes of a transaction.
    pub fee_per_kb: u64,
    /// The most that is spent for one project in a day, with fees.
    pub per_day: i64,
    /// The most that is ever spent for one project, with fees.
    pub in_all: i64,
}

impl Default for FundingSection {
    fn default() -> Self {
        let Funding { enabled, every, minimum, target, fee_per_kb, per_day, in_all } = Funding::default();
        Self {
            enabled,
            every: Span::seconds(every.as_secs()),
            minimum: minimum.0,
            target: target.0,
            fee_per_kb,
            per_day: per_day.0,
            in_all: in_all.0,
        }
    }
}

impl FundingSection {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let wrong = |key: &str, why: &str| Err(ConfigError(format!("funding.{key}: {why}")));
        let every = self.every.duration();
        if !(Duration::from_mins(1)..=Duration::from_hours(24)).contains(&every) {
            return wrong("every", "must be from 1m to 1d");
        }
        if !(1..=Sats::SUPPLY.0).contains(&self.minimum) {
            return wrong("minimum", "must be at least 1 satoshi");
        }
        if !(self.minimum..=Sats::SUPPLY.0).contains(&self.target) {
            return wrong("target", "must not be below `minimum`");
        }
        if self.fee_per_kb > 1_000_000 {
            return wrong("fee_per_kb", "must be at most 1000000 satoshis");
        }
        if self.per_day < 0 || self.in_all < 0 {
            return wrong("per_day", "and `in_all` must not be negative");
        }
        Ok(())
    }

    pub(crate) fn settings(&self) -> Funding {
        Funding {
            enabled: self.enabled,
            every: self.every.duration(),
            minimum: Sats(self.minimum),
            target: Sats(self.target),
            fee_per_kb: self.fee_per_kb,
            per_day: Sats(self.per_day),
            in_all: Sats(self.in_all),
        }
    }
}

impl Default for PaymentsSection {
    fn default() -> Self {
        Self {
            enabled: true,
            arc_url: "https://arc.taal.com".into(),
            arc_key: None,
            testnet_arc_url: "https://arc-test.taal.com".into(),
            testnet_arc_key: None,
            headers: "whatsonchain".into(),
            headers_url: "https://api.whatsonchain.com/v1/bsv/main".into(),
            headers_key: None,
            testnet_headers_url: "https://api.whatsonchain.com/v1/bsv/test".into(),
            testnet_headers_key: None,
            addresses_url: "https://api.whatsonchain.com/v1/bsv/main".into(),
            addresses_key: None,
            testnet_addresses_url: "https://api.whatsonchain.com/v1/bsv/test".into(),
            testnet_addresses_key: None,
        }
    }
}

impl PaymentsSection {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        for (key, url) in [
            ("arc_url", &self.arc_url),
            ("testnet_arc_url", &self.testnet_arc_url),
            ("headers_url", &self.headers_url),
            ("testnet_headers_url", &self.testnet_headers_url),
            ("addresses_url", &self.addresses_url),
            ("testnet_addresses_url", &self.testnet_addresses_url),
        ] {
            if !(url.starts_with("https://") || url.starts_with("http://")) || url.ends_with('/') {
                return Err(ConfigError(format!(
                    "payments.{key}: must begin with `https://` or `http://`, and end without `/`"
                )));
            }
        }
        self.source(&self.headers_url).map(drop)
    }

    fn source(&self, url: &str) -> Result<HeaderSource, ConfigError> {
        match self.headers.as_str() {
            "whatsonchain" => Ok(HeaderSource::WhatsOnChain(url.to_owned())),
            "block-headers-service" => Ok(HeaderSource::BlockHeadersService(url.to_owned())),
            other => Err(ConfigError(format!(
                "payments.headers: `{other}` is not known: whatsonchain or block-headers-service"
            ))),
        }
    }

    pub(crate) fn redacted(&self) -> serde_json::Value {
        let hidden = |s: &Option<Secret>| s.as_ref().map(|_| "(set)");
        serde_json::json!({
            "enabled": self.enabled, "arc_url": self.arc_url, "arc_key": hidden(&self.arc_key),
            "testnet_arc_url": self.testnet_arc_url, "testnet_arc_key": hidden(&self.testnet_arc_key),
            "headers": self.headers, "headers_url": self.headers_url, "headers_key": hidden(&self.headers_key),
            "testnet_headers_url": self.testnet_headers_url,
            "testnet_headers_key": hidden(&self.testnet_headers_key), "addresses_url": self.addresses_url,
            "addresses_key": hidden(&self.addresses_key), "testnet_addresses_url": self.testnet_addresses_url,
            "testnet_addresses_key": hidden(&self.testnet_addresses_key),
        })
    }

    /// Nothing is asked of anybody yet.
    pub(crate) fn provider(&self) -> anyhow::Result<Option<Bsv>> {
        if !self.enabled {
            return Ok(None);
        }
        let mainnet = Chain {
            arc_url: self.arc_url.clone(),
            arc_key: self.arc_key.clone(),
            headers: self.source(&self.headers_url)?,
            headers_key: self.headers_key.clone(),
            addresses_url: self.addresses_url.clone(),
            addresses_key: self.addresses_key.clone(),
        };
        let testnet = Chain {
            arc_url: self.testnet_arc_url.clone(),
            arc_key: self.testnet_arc_key.clone(),
            headers: self.source(&self.testnet_headers_url)?,
            headers_key: self.testnet_headers_key.clone(),
            addresses_url: self.testnet_addresses_url.clone(),
            addresses_key: self.testnet_addresses_key.clone(),
        };
        Ok(Some(Bsv::new(mainnet, testnet)?))
    }
}
