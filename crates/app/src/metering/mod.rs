//! Metering: counters are sampled, and every five minutes are summed up and, where billing is on, charged.
//!
//! What was sampled is never lost or counted twice, however often the server dies: samples are rows, sums follow from
//! them, and an interval is closed once. What was not sampled is not guessed.

pub mod close;
pub mod sample;

use std::time::Duration;

use ryokan_model::price::Rates;

use crate::funding::Funding;

/// What an operator decides about metering and billing.
#[derive(Debug, Clone)]
pub struct Billing {
    /// Whether usage is charged, and whoever owes is suspended. It is metered and shown in any case.
    pub enabled: bool,
    /// How long a balance may be below zero.
    pub grace: Duration,
    /// The server's price; a change is a new version, in force from the start that brings it.
    pub rates: Rates,
    /// How often counters are read.
    pub sample_every: Duration,
    /// How long samples are kept once they are summed up.
    pub keep_samples: Duration,
    /// How long sums are kept, by which the ledger is verified.
    pub keep_usage: Duration,
    /// Money on the chain for agents.
    pub funding: Funding,
}

impl Default for Billing {
    fn default() -> Self {
        Self {
            enabled: false,
            grace: Duration::from_hours(24),
            rates: Rates::default(),
            sample_every: Duration::from_secs(15),
            keep_samples: Duration::from_hours(24),
            keep_usage: Duration::from_hours(400 * 24),
            funding: Funding::default(),
        }
    }
}
