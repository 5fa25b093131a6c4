//! The section `[payments]`: who tells of headers, and who takes transactions to miners, for both chains.

use ryokan_adapters::bsv::{Bsv, Chain, HeaderSource};
use ryokan_model::Secret;
use serde::Deserialize;

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
            "testnet_headers_key": hidden(&self.testnet_headers_key),
        })
    }

    /// Nothing is asked of anybody yet.
    pub(crate) fn provider(&self) -> anyhow::Result<Option<Bsv>> {
        if !self.enabled {
            return Ok(None);
        }
        let chain = |arc: &str, arc_key: &Option<Secret>, headers: &str, headers_key: &Option<Secret>| {
            Ok::<_, ConfigError>(Chain {
                arc_url: arc.to_owned(),
                arc_key: arc_key.clone(),
                headers: self.source(headers)?,
                headers_key: headers_key.clone(),
            })
        };
        Ok(Some(Bsv::new(
            chain(&self.arc_url, &self.arc_key, &self.headers_url, &self.headers_key)?,
            chain(
                &self.testnet_arc_url,
                &self.testnet_arc_key,
                &self.testnet_headers_url,
                &self.testnet_headers_key,
            )?,
        )?))
    }
}
