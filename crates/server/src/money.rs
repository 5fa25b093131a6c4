//! The sections `[metering]` and `[billing]`: what is measured, what is charged, and what happens to whoever owes.

use std::time::Duration;

use ryokan_app::metering::Billing;
use ryokan_model::price::Rates;
use ryokan_model::quantity::Span;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct MeteringSection {
    /// How often counters are read: 5s to 60s.
    pub every: Span,
    /// How long samples are kept after they were summed up, for `ledger verify`.
    pub keep_samples: Span,
    /// How long sums of five minutes are kept, for `ledger verify`.
    pub keep_usage: Span,
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
}

impl Default for MeteringSection {
    fn default() -> Self {
        let billing = Billing::default();
        Self {
            every: span(billing.sample_every),
            keep_samples: span(billing.keep_samples),
            keep_usage: span(billing.keep_usage),
        }
    }
}

impl Default for BillingSection {
    fn default() -> Self {
        let Billing { enabled, grace, rates, .. } = Billing::default();
        let Rates { core, memory_gb, disk_gb, network_gb, gpu } = rates;
        Self { enabled, grace: span(grace), core, memory_gb, disk_gb, network_gb, gpu }
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
        None
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

    pub fn settings(&self, metering: &MeteringSection) -> Billing {
        Billing {
            enabled: self.enabled,
            grace: self.grace.duration(),
            rates: self.rates(),
            sample_every: metering.every.duration(),
            keep_samples: metering.keep_samples.duration(),
            keep_usage: metering.keep_usage.duration(),
        }
    }
}
