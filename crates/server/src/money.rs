//! The sections `[metering]`, `[billing]` and `[mail]`: what is measured, what is charged, what happens to whoever owes,
//! and how they are told.

use std::time::Duration;

use ryokan_adapters::prometheus;
use ryokan_adapters::smtp::{self, Encryption};
use ryokan_app::metering::Billing;
use ryokan_model::Secret;
use ryokan_model::price::Rates;
use ryokan_model::quantity::Span;
use serde::{Deserialize, Serialize};

use crate::payments::FundingSection;

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct MeteringSection {
    /// How often counters are read: 5s to 60s.
    pub every: Span,
    /// How long samples are kept after they were summed up, for `ledger verify`.
    pub keep_samples: Span,
    /// How long sums of five minutes are kept, for `ledger verify`.
    pub keep_usage: Span,
    /// A Prometheus that scrapes cAdvisor: its counters instead of the engine's own. As in `http://127.0.0.1:9090`.
    pub prometheus_url: Option<String>,
    /// A bearer token for it.
    #[serde(skip_serializing)]
    pub prometheus_token: Option<Secret>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct BillingSection {
    /// Charge what is used, and suspend whoever owes.
    pub enabled: bool,
    /// How long a balance may be below zero.
    pub grace: Span,
    /// Satoshis for five minutes of one core.
    pub core: i64,
    /// ... of 10^9 bytes of memory.
    pub memory_gb: i64,
    /// ... of 10^9 bytes of disk.
    pub disk_gb: i64,
    /// For 10^9 bytes in or out.
    pub network_gb: i64,
    /// For five minutes of one GPU.
    pub gpu: i64,
    /// Webhooks may lead into networks that are not public: for servers whose users are trusted with these.
    pub webhooks_to_private: bool,
}

impl Default for MeteringSection {
    fn default() -> Self {
        let billing = Billing::default();
        Self {
            every: span(billing.sample_every),
            keep_samples: span(billing.keep_samples),
            keep_usage: span(billing.keep_usage),
            prometheus_url: None,
            prometheus_token: None,
        }
    }
}

impl Default for BillingSection {
    fn default() -> Self {
        let Billing { enabled, grace, rates, .. } = Billing::default();
        let Rates { core, memory_gb, disk_gb, network_gb, gpu } = rates;
        Self {
            enabled,
            grace: span(grace),
            core,
            memory_gb,
            disk_gb,
            network_gb,
            gpu,
            webhooks_to_private: false,
        }
    }
}

const fn span(time: Duration) -> Span {
    Span::seconds(time.as_secs())
}

impl MeteringSection {
    /// What is wrong with it.
    pub fn problem(&self) -> Option<&'static str> {
        let between = |span: Span, least: u64, most: u64| {
            (Duration::from_secs(least)..=Duration::from_secs(most)).contains(&span.duration())
        };
        if !between(self.every, 5, 60) {
            return Some("metering.every: must be from 5s to 60s");
        }
        if !between(self.keep_samples, 3_600, u64::MAX) {
            return Some("metering.keep_samples: must be at least 1h");
        }
        if !between(self.keep_usage, 35 * 86_400, u64::MAX) {
            return Some("metering.keep_usage: must be at least 35d, so that a month can be invoiced");
        }
        let good = |url: &str| {
            let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
            rest.is_some_and(|rest| {
                !rest.is_empty() && !rest.ends_with('/') && !rest.contains(['@', '?', '#'])
            })
        };
        if self.prometheus_url.as_deref().is_some_and(|url| !good(url)) {
            return Some(
                "metering.prometheus_url: must begin with `https://` or `http://`, end without `/`, and hold no password (`prometheus_token` is for that)",
            );
        }
        None
    }

    /// For people, without the secret.
    pub fn redacted(&self) -> serde_json::Value {
        let mut shown = serde_json::to_value(self).unwrap_or_default();
        shown["prometheus_token"] = self.prometheus_token.as_ref().map(|_| "(set)").into();
        shown
    }

    /// Where to read counters, if not from the engine.
    pub fn prometheus(&self) -> Option<prometheus::Options> {
        let url = self.prometheus_url.clone()?;
        Some(prometheus::Options::new(url, self.prometheus_token.clone()))
    }
}

impl BillingSection {
    pub const fn rates(&self) -> Rates {
        Rates {
            core: self.core,
            memory_gb: self.memory_gb,
            disk_gb: self.disk_gb,
            network_gb: self.network_gb,
            gpu: self.gpu,
        }
    }

    pub fn settings(&self, metering: &MeteringSection, funding: &FundingSection) -> Billing {
        Billing {
            enabled: self.enabled,
            grace: self.grace.duration(),
            rates: self.rates(),
            sample_every: metering.every.duration(),
            keep_samples: metering.keep_samples.duration(),
            keep_usage: metering.keep_usage.duration(),
            funding: funding.settings(),
        }
    }
}

/// The section `[mail]`: nobody is told by mail without a `host`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MailSection {
    pub host: Option<String>,
    /// By `encryption` when absent: 587, 465 or 25.
    pub port: Option<u16>,
    /// `starttls`, `tls` or `none`.
    pub encryption: Option<String>,
    pub username: Option<String>,
    pub password: Option<Secret>,
    /// As in `ryokan@example.com`.
    pub from: Option<String>,
    /// `SendGrid`'s key, as `MandalaNode` has it: short for its SMTP endpoint.
    pub sendgrid_api_key: Option<Secret>,
}

impl MailSection {
    /// How to send; `None` when nobody is to be told by mail.
    pub fn options(&self) -> Result<Option<smtp::Options>, &'static str> {
        let sendgrid = self.sendgrid_api_key.clone().map(|key| ("apikey".to_owned(), key));
        let host = self.host.clone().or_else(|| sendgrid.as_ref().map(|_| "smtp.sendgrid.net".to_owned()));
        let Some(host) = host else { return Ok(None) };
        let (encryption, usual) = match self.encryption.as_deref() {
            None | Some("starttls") => (Encryption::StartTls, 587),
            Some("tls") => (Encryption::Tls, 465),
            Some("none") => (Encryption::None, 25),
            Some(_) => return Err("mail.encryption: must be `starttls`, `tls` or `none`"),
        };
        let login = match (&self.username, &self.password) {
            (Some(user), Some(password)) => Some((user.clone(), password.clone())),
            (None, None) => sendgrid,
            _ => return Err("mail.username: user name and password are given together, or not at all"),
        };
        let from = self.from.clone().ok_or("mail.from: is missing; mail needs a sender")?;
        Ok(Some(smtp::Options {
            host,
            port: self.port.unwrap_or(usual),
            encryption,
            login,
            from,
            patience: Duration::from_secs(30),
        }))
    }

    /// For people, without secrets.
    pub fn redacted(&self) -> serde_json::Value {
        serde_json::json!({
            "host": self.host, "port": self.port, "encryption": self.encryption, "username": self.username,
            "password": self.password.as_ref().map(|_| "(set)"), "from": self.from,
            "sendgrid_api_key": self.sendgrid_api_key.as_ref().map(|_| "(set)"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sendgrid_is_an_smtp_server_like_others() {
        let section = MailSection {
            sendgrid_api_key: Some(Secret::new("SG.hush")),
            from: Some("a@example.com".into()),
            ..MailSection::default()
        };
        let options = section.options().unwrap().unwrap();
        assert_eq!((options.host.as_str(), options.port), ("smtp.sendgrid.net", 587));
        assert_eq!(options.login.unwrap().0, "apikey");
        assert!(!section.redacted().to_string().contains("hush"));
    }

    #[test]
    fn what_is_missing_is_named() {
        let with = |change: fn(&mut MailSection)| {
            let mut section =
                MailSection { host: Some("h".into()), from: Some("a@b.c".into()), ..MailSection::default() };
            change(&mut section);
            section.options()
        };
        assert!(with(|s| s.from = None).unwrap_err().contains("mail.from"));
        assert!(with(|s| s.username = Some("u".into())).unwrap_err().contains("mail.username"));
        assert!(with(|s| s.encryption = Some("ssl".into())).unwrap_err().contains("mail.encryption"));
        assert!(with(|s| s.host = None).unwrap().is_none());
        assert_eq!(with(|s| s.encryption = Some("tls".into())).unwrap().unwrap().port, 465);
    }
}
