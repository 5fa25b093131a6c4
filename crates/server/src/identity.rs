//! The section `[identity]`: who the server is to wallets, and what it takes from them.

use ryokan_app::entropy::Entropy;
use ryokan_app::identity::keys::IdentitySettings;
use ryokan_brc::message::RequestedCertificates;
use ryokan_brc::{PrivateKey, PublicKey};
use ryokan_model::quantity::Bytes;
use ryokan_model::{Clock, Secret};
use ryokan_store::{Seal, Store};
use serde::Deserialize;

use crate::compose::kept_secret;
use crate::config::ConfigError;

/// The type under which certifiers of e-mail addresses issue their certificates.
const EMAIL_CERTIFICATE: &str = "exOl3KM0dIJ04EW5pZgbZmPag6MdJXd3/a1enmUU/BA=";

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IdentitySection {
    /// Whoever has an identity key may make an account for it.
    pub open_registration: bool,
    /// 64 hexadecimal digits; a key made at the first start and kept sealed when absent.
    pub mainnet_key: Option<Secret>,
    pub testnet_key: Option<Secret>,
    /// Identity keys of those whose certificates of e-mail addresses are believed; none are asked for when empty.
    pub certifiers: Vec<String>,
    /// Their type: 32 bytes as base64.
    pub certificate_type: String,
    /// Of a signed request, which is read before it is verified.
    pub max_body: Bytes,
    /// New sessions, and registrations, of one address.
    pub handshakes_per_minute: u32,
}

impl Default for IdentitySection {
    fn default() -> Self {
        Self {
            open_registration: true,
            mainnet_key: None,
            testnet_key: None,
            certifiers: Vec::new(),
            certificate_type: EMAIL_CERTIFICATE.to_owned(),
            max_body: Bytes::mebi(1),
            handshakes_per_minute: 60,
        }
    }
}

impl IdentitySection {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let refuse = |key: &str, why: &str| Err(ConfigError(format!("identity.{key}: {why}")));
        for (key, value) in [("mainnet_key", &self.mainnet_key), ("testnet_key", &self.testnet_key)] {
            if let Some(Err(error)) = value.as_ref().map(|v| PrivateKey::from_hex(v.expose())) {
                return refuse(key, &error.to_string());
            }
        }
        for certifier in &self.certifiers {
            if let Err(error) = certifier.parse::<PublicKey>() {
                return refuse("certifiers", &format!("`{certifier}` {error}"));
            }
        }
        if self.certificate_type.len() != EMAIL_CERTIFICATE.len() {
            return refuse("certificate_type", "must be 32 bytes as base64");
        }
        if self.handshakes_per_minute == 0 {
            return refuse("handshakes_per_minute", "must be at least 1");
        }
        if !(1024..=64 * 1024 * 1024).contains(&self.max_body.get()) {
            return refuse("max_body", "must be between 1k and 64m");
        }
        Ok(())
    }

    pub(crate) fn redacted(&self) -> serde_json::Value {
        let hidden = |s: &Option<Secret>| s.as_ref().map(|_| "(set)");
        serde_json::json!({
            "open_registration": self.open_registration, "mainnet_key": hidden(&self.mainnet_key),
            "testnet_key": hidden(&self.testnet_key), "certifiers": self.certifiers,
            "certificate_type": self.certificate_type, "max_body": self.max_body,
            "handshakes_per_minute": self.handshakes_per_minute,
        })
    }

    /// What is asked of a wallet in the handshake.
    pub(crate) fn wanted(&self) -> RequestedCertificates {
        if self.certifiers.is_empty() {
            return RequestedCertificates::default();
        }
        RequestedCertificates {
            certifiers: self.certifiers.clone(),
            types: [(self.certificate_type.clone(), vec!["email".to_owned()])].into(),
        }
    }

    /// A configured key is used and not kept; else the one that the database keeps sealed is, which is made once.
    pub(crate) async fn settings(
        &self,
        store: &Store,
        seal: &std::sync::Arc<Seal>,
        clock: &dyn Clock,
        entropy: &dyn Entropy,
    ) -> anyhow::Result<IdentitySettings> {
        let key = async |name: &'static str, configured: &Option<Secret>| {
            let text = match configured {
                Some(key) => key.clone(),
                None => kept_secret(store, seal, clock, entropy, name).await?,
            };
            PrivateKey::from_hex(text.expose())
                .map_err(|_| anyhow::anyhow!("the {name} in the database is damaged"))
        };
        Ok(IdentitySettings {
            open_registration: self.open_registration,
            mainnet: key("identity-mainnet", &self.mainnet_key).await?,
            testnet: key("identity-testnet", &self.testnet_key).await?,
        })
    }
}
